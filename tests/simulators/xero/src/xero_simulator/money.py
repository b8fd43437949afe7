"""Exact money: rounding and the line arithmetic of Xero.

Source: "Rounding in Xero" (dev/documentation/guides/how-to-guides/rounding-in-xero): the unit
amount is rounded first (2 places, or 4 with unitdp=4), tax is rounded per line, then summed.
"""

from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

ZERO = Decimal("0.00")
CENT = Decimal("0.01")
HUNDRED = Decimal(100)
MAX_AMOUNT = Decimal("1e13")


def round_to(amount: Decimal, places: int) -> Decimal:
    """Rounds half away from zero to `places` decimals."""
    return amount.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)


def cents(amount: Decimal) -> Decimal:
    """Rounds to two places."""
    return amount.quantize(CENT, rounding=ROUND_HALF_UP)


def parse_amount(value: object) -> Decimal | None:
    """Reads a JSON number or numeric string.

    Returns:
        The exact value, or None for an absent one.

    Raises:
        ValueError: `value` is no finite number of a size Xero keeps.
    """
    if value is None or value == "":
        return None
    number = isinstance(value, int | str | Decimal) and not isinstance(value, bool)
    try:
        amount = Decimal(str(value) if number else "NaN")
    except InvalidOperation as error:
        raise ValueError(f"not a number: {value!r}") from error
    if not amount.is_finite() or abs(amount) > MAX_AMOUNT:
        raise ValueError(f"not a number of usable size: {value!r}")
    return amount


def line_amount(
    quantity: Decimal, unit_amount: Decimal, discount_rate: Decimal | None, discount: Decimal | None
) -> Decimal:
    """Quantity times unit amount less the discount, to the cent."""
    gross = quantity * unit_amount
    if discount_rate is not None:
        return cents(gross * (HUNDRED - discount_rate) / HUNDRED)
    return cents(gross - (discount or ZERO))


def tax_of(amount: Decimal, rate_percent: Decimal, line_amount_types: str) -> Decimal:
    """The tax in or on one line amount, rounded to the cent."""
    if line_amount_types == "NoTax":
        return ZERO
    if line_amount_types == "Inclusive":
        return cents(amount * rate_percent / (HUNDRED + rate_percent))
    return cents(amount * rate_percent / HUNDRED)


def totals(
    lines: list[tuple[Decimal, Decimal]], line_amount_types: str
) -> tuple[Decimal, Decimal, Decimal]:
    """Sums (line amount, tax amount) pairs to (SubTotal, TotalTax, Total)."""
    amounts = sum((amount for amount, _ in lines), ZERO)
    tax = sum((tax for _, tax in lines), ZERO)
    if line_amount_types == "Inclusive":
        return amounts - tax, tax, amounts
    return amounts, tax, amounts + tax
