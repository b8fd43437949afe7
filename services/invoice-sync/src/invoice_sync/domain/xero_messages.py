"""Xero's validation messages, read as our problem codes.

The wording drifts between countries and releases, so each row is a loose pattern; the first that fits wins.
A message no row knows keeps its own words under XERO_VALIDATION.
"""

import re
from collections.abc import Sequence

from pipeline_contracts.problems import ProblemCode

_TABLE: tuple[tuple[str, ProblemCode], ...] = (
    (r"invoice\s*(#|number|no\.?).*must be unique|invoice number.*already", ProblemCode.INVOICE_NUMBER_TAKEN),
    (r"contact.*archived|archived contact", ProblemCode.CONTACT_ARCHIVED),
    (r"contact must be specified|contact.*(could not be|was not) found", ProblemCode.CONTACT_NOT_FOUND),
    (r"lock date|period.*locked|locked period", ProblemCode.PERIOD_LOCKED),
    (r"not subscribed to currency", ProblemCode.CURRENCY_NOT_SUBSCRIBED),
    (r"tax\s*type.*(cannot be used|not valid|invalid|does not exist|not found)", ProblemCode.TAX_NOT_MAPPED),
    (r"tax rate.*(not valid|archived|deleted|not found)", ProblemCode.TAX_NOT_MAPPED),
    (r"account code .*(not a valid code|archived|deleted|removed)", ProblemCode.ACCOUNT_NOT_MAPPED),
    (r"account code .*(must be specified|not match)", ProblemCode.ACCOUNT_NOT_MAPPED),
    (r"must reference a valid account", ProblemCode.ACCOUNT_NOT_MAPPED),
    (r"tracking (category|option).*(does not exist|not found|not valid|invalid)", ProblemCode.TRACKING_NOT_MAPPED),
    (r"item code .*(not valid|not found|does not exist|invalid)", ProblemCode.ITEM_NOT_MAPPED),
    (r"line total .* does not match", ProblemCode.TOTAL_MISMATCH),
    (r"total.*does not (match|equal)", ProblemCode.TOTAL_MISMATCH),
    (r"cannot be edited as it has a payment|payment or credit note allocated", ProblemCode.INVOICE_HAS_PAYMENT),
    (r"status (voided|deleted) cannot be applied", ProblemCode.INVOICE_HAS_PAYMENT),
    (r"not of valid status for (creation|modification)", ProblemCode.INVOICE_NOT_EDITABLE),
    (r"reached the limit of invoices", ProblemCode.ORGANISATION_LIMIT),
)  # fmt: skip

_PATTERNS = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), code) for pattern, code in _TABLE
)


def code_of(message: str) -> ProblemCode:
    """The problem code of one message of Xero's."""
    for pattern, code in _PATTERNS:
        if pattern.search(message):
            return code
    return ProblemCode.XERO_VALIDATION


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
        re.search(r"already assigned to another contact|must be unique", m, re.IGNORECASE)
        for m in messages
    )


_FACTS = (
    ("account_code", re.compile(r"account code '([^']*)'", re.IGNORECASE)),
    ("tax_code", re.compile(r"tax\s*type code '([^']*)'", re.IGNORECASE)),
    ("tracking", re.compile(r"tracking category or option '([^']*)'", re.IGNORECASE)),
    ("item_code", re.compile(r"item code '([^']*)'", re.IGNORECASE)),
    ("currency", re.compile(r"subscribed to currency (\w{3})", re.IGNORECASE)),
    ("lock_date", re.compile(r"currently set at ([^.]+)", re.IGNORECASE)),
)


def facts_of(messages: Sequence[str]) -> dict[str, str]:
    """What the messages name: codes, currency, lock date; and all of them together as ``detail``."""
    facts = {"detail": " ".join(messages).rstrip(".")}
    for message in messages:
        for name, pattern in _FACTS:
            if (found := pattern.search(message)) and name not in facts:
                facts[name] = found[1].strip()
    return facts
