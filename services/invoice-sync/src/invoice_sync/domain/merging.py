"""Edits of both sides that do not touch each other, put together; and what an invoice of both hands must come to.

A unit is what is changed as a whole: quantity, price, discount, tax and item of one line belong together, because two
people who each changed one of them made an amount that neither has seen. The two dates belong together for the same
reason: one is reckoned from the other; and a rate to its currency. Every other field is a unit of its own. The total
follows from the lines.
"""

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal

from invoice_sync.domain.mapping import line_of, lines_of
from invoice_sync.domain.rounding import LineFigures, TotalRange, line_amount, possible_totals
from invoice_sync.domain.three_way import RATE, STATUS, TOTAL, Snapshot

AMOUNTS = frozenset(
    {"quantity", "unit_amount", "discount_rate", "tax_type", "tax_amount", "item_code"}
)
"""The fields of a line that make its amount."""
_PAIRS = {"issue_date": "dates", "due_date": "dates", RATE: "currency"}
# They give every amount its meaning.
_MEANING = frozenset({"currency", "amounts_are"})
_ABSENT = "\0"


def merge(base: Snapshot, ours: Snapshot, xero: Snapshot) -> Snapshot | None:
    """The invoice with the changes of both sides; None if they overlap and a person must decide.

    It does not matter which side is called ours. The total is left out: it follows from what is merged.

    Args:
        base: What both last agreed on.
        ours: What Pipeline wants, without open opinions.
        xero: What Xero has.
    """
    here, there = changed(base, ours), changed(base, xero)
    if STATUS in here | there or _is_unexplained(here) or _is_unexplained(there):
        return None
    differ = changed(ours, xero) - {TOTAL}
    shared = {_unit(path) for path in here} & {_unit(path) for path in there}
    if shared & {_unit(path) for path in differ}:
        return None
    if _shifts(here & differ, there) or _shifts(there & differ, here):
        return None
    if _are_alike(_added(base, ours, xero), _added(base, xero, ours)):
        return None
    merged = {path: (ours if path in here else xero).get(path, _ABSENT) for path in {*ours, *xero}}
    return {path: value for path, value in merged.items() if value != _ABSENT and path != TOTAL}


def target_of(base: Snapshot, ours: Snapshot, xero: Snapshot) -> Snapshot:
    """The invoice as a write is to leave it: both sides' changes, or Pipeline's alone where Xero has none."""
    merged = merge(base, ours, xero)
    return {**ours} if merged is None else merged


def reopened(
    base: Snapshot,
    agreed: Snapshot,
    wanted: Snapshot,
    observed: Snapshot,
    kept: Collection[str],
) -> Snapshot:
    """The base, with what a person decided as Pipeline's own again where Pipeline now changes it.

    A line that was left out of Xero neither comes back half nor silently, and a value that was kept from Xero is not
    written over: Pipeline changed it and Xero has another one, so a person decides anew. Where Pipeline says again
    what it said when the person chose, the choice stands; where it takes over Xero's value, there is nothing to decide.
    Another quantity beside a price that was kept makes an amount nobody has seen: that is for a person, too.

    Args:
        base: What both last agreed on, in Xero's words.
        agreed: The same as Pipeline said it.
        wanted: What Pipeline wants, in its own words.
        observed: What Xero has.
        kept: The fields on which a person chose Xero's value.
    """
    left_out = lines_of(agreed).keys() - lines_of(base).keys()
    both = [path for path in wanted.keys() & agreed.keys() if line_of(path) in left_out]
    again = {line_of(path) for path in both if wanted[path] != agreed[path]}
    opened = {path: agreed[path] for path in both if line_of(path) in again}
    if kept:
        moved = {_amount(path) for path in changed(agreed, wanted) & agreed.keys()}
        opened |= {
            path: agreed[path]
            for path in still_kept(kept, wanted, observed) & agreed.keys()
            if path != TOTAL
            and _amount(path) in moved
            # Xero went back to just that since: against it, what somebody did there would look like nothing.
            and agreed[path] != observed.get(path)
        }
    return {**base, **opened}


def still_kept(kept: Collection[str], wanted: Snapshot, observed: Snapshot) -> frozenset[str]:
    """Of the fields kept from Xero those on which Pipeline has another value, and says so, still."""
    return frozenset(
        path
        for path in kept
        if wanted.get(path, _ABSENT) not in {None, observed.get(path, _ABSENT)}
    )


def changed(before: Snapshot, after: Snapshot) -> frozenset[str]:
    """The paths that differ. An absent path is a line added or removed; None is a field left to Xero."""
    return frozenset(
        path
        for path in before.keys() | after.keys()
        if before.get(path, _ABSENT) != after.get(path, _ABSENT)
    )


def is_money(path: str) -> bool:
    """Whether the total follows from this field."""
    return path in _MEANING or is_amount(path)


def is_amount(path: str) -> bool:
    """Whether this is one of the fields that make the amount of a line."""
    return name_of(path) in AMOUNTS


def name_of(path: str) -> str:
    """The name of the field of a line; empty for a field of the invoice."""
    return path.rpartition(": ")[2] if path.startswith("line ") else ""


def _unit(path: str) -> str:
    return _PAIRS.get(path) or _amount(path)


def _amount(path: str) -> str:
    return f"{line_of(path)}: amounts" if is_amount(path) else path


def _is_unexplained(paths: Iterable[str]) -> bool:
    """A total that changed without its parts: nothing to put together."""
    found = set(paths)
    return TOTAL in found and not any(is_money(path) for path in found)


def _shifts(one: Iterable[str], other: Iterable[str]) -> bool:
    """Whether one side changed what the amounts mean while the other changed an amount."""
    return not _MEANING.isdisjoint(one) and any(is_amount(path) for path in other)


Line = Mapping[str, str | None]


def _added(base: Snapshot, side: Snapshot, other: Snapshot) -> list[Line]:
    known = lines_of(base).keys() | lines_of(other).keys()
    return [line for key, line in lines_of(side).items() if key not in known]


def _are_alike(ours: Iterable[Line], theirs: Iterable[Line]) -> bool:
    """Whether a line added on one side may be one added on the other: both would bill the same thing twice."""
    seen = list(theirs)
    return any(
        _words(one) == _words(other) or _price(one) == _price(other)
        for one in ours
        for other in seen
    )


def _words(line: Line) -> str:
    return (line.get("description") or "").casefold()


def _price(line: Line) -> tuple[str | None, str | None]:
    return line.get("quantity"), line.get("unit_amount")


def totals_of(snapshot: Snapshot, wanted: Snapshot, shown: Mapping[str, Decimal]) -> TotalRange:
    """What the invoice must come to in Xero.

    Where its amounts are Pipeline's alone that is Pipeline's total, to the cent; where lines are as somebody left
    them in Xero, what the lines come to.

    Args:
        snapshot: The invoice as it is to be in Xero.
        wanted: What Pipeline wants, in its own words.
        shown: The amounts of lines of Xero's own, as Xero shows them, by their keys.
    """
    total = wanted.get(TOTAL)
    if total is not None and not is_of_both(snapshot, wanted):
        return TotalRange(Decimal(total), Decimal(total))
    figures = [
        LineFigures(
            quantity=_decimal(line.get("quantity")) or Decimal(0),
            unit_amount=_decimal(line.get("unit_amount")) or Decimal(0),
            discount_rate=_decimal(line.get("discount_rate")),
            # Left to Xero, the tax of a line follows its amount: the last figure may be of another amount.
            tax_amount=_decimal(line.get("tax_amount"))
            if wanted.get(f"{key}: tax_amount", _ABSENT) is not None
            else None,
        )
        for key, line in lines_of(snapshot).items()
    ]
    possible = possible_totals(figures, snapshot.get("amounts_are") or "tax_exclusive")
    # A line of Xero's own may bear a discount as an amount (DiscountAmount), which no snapshot holds: Xero's own figure
    # tells it, and without that the line may come to anything from nothing to its whole price.
    ours = lines_of(wanted)
    lowest, highest = possible.lowest, possible.highest
    for key, each in zip(lines_of(snapshot), figures, strict=True):
        if key in ours or each.discount_rate:
            continue
        whole = line_amount(each)
        off = whole - shown[key] if key in shown else Decimal(0)
        lowest -= off if key in shown else max(whole, Decimal(0))
        highest -= off
    return TotalRange(lowest, highest)


def is_of_both(snapshot: Snapshot, wanted: Snapshot) -> bool:
    """Whether amounts are not those Pipeline wants: then its total cannot be Xero's."""
    if lines_of(snapshot).keys() != lines_of(wanted).keys():
        return True
    return any(
        value is not None and snapshot.get(path) != value
        for path, value in wanted.items()
        if is_money(path)
    )


def _decimal(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)
