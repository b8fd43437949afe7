"""The conformance kit by itself: what it finds, what it lets pass, and that rubbish only ever gets a sentence."""

import dataclasses
import io
import json
import sys
import tracemalloc
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_contracts import (
    EVENT_TYPES,
    InvoiceCreated,
    InvoiceUpdated,
    InvoiceVoided,
    Record,
    UndecodableRecord,
    decode,
    encode,
    stable_id,
)
from pipeline_contracts.check import inspect, main
from pipeline_contracts.conformance import Inspector
from pipeline_contracts.record_files import NotARecord, line_of, record_of
from pipeline_contracts.replay import main as replay
from pipeline_contracts.replay import scenario, scenarios, varied
from pipeline_contracts.variations import UNKNOWN_TYPE, VARIATIONS

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RECORDED = (
    "connect", "credit-note", "disconnect", "fail", "map", "out-of-sync", "pay", "reverse", "sync"
)  # fmt: skip


def event(model=InvoiceCreated, **changes):
    return model(**model.model_config["json_schema_extra"]["examples"][0] | changes)


def record(told=None, *, id=None, body=None, headers=None, **changes):  # noqa: A002 - CloudEvents' word
    told = told or event()
    made = encode(told, id=id or stable_id(told), source="billing", time=NOON)
    value = json.dumps(json.loads(made.value) | (body or {})).encode()
    names = dict(made.headers) | {name: text.encode() for name, text in (headers or {}).items()}
    return dataclasses.replace(made, **{"value": value, "headers": tuple(names.items()), **changes})


def found_in(*records):
    inspector = Inspector()
    return [str(each) for n, record in enumerate(records, 1) for each in inspector.look(record, f"line {n}")]  # fmt: skip


def without(name):
    body = json.loads(record().value)
    del body[name]
    return record(value=json.dumps(body).encode())


def line(**changes):
    (first,) = json.loads(record().value)["lines"]
    return {**first, **changes}


@pytest.mark.parametrize(
    ("records", "field", "words"),
    [
        ([record(key=b"cust-42")], "key", 'but the event is about "inv-1001"; send that id as the key'),
        ([record(key=None)], "key", "missing; send the id"),
        ([record(topic="invoices")], "topic", "belongs to pipeline.invoices.v1; publish it there"),
        ([record(headers={"ce_type": UNKNOWN_TYPE})], "ce_type", "check the spelling"),
        ([record(headers={"ce_time": "noon"})], "ce_time", "send RFC 3339 in UTC"),
        ([without("total")], "total", "missing; send it"),
        ([record(value=b"[]")], "value", "no JSON object; send the event as one object"),
        ([record(body={"total": 287.5})], "total", 'loses digits on its way; send the string "287.50"'),
        ([record(body={"lines": [line(quantity=2.5)]})], "lines.0.quantity", 'send the string "2.5"'),
        ([record(body={"total": "287,50"})], "total", "send a plain decimal string"),
        ([record(body={"issue_date": "01/03/2026"})], "issue_date", 'as "YYYY-MM-DD"'),
        ([record(body={"due_date": "2026-02-01"})], "due_date", "is before the issue date 2026-03-01"),
        ([record(body={"amounts_are": "net"})], "amounts_are", "send one of the listed words"),
        ([record(body={"grand_total": "1.00"})], "grand_total", "check its spelling, or leave it out"),
        ([record(body={"lines": [line(unit="h")]})], "lines.0.unit", "no field of this event"),
        ([record(body={"currency": "nzd"})], "currency", "no ISO 4217 code"),
        ([record(body={"lines": []})], "lines", "send at least one line"),
        ([record(body={"lines": [line(), line()]})], "lines.1.line_id", "give each its own"),
        ([record(body={"total": "287.00"})], "total", "is 287.00, but the lines come to 287.50"),
        ([record(body={"total": "-1.00"})], "total", "negative"),
        ([record(body={"lines": [line(quantity="-1")], "total": "-62.50"})], "lines.0.quantity", "unit_amount instead"),
        ([record(body={"lines": [line(description=" ")]})], "lines.0.description", "say what was sold"),
        ([record(body={"invoice_number": ""})], "invoice_number", "printed on the invoice"),
        ([record(event(version=2))], "version", "begins with version 1, this is 2; start at 1"),
        ([record(), record(event(InvoiceUpdated, version=3))], "version", "2 is missing"),
        ([record(), record(body={"reference": "PO 2"})], "version", "a change needs the next version"),
        ([record(), record(body={"reference": "PO 2"})], "ce_id", "another event had this id before"),
        ([record(), record(id="random")], "ce_id", f"keeps its id, for example {stable_id(event())}"),
        ([record(), record(event(InvoiceUpdated, version=2), id=stable_id(event()))], "ce_id", "drop it"),
        (
            [record(event(InvoiceUpdated, version=5)), record(event(InvoiceUpdated, version=4))],
            "version",
            "4 comes after 5; publish versions in order",
        ),
        (
            [record(), record(event(InvoiceVoided, version=2)), record(event(InvoiceUpdated, version=3))],
            "version",
            "nothing follows an InvoiceVoided",
        ),
        ([record(), record(event(version=2))], "ce_type", "send an InvoiceUpdated"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)  # fmt: skip
def test_a_planted_mistake_is_found_and_named_with_its_fix(records, field, words):
    told = found_in(*records)
    place, last = f"line {len(records)}: event ", dict(records[-1].headers)["ce_id"].decode()
    assert any(each.startswith(f"{place}{last}: {field}: ") and words in each for each in told), (
        told
    )
    if len(records) > 1:
        assert found_in(records[0]) == [] or "version" in field


def test_what_may_happen_on_the_way_to_kafka_is_no_finding():
    life = [
        record(),
        record(event(InvoiceUpdated, version=2)),
        record(event(InvoiceVoided, version=3)),
    ]
    assert found_in(*life) == []
    assert found_in(*life, *life) == []  # published again under the same ids
    assert found_in(*life[1:]) == []  # the topic has forgotten the beginning
    other = record(event(invoice_id="inv-2"))
    assert found_in(life[0], other, life[1]) == []
    untaxed = {"lines": [line(tax_amount=None)], "total": "280.00"}
    assert found_in(record(body=untaxed)) == []  # Xero works the tax out


def test_every_scenario_is_there_readable_and_whole():
    assert tuple(scenarios()) == RECORDED
    types = set()
    for name in scenarios():
        for each in scenario(name):
            told = decode(key=each.key, value=each.value, headers=each.headers)
            assert each.topic == type(told.event).TOPIC
            assert told.event.account_id == f"conformance-{name}"
            types.add(told.type)
        placed = [(name, each) for each in scenario(name)]
        _, found = inspect(placed)
        # An invoice that does not add up is what the scenario "fail" is about.
        assert [each.field for each in found] == (["total"] if name == "fail" else [])
    assert types >= set(EVENT_TYPES) - {
        "pipeline.account.reconciled.v1",
        "pipeline.customer.updated.v1",
    }


def readable(records):
    """What a subscriber may take from a stream: each event once, in the order of its key."""
    found = {}
    for each in records:
        try:
            told = decode(key=each.key, value=each.value, headers=each.headers)
        except UndecodableRecord:
            continue
        found.setdefault((each.topic, each.key), {}).setdefault(told.identity, told.event)
    return {key: list(events.values()) for key, events in found.items()}


@pytest.mark.parametrize("name", [*VARIATIONS, "all"])
def test_a_variation_adds_trouble_and_changes_nothing_a_subscriber_should_hold(name):
    plain = [each for scenario_name in scenarios() for each in scenario(scenario_name)]
    names = list(VARIATIONS) if name == "all" else [name]
    troubled = varied(plain, names)
    assert troubled != plain
    assert readable(troubled) == readable(plain)


@given(
    st.builds(
        Record,
        topic=st.text(min_size=1),
        key=st.none() | st.text().map(str.encode),
        value=st.none() | st.binary() | st.text().map(str.encode),
        headers=st.dictionaries(st.text(), st.text().map(str.encode)).map(lambda d: tuple(d.items())),
    )
)  # fmt: skip
def test_a_record_comes_back_from_its_line_byte_for_byte(made):
    assert record_of(line_of(made)) == made
    assert "\n" not in line_of(made)


@given(st.text() | st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.dictionaries(st.sampled_from(["topic", "key", "headers", "body", "body_base64"]), inner)).map(json.dumps))  # fmt: skip
def test_rubbish_instead_of_a_record_breaks_nothing(text):
    try:
        made = record_of(text)
    except NotARecord:
        return
    Inspector().look(made, "line 1")


def test_a_text_that_is_no_unicode_is_told_in_words():
    lone = '"\\ud800"'
    with pytest.raises(NotARecord, match="no Unicode"):
        record_of(f'{{"topic": "t", "headers": {{}}, "body": {lone}}}')
    with pytest.raises(NotARecord):
        record_of("[" * 100_000)


@pytest.mark.parametrize(
    ("arguments", "text", "status", "words"),
    [
        ([], b"", 2, "name a file of JSON lines, or a Kafka with --from"),
        (["-", "--from", "kafka:9092"], b"", 2, "name a file of JSON lines, or a Kafka"),
        (["/no/such/file"], b"", 2, "/no/such/file cannot be read: No such file"),
        (["/"], b"", 2, "/ cannot be read: Is a directory"),
        (["-"], b"", 2, "no record was found"),
        (["-"], b"\xff\xfe", 2, "- is no text in UTF-8"),
        (["-"], b"rubbish\n", 1, "line 1: event unreadable: line: not JSON"),
        (["-"], b'\n{"topic": ""}\n', 1, 'line 2: event unreadable: line: "topic": missing'),
        (["-"], line_of(record()).encode(), 0, "1 records: nothing is wrong."),
        (["-", "--source", "crm"], line_of(record()).encode(), 2, "no record was found"),
        (["-"], line_of(record(key=b"x")).encode(), 1, "send that id as the key"),
        (["--from", "127.0.0.1:1"], b"", 2, "Kafka at 127.0.0.1:1 cannot be read"),
        (["--from", "not an address"], b"", 2, "Kafka at not an address cannot be read"),
    ],
)
def test_the_check_answers_in_words_with_a_status(
    arguments, text, status, words, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    assert main(arguments) == status
    told = capsys.readouterr()
    assert words in told.out + told.err
    assert "Traceback" not in told.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing-like-it"], "no scenario 'nothing-like-it'; there are connect, credit-note"),
        (["pay", "--vary", "lost"], "no variation 'lost'; there are duplicates"),
        (["pay", "--to", "127.0.0.1:1"], "Kafka at 127.0.0.1:1 cannot be reached"),
    ],
)
def test_replay_refuses_in_words(arguments, words, capsys):
    assert replay(arguments) == 2
    assert words in capsys.readouterr().err


def test_replay_prints_what_check_reads(capsys):
    assert replay(["pay", "sync", "--vary", "duplicates"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [record_of(each) for each in printed] == varied([*scenario("pay"), *scenario("sync")], ["duplicates"])  # fmt: skip


def test_a_long_stream_is_looked_at_in_little_memory():
    """A production topic holds millions: of each event a mark is remembered, never the event."""
    inspector = Inspector()
    line = event().lines[0].model_copy(update={"description": "x" * 20_000})
    tracemalloc.start()
    try:
        for number in range(300):
            told = event(invoice_id=f"inv-{number}", lines=(line,))
            assert inspector.look(record(told), "place") == []
        remembered, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert remembered < 300 * 5_000
