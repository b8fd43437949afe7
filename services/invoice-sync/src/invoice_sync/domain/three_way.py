"""Three-way comparison of an invoice: what was last agreed, what Pipeline wants, what Xero has.

A snapshot is a flat mapping from a readable field path (``reference``, ``line 7: quantity``) to its canonical
text, holding only fields we own: payments, credit, sent flags and time stamps are not in it and so can never
be a difference. In Pipeline's snapshot ``None`` means "no opinion: Xero decides" (a tax type left to the
account, for example).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

Snapshot = Mapping[str, str | None]


class Plan(Enum):
    """What the comparison says to do."""

    IN_SYNC = "in_sync"
    """Pipeline and Xero are equal: Xero's state is the new base."""
    PUSH = "push"
    """Only Pipeline changed: write it to Xero."""
    KEEP_XERO = "keep_xero"
    """Only Xero changed: remember it, do not write over it."""
    CONFLICT = "conflict"
    """Both changed and differ, or Xero withdrew a document that Pipeline still wants: a person decides."""


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """One field on which Pipeline and Xero differ; ``None`` where a side lacks it."""

    field: str
    base: str | None
    pipeline: str | None
    xero: str | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The plan, and every field on which Pipeline and Xero differ now."""

    plan: Plan
    differences: tuple[FieldDifference, ...] = ()


STATUS = "status"
TOTAL = "total"
RATE = "currency_rate"
LIVE = "live"
WITHDRAWN = "withdrawn"
_TAX = ": tax_amount"
_FACTORS = (": quantity", ": unit_amount", ": discount_rate")


def compare(base: Snapshot | None, pipeline: Snapshot, xero: Snapshot) -> Comparison:
    """Compare the three.

    Args:
        base: The state both sides last agreed on; None when there never was one (then any difference between
            the two is a conflict, because nobody can say who changed it).
        pipeline: What Pipeline wants.
        xero: What Xero has.
    """
    ours = with_opinions(pipeline, base or {}, xero)
    differences = tuple(
        FieldDifference(path, (base or {}).get(path), ours.get(path), xero.get(path))
        for path in sorted(ours.keys() | xero.keys())
        if ours.get(path) != xero.get(path)
    )
    if not differences:
        return Comparison(Plan.IN_SYNC)
    if base is None or (xero.get(STATUS) == WITHDRAWN and ours.get(STATUS) != WITHDRAWN):
        return Comparison(Plan.CONFLICT, differences)
    return Comparison(_plan(base, ours, xero), differences)


def _plan(base: Snapshot, ours: Snapshot, xero: Snapshot) -> Plan:
    we_changed, they_changed = _differ(base, ours), _differ(base, xero)
    if we_changed and they_changed:
        return Plan.CONFLICT
    return Plan.PUSH if we_changed else Plan.KEEP_XERO


def with_opinions(pipeline: Snapshot, base: Snapshot, xero: Snapshot) -> Snapshot:
    """Pipeline's snapshot with "no opinion" replaced by what stands agreed, or else by what Xero chose.

    Tax left to Xero follows the amount of its line: where Pipeline changed that amount and Xero has the same one, the
    tax agreed for the former amount is none of Pipeline's opinion.
    """
    return {
        path: _opinion(path, pipeline, base, xero) if value is None else value
        for path, value in pipeline.items()
    }


def _opinion(path: str, pipeline: Snapshot, base: Snapshot, xero: Snapshot) -> str | None:
    if path.endswith(_TAX) and _is_amount_of_both(path.removesuffix(_TAX), pipeline, base, xero):
        return xero.get(path)
    return base.get(path, xero.get(path))


def _is_amount_of_both(line: str, pipeline: Snapshot, base: Snapshot, xero: Snapshot) -> bool:
    ours, agreed, theirs = (
        [side.get(line + factor) for factor in _FACTORS] for side in (pipeline, base, xero)
    )
    return ours == theirs != agreed


def _differ(one: Snapshot, other: Snapshot) -> bool:
    return any(one.get(path) != other.get(path) for path in one.keys() | other.keys())
