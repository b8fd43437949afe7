"""Xero's messages, row by row of its reference, and the words we make of them."""

import pytest

from invoice_sync.domain import xero_messages
from pipeline_contracts.problems import ProblemCode

ROWS = [
    ("A Contact must be specified for this type of transaction", ProblemCode.CONTACT_NOT_FOUND),
    ("The specified contact could not be found.", ProblemCode.CONTACT_NOT_FOUND),
    (
        (
            "The contact with the specified contact details has been archived. The contact must be un-archived before "
            "creating new invoices or credit notes."
        ),
        ProblemCode.CONTACT_ARCHIVED,
    ),
    (
        (
            "The specified contact details matched an archived contact. Archived contacts cannot currently be edited "
            "via the API."
        ),
        ProblemCode.CONTACT_ARCHIVED,
    ),
    (
        "The document date cannot be before the period lock date, currently set at 31 March 2026",
        ProblemCode.PERIOD_LOCKED,
    ),
    (
        "The document date cannot be before the end of year lock date, currently set at 31 March 2026",
        ProblemCode.PERIOD_LOCKED,
    ),
    ("Account code '999' is not a valid code for this document.", ProblemCode.ACCOUNT_NOT_MAPPED),
    (
        "Account code 'x' has been archived, or has been deleted. Each line item must reference a valid account.",
        ProblemCode.ACCOUNT_NOT_MAPPED,
    ),
    (
        "Account code '476' has been removed as it does not match a recognised account.",
        ProblemCode.ACCOUNT_NOT_MAPPED,
    ),
    (
        "The TaxType code 'INPUT9' cannot be used with account code '200'.",
        ProblemCode.TAX_NOT_MAPPED,
    ),
    ("Invoice not of valid status for creation", ProblemCode.INVOICE_NOT_EDITABLE),
    ("Invoice not of valid status for modification", ProblemCode.INVOICE_NOT_EDITABLE),
    (
        "This document cannot be edited as it has a payment or credit note allocated to it.",
        ProblemCode.INVOICE_HAS_PAYMENT,
    ),
    (
        "The status VOIDED cannot be applied to this document",
        ProblemCode.INVOICE_HAS_PAYMENT,
    ),
    (
        "The line total 10.00 does not match the expected line total 11.00",
        ProblemCode.TOTAL_MISMATCH,
    ),
    ("Organisation is not subscribed to currency EUR", ProblemCode.CURRENCY_NOT_SUBSCRIBED),
    ("Invoice # must be unique.", ProblemCode.INVOICE_NUMBER_TAKEN),
    (
        "You have reached the limit of invoices you can approve",
        ProblemCode.ORGANISATION_LIMIT,
    ),
    ("Something nobody has ever seen", ProblemCode.XERO_VALIDATION),
    ("", ProblemCode.XERO_VALIDATION),
]


@pytest.mark.parametrize(("message", "code"), ROWS)
def test_each_message_has_its_code(message, code):
    assert xero_messages.code_of(message) is code
    assert xero_messages.code_of(message.upper()) is code


def test_a_taken_number_comes_first_and_a_known_message_before_an_unknown_one():
    taken, locked, odd = "Invoice # must be unique.", "period lock date", "odd"
    assert xero_messages.code_of_all([odd, locked, taken]) is ProblemCode.INVOICE_NUMBER_TAKEN
    assert xero_messages.code_of_all([odd, locked]) is ProblemCode.PERIOD_LOCKED
    assert xero_messages.code_of_all([odd]) is ProblemCode.XERO_VALIDATION
    assert xero_messages.code_of_all([]) is ProblemCode.XERO_VALIDATION


def test_facts_are_read_out_of_the_messages():
    facts = xero_messages.facts_of(
        [
            "The TaxType code 'INPUT9' cannot be used with account code '200'.",
            "Organisation is not subscribed to currency EUR",
            "The document date cannot be before the period lock date, currently set at 31 March 2026.",
        ]
    )
    assert facts["tax_code"] == "INPUT9"
    assert facts["account_code"] == "200"
    assert facts["currency"] == "EUR"
    assert facts["lock_date"] == "31 March 2026"
    assert facts["detail"].endswith("31 March 2026")


@pytest.mark.parametrize(
    "message",
    [
        (
            "The contact name Acme is already assigned to another contact. The contact name must be unique across all "
            "active contacts."
        ),
        "The ContactNumber must be unique",
    ],
)
def test_a_name_in_use_is_recognised(message):
    assert xero_messages.contact_name_taken([message])
    assert not xero_messages.contact_name_taken(["Email address is not valid"])
