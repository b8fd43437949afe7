import json
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta, timezone

import pytest

from pipeline_contracts import (
    EVENT_TYPES,
    MAX_EVENT_BYTES,
    ContactMapped,
    Envelope,
    HeaderInvalid,
    HeaderMissing,
    Invoice,
    InvoiceCreated,
    InvoiceLine,
    InvoiceVoided,
    KeyMismatch,
    NotEncodable,
    PayloadInvalid,
    RecordTooLarge,
    Tombstone,
    UnknownEventType,
    decode,
    encode,
)

EVERY = pytest.mark.parametrize("model", EVENT_TYPES.values(), ids=lambda model: model.__name__)
NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def example(model, **changes):
    return model.model_config["json_schema_extra"]["examples"][0] | changes


def record(model=InvoiceCreated, **changes):
    event = model(**example(model, **changes))
    return encode(event, id="id-1", source="billing", time=NOON, traceparent=TRACE)


def read(of, *, without=(), key=None, value=None, **headers):
    """Decode record `of` with some of it changed; header names are given with _ for -."""
    changed = {name.replace("content_type", "content-type"): raw for name, raw in headers.items()}
    kept = tuple(
        (name, raw) for name, raw in of.headers if name not in without and name not in changed
    )
    return decode(
        key=of.key if key is None else key,
        value=of.value if value is None else value,
        headers=kept + tuple(changed.items()),
    )


@EVERY
def test_encode_writes_cloudevents_binary_mode(model):
    written = record(model)
    assert dict(written.headers) == {
        "ce_specversion": b"1.0",
        "ce_type": model.TYPE.encode(),
        "ce_source": b"billing",
        "ce_id": b"id-1",
        "ce_subject": written.key,
        "ce_time": b"2026-03-01T12:00:00Z",
        "content-type": b"application/json",
        "ce_traceparent": TRACE.encode(),
        "traceparent": TRACE.encode(),
    }
    assert len(written.headers) == 9
    assert written.topic == model.TOPIC
    assert json.loads(written.value) == example(model)
    assert b"null" not in written.value


@EVERY
def test_decode_gives_back_what_was_encoded(model):
    written = record(model)
    event = model(**example(model))
    assert decode(key=written.key, value=written.value, headers=written.headers) == Envelope(
        "id-1", "billing", model.TYPE, event.subject, NOON, TRACE, event
    )
    assert encode(event, id="id-1", source="billing", time=NOON, traceparent=TRACE) == written


def test_records_and_envelopes_are_frozen():
    written = record()
    with pytest.raises(FrozenInstanceError):
        written.topic = "other"
    with pytest.raises(FrozenInstanceError):
        read(written).id = "other"


def test_no_trace_no_trace_headers():
    event = InvoiceCreated(**example(InvoiceCreated))
    written = encode(event, id="1", source="s", time=NOON)
    assert not [name for name, _ in written.headers if "trace" in name]
    assert read(written).traceparent is None


@pytest.mark.parametrize("value", [None, b""])
def test_a_tombstone_is_named_whatever_else_is_there(value):
    for headers in ((), record().headers):
        with pytest.raises(Tombstone, match="no body") as caught:
            decode(key=b"inv-1001", value=value, headers=headers)
        assert caught.value.code == "TOMBSTONE"


def test_the_limit_of_a_body_is_exact():
    written = record()
    padded = written.value + b" " * (MAX_EVENT_BYTES - len(written.value))
    assert read(written, value=padded).event == read(written).event
    with pytest.raises(RecordTooLarge, match="1000001 bytes, the limit is 1000000") as caught:
        read(written, value=padded + b" ")
    assert caught.value.code == "RECORD_TOO_LARGE"


@pytest.mark.parametrize("name", ["ce_specversion", "ce_type", "ce_source", "ce_id", "ce_time"])
def test_each_required_header_is_missed_by_name(name):
    for missing in ({"without": (name,)}, {name: None}):
        with pytest.raises(HeaderMissing, match=f"^{name}: missing") as caught:
            read(record(), **missing)
        assert (caught.value.code, caught.value.field) == ("HEADER_MISSING", name)


@pytest.mark.parametrize("name", ["ce_subject", "content-type", "ce_traceparent", "traceparent"])
def test_the_other_headers_may_be_missing(name):
    assert read(record(), without=(name,)) == read(record())


@pytest.mark.parametrize(
    ("name", "raw", "told"),
    [
        ("ce_specversion", b"0.3", '"0.3"; send "1.0"'),
        ("ce_specversion", b"\xff", "not UTF-8"),
        ("ce_type", b"\xff\xfe", "not UTF-8"),
        ("ce_type", b"", "1 to 255 characters"),
        ("ce_id", b"", "1 to 255 characters"),
        ("ce_id", b"a\nb", "control characters"),
        ("ce_id", b"x" * 256, "1 to 255 characters"),
        ("ce_source", b"\x00", "control characters"),
        ("ce_source", b"\xc3\x28", "not UTF-8"),
        ("ce_time", b"yesterday", "no time; send RFC 3339"),
        ("ce_time", b"2026-03-01T12:00:00", "no time"),
        ("ce_time", b"2026-02-30T12:00:00Z", "no time"),
        ("ce_time", b"0001-01-01T00:00:00+14:00", "no time"),
        ("ce_time", b"2026-03-01T12:00:00+99:00", "no time"),
        ("ce_time", "２026-03-01T12:00:00Z".encode(), "no time"),  # noqa: RUF001 - a full-width digit
        ("content-type", b"text/plain", '"text/plain"; send application/json'),
        ("content-type", b"", "send application/json"),
        ("content-type", b"\xff", "not UTF-8"),
        ("content-type", b"application/cloudevents+json", "send binary mode"),
        ("content-type", b"application/cloudevents-batch+json; charset=utf-8", "send binary mode"),
        ("ce_datacontenttype", b"application/avro", "send application/json"),
    ],
)
def test_each_broken_header_is_named_with_its_fix(name, raw, told):
    with pytest.raises(HeaderInvalid) as caught:
        read(record(), **{name: raw})
    assert str(caught.value).startswith(f"{name}: ")
    assert told in str(caught.value)
    assert (caught.value.code, caught.value.field) == ("HEADER_INVALID", name)


@pytest.mark.parametrize(
    "media", [b"application/json; charset=utf-8", b"Application/JSON", b"application/vnd.acme+json"]
)
def test_json_by_any_name_is_read(media):
    assert read(record(), content_type=media).event


def test_header_names_are_read_in_any_case_and_strange_headers_ignored():
    written = record()
    shouted = tuple((name.upper(), raw) for name, raw in written.headers)
    strange = (
        ("ce_id", None),
        ("x-ray", b"\xff"),
        ("", b""),
        ("ce_colour", b"red"),
        ("ce_id2", None),
    )
    assert decode(key=written.key, value=written.value, headers=strange + shouted) == read(written)


def test_a_header_given_twice_must_agree_with_itself():
    written = record()
    again = decode(
        key=written.key, value=written.value, headers=(*written.headers, ("ce_id", b"id-1"))
    )
    assert again.id == "id-1"
    with pytest.raises(HeaderInvalid, match="ce_id: given twice"):
        decode(key=written.key, value=written.value, headers=(*written.headers, ("ce_id", b"id-2")))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (b"2026-03-01T12:00:00Z", NOON),
        (b"2026-03-01t12:00:00z", NOON),
        (b"2026-03-02T01:00:00+13:00", NOON),
        (b"2026-03-01T12:00:00.5Z", NOON + timedelta(milliseconds=500)),
        (b"2026-03-01T12:00:00.123456789Z", NOON + timedelta(microseconds=123456)),
    ],
)
def test_the_time_is_read_in_utc(text, moment):
    read_time = read(record(), ce_time=text).time
    assert read_time == moment
    assert read_time.tzinfo is UTC


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"00",
        b"\xff",
        b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01",
        b"ff" + TRACE[2:].encode(),
    ],
)
def test_a_broken_trace_never_costs_the_event(raw):
    assert read(record(), traceparent=raw).traceparent == TRACE
    assert read(record(), traceparent=raw, ce_traceparent=raw).traceparent is None


def test_the_trace_of_the_last_hop_wins():
    hop = TRACE.replace("00f067aa0ba902b7", "b7ad6b7169203331")
    assert read(record(), traceparent=hop.encode()).traceparent == hop


@pytest.mark.parametrize("name", ["traceparent", "ce_traceparent"])
def test_two_traces_are_no_contradiction(name):
    written = record()
    headers = (*written.headers, (name, TRACE.replace("-01", "-00").encode()))
    assert decode(key=written.key, value=written.value, headers=headers).traceparent == TRACE


def test_an_unknown_type_is_named():
    with pytest.raises(
        UnknownEventType, match=r'ce_type: "pipeline\.invoice\.created\.v2"'
    ) as caught:
        read(record(), ce_type=b"pipeline.invoice.created.v2")
    assert caught.value.code == "UNKNOWN_EVENT_TYPE"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"{", "value: Invalid JSON"),
        (b"not json", "value: Invalid JSON"),
        (b"\xff\xfe", "value: Invalid JSON"),
        (b"\xef\xbb\xbf{}", "value: Invalid JSON"),
        (b"null", "value: Input should be an object"),
        (b"[]", "value: Input should be an object"),
        (b'"text"', "value: Input should be an object"),
        (b"{}", "account_id: Field required"),
        (b"[" * 100_000, "value: Invalid JSON"),
        (b'{"a":' * 100_000, "value: Invalid JSON"),
        (b'{"account_id": "\\ud800"}', "value: Invalid JSON"),
        (b'{"version": ' + b"9" * 5_000 + b"}", "value: Invalid JSON"),
    ],
    ids=str,
)
def test_a_body_that_is_no_event_is_told_what_it_is(value, told):
    with pytest.raises(PayloadInvalid) as caught:
        read(record(), value=value)
    assert str(caught.value).startswith(told)
    assert caught.value.code == "PAYLOAD_INVALID"


def test_the_faulty_field_is_named_and_its_content_is_not_repeated():
    body = example(InvoiceCreated)
    body["lines"] = [body["lines"][0] | {"quantity": "lots, Mrs Smith"}] * 5
    with pytest.raises(PayloadInvalid) as caught:
        read(record(), value=json.dumps(body).encode())
    message = str(caught.value)
    assert message.startswith("lines.0.quantity: not a plain decimal number; send a plain decimal")
    assert message.endswith("and 2 more")
    assert caught.value.field == "lines.0.quantity"
    assert "Smith" not in message
    assert len(message) < 1_000


def test_a_body_with_a_thousand_faults_is_told_shortly():
    body = example(InvoiceCreated, lines=[{}] * 5_000)
    with pytest.raises(PayloadInvalid, match=r"and 19997 more") as caught:
        read(record(), value=json.dumps(body).encode())
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("key", [b"", b"inv-1002", b"INV-1001", b"\xff", b"inv-1001\n"])
def test_a_record_under_a_wrong_key_is_refused(key):
    with pytest.raises(KeyMismatch, match='the event is about "inv-1001"') as caught:
        read(record(), key=key)
    assert (caught.value.code, caught.value.field) == ("KEY_MISMATCH", "key")


def test_a_record_without_key_is_refused():
    written = record()
    with pytest.raises(KeyMismatch, match=r'key: missing; send .* "inv-1001"'):
        decode(key=None, value=written.value, headers=written.headers)


def test_a_subject_that_disagrees_is_refused():
    with pytest.raises(KeyMismatch, match='ce_subject: "inv-1", but the event is about "inv-1001"'):
        read(record(), ce_subject=b"inv-1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""},
        {"id": "a\nb"},
        {"id": "x" * 256},
        {"id": "\ud800"},
        {"source": ""},
        {"source": "\x7f"},
        {"time": datetime(2026, 3, 1)},  # noqa: DTZ001 - without a zone on purpose
        {"traceparent": "00-xyz"},
    ],
)
def test_encode_refuses_bad_attributes_by_name(wrong):
    event = InvoiceCreated(**example(InvoiceCreated))
    with pytest.raises(NotEncodable, match=next(iter(wrong))):
        encode(event, **({"id": "1", "source": "s", "time": NOON} | wrong))


def test_encode_takes_any_zone():
    wellington = timezone(timedelta(hours=13))
    event = InvoiceCreated(**example(InvoiceCreated))
    written = encode(event, id="1", source="s", time=datetime(2026, 3, 2, 1, tzinfo=wellington))
    assert read(written).time == NOON


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 0},
        {"version": "1"},
        {"invoice_id": ""},
        {"amounts_are": "by_moonlight"},
        {"total": None},
        {"total": "lots"},
        {"lines": "none"},
        {"invoice_number": "\ud800"},
        {"issue_date": "2026-03-01T00:00"},
        {"issue_date": "2026-03-01"},
    ],
    ids=str,
)
def test_encode_refuses_copies_that_were_never_validated(changes):
    event = InvoiceCreated(**example(InvoiceCreated)).model_copy(update=changes)
    with pytest.raises(NotEncodable, match="InvoiceCreated"):
        encode(event, id="1", source="s", time=NOON)


def test_encode_refuses_half_an_event_and_a_shared_body():
    with pytest.raises(NotEncodable):
        encode(InvoiceVoided.model_construct(account_id="a"), id="1", source="s", time=NOON)
    with pytest.raises(NotEncodable, match="body shared"):
        encode(Invoice(**example(InvoiceCreated)), id="1", source="s", time=NOON)


def test_encode_refuses_what_decode_would_call_too_large():
    line = InvoiceLine(line_id="1", description="x" * 20_000, quantity=1, unit_amount=1)
    with pytest.raises(NotEncodable, match="more than 1000000"):
        encode(
            InvoiceCreated(**example(InvoiceCreated, lines=[line] * 51)),
            id="1",
            source="s",
            time=NOON,
        )


def test_mapping_events_are_keyed_by_customer():
    assert record(ContactMapped).key == b"cust-42"
