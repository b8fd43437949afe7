"""What keeps invoices from Xero, by cause, in the contracts' words."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from ops_dashboard.store.invoices import Tally
from pipeline_contracts.problems import PROBLEMS, ProblemCode

_KNOWN = frozenset(code.value for code in ProblemCode)


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause: how many invoices, how much money in each currency, and whose move it is."""

    code: str
    message: str
    hint: str
    mover: str
    invoices: int
    money: tuple[tuple[Decimal, str], ...]


def causes(tallies: Sequence[Tally]) -> list[Cause]:
    """The causes, that of most invoices first; a code that is newer than our contracts goes by its name."""
    grouped: dict[str, list[Tally]] = {}
    for tally in tallies:
        grouped.setdefault(tally.name, []).append(tally)
    found = [_cause(code, same) for code, same in grouped.items()]
    return sorted(found, key=lambda cause: (-cause.invoices, cause.code))


def _cause(code: str, same: Sequence[Tally]) -> Cause:
    count = sum(tally.invoices for tally in same)
    money = tuple((tally.total, tally.currency) for tally in same if tally.currency)
    if code not in _KNOWN:
        hint = "Open one of the invoices: it says what to do."
        return Cause(code, "A cause this dashboard has no words for yet.", hint, "", count, money)
    problem = PROBLEMS[ProblemCode(code)].render()
    mover = problem.mover.value.replace("_", " ")
    return Cause(code, problem.message, problem.hint, mover, count, money)
