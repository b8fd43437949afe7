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
    """Tax on the line where Pipeline names it; None leaves it to Xero."""
    tax_rate: Decimal | None = None
    """Xero's rate of the line's tax in percent; None where it is not known."""


def line_amount(line: LineFigures) -> Decimal:
    """The line's amount in cents, after its discount (a percentage)."""
    return to_cents(_discounted(to_unit(line.quantity), to_unit(line.unit_amount), line))


def _discounted(quantity: Decimal, unit_amount: Decimal, line: LineFigures) -> Decimal:
    gross = _EXACT.multiply(quantity, unit_amount)
    if not line.discount_rate:
        return gross
    kept = _EXACT.subtract(Decimal(100), line.discount_rate)
    return _EXACT.divide(_EXACT.multiply(gross, kept), Decimal(100))


def tax_on_top(line: LineFigures) -> Decimal | None:
    """The tax Xero adds to a line whose amount is before tax; None where Xero alone knows it."""
    if line.tax_amount is not None:
        return to_cents(line.tax_amount)
    if line.tax_rate is None:
        return None
    return to_cents(_percent(line_amount(line), line.tax_rate))


def _percent(amount: Decimal, rate: Decimal) -> Decimal:
    return _EXACT.divide(_EXACT.multiply(amount, rate), Decimal(100))


def _lost(line: LineFigures, tax: Decimal) -> Decimal:
    """What rounding took from the line and its tax together; below zero where it added, zero where no cent may go.

    A tax that Pipeline names in whole cents stands; one in fractions of a cent was rounded by us.
    """
    if line.tax_amount is not None:
        return line.tax_amount - tax
    if not line.tax_rate:
        return Decimal(0)
    exact = _discounted(line.quantity, line.unit_amount, line)
    return exact + _percent(exact, line.tax_rate) - line_amount(line) - tax


def carried_cents(lines: Sequence[LineFigures], total: Decimal) -> tuple[Decimal, ...]:
    """The cent to add to, or take from, the tax of some lines so that they come to ``total`` exactly.

    Whoever rounds the tax of a document once comes to another total than Xero, which rounds it line by line. At most
    one cent a line is carried, first where rounding took (or added) most, and only on lines that were rounded at all.
    All zero where that does not explain the whole difference.

    Args:
        lines: The figures of each line, whose amounts are before tax.
        total: What they are to come to.
    """
    none = (Decimal(0),) * len(lines)
    taxes = [tax_on_top(line) for line in lines]
    if any(tax is None for tax in taxes):
        return none
    found = [
        (line, line_amount(line), tax)
        for line, tax in zip(lines, taxes, strict=True)
        if tax is not None
    ]
    apart = total - sum((amount + tax for _, amount, tax in found), Decimal(0))
    cents = int(apart / CENT)
    if not cents or cents * CENT != apart:
        return none
    step = CENT if cents > 0 else -CENT
    bearers: list[tuple[Decimal, int]] = []
    for place, (line, amount, tax) in enumerate(found):
        lost = _lost(line, tax)
        if lost and amount and (tax + step) * amount >= 0:
            bearers.append((-lost if cents > 0 else lost, place))
    if len(bearers) < abs(cents):
        return none
    chosen = {place for _, place in sorted(bearers)[: abs(cents)]}
    return tuple(step if place in chosen else Decimal(0) for place in range(len(lines)))


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
HIGHEST_TAX = Decimal(50)


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
        if (tax := tax_on_top(line)) is not None:
            low += tax
            high += tax
        else:
            most = to_cents(_percent(amount, HIGHEST_TAX))
            low += min(most, Decimal(0))
            high += max(most, Decimal(0))
    return TotalRange(low, high)
