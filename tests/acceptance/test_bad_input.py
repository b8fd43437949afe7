"""Whatever arrives: a dead letter or a SyncFailed with a clear code, and the next record is processed."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from acceptance_support import healthy_invoice, send, until

from pipeline_contracts import topics
from pipeline_contracts.envelope import Record, encode
from pipeline_contracts.sync import InvoiceSynced, SyncFailed


def as_record(invoice, **changes) -> Record:
    record = encode(
        invoice, id=f"bad-{invoice.invoice_id}", source="billing", time=datetime.now(UTC)
    )
    return replace(record, **changes)


def without(record: Record, header: str) -> Record:
    return replace(record, headers=tuple(h for h in record.headers if h[0] != header))


def with_header(record: Record, header: str, value: bytes | None) -> Record:
    return replace(
        without(record, header), headers=(*without(record, header).headers, (header, value))
    )


def edited(record: Record, **fields) -> Record:
    body = json.loads(record.value or b"")
    return replace(record, value=json.dumps(body | fields).encode())


POISON = {
    "malformed-json": (lambda r: replace(r, value=b'{"account_id": '), "PAYLOAD_INVALID"),
    "wrong-type": (lambda r: edited(r, total={"amount": 3}), "PAYLOAD_INVALID"),
    "not-a-number": (lambda r: edited(r, total="NaN"), "PAYLOAD_INVALID"),
    "no-headers": (lambda r: replace(r, headers=()), "HEADER_MISSING"),
    "missing-id": (lambda r: without(r, "ce_id"), "HEADER_MISSING"),
    "broken-header-bytes": (lambda r: with_header(r, "ce_type", b"\xff\xfe"), "HEADER_INVALID"),
    "null-header": (lambda r: with_header(r, "ce_source", None), "HEADER_MISSING"),
    "unknown-type": (
        lambda r: with_header(r, "ce_type", b"pipeline.invoice.exploded.v1"),
        "UNKNOWN_EVENT_TYPE",
    ),
    "tombstone": (lambda r: replace(r, value=None), "TOMBSTONE"),
    "two-megabytes": (
        lambda r: edited(r, reference="x" * 2_000_000),
        "RECORD_TOO_LARGE",
    ),
}


@pytest.mark.parametrize("name", POISON)
async def test_a_poison_record_becomes_one_dead_letter_and_the_next_record_is_processed(
    name, stack, seen
):
    spoil, code = POISON[name]
    bad = healthy_invoice(f"poison-{name}")
    # The same key, so the same partition: the good one stands right behind the bad one.
    good = bad.model_copy(update={"invoice_number": f"AFTER-{name}"})
    await send(
        stack, spoil(as_record(bad)), with_header(as_record(good), "ce_id", f"good-{name}".encode())
    )

    def dead():
        return [
            letter
            for letter in seen.dead_letters
            if letter["key"] == bad.invoice_id and letter["x-dlq-topic"] == topics.INVOICES.name
        ]

    (letter,) = await until(seen, dead, f"the dead letter of {name}")
    assert letter["x-dlq-code"] == code
    assert letter["x-dlq-reason"]
    await until(seen, lambda: synced(seen, good.invoice_id), "the invoice behind it")
    assert len(dead()) == 1


def synced(seen, invoice_id):
    return [
        e.event
        for e in seen.envelopes[topics.SYNC.name]
        if isinstance(e.event, InvoiceSynced) and e.event.invoice_id == invoice_id
    ]


def failures(seen, invoice_id):
    return [
        e.event
        for e in seen.envelopes[topics.SYNC.name]
        if isinstance(e.event, SyncFailed) and e.event.invoice_id == invoice_id
    ]


@pytest.mark.parametrize(
    ("name", "changes", "line_changes", "code"),
    [
        ("total", {"total": Decimal("99.99")}, {}, "TOTAL_MISMATCH"),
        ("negative", {"total": Decimal("-115.00")}, {"quantity": Decimal(-1)}, "QUANTITY_NEGATIVE"),
        ("currency", {"currency": "XXQ"}, {}, "CURRENCY_UNKNOWN"),
        ("account", {"account_id": "nobody-knows-me"}, {}, "NOT_CONNECTED"),
        ("customer", {"customer_id": "cust-nobody"}, {}, "CUSTOMER_NOT_MAPPED"),
        ("number", {"invoice_number": "N" * 256}, {}, "FIELD_TOO_LONG"),
    ],
)
async def test_a_wrong_invoice_says_what_is_wrong_and_what_to_do(
    name, changes, line_changes, code, stack, seen
):
    invoice = healthy_invoice(f"wrong-{name}")
    lines = tuple(line.model_copy(update=line_changes) for line in invoice.lines)
    await send(stack, as_record(invoice.model_copy(update={"lines": lines, **changes})))
    (failure,) = await until(
        seen, lambda: failures(seen, invoice.invoice_id), f"SyncFailed for {name}"
    )
    assert failure.code == code
    assert failure.message
    assert failure.hint
    assert not synced(seen, invoice.invoice_id)
