"""What holds for every event and for any bytes at all."""

import copy
import json
import re
from datetime import UTC, datetime

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_contracts import (
    EVENT_TYPES,
    Envelope,
    InvoiceCreated,
    KeyMismatch,
    PayloadInvalid,
    UndecodableRecord,
    decode,
    encode,
)
from pipeline_contracts.schemas import reader_schema, writer_schema

EVERY = pytest.mark.parametrize("model", EVENT_TYPES.values(), ids=lambda model: model.__name__)
NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def example(model):
    return model.model_config["json_schema_extra"]["examples"][0]


def record(model=InvoiceCreated):
    return encode(model(**example(model)), id="id-1", source="billing", time=NOON)


def refused(written, value):
    """Why the record is refused with another body, or None; anything but a refusal is a crash."""
    try:
        decode(key=written.key, value=value, headers=written.headers)
    except UndecodableRecord as refusal:
        assert_refusal_is_clear(refusal)
        return refusal
    return None


PLAIN_TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30
)
ID_TEXT = st.from_regex(re.compile(r"[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]{0,20}[^\s\x00-\x1f\x7f])?"),
                        fullmatch=True).filter(lambda text: not re.search("[\ud800-\udfff]", text))  # fmt: skip
DECIMALS = st.from_regex(re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,10})?", re.ASCII), fullmatch=True)


def strings(schema):
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("format") == "date":
        return st.dates().map(str)
    if schema.get("format") == "date-time":
        return st.datetimes(timezones=st.just(UTC)).map(
            lambda at: at.isoformat().replace("+00:00", "Z")
        )
    if "0-9" in schema["pattern"]:
        return DECIMALS
    if "\\s" in schema["pattern"]:
        return ID_TEXT
    return PLAIN_TEXT.filter(lambda text: len(text) >= schema.get("minLength", 0))


def objects(schema, root):
    fields = {name: bodies(field, root) for name, field in schema["properties"].items()}
    required = {name: fields.pop(name) for name in schema.get("required", ())}
    return st.fixed_dictionaries(required, optional=fields)


KINDS = {
    "object": objects,
    "array": lambda schema, root: st.lists(bodies(schema["items"], root), max_size=3),
    "integer": lambda schema, _: st.integers(schema["minimum"], schema["maximum"]),
    "boolean": lambda *_: st.booleans(),
    "null": lambda *_: st.none(),
    "string": lambda schema, _: strings(schema),
}


def bodies(schema, root):
    """Bodies that the writer's own schema allows, with optional fields there or not."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    if "anyOf" in schema:
        return st.one_of([bodies(branch, root) for branch in schema["anyOf"]])
    return KINDS[schema["type"]](schema, root)


VALIDATORS = {
    model: (
        jsonschema.Draft202012Validator(reader_schema(model.TYPE)),
        jsonschema.Draft202012Validator(writer_schema(model.TYPE)),
    )
    for model in EVENT_TYPES.values()
}
BODIES = {
    model: bodies(schema := writer_schema(model.TYPE), schema) for model in EVENT_TYPES.values()
}
ATTRIBUTE = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=60)


@EVERY
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_a_writer_may_say_comes_back_the_same_and_fits_the_schemas(model, data):
    event = model(**data.draw(BODIES[model]))
    at = data.draw(st.datetimes(timezones=st.just(UTC)))
    event_id, source = data.draw(ATTRIBUTE), data.draw(ATTRIBUTE)
    written = encode(event, id=event_id, source=source, time=at)
    back = decode(key=written.key, value=written.value, headers=written.headers)
    assert back == Envelope(event_id, source, model.TYPE, event.subject, at, None, event)
    assert encode(back.event, id=event_id, source=source, time=at) == written
    for validator in VALIDATORS[model]:
        validator.validate(json.loads(written.value))


HEADER_NAMES = st.one_of(
    st.sampled_from([name for name, _ in record().headers]), st.text(max_size=5)
)
HEADERS = st.lists(
    st.tuples(HEADER_NAMES, st.none() | st.binary(max_size=40) | st.sampled_from([b"1.0", *(t.encode() for t in EVENT_TYPES)])),
    max_size=12,
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def assert_refusal_is_clear(refusal):
    assert type(refusal) in UndecodableRecord.__subclasses__()
    assert re.match(r"[\w.\-\[\]]+: \S", str(refusal)), str(refusal)
    assert len(str(refusal)) < 2_000


@settings(max_examples=500, deadline=None)
@given(
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=60),
    headers=HEADERS,
)
def test_arbitrary_bytes_are_only_ever_undecodable(key, value, headers):
    try:
        decode(key=key, value=value, headers=headers)
    except UndecodableRecord as refusal:
        assert_refusal_is_clear(refusal)


@settings(max_examples=50, deadline=None)
@given(value=JSON)
@EVERY
def test_arbitrary_json_is_never_an_event(model, value):
    assert type(refused(record(model), json.dumps(value).encode())) is PayloadInvalid


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 400), flip=st.integers(1, 255), longer=st.binary(max_size=3))
def test_damaged_records_are_read_or_refused_but_never_crash(at, flip, longer):
    written = record()
    damaged = (
        written.value[:at] + bytes([written.value[at] ^ flip]) + longer + written.value[at + 1 :]
    )
    refused(written, damaged)
    assert refused(written, written.value[:at]) is not None


def places(body, prefix=()):
    if isinstance(body, dict | list):
        items = body.items() if isinstance(body, dict) else enumerate(body)
        for part, inner in items:
            yield (*prefix, part)
            yield from places(inner, (*prefix, part))


@EVERY
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_one_odd_field_is_named_or_harmless_and_the_published_schema_agrees(model, data):
    body = copy.deepcopy(example(model))
    place = data.draw(st.sampled_from(list(places(body))))
    target = body
    for part in place[:-1]:
        target = target[part]
    target[place[-1]] = data.draw(JSON)
    raw = json.dumps(body).encode()
    refusal = refused(record(model), raw)
    if refusal is None:
        VALIDATORS[model][0].validate(json.loads(raw))
    elif isinstance(refusal, KeyMismatch):
        assert place[0] in {"account_id", "invoice_id", "customer_id", "xero_invoice_id"}
    elif "Invalid JSON" not in str(refusal):
        assert refusal.field.split(".")[0] == place[0]
