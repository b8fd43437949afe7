from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from payment_ingest.domain.ledger import Kind
from payment_ingest.domain.observation import UnusableInvoiceError, fingerprint, observe, snapshot
from pipeline_xero.wire import XeroInvoice

TENANT = "c2cc9b6e-9458-4c7d-93cc-f02b81b0594f"
INVOICE = "44aa0707-f718-4f1c-8d53-f2da9ca59533"
PAYMENT = "0d666415-cf77-43fa-80c7-56775591d426"
NOTE = "7be578cf-2c62-4fae-bc2e-b94a6ee59ab4"
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


def invoice(**changes):
    return XeroInvoice.from_json(
        {
            "Type": "ACCREC",
            "InvoiceID": INVOICE,
            "InvoiceNumber": "INV-1",
            "Status": "AUTHORISED",
            "CurrencyCode": "NZD",
            "LineAmountTypes": "Inclusive",
            "LineItems": [{"Description": "Work", "Quantity": 1, "UnitAmount": 100}],
            "Total": 100,
            "AmountPaid": 40,
            "AmountDue": 30,
            "AmountCredited": 30,
            "Payments": [
                {"PaymentID": PAYMENT.upper(), "Amount": 40, "Date": "/Date(1795305600000+0000)/"}
            ],
            "CreditNotes": [
                {"CreditNoteID": NOTE, "CreditNoteNumber": "CN-1", "AppliedAmount": 30}
            ],
            "UpdatedDateUTC": "/Date(1795305600000+0000)/",
            **changes,
        }
    )


def test_payments_and_allocations_become_settlements():
    seen = observe(TENANT, invoice())
    assert seen.complete
    assert [(one.kind, one.xero_id, one.amount) for one in seen.settlements] == [
        (Kind.PAYMENT, PAYMENT, Decimal(40)),
        (Kind.CREDIT_NOTE, NOTE, Decimal(30)),
    ]
    assert seen.settlements[0].paid_on == date(2026, 11, 22)
    assert seen.settlements[1].reference == "CN-1"


def test_a_deleted_payment_still_listed_is_left_out():
    seen = observe(
        TENANT,
        invoice(AmountPaid=0, Payments=[{"PaymentID": PAYMENT, "Amount": 40, "Status": "DELETED"}]),
    )
    assert [one.kind for one in seen.settlements] == [Kind.CREDIT_NOTE]
    assert seen.complete


def test_an_answer_without_the_lists_is_not_complete():
    assert not observe(TENANT, invoice(Payments=None, CreditNotes=None)).complete


@pytest.mark.parametrize(
    "changes",
    [
        {"Status": None},
        {"CurrencyCode": ""},
        {"AmountPaid": None},
        {"AmountDue": None},
        {"InvoiceID": "INV-1"},
        {"Payments": [{"PaymentID": "1", "Amount": 40}]},
        {"Payments": [{"PaymentID": PAYMENT, "Amount": 10**16}]},
        {"Payments": [{"PaymentID": PAYMENT, "Amount": Decimal("0.00000000001")}]},
    ],
)
def test_what_the_ledger_cannot_keep_is_refused_by_name(changes):
    with pytest.raises(UnusableInvoiceError):
        observe(TENANT, invoice(**changes))


def test_the_snapshot_speaks_pipelines_words():
    event = snapshot("acc-1", TENANT, invoice(), NOW)
    assert event.invoice.amounts_are == "tax_inclusive"
    assert event.invoice.lines[0].unit_amount == 100
    assert (event.account_id, event.observed_at) == ("acc-1", NOW)


def test_an_invoice_read_without_its_lines_gives_no_snapshot():
    assert snapshot("acc-1", TENANT, invoice(LineItems=None, Total=None), NOW) is None


def test_a_snapshot_the_contract_cannot_carry_is_none():
    assert snapshot("acc-1", TENANT, invoice(Status="X" * 65), NOW) is None


def test_the_fingerprint_is_of_the_invoice_not_of_the_read():
    one = fingerprint(snapshot("acc-1", TENANT, invoice(), NOW))
    other = fingerprint(snapshot("acc-2", TENANT, invoice(), NOW.replace(hour=11)))
    assert one == other
    assert fingerprint(snapshot("acc-1", TENANT, invoice(AmountDue=31), NOW)) != one
