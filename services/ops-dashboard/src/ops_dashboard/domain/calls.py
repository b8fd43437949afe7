"""How many calls Xero still takes of an organisation today, as far as anybody can say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls left today, of how many a day."""

    left: int
    a_day: int


def calls_of(budget: Mapping[str, Any]) -> Calls | None:
    """What invoice-sync answered; None while Xero has not said it, or where the answer cannot be that."""
    left, a_day = budget.get("calls_left_today"), budget.get("calls_a_day")
    if type(left) is not int or type(a_day) is not int or not 0 <= left <= a_day:
        return None
    return Calls(left, a_day)
