"""The tax of an invoice by Xero's rates: what each line will bear, and the cents that make both totals equal.

Xero rounds the tax of each line and sums; Pipeline may have rounded it once for the document. Where the rates are
known the difference is known before sending: a cent a line is carried in ``TaxAmount``, anything larger is told.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from invoice_sync.domain.codes import CodeKind, Terms, in_xeros_codes
from invoice_sync.domain.mapping import amounts_are, desired_snapshot, line_field
from invoice_sync.domain.merging import is_money
from invoice_sync.domain.rounding import (
    TotalRange,
    carried_cents,
    line_amount,
    possible_totals,
    tax_on_top,
    to_cents,
)
from invoice_sync.domain.three_way import TOTAL, Snapshot
from invoice_sync.domain.validate import Finding, figures_of, total_mismatch
from pipeline_contracts.invoice import Invoice, InvoiceLine

_ON_TOP = "tax_exclusive"


def for_xero(body: Invoice, terms: Terms, number_prefix: str) -> Invoice:
    """The invoice as it is to be in Xero: by Xero's codes, with the cents carried; the very same where nothing changes."""
    ours = in_xeros_codes(body, terms, number_prefix)
    if amounts_are(ours) != _ON_TOP:
        return ours
    cents = carried_cents(
        [figures_of(line, terms.tax_rate(line)) for line in ours.lines], ours.total
    )
    if not any(cents):
        return ours
    lines = tuple(
        _told(line, terms, cent) if cent else line
        for line, cent in zip(ours.lines, cents, strict=True)
    )
    return ours.model_copy(update={"lines": lines})


def for_update(body: Invoice, terms: Terms, number_prefix: str, agreed: Snapshot) -> Invoice:
    """An invoice that is in Xero as it is to be there: the taxes that were named before stay named.

    While nothing changes that makes its total, they stay as they were agreed, whatever Xero's rates are by now.
    Otherwise they are reckoned anew: left out, the cent that was carried on such a line could stay there.
    """
    plain = in_xeros_codes(body, terms, number_prefix)
    if amounts_are(plain) != _ON_TOP:
        return plain
    named = tuple(_named_before(line, agreed) for line in plain.lines)
    as_agreed = plain.model_copy(update={"lines": named})
    if named != plain.lines and _money(desired_snapshot(as_agreed, None)) == _money(agreed):
        return as_agreed
    ours = for_xero(body, terms, number_prefix)
    lines = tuple(
        _told(line, terms, Decimal(0)) if line.tax_amount is None and before != line else line
        for line, before in zip(ours.lines, named, strict=True)
    )
    return ours if lines == ours.lines else ours.model_copy(update={"lines": lines})


def _named_before(line: InvoiceLine, agreed: Snapshot) -> InvoiceLine:
    tax = agreed.get(line_field(line.line_id, "tax_amount"))
    if tax is None or line.tax_amount is not None:
        return line
    return line.model_copy(update={"tax_amount": Decimal(tax)})


def _money(snapshot: Snapshot) -> dict[str, str | None]:
    return {path: each for path, each in snapshot.items() if path == TOTAL or is_money(path)}


def _told(line: InvoiceLine, terms: Terms, cent: Decimal) -> InvoiceLine:
    tax = tax_on_top(figures_of(line, terms.tax_rate(line)))
    return line if tax is None else line.model_copy(update={"tax_amount": tax + cent})


def mismatch(body: Invoice, terms: Terms) -> Finding | None:
    """The total, if Xero's rates make it impossible; None where it fits, or where no rate is known."""
    if amounts_are(body) != _ON_TOP or CodeKind.TAX not in terms.lists:
        return None
    return total_mismatch(for_xero(body, terms, ""), terms.tax_rate)


@dataclass(frozen=True, slots=True)
class LineSum:
    """How one line comes to its amount in Xero."""

    line: InvoiceLine
    """In Xero's codes."""
    amount: Decimal
    tax: Decimal | None
    """None where Xero alone knows it."""
    carried: Decimal
    """The cent by which its tax differs from Xero's own rounding, so that both totals are equal."""


def line_sums(ours: Invoice, body: Invoice, terms: Terms) -> Iterator[LineSum]:
    """Every line of an invoice as it is to be in Xero.

    Args:
        ours: The invoice by Xero's codes, with the cents carried.
        body: The same in Pipeline's words.
        terms: The account's terms.
    """
    kind = amounts_are(ours)
    for line, wanted in zip(ours.lines, body.lines, strict=True):
        figures = figures_of(line, terms.tax_rate(line))
        tax = line.tax_amount
        if kind == "no_tax":
            tax = Decimal(0)
        elif kind == _ON_TOP:
            tax = tax_on_top(figures)
        own = tax_on_top(replace(figures, tax_amount=wanted.tax_amount))
        carried = Decimal(0)
        if line.tax_amount is not None and own is not None:
            carried = to_cents(line.tax_amount) - own
        yield LineSum(line, line_amount(figures), tax, carried)


def range_of(ours: Invoice, terms: Terms) -> TotalRange:
    """What an invoice in Xero's codes comes to."""
    figures = [figures_of(line, terms.tax_rate(line)) for line in ours.lines]
    return possible_totals(figures, amounts_are(ours))
