"""Money, quantities and rates: `Decimal` inside, plain strings on the wire.

JSON numbers are read too, because other writers send them, but only where no digit can have been lost
on the way through a binary float.
"""

import math
import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

WHOLE_DIGITS = 15
"""Digits allowed before the decimal point: beyond a quadrillion it is a mistake, not an amount."""

DECIMAL_PLACES = 10
"""Digits allowed after the decimal point (Xero keeps 4 for unit amounts and 6 for rates)."""

_LIMIT = Decimal(10) ** WHOLE_DIGITS
_SMALLEST = Decimal(1).scaleb(-DECIMAL_PLACES)
_PATTERN = rf"^-?[0-9]{{1,{WHOLE_DIGITS}}}(\.[0-9]{{1,{DECIMAL_PLACES}}})?$"
_PLAIN = re.compile(_PATTERN)
# A double holds any decimal of 15 significant digits exactly enough to print it back; of 16 it may not.
_SAFE_FLOAT_DIGITS = 15
_FIX = (
    f'send a plain decimal string such as "120.50": at most {WHOLE_DIGITS} digits before the point '
    f"and {DECIMAL_PLACES} after it, no exponent"
)


def _read(value: object) -> Decimal:
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) is None:
            raise ValueError(f"not a plain decimal number; {_FIX}")
        return Decimal(value)
    # bool is an int to Python; an amount of `true` is a bug of the writer.
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError(f"not a number; {_FIX}")  # noqa: TRY004 - pydantic reports ValueError only
    if isinstance(value, float):
        return _bounded(_from_float(value))
    return _bounded(Decimal(value))


def _from_float(value: float) -> Decimal:
    if not math.isfinite(value):
        raise ValueError(f"not a finite number; {_FIX}")
    number = Decimal(repr(value))
    if len(number.normalize().as_tuple().digits) > _SAFE_FLOAT_DIGITS:
        raise ValueError(f"too many digits for a JSON number, some may be lost; {_FIX}")
    return number


def _bounded(number: Decimal) -> Decimal:
    if not number.is_finite():
        raise ValueError(f"not a finite number; {_FIX}")
    if abs(number) >= _LIMIT:
        raise ValueError(f"out of bounds; {_FIX}")
    # Comparing by remainder would round under the default context; the exponent cannot lie.
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -DECIMAL_PLACES and number != 0:
        places = number.quantize(_SMALLEST)
        if places != number:
            raise ValueError(f"too many decimal places; {_FIX}")
        return places
    return number


def plain_quantity(number: Decimal) -> str:
    """The one spelling of a number: no exponent, no trailing zeros, no negative zero."""
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def plain_money(number: Decimal) -> str:
    """The one spelling of an amount: as `plain_quantity`, with at least two decimal places."""
    whole, _, places = plain_quantity(number).partition(".")
    return f"{whole}.{places.ljust(2, '0')}"


_WIRE: dict[str, Any] = {"type": "string", "pattern": _PATTERN}
_ACCEPTED: dict[str, Any] = {
    "anyOf": [
        _WIRE,
        {
            "type": "number",
            "exclusiveMinimum": -(10**WHOLE_DIGITS),
            "exclusiveMaximum": 10**WHOLE_DIGITS,
        },
    ]
}

Money = Annotated[
    Decimal,
    PlainValidator(_read),
    PlainSerializer(plain_money, return_type=str, when_used="json"),
    WithJsonSchema(_ACCEPTED, mode="validation"),
    WithJsonSchema(_WIRE, mode="serialization"),
]
"""An amount of money in the currency its event names, e.g. `"120.50"` on the wire."""

Quantity = Annotated[
    Decimal,
    PlainValidator(_read),
    PlainSerializer(plain_quantity, return_type=str, when_used="json"),
    WithJsonSchema(_ACCEPTED, mode="validation"),
    WithJsonSchema(_WIRE, mode="serialization"),
]
"""A quantity, percentage or exchange rate, e.g. `"2.5"` on the wire."""
