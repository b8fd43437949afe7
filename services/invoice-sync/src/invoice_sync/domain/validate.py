"""What we can tell is wrong with an invoice before asking Xero: no call is spent on it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from invoice_sync.domain import currencies
from invoice_sync.domain.mapping import amounts_are
from invoice_sync.domain.rounding import LineFigures, TotalRange, possible_totals
from pipeline_contracts.invoice import Invoice, InvoiceLine
from pipeline_contracts.money import plain_money, plain_quantity
from pipeline_contracts.problems import ProblemCode

# Xero's published limits ("Invoices").
MAX_NUMBER = 255
MAX_REFERENCE = 255
MAX_DESCRIPTION = 4_000
MAX_TRACKING = 2
RATE_DECIMALS = 6
# Xero keeps its documents as XML, which has no way to write these (XML 1.0, "Char"); tab and line ends it has.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: its code, and the facts its sentence names."""

    code: ProblemCode
    facts: dict[str, str] = field(default_factory=dict)


def check(invoice: Invoice) -> tuple[Finding, ...]:
    """Everything wrong with the invoice itself, the most telling first; empty when it can be sent."""
    return tuple(_findings(invoice))


def _findings(invoice: Invoice) -> Iterator[Finding]:
    if not currencies.is_known(invoice.currency):
        yield Finding(ProblemCode.CURRENCY_UNKNOWN, {"currency": invoice.currency})
    if not invoice.lines:
        yield Finding(ProblemCode.NO_LINES)
    known: set[str] = set()
    for position, line in enumerate(invoice.lines, 1):
        if line.line_id in known:
            yield Finding(ProblemCode.LINE_REPEATED, _line_facts(line, position))
        known.add(line.line_id)
        yield from _line_findings(line, position)
    yield from _document_findings(invoice)
    if invoice.lines:
        yield from _total_findings(invoice)


def _line_facts(line: InvoiceLine, position: int) -> dict[str, str]:
    return {"line": f"{position} ({line.description.strip()[:40] or line.line_id})"}


def _line_findings(line: InvoiceLine, position: int) -> Iterator[Finding]:
    facts = _line_facts(line, position)
    if line.quantity < 0:
        yield Finding(ProblemCode.QUANTITY_NEGATIVE, facts)
    if not line.description.strip():
        yield Finding(ProblemCode.DESCRIPTION_MISSING, {"line": str(position)})
    if len(line.description) > MAX_DESCRIPTION:
        yield _too_long(f"the description of line {position}", MAX_DESCRIPTION)
    if _UNPRINTABLE.search(line.description):
        yield _unprintable(f"the description of line {position}")
    if len(line.tracking) > MAX_TRACKING:
        yield Finding(ProblemCode.TOO_MANY_TRACKING_OPTIONS, facts)


def _document_findings(invoice: Invoice) -> Iterator[Finding]:
    if not invoice.invoice_number.strip():
        yield Finding(ProblemCode.INVOICE_NUMBER_MISSING)
    if len(invoice.invoice_number) > MAX_NUMBER:
        yield _too_long("the invoice number", MAX_NUMBER)
    if len(invoice.reference or "") > MAX_REFERENCE:
        yield _too_long("the reference", MAX_REFERENCE)
    if _UNPRINTABLE.search(invoice.invoice_number):
        yield _unprintable("the invoice number")
    if _UNPRINTABLE.search(invoice.reference or ""):
        yield _unprintable("the reference")
    if invoice.due_date < invoice.issue_date:
        yield Finding(ProblemCode.DUE_DATE_BEFORE_ISSUE)
    rate = invoice.currency_rate
    if rate is not None and (rate <= 0 or _decimals(rate) > RATE_DECIMALS):
        yield Finding(ProblemCode.CURRENCY_RATE_INVALID)


def _total_findings(invoice: Invoice) -> Iterator[Finding]:
    if invoice.total < 0:
        yield Finding(ProblemCode.TOTAL_NEGATIVE, {"total": plain_money(invoice.total)})
    if found := total_mismatch(invoice):
        yield found


RateOf = Callable[[InvoiceLine], Decimal | None]
"""Xero's tax rate of a line in percent; None where it is not known."""


def _no_rate(_: InvoiceLine) -> None:
    """Without Xero's list of tax rates."""


def total_mismatch(invoice: Invoice, rate_of: RateOf = _no_rate) -> Finding | None:
    """The total, if the lines cannot come to it by Xero's rounding: by how much, to the cent."""
    possible = possible_totals(
        [figures_of(line, rate_of(line)) for line in invoice.lines], amounts_are(invoice)
    )
    difference = possible.difference(invoice.total)
    if not difference:
        return None
    facts = _mismatch_facts(invoice.total, possible, difference)
    return Finding(ProblemCode.TOTAL_MISMATCH, facts)


def figures_of(line: InvoiceLine, tax_rate: Decimal | None) -> LineFigures:
    """What decides the amount of this line."""
    return LineFigures(
        quantity=line.quantity,
        unit_amount=line.unit_amount,
        discount_rate=line.discount_rate,
        tax_amount=line.tax_amount,
        tax_rate=tax_rate,
    )


def _mismatch_facts(total: Decimal, possible: TotalRange, difference: Decimal) -> dict[str, str]:
    """The sentence parts of a total that does not match: both figures, and the difference to the cent."""
    expected = plain_money(possible.lowest)
    if not possible.is_exact:
        expected = f"{expected} before tax"
    return {
        "total": plain_money(total),
        "expected": f"{expected} (a difference of {plain_money(abs(difference))})",
    }


def _unprintable(what: str) -> Finding:
    return Finding(ProblemCode.CHARACTERS_INVALID, {"field": what})


def _too_long(what: str, limit: int) -> Finding:
    return Finding(ProblemCode.FIELD_TOO_LONG, {"field": f"{what} (at most {limit} characters)"})


def _decimals(value: Decimal) -> int:
    return len(plain_quantity(value).partition(".")[2])
