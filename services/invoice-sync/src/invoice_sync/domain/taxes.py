"""The tax of an invoice by Xero's rates: what each line will bear, and the cents that make both totals equal.

Xero rounds the tax of each line and sums; Pipeline may have rounded it once for the document. Where the rates are
known the difference is known before sending: a cent a line is carried in ``TaxAmount``, anything larger is told.
"""

from collections.abc import Iterator
from decimal import Decimal

from invoice_sync.domain.codes import CodeKind, Terms, in_xeros_codes
from invoice_sync.domain.mapping import amounts_are, line_field
from invoice_sync.domain.rounding import carried_cents, tax_on_top
from invoice_sync.domain.three_way import Snapshot
from invoice_sync.domain.validate import Finding, figures_of, total_mismatch
from pipeline_contracts.invoice import Invoice, InvoiceLine

_ON_TOP = "tax_exclusive"


def for_xero(body: Invoice, terms: Terms, number_prefix: str) -> Invoice:
    """The invoice as it is to be in Xero: by Xero's codes, with the cents carried; the very same where nothing changes."""
    ours = in_xeros_codes(body, terms, number_prefix)
    if amounts_are(ours) != _ON_TOP or CodeKind.TAX not in terms.lists:
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


def told_anew(ours: Invoice, agreed: Snapshot, terms: Terms) -> Invoice:
    """An invoice to be changed in Xero, with the tax of those lines named whose tax was named before.

    Left out, the cent that was carried on such a line could stay there.
    """
    if amounts_are(ours) != _ON_TOP:
        return ours
    lines = tuple(
        _told(line, terms, Decimal(0))
        if line.tax_amount is None and agreed.get(line_field(line.line_id, "tax_amount"))
        else line
        for line in ours.lines
    )
    return ours if lines == ours.lines else ours.model_copy(update={"lines": lines})


def _told(line: InvoiceLine, terms: Terms, cent: Decimal) -> InvoiceLine:
    tax = tax_on_top(figures_of(line, terms.tax_rate(line)))
    return line if tax is None else line.model_copy(update={"tax_amount": tax + cent})


def mismatch(body: Invoice, terms: Terms) -> Finding | None:
    """The total, if Xero's rates make it impossible; None where it fits, or where no rate is known."""
    if amounts_are(body) != _ON_TOP or CodeKind.TAX not in terms.lists:
        return None
    return total_mismatch(for_xero(body, terms, ""), terms.tax_rate)


def taxes_of(ours: Invoice, terms: Terms) -> Iterator[Decimal | None]:
    """The tax on each line of an invoice in Xero's codes, where it is known beforehand."""
    for line in ours.lines:
        match amounts_are(ours):
            case "no_tax":
                yield Decimal(0)
            case "tax_exclusive":
                yield tax_on_top(figures_of(line, terms.tax_rate(line)))
            case _:
                yield line.tax_amount
