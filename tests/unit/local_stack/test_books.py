from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from pipeline_contracts.envelope import Envelope
from pipeline_contracts.event import Event
from pipeline_contracts.payment import PaymentRecorded, PaymentReversed
from pipeline_contracts.sync import InvoiceSynced, SyncFailed
from pipeline_local_stack.books import XeroInvoice, XeroPayment, compare_books
from pipeline_local_stack.sales import Sale, invoice_of

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SALE = Sale(1, "00004", NOW.date(), 2, Decimal("29.33"))
PUBLISHED = invoice_of(SALE, "demo")
IN_XERO = XeroInvoice("x-1", "CD-00001", "AUTHORISED", Decimal("29.33"), Decimal(0))
PAYMENT = XeroPayment("p-1", "x-1", Decimal("10.00"), "AUTHORISED")


def synced(sequence: int = 1, xero_invoice_id: str = "x-1") -> InvoiceSynced:
    return InvoiceSynced(
        account_id="demo",
        invoice_id=PUBLISHED.invoice_id,
        version=1,
        sequence=sequence,
        tenant_id="t-1",
        xero_invoice_id=xero_invoice_id,
        invoice_number="CD-00001",
        xero_status="AUTHORISED",
        total=Decimal("29.33"),
        currency="NZD",
        deep_link="https://go.xero.com/x",
    )


def recorded(payment_id: str = "p-1", sequence: int = 1) -> PaymentRecorded:
    return PaymentRecorded(
        account_id="demo",
        invoice_id=PUBLISHED.invoice_id,
        payment_id=f"pay-{payment_id}",
        xero_payment_id=payment_id,
        xero_invoice_id="x-1",
        sequence=sequence,
        kind="payment",
        amount=Decimal("10.00"),
        currency="NZD",
        paid_on=NOW.date(),
        amount_paid=Decimal("10.00"),
        amount_due=Decimal("19.33"),
        invoice_status="AUTHORISED",
        found_by="webhook",
    )


DELETED = replace(PAYMENT, status="DELETED")


def taken_back(sequence: int = 2) -> PaymentReversed:
    return PaymentReversed.model_validate(recorded(sequence=sequence).model_dump())


def failed() -> SyncFailed:
    return SyncFailed(
        account_id="demo",
        invoice_id=PUBLISHED.invoice_id,
        version=1,
        sequence=1,
        code="CUSTOMER_NOT_MAPPED",
        message="m",
        hint="h",
        retryable=False,
        generation=1,
    )


def envelopes(*events: Event, first_id: int = 1) -> list[Envelope]:
    return [
        Envelope(
            id=f"e-{number}",
            source="test",
            type=event.TYPE,
            subject=event.subject,
            time=NOW,
            traceparent=None,
            event=event,
        )
        for number, event in enumerate(events, start=first_id)
    ]


def test_equal_books_leave_nothing_to_complain_about():
    verdict = compare_books(
        [PUBLISHED], [IN_XERO], [PAYMENT], envelopes(synced()), envelopes(recorded(), first_id=9)
    )
    assert verdict.complaints == []
    assert (verdict.in_xero, verdict.payments_recorded, verdict.lost, verdict.doubled) == (
        1,
        1,
        0,
        0,
    )


def test_copies_of_one_event_are_one_event():
    copies = envelopes(synced()) * 3
    verdict = compare_books([PUBLISHED], [IN_XERO], [], copies, [])
    assert (verdict.doubled, verdict.complaints) == (0, [])


def test_an_explained_invoice_waits_and_is_not_lost():
    verdict = compare_books([PUBLISHED], [], [], envelopes(failed()), [])
    assert (verdict.waiting, verdict.lost) == ({"CUSTOMER_NOT_MAPPED": 1}, 0)


@pytest.mark.parametrize(
    ("xero", "payments", "sync", "paid", "lost", "doubled"),
    [
        pytest.param([], [], [], [], 1, 0, id="vanished"),
        pytest.param([IN_XERO], [], [], [], 1, 0, id="in-xero-but-untold"),
        pytest.param([], [], [synced()], [], 1, 0, id="told-but-not-in-xero"),
        pytest.param([IN_XERO, replace(IN_XERO, invoice_id="x-2")], [], [synced()], [], 0, 1, id="twice-in-xero"),
        pytest.param([IN_XERO], [], [synced(), synced(2)], [], 0, 1, id="told-twice"),
        pytest.param([replace(IN_XERO, total=Decimal("29.34"))], [], [synced()], [], 0, 0, id="a-cent-off"),
        pytest.param([IN_XERO], [], [synced(2)], [], 0, 0, id="sequence-gap"),
        pytest.param([IN_XERO], [], [synced(1, "x-9")], [], 0, 0, id="wrong-xero-id"),
        pytest.param([IN_XERO], [PAYMENT], [synced()], [], 1, 0, id="payment-unrecorded"),
        pytest.param([IN_XERO], [PAYMENT], [synced()], [recorded(), recorded(sequence=2)], 0, 1, id="payment-doubled"),
        pytest.param([IN_XERO], [], [synced()], [recorded()], 0, 1, id="phantom-payment"),
        pytest.param([IN_XERO], [DELETED], [synced()], [recorded()], 0, 0, id="deletion-untold"),
        pytest.param([IN_XERO], [PAYMENT], [synced()], [recorded(), taken_back()], 0, 0, id="phantom-reversal"),
        pytest.param([IN_XERO], [DELETED], [synced()], [recorded(), taken_back(), taken_back(3)], 0, 0, id="reversed-twice"),
        pytest.param([IN_XERO], [replace(PAYMENT, amount=Decimal("9.99"))], [synced()], [recorded()], 0, 0, id="payment-amount"),
    ],
)  # fmt: skip
def test_each_way_of_being_wrong_is_caught(xero, payments, sync, paid, lost, doubled):
    verdict = compare_books(
        [PUBLISHED], xero, payments, envelopes(*sync), envelopes(*paid, first_id=100)
    )
    assert verdict.complaints
    assert (verdict.lost, verdict.doubled) == (lost, doubled)


def test_a_deleted_payment_is_recorded_and_reversed_or_was_never_told_of():
    told = envelopes(recorded(), taken_back(), first_id=100)
    verdict = compare_books([PUBLISHED], [IN_XERO], [DELETED], envelopes(synced()), told)
    assert (verdict.payments_made, verdict.payments_recorded, verdict.complaints) == (1, 1, [])
    assert (verdict.payments_reversed, verdict.found_by_sweep) == (1, 0)
    unseen = compare_books([PUBLISHED], [IN_XERO], [DELETED], envelopes(synced()), [])
    assert (unseen.payments_made, unseen.lost, unseen.complaints) == (0, 0, [])


def test_credits_are_counted_beside_payments():
    credit = recorded("c-1").model_copy(update={"kind": "credit_note", "found_by": "sweep"})
    told = envelopes(credit, first_id=100)
    verdict = compare_books([PUBLISHED], [IN_XERO], [], envelopes(synced()), told)
    assert (verdict.credits_recorded, verdict.found_by_sweep, verdict.complaints) == (1, 0, [])


def test_a_stranger_in_xero_is_named():
    stranger = replace(IN_XERO, number="CD-99999")
    verdict = compare_books([], [stranger], [], [], [])
    assert "CD-99999" in verdict.complaints[0]
