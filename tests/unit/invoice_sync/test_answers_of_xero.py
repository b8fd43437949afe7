"""Every answer of Xero that its reference lists, row by row: its one code, our words, the next step, whose move it is."""

import json
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest

from invoice_sync.domain import lifecycle, trouble, xero_messages
from invoice_sync.domain.blocks import mover_of
from invoice_sync.domain.state import State
from invoice_sync.domain.trouble import Effect
from pipeline_contracts.problems import PROBLEMS, ProblemCode
from pipeline_xero.answers import Reply, classify_answer
from pipeline_xero.errors import XeroError
from xero_simulator import messages as simulated

C = ProblemCode


@dataclass(frozen=True)
class Row:
    """A message of Xero's, and what is to be made of it."""

    message: str
    code: ProblemCode
    says: str
    """Words that its sentence must hold."""
    hint: str
    """Words that its next step must hold."""
    mover: str
    drifted: tuple[str, ...] = ()
    """The same said otherwise, as other countries and releases may."""


INVOICES = {
    "no contact": Row(
        "A Contact must be specified for this type of transaction",
        C.CONTACT_NOT_FOUND,
        "contact of this customer no longer exists",
        "Link the customer to another Xero contact",
        "bookkeeper",
        ("The specified contact could not be found.", "Contact 4711 was not found"),
    ),
    "archived contact": Row(
        "The contact with the specified contact details has been archived. The contact must be un-archived before "
        "creating new invoices or credit notes.",
        C.CONTACT_ARCHIVED,
        "is archived",
        "Restore the contact in Xero",
        "xero_admin",
        ("The contact is archived",),
    ),
    "period lock date": Row(
        "The document date cannot be before the period lock date, currently set at 31 March 2026",
        C.PERIOD_LOCKED,
        "locked up to 31 March 2026",
        "to move the lock date",
        "xero_admin",
        ("Document date is in a locked period", "The period is locked"),
    ),
    "year lock date": Row(
        "The document date cannot be before the end of year lock date, currently set at 31 March 2026",
        C.PERIOD_LOCKED,
        "locked up to 31 March 2026",
        "a later date in Pipeline",
        "xero_admin",
    ),
    "account, not valid": Row(
        "Account code '999' is not a valid code for this document.",
        C.ACCOUNT_NOT_MAPPED,
        "account code 999 on line 2 (Strings) cannot be used",
        "Map it to an active Xero account",
        "bookkeeper",
        ("Account code '999' is not a valid account.",),
    ),
    "account, archived": Row(
        "Account code '999' has been archived, or has been deleted. Each line item must reference a valid account.",
        C.ACCOUNT_NOT_MAPPED,
        "account code 999 on line 2 (Strings) cannot be used",
        "restore that account in Xero",
        "bookkeeper",
        ("Each line item must reference a valid account.",),
    ),
    "account, removed with a warning": Row(
        "Account code '999' has been removed as it does not match a recognised account.",
        C.ACCOUNT_NOT_MAPPED,
        "account code 999 on line 2 (Strings)",
        "Map it to an active Xero account",
        "bookkeeper",
    ),
    "tax": Row(
        "The TaxType code 'INPUT9' cannot be used with account code '999'.",
        C.TAX_NOT_MAPPED,
        "tax code INPUT9 on line 2 (Strings) cannot be used",
        "Map it to a Xero tax rate",
        "bookkeeper",
        ("The tax type code 'INPUT9' does not exist", "Tax rate INPUT9 has been archived"),
    ),
    "status, for creation": Row(
        "Invoice not of valid status for creation",
        C.STATUS_NOT_TAKEN,
        "the status the account's settings ask for",
        "created as drafts in the settings",
        "account_admin",
    ),
    "status, for modification": Row(
        "Invoice not of valid status for modification",
        C.INVOICE_NOT_EDITABLE,
        "INV-1 can no longer be changed",
        "Make the correction in Xero",
        "bookkeeper",
        ("Invoice is not of valid status to be changed",),
    ),
    "paid edit": Row(
        "This document cannot be edited as it has a payment or credit note allocated to it.",
        C.INVOICE_HAS_PAYMENT,
        "INV-1 has a payment or credit in Xero",
        "Remove the payment or credit in Xero",
        "bookkeeper",
        ("The document has payments or credit notes allocated",),
    ),
    "paid void": Row(
        "The status VOIDED cannot be applied to this document",
        C.INVOICE_HAS_PAYMENT,
        "INV-1 has a payment or credit in Xero",
        "issue a credit note instead",
        "bookkeeper",
        ("The status DELETED cannot be applied",),
    ),
    "totals": Row(
        "The line total 10.00 does not match the expected line total 11.00",
        C.TOTAL_MISMATCH,
        "The total 10.00 does not match its lines, which add up to 11.00",
        "tax is rounded line by line",
        "bookkeeper",
        ("The document total does not equal the sum of the lines.",),
    ),
    "currency": Row(
        "Organisation is not subscribed to currency EUR",
        C.CURRENCY_NOT_SUBSCRIBED,
        "does not use the currency EUR",
        "Add the currency in Xero",
        "xero_admin",
    ),
    "number": Row(
        "Invoice # must be unique.",
        C.INVOICE_NUMBER_TAKEN,
        "The number INV-1 is already used",
        "Give the invoice another number",
        "bookkeeper",
        ("Invoice number INV-1 already exists", "Invoice Number must be unique"),
    ),
    "organisation's limit": Row(
        "You have reached the limit of invoices you can approve",
        C.ORGANISATION_LIMIT,
        "allows no more invoices for now",
        "Upgrade the Xero subscription",
        "xero_admin",
    ),
}
CONTACTS = {
    "name in use": Row(
        "The contact name Acme is already assigned to another contact. The contact name must be unique across all "
        "active contacts.",
        C.CONTACT_NAME_TAKEN,
        "A contact with the name Acme already exists",
        "Link the customer to that contact",
        "bookkeeper",
        ("The ContactNumber must be unique",),
    ),
    "archived, edited": Row(
        "The specified contact details matched an archived contact. Archived contacts cannot currently be edited via "
        "the API.",
        C.CONTACT_ARCHIVED,
        "is archived",
        "Restore the contact in Xero",
        "xero_admin",
    ),
}
PAYMENTS = {
    "more than is outstanding": Row(
        "Payment amount exceeds the amount outstanding on this document",
        C.INVOICE_HAS_PAYMENT,
        "INV-1 has a payment or credit in Xero",
        "Remove the payment or credit in Xero",
        "bookkeeper",
    ),
    "not authorised": Row(
        "Payments can only be made against Authorised documents",
        C.INVOICE_NOT_EDITABLE,
        "because of its status",
        "Make the correction in Xero",
        "bookkeeper",
    ),
    "only its status": Row(
        "Only Status accepted for updates.",
        C.XERO_VALIDATION,
        "Only Status accepted for updates",
        "Correct what Xero names",
        "bookkeeper",
    ),
}
UNKNOWN = {
    "never seen": Row(
        "Something nobody has ever seen",
        C.XERO_VALIDATION,
        "Xero did not accept the invoice: Something nobody has ever seen",
        "Correct what Xero names",
        "bookkeeper",
    )
}
MESSAGES = INVOICES | CONTACTS | PAYMENTS | UNKNOWN


@pytest.fixture
def sent(body_of, line_of):
    return body_of(
        lines=[
            line_of("1"),
            line_of("2", description="Strings", account_code="999", tax_code="INPUT9"),
        ]
    )


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_becomes_its_code_with_our_words_and_keeps_its_own(name, sent, row_of, now):
    row = MESSAGES[name]
    step = lifecycle.refused_with(
        row_of(state=State.SYNCING), [row.message], now, "correlation", sent=sent
    )
    found = step.row.block
    assert found.code == row.code
    assert row.says in found.message
    assert row.hint in found.hint
    assert found.xero_errors == (row.message,)
    assert not found.retryable
    assert mover_of(found.code) == row.mover
    (event,) = step.events
    assert (event.code, event.message, event.hint) == (found.code, found.message, found.hint)
    assert event.next_attempt_at is None
    assert event.xero_errors == (row.message,)


@pytest.mark.parametrize("name", MESSAGES)
def test_the_wording_may_drift(name):
    row = MESSAGES[name]
    spoken = (row.message, *row.drifted)
    for message in (
        *spoken,
        *(each.upper() for each in spoken),
        *(each.replace(" ", "\n ") for each in spoken),
        *(f"Line 3: {each} (ref. 0815)" for each in spoken),
    ):
        assert xero_messages.code_of(message) is row.code, message


def test_a_taken_number_comes_first_and_a_known_message_before_an_unknown_one():
    taken, locked, odd = "Invoice # must be unique.", "period lock date", "odd"
    assert xero_messages.code_of_all([odd, locked, taken]) is C.INVOICE_NUMBER_TAKEN
    assert xero_messages.code_of_all([odd, locked]) is C.PERIOD_LOCKED
    assert xero_messages.code_of_all([odd]) is C.XERO_VALIDATION
    assert xero_messages.code_of_all([]) is C.XERO_VALIDATION
    assert xero_messages.code_of("") is C.XERO_VALIDATION


def test_a_message_of_any_length_is_read_in_no_time():
    """Each of these would keep a backtracking expression busy for hours."""
    for odd in (
        "contact " * 300_000,
        "tax type code '" * 200_000,
        "account code '" + "x" * 3_000_000,
        "total " * 300_000 + "does not",
        "the line total " + "1" * 3_000_000,
        "contact name " + " " * 3_000_000,
    ):
        assert xero_messages.code_of(odd) is C.XERO_VALIDATION
        assert len(xero_messages.facts_of([odd])) <= 2


def test_the_simulators_recorded_messages_are_read_as_what_they_are():
    recorded = {
        simulated.CONTACT_REQUIRED: C.CONTACT_NOT_FOUND,
        simulated.CONTACT_ARCHIVED: C.CONTACT_ARCHIVED,
        simulated.CONTACT_NOT_EDITABLE: C.CONTACT_ARCHIVED,
        simulated.CONTACT_NAME_TAKEN: C.CONTACT_NAME_TAKEN,
        simulated.PERIOD_LOCKED: C.PERIOD_LOCKED,
        simulated.YEAR_LOCKED: C.PERIOD_LOCKED,
        simulated.ACCOUNT_INVALID: C.ACCOUNT_NOT_MAPPED,
        simulated.ACCOUNT_ARCHIVED: C.ACCOUNT_NOT_MAPPED,
        simulated.ACCOUNT_REMOVED: C.ACCOUNT_NOT_MAPPED,
        simulated.TAX_INVALID: C.TAX_NOT_MAPPED,
        simulated.STATUS_FOR_CREATION: C.STATUS_NOT_TAKEN,
        simulated.STATUS_FOR_MODIFICATION: C.INVOICE_NOT_EDITABLE,
        simulated.PAID_NOT_EDITABLE: C.INVOICE_HAS_PAYMENT,
        simulated.VOID_REFUSED: C.INVOICE_HAS_PAYMENT,
        simulated.LINE_TOTAL: C.TOTAL_MISMATCH,
        simulated.CURRENCY_NOT_SUBSCRIBED: C.CURRENCY_NOT_SUBSCRIBED,
        simulated.NUMBER_TAKEN: C.INVOICE_NUMBER_TAKEN,
        simulated.APPROVAL_LIMIT: C.ORGANISATION_LIMIT,
        simulated.PAYMENT_TOO_LARGE: C.INVOICE_HAS_PAYMENT,
        simulated.PAYMENT_NOT_AUTHORISED: C.INVOICE_NOT_EDITABLE,
    }
    assert {text: xero_messages.code_of(text) for text in recorded} == recorded


# The table "Errors" of the reference: HTTP status, headers, body, whether it answers a write, and what that means.
JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain"}
VALIDATION = {
    "ErrorNumber": 10,
    "Type": "ValidationException",
    "Message": "A validation exception occurred",
    "Elements": [
        {"ValidationErrors": [{"Message": "Organisation is not subscribed to currency EUR"}]}
    ],
}
REUSED = "Idempotency Key: X is used with a different request."
ANSWERS = {
    "400 validation": (
        (400, JSON, json.dumps(VALIDATION)),
        (C.CURRENCY_NOT_SUBSCRIBED, Effect.REFUSED, State.FAILED),
    ),
    "400 validation, nothing named": (
        (400, JSON, json.dumps({"ErrorNumber": 10, "Message": "A validation exception occurred"})),
        (C.XERO_VALIDATION, Effect.REFUSED, State.FAILED),
    ),
    "400 unreadable body": (
        (400, JSON, json.dumps({"ErrorNumber": 14, "Message": "Invalid Json data"})),
        (C.INTERNAL_ERROR, Effect.REFUSED, State.FAILED),
    ),
    "400 unreadable query": (
        (400, JSON, json.dumps({"ErrorNumber": 16, "Type": "QueryParseException", "Message": "x"})),
        (C.INTERNAL_ERROR, Effect.REFUSED, State.FAILED),
    ),
    "400 key of another request": (
        (400, TEXT, REUSED),
        (C.OUTCOME_UNKNOWN, Effect.UNKNOWN, State.SYNCING),
    ),
    "401 token": (
        (401, JSON, json.dumps({"Title": "Unauthorized", "Detail": "TokenExpired: …"})),
        (C.NOT_CONNECTED, Effect.NOTHING, State.WAITING_FOR_CONNECTION),
    ),
    "401 scope": (
        (401, JSON | {"WWW-Authenticate": "insufficient_scope"}, "{}"),
        (C.NOT_CONNECTED, Effect.NOTHING, State.WAITING_FOR_CONNECTION),
    ),
    "403 tenant": (
        (403, JSON, json.dumps({"Title": "Forbidden", "Detail": "AuthenticationUnsuccessful"})),
        (C.NOT_CONNECTED, Effect.NOTHING, State.WAITING_FOR_CONNECTION),
    ),
    "404": (
        (404, {"Content-Type": "text/html"}, "The resource you're looking for cannot be found"),
        (C.XERO_VALIDATION, Effect.REFUSED, State.FAILED),
    ),
    "412": ((412, TEXT, "bad header"), (C.INTERNAL_ERROR, Effect.REFUSED, State.FAILED)),
    "413": ((413, TEXT, "too large"), (C.TOO_MANY_LINES, Effect.REFUSED, State.FAILED)),
    "429 minute": (
        (429, {"X-Rate-Limit-Problem": "minute", "Retry-After": "26"}, ""),
        (C.RATE_LIMITED, Effect.NOTHING, State.WAITING_FOR_BUDGET),
    ),
    "429 concurrent": (
        (429, {"X-Rate-Limit-Problem": "concurrent"}, ""),
        (C.RATE_LIMITED, Effect.NOTHING, State.WAITING_FOR_BUDGET),
    ),
    "500": (
        (500, TEXT, "An unhandled error with the Xero API occurred."),
        (C.OUTCOME_UNKNOWN, Effect.UNKNOWN, State.SYNCING),
    ),
    "501": (
        (501, TEXT, "The method is not implemented"),
        (C.INTERNAL_ERROR, Effect.NOTHING, State.PENDING),
    ),
    "503 maintenance": (
        (503, TEXT, simulated.OFFLINE["maintenance"]),
        (C.OUTCOME_UNKNOWN, Effect.UNKNOWN, State.SYNCING),
    ),
    "503 unavailable": (
        (503, TEXT, simulated.OFFLINE["unavailable"]),
        (C.OUTCOME_UNKNOWN, Effect.UNKNOWN, State.SYNCING),
    ),
    "503 organisation": (
        (503, TEXT, simulated.OFFLINE["organisation"]),
        (C.OUTCOME_UNKNOWN, Effect.UNKNOWN, State.SYNCING),
    ),
}


def judged(answer, *, is_write):
    status, headers, body = answer
    error = classify_answer(
        status, httpx.Headers(headers), body.encode(), is_write=is_write, target="PUT Invoices"
    )
    assert isinstance(error, XeroError)
    assert not isinstance(error, Reply)
    return trouble.of(error, count=1, chance=0.5)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_to_a_write_has_one_code_and_says_what_it_did(name):
    answer, (code, effect, state) = ANSWERS[name]
    found = judged(answer, is_write=True)
    assert (found.block.code, found.effect, found.state) == (code, effect, state)
    assert found.block.message
    assert found.block.hint
    # What time heals comes back by itself; what Xero refused waits for somebody.
    assert (found.pause is not None) == (effect is not Effect.REFUSED)
    if effect is Effect.REFUSED:
        assert found.messages
        assert not PROBLEMS[code].retryable


@pytest.mark.parametrize("name", [name for name in ANSWERS if name[0] == "5" and name[:3] != "501"])
def test_the_same_answer_to_a_read_changed_nothing_and_is_asked_again(name):
    answer, _ = ANSWERS[name]
    found = judged(answer, is_write=False)
    assert (found.block.code, found.effect) == (C.XERO_UNAVAILABLE, Effect.NOTHING)
    assert found.pause is not None


def test_xeros_own_wait_is_kept_and_a_concurrent_limit_is_short():
    minute = judged(ANSWERS["429 minute"][0], is_write=True)
    assert timedelta(seconds=26) <= minute.pause <= timedelta(seconds=27)
    concurrent = judged(ANSWERS["429 concurrent"][0], is_write=True)
    assert concurrent.pause <= timedelta(seconds=2)


def test_a_name_or_number_in_use_is_told_from_other_faults_of_a_contact():
    for message in (CONTACTS["name in use"].message, *CONTACTS["name in use"].drifted):
        assert xero_messages.contact_name_taken([message])
    assert not xero_messages.contact_name_taken(["Email address is not valid"])


SOMEBODYS_WORDS = {
    "The tracking category or option 'Contact: Archived' does not exist": C.TRACKING_NOT_MAPPED,
    "The tracking category or option 'Period: locked' does not exist": C.TRACKING_NOT_MAPPED,
    "Account code 'invoice no already' is not a valid code for this document.": C.ACCOUNT_NOT_MAPPED,
    "Account code 'it's not found' is not a valid code for this document.": C.ACCOUNT_NOT_MAPPED,
    "The contact name Invoice Now Ltd is already assigned to another contact.": C.CONTACT_NAME_TAKEN,
    "You can't use an archived contact, it isn't active": C.CONTACT_ARCHIVED,
}


@pytest.mark.parametrize("message", SOMEBODYS_WORDS)
def test_words_that_xero_only_repeats_decide_nothing(message):
    assert xero_messages.code_of(message) is SOMEBODYS_WORDS[message]
