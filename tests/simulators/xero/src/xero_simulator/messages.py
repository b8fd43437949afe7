"""What Xero says when it refuses, word for word where the words are recorded.

Recorded or reported texts come from the tables of the platform reference (invoices, contacts,
payments). Those in the last block are not established; clients should match loosely anyway.
"""

from collections.abc import Sequence

CONTACT_REQUIRED = "A Contact must be specified for this type of transaction"
CONTACT_ARCHIVED = (
    "The contact with the specified contact details has been archived. "
    "The contact must be un-archived before creating new invoices or credit notes."
)
CONTACT_NOT_EDITABLE = (
    "The specified contact details matched an archived contact. "
    "Archived contacts cannot currently be edited via the API."
)
CONTACT_NAME_TAKEN = (
    "The contact name {name} is already assigned to another contact. "
    "The contact name must be unique across all active contacts."
)
PERIOD_LOCKED = (
    "The document date cannot be before the period lock date, currently set at {lock_date}"
)
YEAR_LOCKED = (
    "The document date cannot be before the end of year lock date, currently set at {lock_date}"
)
ACCOUNT_INVALID = "Account code '{code}' is not a valid code for this document."
ACCOUNT_ARCHIVED = (
    "Account code '{code}' has been archived, or has been deleted. "
    "Each line item must reference a valid account."
)
ACCOUNT_REMOVED = (
    "Account code '{code}' has been removed as it does not match a recognised account."
)
TAX_INVALID = "The TaxType code '{tax_type}' cannot be used with account code '{code}'."
STATUS_FOR_CREATION = "Invoice not of valid status for creation"
STATUS_FOR_MODIFICATION = "Invoice not of valid status for modification"
PAID_NOT_EDITABLE = (
    "This document cannot be edited as it has a payment or credit note allocated to it."
)
VOID_REFUSED = (
    "The status VOIDED cannot be applied to a document that has payments or credit notes "
    "allocated to it."
)
LINE_TOTAL = "The line total {given} does not match the expected line total {expected}"
CURRENCY_NOT_SUBSCRIBED = "Organisation is not subscribed to currency {currency}"
NUMBER_TAKEN = "Invoice # must be unique."
APPROVAL_LIMIT = "You have reached the limit of invoices you can approve"
PAYMENT_TOO_LARGE = "Payment amount exceeds the amount outstanding on this document"
PAYMENT_NOT_AUTHORISED = "Payments can only be made against Authorised documents"
PAYMENT_STATUS_ONLY = "Only Status accepted for updates."
IDEMPOTENCY_MISMATCH = "Idempotency Key: {key} is used with a different request."
NOT_FOUND = "The resource you're looking for cannot be found"
UNHANDLED = (
    "An unhandled error with the Xero API occurred. Contact the Xero API team if problems persist."
)
OFFLINE = {
    "maintenance": "The Xero API is currently offline for maintenance",
    "unavailable": "The Xero API is temporarily unavailable",
    "organisation": "The Organisation is offline",
}

# Not established: plausible texts for rules whose wording nobody recorded.
CONTACT_UNKNOWN = "The specified contact could not be found."
CONTACT_NAME_REQUIRED = "The contact name must be specified."
CONTACT_NAME_INVALID = "The contact name cannot contain < or > and has at most 255 characters."
CONTACT_NUMBER_LENGTH = "The contact number cannot be longer than 50 characters."
CREDIT_NOTE_NUMBER_TAKEN = "Credit note # must be unique."
ACCOUNT_REQUIRED = "Account code or ID must be specified"
DESCRIPTION_REQUIRED = "Description must be specified"
DESCRIPTION_LENGTH = "Description cannot be longer than 4000 characters"
DUE_DATE_REQUIRED = "The due date must be specified for an approved invoice"
LINES_REQUIRED = "One or more line items must be specified"
TYPE_INVALID = "Invoice type not recognised"
FIELD_INVALID = "{field} is not valid: {value}"
TOO_LONG = "{field} cannot be longer than {limit} characters"
DOCUMENT_TOTAL = "The document total does not equal the sum of the lines."
NEGATIVE_TOTAL = "The document total cannot be negative"
TRACKING_LIMIT = "A line can have at most 2 tracking categories"
TRACKING_UNKNOWN = "The tracking category or option '{name}' does not exist"
ITEM_UNKNOWN = "Item code '{code}' is not valid"
PAYMENT_DOCUMENT_UNKNOWN = "The document to be paid could not be found"
PAYMENT_ACCOUNT_INVALID = "The account is not a bank account and does not accept payments"
PAYMENT_AMOUNT_INVALID = "Payment amount must be greater than zero"
PAYMENT_DELETED = "The payment has already been deleted"
PAYMENT_RECONCILED = "The payment is reconciled and cannot be deleted"
PAYMENT_IN_BATCH = "This payment is part of a batch payment, which can only be deleted as a whole."
ALLOCATION_TOO_LARGE = "Allocation amount exceeds the amount outstanding on this document"
ALLOCATION_NO_CREDIT = "Allocation amount exceeds the remaining credit"
ALLOCATION_MISMATCH = "The allocation must be to an invoice of the same contact, type and currency"
DATE_REQUIRED = "Date must be specified"


class RuleBroken(Exception):  # noqa: N818 -- reads as the refusal it is; not a fault of the program
    """Xero refuses an element: one message per broken rule."""

    def __init__(self, *messages: str) -> None:
        super().__init__(*messages)
        self.messages: Sequence[str] = messages
