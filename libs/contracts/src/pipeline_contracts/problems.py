"""Why an invoice is not in Xero: each cause with a sentence for its owner, the next step, and whose move it is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Mover(StrEnum):
    """Whose move it is."""

    BOOKKEEPER = "bookkeeper"
    """Whoever keeps the invoice and the customer in Pipeline."""
    XERO_ADMIN = "xero_admin"
    """Whoever may change settings in the Xero organisation."""
    ACCOUNT_ADMIN = "account_admin"
    """Whoever may connect the account to Xero."""
    SUPPORT = "support"
    """Pipeline's own people."""
    SYSTEM = "system"
    """Nobody: it goes on by itself."""


class ProblemCode(StrEnum):
    """Stable names of the causes; `SyncFailed.code` is one of them."""

    # Waiting for somebody or something; released by itself.
    CUSTOMER_NOT_MAPPED = "CUSTOMER_NOT_MAPPED"
    CONTACT_AMBIGUOUS = "CONTACT_AMBIGUOUS"
    NOT_CONNECTED = "NOT_CONNECTED"
    TENANT_CHANGED = "TENANT_CHANGED"
    RATE_LIMITED = "RATE_LIMITED"
    XERO_UNAVAILABLE = "XERO_UNAVAILABLE"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    # The invoice itself.
    NO_LINES = "NO_LINES"
    TOO_MANY_LINES = "TOO_MANY_LINES"
    TOTAL_MISMATCH = "TOTAL_MISMATCH"
    TOTAL_NEGATIVE = "TOTAL_NEGATIVE"
    QUANTITY_NEGATIVE = "QUANTITY_NEGATIVE"
    DESCRIPTION_MISSING = "DESCRIPTION_MISSING"
    LINE_REPEATED = "LINE_REPEATED"
    CHARACTERS_INVALID = "CHARACTERS_INVALID"
    FIELD_TOO_LONG = "FIELD_TOO_LONG"
    INVOICE_NUMBER_MISSING = "INVOICE_NUMBER_MISSING"
    INVOICE_NUMBER_TAKEN = "INVOICE_NUMBER_TAKEN"
    INVOICE_IN_XERO_DIFFERS = "INVOICE_IN_XERO_DIFFERS"
    DUE_DATE_BEFORE_ISSUE = "DUE_DATE_BEFORE_ISSUE"
    CURRENCY_UNKNOWN = "CURRENCY_UNKNOWN"
    CURRENCY_RATE_INVALID = "CURRENCY_RATE_INVALID"
    TOO_MANY_TRACKING_OPTIONS = "TOO_MANY_TRACKING_OPTIONS"
    UPDATE_AFTER_VOID = "UPDATE_AFTER_VOID"
    BEFORE_START_DATE = "BEFORE_START_DATE"
    # What the Xero organisation allows.
    CURRENCY_NOT_SUBSCRIBED = "CURRENCY_NOT_SUBSCRIBED"
    ACCOUNT_NOT_MAPPED = "ACCOUNT_NOT_MAPPED"
    TAX_NOT_MAPPED = "TAX_NOT_MAPPED"
    TRACKING_NOT_MAPPED = "TRACKING_NOT_MAPPED"
    ITEM_NOT_MAPPED = "ITEM_NOT_MAPPED"
    CONTACT_ARCHIVED = "CONTACT_ARCHIVED"
    CONTACT_ERASED = "CONTACT_ERASED"
    CONTACT_NOT_FOUND = "CONTACT_NOT_FOUND"
    CONTACT_NAME_TAKEN = "CONTACT_NAME_TAKEN"
    CONTACT_INVALID = "CONTACT_INVALID"
    PERIOD_LOCKED = "PERIOD_LOCKED"
    STATUS_NOT_TAKEN = "STATUS_NOT_TAKEN"
    CURRENCY_CHANGED = "CURRENCY_CHANGED"
    INVOICE_NOT_EDITABLE = "INVOICE_NOT_EDITABLE"
    INVOICE_HAS_PAYMENT = "INVOICE_HAS_PAYMENT"
    INVOICE_GONE_FROM_XERO = "INVOICE_GONE_FROM_XERO"
    ORGANISATION_LIMIT = "ORGANISATION_LIMIT"
    XERO_VALIDATION = "XERO_VALIDATION"
    # Ours.
    INTERNAL_ERROR = "INTERNAL_ERROR"


_PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")
_FACT_LENGTH: Final = 300
# What a sentence says where a fact is not known: it must read well whatever the caller could find out.
_UNKNOWN: Final = MappingProxyType(
    {
        "account_code": "used on a line",
        "connection": "The connection is not active",
        "contact": "of this customer",
        "currency": "it names",
        "customer": "of this invoice",
        "detail": "it gave no reason",
        "expected": "another amount",
        "field": "it did not say which",
        "invoice_number": "in question",
        "issue_date": "too early",
        "item_code": "used on a line",
        "line": "in question",
        "lock_date": "the lock date",
        "name": "of this customer",
        "other": "another invoice in Xero",
        "next_step": "Open the Xero card, which names the next step",
        "retry_at": "shortly",
        "start_date": "the start date",
        "tax_code": "used on a line",
        "total": "shown",
        "tracking": "used on a line",
    }
)


# Control characters, and those that turn the direction of a text: a fact is somebody's words, and could make the rest
# of the sentence read as another one (Unicode TR 36, "Bidirectional Text Spoofing").
_STEERING = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """A cause in words.

    Attributes:
        code: its stable name.
        message: what is wrong, in a sentence the owner of the invoice understands; may hold {placeholders}.
        hint: the next step; may hold {placeholders}.
        retryable: whether it is tried again without anybody doing anything.
        mover: whose move it is.
    """

    code: ProblemCode
    message: str
    hint: str
    retryable: bool
    mover: Mover

    @property
    def placeholders(self) -> frozenset[str]:
        """Names of the facts its sentences can tell."""
        return frozenset(_PLACEHOLDER.findall(self.message + self.hint))

    def render(self, **facts: object) -> "Problem":
        """The problem with the facts put in; a fact not given is worded round, one not used is ignored.

        Never raises for a missing fact: failing to word a failure would hide it.
        """

        def fill(match: re.Match[str]) -> str:
            fact = facts.get(match[1])
            if fact is None or not _STEERING.sub("", str(fact)).strip():
                return _UNKNOWN[match[1]]
            return _STEERING.sub("", " ".join(str(fact).split()))[:_FACT_LENGTH]

        return replace(
            self,
            message=_PLACEHOLDER.sub(fill, self.message),
            hint=_PLACEHOLDER.sub(fill, self.hint),
        )


def _problem(
    code: ProblemCode, mover: Mover, message: str, hint: str, *, retryable: bool = False
) -> Problem:
    return Problem(code, message, hint, retryable, mover)


_C = ProblemCode
_M = Mover

_ALL: Final = (
    _problem(
        _C.CUSTOMER_NOT_MAPPED,
        _M.BOOKKEEPER,
        "The customer {customer} is not linked to a contact in Xero.",
        "Link the customer to its Xero contact; if Xero has none yet, create it there first. The invoice then follows "
        "by itself.",
    ),
    _problem(
        _C.CONTACT_AMBIGUOUS,
        _M.BOOKKEEPER,
        "There are contacts in Xero that may be the customer {customer}, and no telling which one is.",
        "Look at the customer's suggestions and link it to the right contact; the invoice then follows by itself.",
    ),
    _problem(
        _C.NOT_CONNECTED,
        _M.ACCOUNT_ADMIN,
        "Pipeline cannot send to Xero at the moment. {connection}.",
        # A connection has many reasons, each with a step of its own; Refresh Token cures few of them.
        "{next_step}.",
    ),
    _problem(
        _C.TENANT_CHANGED,
        _M.ACCOUNT_ADMIN,
        "The account is now connected to a different Xero organisation than the one this invoice is in.",
        "Connect the account to the former organisation again and it goes on there; or issue a new invoice in Pipeline, "
        "which goes to the organisation connected now.",
    ),
    _problem(
        _C.RATE_LIMITED,
        _M.SYSTEM,
        "Xero accepts no more requests for this organisation at the moment.",
        "Nothing to do: the invoice is sent again {retry_at}.",
        retryable=True,
    ),
    _problem(
        _C.XERO_UNAVAILABLE,
        _M.SYSTEM,
        "Xero cannot be reached at the moment.",
        "Nothing to do: the invoice is sent again {retry_at}.",
        retryable=True,
    ),
    _problem(
        _C.OUTCOME_UNKNOWN,
        _M.SYSTEM,
        "Xero did not confirm whether it took the invoice.",
        "Nothing to do: we look in Xero before sending anything again, {retry_at}. Please do not enter it by hand.",
        retryable=True,
    ),
    _problem(
        _C.NO_LINES,
        _M.BOOKKEEPER,
        "The invoice has no lines.",
        "Add at least one line to the invoice in Pipeline.",
    ),
    _problem(
        _C.TOO_MANY_LINES,
        _M.BOOKKEEPER,
        "The invoice has more lines than Xero takes.",
        "Split the invoice into smaller ones in Pipeline.",
    ),
    _problem(
        _C.TOTAL_MISMATCH,
        _M.BOOKKEEPER,
        "The total {total} does not match its lines, which add up to {expected}.",
        "Correct the lines or the total of the invoice in Pipeline; tax is rounded line by line.",
    ),
    _problem(
        _C.TOTAL_NEGATIVE,
        _M.BOOKKEEPER,
        "The total {total} is below zero, and Xero takes no such invoice.",
        "Issue a credit note instead, or correct the lines in Pipeline.",
    ),
    _problem(
        _C.QUANTITY_NEGATIVE,
        _M.BOOKKEEPER,
        "The quantity on the line {line} is below zero.",
        "Correct the quantity in Pipeline; for a discount use a negative price, for a return a credit note.",
    ),
    _problem(
        _C.DESCRIPTION_MISSING,
        _M.BOOKKEEPER,
        "The line {line} has no description, and Xero needs one.",
        "Add a description to the line in Pipeline.",
    ),
    _problem(
        _C.LINE_REPEATED,
        _M.SUPPORT,
        "The line {line} has the same identity as a line before it, so the two could not be told apart.",
        "Contact support with this message: Pipeline has to give every line an identity of its own.",
    ),
    _problem(
        _C.CHARACTERS_INVALID,
        _M.BOOKKEEPER,
        "A text of the invoice has characters that cannot be printed, and Xero takes none: {field}.",
        "Type the text anew in Pipeline; such characters come from copying out of other programs.",
    ),
    _problem(
        _C.FIELD_TOO_LONG,
        _M.BOOKKEEPER,
        "A text of the invoice is longer than Xero keeps: {field}.",
        "Shorten it in Pipeline.",
    ),
    _problem(
        _C.INVOICE_NUMBER_MISSING,
        _M.BOOKKEEPER,
        "The invoice has no number.",
        "Give the invoice a number in Pipeline.",
    ),
    _problem(
        _C.INVOICE_NUMBER_TAKEN,
        _M.BOOKKEEPER,
        "The number {invoice_number} is already used by {other}.",
        "Give the invoice another number in Pipeline, or change the number of the other one in Xero and retry; if the two "
        "are the same invoice, link them by an import.",
    ),
    _problem(
        _C.INVOICE_IN_XERO_DIFFERS,
        _M.BOOKKEEPER,
        "An invoice with the number {invoice_number} is in Xero already, and the two are not the same: {detail}.",
        "If they are meant to be one invoice, make them the same in Pipeline or in Xero and import again; otherwise give "
        "the invoice another number in Pipeline.",
    ),
    _problem(
        _C.DUE_DATE_BEFORE_ISSUE,
        _M.BOOKKEEPER,
        "The due date is earlier than the date of the invoice.",
        "Correct the dates in Pipeline.",
    ),
    _problem(
        _C.CURRENCY_UNKNOWN,
        _M.BOOKKEEPER,
        "The currency {currency} does not exist.",
        "Choose a three-letter currency such as NZD or EUR in Pipeline.",
    ),
    _problem(
        _C.CURRENCY_RATE_INVALID,
        _M.BOOKKEEPER,
        "The exchange rate must be above zero and have at most six decimal places.",
        "Correct the exchange rate in Pipeline, or leave it out to use the day's rate.",
    ),
    _problem(
        _C.TOO_MANY_TRACKING_OPTIONS,
        _M.BOOKKEEPER,
        "The line {line} has more tracking categories than the two Xero keeps.",
        "Keep at most two tracking categories on the line in Pipeline.",
    ),
    _problem(
        _C.UPDATE_AFTER_VOID,
        _M.BOOKKEEPER,
        "The invoice was voided before, and a voided invoice cannot change in Xero.",
        "Issue a new invoice in Pipeline.",
    ),
    _problem(
        _C.BEFORE_START_DATE,
        _M.ACCOUNT_ADMIN,
        "The invoice is dated {issue_date}, and only invoices from {start_date} on are synced to Xero.",
        "Nothing to do if it is meant to stay out of Xero; otherwise choose an earlier start date in the settings, and "
        "it follows by itself.",
    ),
    _problem(
        _C.CURRENCY_NOT_SUBSCRIBED,
        _M.XERO_ADMIN,
        "The Xero organisation does not use the currency {currency}.",
        "Add the currency in Xero (Settings, Currencies), then retry.",
    ),
    _problem(
        _C.ACCOUNT_NOT_MAPPED,
        _M.BOOKKEEPER,
        "The account code {account_code} cannot be used in this Xero organisation.",
        "Map it to an active Xero account, or add or restore that account in Xero; the invoice then follows by itself.",
    ),
    _problem(
        _C.TAX_NOT_MAPPED,
        _M.BOOKKEEPER,
        "The tax code {tax_code} cannot be used with its account in this Xero organisation.",
        "Map it to a Xero tax rate that the account accepts; the invoice then follows by itself.",
    ),
    _problem(
        _C.TRACKING_NOT_MAPPED,
        _M.BOOKKEEPER,
        "The tracking option {tracking} does not exist in this Xero organisation.",
        "Map it to an active tracking category and option, or add it in Xero; the invoice then follows by itself.",
    ),
    _problem(
        _C.ITEM_NOT_MAPPED,
        _M.BOOKKEEPER,
        "The item code {item_code} does not exist in this Xero organisation.",
        "Map it to an item in Xero, or add the item there; the invoice then follows by itself.",
    ),
    _problem(
        _C.CONTACT_ARCHIVED,
        _M.XERO_ADMIN,
        "The Xero contact {contact} is archived, so Xero takes no new invoices for it.",
        "Restore the contact in Xero and retry (otherwise it is noticed within the hour), or link the customer to another "
        "contact; the invoice then follows by itself.",
    ),
    _problem(
        _C.CONTACT_ERASED,
        _M.BOOKKEEPER,
        "The Xero contact {contact} is being erased at the person's own request, so Xero takes no new invoices for it.",
        "Link the customer to another Xero contact; the invoice then follows by itself.",
    ),
    _problem(
        _C.CONTACT_NOT_FOUND,
        _M.BOOKKEEPER,
        "The Xero contact {contact} no longer exists in this organisation.",
        "Link the customer to another Xero contact; the invoice then follows by itself.",
    ),
    _problem(
        _C.CONTACT_NAME_TAKEN,
        _M.BOOKKEEPER,
        "A contact with the name {name} already exists in Xero and is not known to be the same customer.",
        "Link the customer to that contact if it is the same, or rename the customer in Pipeline.",
    ),
    _problem(
        _C.CONTACT_INVALID,
        _M.BOOKKEEPER,
        "Xero did not take the customer as a contact: {detail}.",
        "Correct the customer in Pipeline, or link it to an existing Xero contact.",
    ),
    _problem(
        _C.PERIOD_LOCKED,
        _M.XERO_ADMIN,
        "The invoice is dated {issue_date}, but the books in Xero are locked up to {lock_date}: nothing of that time can "
        "be added, changed or voided there.",
        "Ask an adviser of the Xero organisation to move the lock date; the invoice then follows by itself within an "
        "hour, or at once when you retry. One that is not in Xero yet may be given a later date in Pipeline instead.",
    ),
    _problem(
        _C.STATUS_NOT_TAKEN,
        _M.ACCOUNT_ADMIN,
        "Xero takes no new invoice with the status the account's settings ask for.",
        "Let invoices be created as drafts in the settings, or have the Xero organisation allow them to be approved, "
        "then retry.",
    ),
    _problem(
        _C.CURRENCY_CHANGED,
        _M.BOOKKEEPER,
        "The invoice {invoice_number} is in Xero in another currency than {currency}, and the currency of an invoice "
        "that was issued stays.",
        "Change the currency back in Pipeline, or void the invoice there and issue a new one.",
    ),
    _problem(
        _C.INVOICE_NOT_EDITABLE,
        _M.BOOKKEEPER,
        "The invoice {invoice_number} can no longer be changed in Xero because of its status there.",
        "Make the correction in Xero, or issue a credit note and a new invoice in Pipeline.",
    ),
    _problem(
        _C.INVOICE_HAS_PAYMENT,
        _M.BOOKKEEPER,
        "The invoice {invoice_number} has a payment or credit in Xero, so it cannot be changed or voided there.",
        "Remove the payment or credit in Xero and retry, or issue a credit note instead.",
    ),
    _problem(
        _C.INVOICE_GONE_FROM_XERO,
        _M.BOOKKEEPER,
        "The invoice {invoice_number} was voided or deleted in Xero.",
        "Void it in Pipeline too, or issue a new invoice.",
    ),
    _problem(
        _C.ORGANISATION_LIMIT,
        _M.XERO_ADMIN,
        "The Xero subscription of the organisation allows no more invoices for now: {detail}.",
        "Upgrade the Xero subscription, or wait for the next month, then retry.",
    ),
    _problem(
        _C.XERO_VALIDATION,
        _M.BOOKKEEPER,
        "Xero did not accept the invoice: {detail}.",
        "Correct what Xero names, in Pipeline or in Xero's settings, then retry.",
    ),
    _problem(
        _C.INTERNAL_ERROR,
        _M.SUPPORT,
        "Something went wrong in Pipeline while preparing the invoice.",
        "Nothing was lost. Contact support with this message if the invoice is not in Xero within a day.",
    ),
)

PROBLEMS: Final[Mapping[ProblemCode, Problem]] = MappingProxyType({p.code: p for p in _ALL})
"""The words of every code."""
