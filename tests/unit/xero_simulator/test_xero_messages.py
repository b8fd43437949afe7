"""The words of the platform reference, typed again here: a change of messages.py must be meant."""

import pytest

from xero_simulator import messages

WORDS = {
    "CONTACT_REQUIRED": "A Contact must be specified for this type of transaction",
    "CONTACT_ARCHIVED": "The contact with the specified contact details has been archived. The contact must be un-archived before creating new invoices or credit notes.",
    "CONTACT_NOT_EDITABLE": "The specified contact details matched an archived contact. Archived contacts cannot currently be edited via the API.",
    "CONTACT_NAME_TAKEN": "The contact name {name} is already assigned to another contact. The contact name must be unique across all active contacts.",
    "ACCOUNT_INVALID": "Account code '{code}' is not a valid code for this document.",
    "ACCOUNT_ARCHIVED": "Account code '{code}' has been archived, or has been deleted. Each line item must reference a valid account.",
    "ACCOUNT_REMOVED": "Account code '{code}' has been removed as it does not match a recognised account.",
    "TAX_INVALID": "The TaxType code '{tax_type}' cannot be used with account code '{code}'.",
    "STATUS_FOR_CREATION": "Invoice not of valid status for creation",
    "STATUS_FOR_MODIFICATION": "Invoice not of valid status for modification",
    "PAID_NOT_EDITABLE": "This document cannot be edited as it has a payment or credit note allocated to it.",
    "LINE_TOTAL": "The line total {given} does not match the expected line total {expected}",
    "CURRENCY_NOT_SUBSCRIBED": "Organisation is not subscribed to currency {currency}",
    "NUMBER_TAKEN": "Invoice # must be unique.",
    "APPROVAL_LIMIT": "You have reached the limit of invoices you can approve",
    "PAYMENT_TOO_LARGE": "Payment amount exceeds the amount outstanding on this document",
    "PAYMENT_NOT_AUTHORISED": "Payments can only be made against Authorised documents",
    "PAYMENT_STATUS_ONLY": "Only Status accepted for updates.",
    "IDEMPOTENCY_MISMATCH": "Idempotency Key: {key} is used with a different request.",
    "NOT_FOUND": "The resource you're looking for cannot be found",
    "UNHANDLED": "An unhandled error with the Xero API occurred. Contact the Xero API team if problems persist.",
}
STARTS = {
    "PERIOD_LOCKED": "The document date cannot be before the period lock date, currently set at ",
    "YEAR_LOCKED": "The document date cannot be before the end of year lock date, currently set at ",
    "VOID_REFUSED": "The status VOIDED cannot be applied",
}


@pytest.mark.parametrize("name", WORDS)
def test_recorded_words(name):
    assert getattr(messages, name) == WORDS[name]


@pytest.mark.parametrize("name", STARTS)
def test_recorded_beginnings(name):
    assert getattr(messages, name).startswith(STARTS[name])
