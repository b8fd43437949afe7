"""Documents as Xero's published examples and recorded replies write them."""

from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_xero.errors import UnexpectedAnswer
from pipeline_xero.wire import (
    XeroAccount,
    XeroAllocation,
    XeroContact,
    XeroCreditDocument,
    XeroInvoice,
    XeroOrganisation,
    XeroPayment,
    XeroTaxRate,
    loads,
)

# Excerpt of the published OpenAPI document's example for GET /Invoices/{InvoiceID}, shortened.
INVOICE = rb"""{
  "Type": "ACCREC", "InvoiceID": "a03ffcd2-5d91-4c7e-b483-318584e9e439", "InvoiceNumber": "INV-0007",
  "Reference": "Some reference", "CurrencyRate": 1.000000, "CurrencyCode": "NZD", "Status": "AUTHORISED",
  "LineAmountTypes": "Exclusive", "IsDiscounted": false, "HasErrors": false, "HasAttachments": true,
  "Contact": {"ContactID": "430fa14a-f945-44d3-9f97-5df5e28441b8", "Name": "Liam Gallagher",
    "ContactStatus": "ACTIVE", "Addresses": [], "UpdatedDateUTC": "/Date(1551812346157+0000)/"},
  "DateString": "2018-11-02T00:00:00", "Date": "/Date(1541116800000+0000)/",
  "DueDateString": "2018-11-09T00:00:00", "DueDate": "/Date(1541721600000+0000)/",
  "LineItems": [{"LineItemID": "b18f39d9-7739-4246-9288-72afe939d2d5", "Description": "Guitars Fender Strat",
    "Quantity": 1.0000, "UnitAmount": 148062.76, "TaxType": "NONE", "TaxAmount": 0.00,
    "LineAmount": 148062.76, "AccountCode": "200", "DiscountRate": 10.00,
    "Tracking": [{"Name": "Region", "Option": "North", "TrackingCategoryID": "351953c4-8127-4009-88c3-f9cd8c9cbe9f",
      "TrackingOptionID": "ce205173-7387-4651-9726-2cf4c5405ba2"}]}],
  "SubTotal": 148062.76, "TotalTax": 0.00, "Total": 148062.76,
  "AmountDue": 148050.00, "AmountPaid": 10.76, "AmountCredited": 2.00,
  "Payments": [{"PaymentID": "38928000-e9a0-420c-8884-f624bab2a351", "Date": "/Date(1552953600000+0000)/",
    "Amount": 10.76, "Reference": "Yahoo", "CurrencyRate": 1.000000, "HasAccount": false, "HasValidationErrors": false}],
  "CreditNotes": [{"CreditNoteID": "8a7ea69c-06e1-4bd7-8a1c-7f7ce9d9f3b1", "CreditNoteNumber": "CN-0002",
    "ID": "8a7ea69c-06e1-4bd7-8a1c-7f7ce9d9f3b1", "HasErrors": false, "AppliedAmount": 2.00,
    "DateString": "2019-03-05T00:00:00", "Date": "/Date(1551744000000+0000)/", "LineItems": [], "Total": 2.00}],
  "Overpayments": [], "Prepayments": [],
  "UpdatedDateUTC": "/Date(1551812346157+0000)/", "NewInFuture": {"x": 1}
}"""


def test_an_invoice_is_read_exactly():
    invoice = XeroInvoice.from_json(loads(INVOICE))
    assert invoice.invoice_id == "a03ffcd2-5d91-4c7e-b483-318584e9e439"
    assert (invoice.status, invoice.currency, invoice.invoice_number) == (
        "AUTHORISED",
        "NZD",
        "INV-0007",
    )
    assert (invoice.issue_date, invoice.due_date) == (date(2018, 11, 2), date(2018, 11, 9))
    assert (invoice.total, invoice.amount_due) == (Decimal("148062.76"), Decimal("148050.00"))
    assert invoice.updated_at == datetime(2019, 3, 5, 18, 59, 6, 157000, tzinfo=UTC)
    assert invoice.contact is not None
    assert invoice.contact.contact_id == "430fa14a-f945-44d3-9f97-5df5e28441b8"
    assert invoice.lines is not None
    line = invoice.lines[0]
    assert (line.unit_amount, line.discount_rate, line.account_code) == (
        Decimal("148062.76"),
        Decimal("10.00"),
        "200",
    )
    assert (line.tracking[0].name, line.tracking[0].option) == ("Region", "North")


def test_payments_and_credits_inside_an_invoice():
    invoice = XeroInvoice.from_json(loads(INVOICE))
    assert invoice.payments is not None
    payment = invoice.payments[0]
    assert (payment.amount, payment.paid_on, payment.reference) == (
        Decimal("10.76"),
        date(2019, 3, 19),
        "Yahoo",
    )
    assert payment.status is None
    assert not payment.is_deleted
    assert invoice.allocations == (
        XeroAllocation(
            kind="credit_note",
            document_id="8a7ea69c-06e1-4bd7-8a1c-7f7ce9d9f3b1",
            document_number="CN-0002",
            allocation_id=None,
            invoice_id=invoice.invoice_id,
            amount=Decimal("2.00"),
            allocated_on=date(2019, 3, 5),
            is_deleted=False,
        ),
    )


def test_overpayments_and_prepayments_are_found_by_either_id_member():
    source = {
        "InvoiceID": "i",
        "Overpayments": [{"OverpaymentID": "o", "AppliedAmount": 1}],
        "Prepayments": [{"ID": "p", "AppliedAmount": Decimal("0.5")}],
    }
    found = XeroInvoice.from_json(source).allocations
    assert found is not None
    assert [(item.kind, item.document_id, item.amount) for item in found] == [
        ("overpayment", "o", Decimal(1)),
        ("prepayment", "p", Decimal("0.5")),
    ]


def test_what_a_reply_left_out_is_none_and_not_empty():
    summary = XeroInvoice.from_json({"InvoiceID": "x", "Status": "PAID"})
    assert (summary.lines, summary.payments, summary.allocations, summary.total) == (None,) * 4
    unpaged = XeroInvoice.from_json({"InvoiceID": "x", "LineItems": []}, paged=False)
    assert unpaged.lines is None
    single = XeroInvoice.from_json({"InvoiceID": "x", "LineItems": [], "Payments": []})
    assert (single.lines, single.payments) == ((), ())
    assert XeroInvoice.from_json({"InvoiceID": "x", "LineItems": None}).lines == ()


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ({}, "InvoiceID"),
        ({"InvoiceID": "x", "Total": "much"}, "Total"),
        ({"InvoiceID": "x", "Date": "soon"}, "Date"),
        ({"InvoiceID": "x", "LineItems": {}}, "LineItems"),
        ({"InvoiceID": "x", "LineItems": [3]}, r"LineItems\[0\]"),
        ({"InvoiceID": "x", "Contact": [1]}, "Contact"),
        ({"InvoiceID": "x", "Payments": [{"Amount": 1}]}, "PaymentID"),
        ({"InvoiceID": "x", "CreditNotes": [{"AppliedAmount": 1}]}, "ID"),
    ],
)
def test_a_member_of_the_wrong_kind_is_named(source, named):
    with pytest.raises(UnexpectedAnswer, match=named):
        XeroInvoice.from_json(source)


def test_a_payment_of_the_payments_list():
    payment = XeroPayment.from_json(
        {
            "PaymentID": "P",
            "BatchPayment": {"BatchPaymentID": "b"},
            "DateString": "2026-11-22T00:00:00",
            "Amount": Decimal("200.00"),
            "BankAmount": Decimal("210.00"),
            "Status": "DELETED",
            "PaymentType": "ACCRECPAYMENT",
            "IsReconciled": True,
            "Invoice": {"InvoiceID": "I", "CurrencyCode": "NZD", "HasErrors": False},
            "UpdatedDateUTC": "/Date(1511893792813+0000)/",
        }
    )
    assert payment.is_deleted
    assert (payment.payment_id, payment.invoice_id, payment.batch_payment_id) == ("p", "i", "b")
    assert (payment.amount, payment.bank_amount) == (Decimal("200.00"), Decimal("210.00"))


def test_a_credit_note_with_its_allocations():
    document = XeroCreditDocument.from_json(
        "credit_note",
        {
            "CreditNoteID": "c",
            "CreditNoteNumber": "CN-1",
            "Type": "ACCRECCREDIT",
            "Status": "PAID",
            "RemainingCredit": 0,
            "Total": 30,
            "Contact": {"ContactID": "k"},
            "Allocations": [
                {
                    "AllocationID": "a",
                    "Amount": 30,
                    "Date": "2026-01-02",
                    "Invoice": {"InvoiceID": "i"},
                },
                {"Amount": 5, "Invoice": {"InvoiceID": "j"}, "IsDeleted": True},
            ],
        },
    )
    assert [(item.invoice_id, item.amount, item.is_deleted) for item in document.allocations] == [
        ("i", Decimal(30), False),
        ("j", Decimal(5), True),
    ]
    assert document.allocations[0].document_number == "CN-1"
    assert XeroCreditDocument.from_json("overpayment", {"OverpaymentID": "o"}).number is None


def test_a_contact():
    contact = XeroContact.from_json(
        {"ContactID": "C", "Name": "x", "ContactStatus": "ARCHIVED", "MergedToContactID": "D"}
    )
    assert (contact.contact_id, contact.merged_to, contact.is_archived) == ("c", "d", True)
    assert not XeroContact.from_json({"Name": "x"}).is_archived


def test_reference_data():
    organisation = XeroOrganisation.from_json(
        {
            "Name": "Demo",
            "ShortCode": "!NLglS",
            "BaseCurrency": "NZD",
            "IsDemoCompany": True,
            "PeriodLockDate": "/Date(1222732800000+0000)/",
        }
    )
    assert (organisation.short_code, organisation.is_demo) == ("!NLglS", True)
    assert organisation.period_lock_date == date(2008, 9, 30)
    bank = XeroAccount.from_json({"AccountID": "a", "Type": "BANK", "Name": "Bank"})
    assert (bank.code, bank.takes_payments) == (None, True)
    assert not XeroAccount.from_json({"Code": "200", "Type": "REVENUE"}).takes_payments
    rate = XeroTaxRate.from_json({"TaxType": "OUTPUT2", "EffectiveRate": Decimal("15.0000")})
    assert rate.effective_rate == 15


NAMES = """InvoiceID Contact ContactID LineItems Payments PaymentID CreditNotes Overpayments Prepayments ID Date
DateString UpdatedDateUTC Total Status AppliedAmount Tracking Name Amount BatchPayment Invoice CreditNoteID"""
MEMBERS = st.sampled_from(NAMES.split())
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=8),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.dictionaries(MEMBERS, TREES, max_size=10))
def test_reading_raises_nothing_but_the_named_error(source):
    for read in (
        XeroInvoice.from_json,
        XeroPayment.from_json,
        XeroContact.from_json,
        XeroOrganisation.from_json,
        XeroAccount.from_json,
        XeroTaxRate.from_json,
        lambda item: XeroCreditDocument.from_json("credit_note", item),
    ):
        with suppress(UnexpectedAnswer):
            read(source)
