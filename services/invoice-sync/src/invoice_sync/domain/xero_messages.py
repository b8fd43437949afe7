"""Xero's validation messages, read as our problem codes.

The wording drifts between countries and releases, so each row names only the words that carry the meaning, in their
order; the first row that fits wins. A message no row knows keeps its own words under XERO_VALIDATION.

Messages are cut before they are looked at, and searched without backtracking: however odd an answer is, reading it
takes time in proportion to its length.
"""

import re
from collections.abc import Sequence

from pipeline_contracts.invoice import Invoice, InvoiceLine
from pipeline_contracts.problems import ProblemCode

# Far longer than any message that is known; what was cut off stays in the errors that are shown.
_LONGEST = 1_000
_GAP = " … "

# In a row, " … " stands for anything and "|" separates words that mean the same.
_TABLE: tuple[tuple[str, ProblemCode], ...] = (
    # Before all others: it holds the contact's name, which may be any words.
    ("already assigned to another contact", ProblemCode.CONTACT_NAME_TAKEN),
    ("invoice #|invoice number|invoice no … unique|already", ProblemCode.INVOICE_NUMBER_TAKEN),
    ("contact … must be unique", ProblemCode.CONTACT_NAME_TAKEN),
    ("archived contact", ProblemCode.CONTACT_ARCHIVED),
    ("contact … archived", ProblemCode.CONTACT_ARCHIVED),
    ("contact must be specified", ProblemCode.CONTACT_NOT_FOUND),
    ("contact … not be found|not found|does not exist", ProblemCode.CONTACT_NOT_FOUND),
    ("lock date|locked period", ProblemCode.PERIOD_LOCKED),
    ("period … locked", ProblemCode.PERIOD_LOCKED),
    ("not subscribed to currency", ProblemCode.CURRENCY_NOT_SUBSCRIBED),
    (
        "taxtype|tax type|tax rate … cannot be used|not valid|invalid|not exist|not found|archived|deleted",
        ProblemCode.TAX_NOT_MAPPED,
    ),
    (
        "account code … not a valid|invalid|archived|deleted|removed|must be specified|not match",
        ProblemCode.ACCOUNT_NOT_MAPPED,
    ),
    ("must reference a valid account", ProblemCode.ACCOUNT_NOT_MAPPED),
    (
        "tracking category|tracking option … not exist|not found|not valid|invalid|archived|deleted",
        ProblemCode.TRACKING_NOT_MAPPED,
    ),
    ("item code … not valid|invalid|not exist|not found|archived|deleted", ProblemCode.ITEM_NOT_MAPPED),
    ("total … not match|not equal", ProblemCode.TOTAL_MISMATCH),
    ("payment|payments … allocated", ProblemCode.INVOICE_HAS_PAYMENT),
    ("status voided|status deleted … cannot be applied", ProblemCode.INVOICE_HAS_PAYMENT),
    ("exceeds the amount outstanding", ProblemCode.INVOICE_HAS_PAYMENT),
    ("not of valid status for creation", ProblemCode.STATUS_NOT_TAKEN),
    ("not of valid status", ProblemCode.INVOICE_NOT_EDITABLE),
    ("only be made against authorised", ProblemCode.INVOICE_NOT_EDITABLE),
    ("reached the limit of invoices", ProblemCode.ORGANISATION_LIMIT),
)  # fmt: skip

_ROWS = tuple(
    (tuple(tuple(words.split("|")) for words in row.split(_GAP)), code) for row, code in _TABLE
)


# A code or name that Xero quotes is somebody's words, not Xero's. An apostrophe within a word quotes nothing.
_QUOTED = re.compile(r"(?<!\w)'[^']*'(?!\w)")


def code_of(message: str) -> ProblemCode:
    """The problem code of one message of Xero's."""
    text = " ".join(_QUOTED.sub("''", message[:_LONGEST].casefold()).split())
    return next(
        (code for row, code in _ROWS if _follows(text, row)),
        ProblemCode.XERO_VALIDATION,
    )


def _follows(text: str, row: Sequence[Sequence[str]]) -> bool:
    """Whether the text has one of each group's words, in order. The earliest end leaves most for what follows."""
    place = 0
    for group in row:
        ends = [at + len(words) for words in group if (at := text.find(words, place)) >= 0]
        if not ends:
            return False
        place = min(ends)
    return True


def code_of_all(messages: Sequence[str]) -> ProblemCode:
    """The code to show for several messages: the first one we can explain, else XERO_VALIDATION.

    A taken number comes before all others: it may mean that the invoice is already there.
    """
    codes = [code_of(message) for message in messages]
    if ProblemCode.INVOICE_NUMBER_TAKEN in codes:
        return ProblemCode.INVOICE_NUMBER_TAKEN
    known = (code for code in codes if code is not ProblemCode.XERO_VALIDATION)
    return next(known, ProblemCode.XERO_VALIDATION)


def contact_name_taken(messages: Sequence[str]) -> bool:
    """Whether a refused contact collides with another contact's name or number."""
    return any(
        code_of(message) is ProblemCode.CONTACT_NAME_TAKEN
        or "must be unique" in message[:_LONGEST].casefold()
        for message in messages
    )


_AMOUNT = r"(-?\d[\d.,]{0,30})"
_FACTS = (
    ("account_code", re.compile(r"account code '([^']{0,255})'", re.IGNORECASE)),
    ("tax_code", re.compile(r"tax ?type code '([^']{0,255})'", re.IGNORECASE)),
    ("tracking", re.compile(r"tracking category or option '([^']{0,520})'", re.IGNORECASE)),
    ("item_code", re.compile(r"item code '([^']{0,255})'", re.IGNORECASE)),
    ("currency", re.compile(r"subscribed to currency (\w{3})", re.IGNORECASE)),
    ("lock_date", re.compile(r"currently set at ([^.]{1,60})", re.IGNORECASE)),
    ("name", re.compile(r"contact name (.{1,255}?) is already assigned", re.IGNORECASE)),
    ("total", re.compile(rf"the line total {_AMOUNT}", re.IGNORECASE)),
    ("expected", re.compile(rf"expected line total {_AMOUNT}", re.IGNORECASE)),
)


def facts_of(messages: Sequence[str]) -> dict[str, str]:
    """What the messages name: codes, currency, lock date, amounts; and all of them together as ``detail``."""
    facts = {"detail": " ".join(messages).rstrip(".")}
    for message in messages:
        for name, pattern in _FACTS:
            if name not in facts and (found := pattern.search(message[:_LONGEST])):
                facts[name] = found[1].strip()
    return facts


def placed_facts(messages: Sequence[str], sent: Invoice | None) -> dict[str, str]:
    """As ``facts_of``, and each code that a message names with the first line of the sent invoice that bears it.

    Xero's messages name a code, never the line.
    """
    facts = facts_of(messages)
    lines = sent.lines if sent is not None else ()
    for name, value in facts.items():
        for position, line in enumerate(lines, 1):
            if value in _codes_on(line, name):
                facts[name] = f"{value} {place_of(line, position)}"
                break
    return facts


def place_of(line: InvoiceLine, position: int) -> str:
    """A line in words: its place, and how it begins."""
    return f"on line {position} ({line.description.strip()[:40] or line.line_id})"


def _codes_on(line: InvoiceLine, fact: str) -> tuple[str | None, ...]:
    match fact:
        case "account_code":
            return (line.account_code,)
        case "tax_code":
            return (line.tax_code,)
        case "item_code":
            return (line.item_code,)
        case "tracking":
            return tuple(f"{each.category}: {each.option}" for each in line.tracking)
        case _:
            return ()
