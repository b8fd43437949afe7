"""Xero's arithmetic of a line and of an invoice ("Rounding in Xero"): exact, half away from zero.

With ``unitdp=4`` a unit amount keeps four decimals; each line is rounded to cents, then the lines are summed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal

CENT = Decimal("0.01")
UNIT = Decimal("0.0001")
# Wide enough for quantity x price x discount of any event the contracts let through, without rounding twice.
_EXACT = Context(prec=60, rounding=ROUND_HALF_UP)


def to_cents(value: Decimal) -> Decimal:
    """Round to two decimals, halves away from zero, as Xero does."""
    return value.quantize(CENT, context=_EXACT)


def to_unit(value: Decimal) -> Decimal:
    """Round a unit amount or quantity to the four decimals Xero keeps under ``unitdp=4``."""
    return value.quantize(UNIT, context=_EXACT)


@dataclass(frozen=True, slots=True)
class LineFigures:
    """What decides the amount of one line."""

    quantity: Decimal
    unit_amount: Decimal
    discount_rate: Decimal | None
    tax_amount: Decimal | None
    """Tax on the line where Pipeline names it; None leaves it to Xero, and so cannot be known beforehand."""


def line_amount(line: LineFigures) -> Decimal:
    """The line's amount in cents, after its discount (a percentage)."""
    gross = _EXACT.multiply(to_unit(line.quantity), to_unit(line.unit_amount))
    if line.discount_rate:
        kept = _EXACT.subtract(Decimal(100), line.discount_rate)
        gross = _EXACT.divide(_EXACT.multiply(gross, kept), Decimal(100))
    return to_cents(gross)


@dataclass(frozen=True, slots=True)
class TotalRange:
    """The totals these lines can come to: one figure, or a range where Xero works out the tax."""

    lowest: Decimal
    highest: Decimal

    @property
    def is_exact(self) -> bool:
        """Whether there is one possible total only."""
        return self.lowest == self.highest

    def difference(self, total: Decimal) -> Decimal:
        """By how much ``total`` lies outside; zero when it is possible."""
        if total < self.lowest:
            return total - self.lowest
        if total > self.highest:
            return total - self.highest
        return Decimal(0)


# No sales tax in force anywhere adds half of the price or more: beyond that, the total is wrong, not taxed.
HIGHEST_TAX = Decimal("0.5")


def possible_totals(lines: Sequence[LineFigures], amounts_are: str) -> TotalRange:
    """What the invoice can come to by its lines.

    Args:
        lines: The figures of each line.
        amounts_are: ``tax_exclusive`` (tax comes on top), ``tax_inclusive`` or ``no_tax`` (it does not).
    """
    low = high = Decimal(0)
    for line in lines:
        amount = line_amount(line)
        low += amount
        high += amount
        if amounts_are != "tax_exclusive":
            continue
        if line.tax_amount is not None:
            low += to_cents(line.tax_amount)
            high += to_cents(line.tax_amount)
        else:
            most = to_cents(_EXACT.multiply(amount, HIGHEST_TAX))
            low += min(most, Decimal(0))
            high += max(most, Decimal(0))
    return TotalRange(low, high)
