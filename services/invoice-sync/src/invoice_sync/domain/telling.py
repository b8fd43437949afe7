"""Where Pipeline's invoice and Xero's differ, in words for whoever keeps the books: the total first, then one thing each.

Programs have the differences field by field; a person reads of a line as a whole.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from invoice_sync.domain.mapping import line_of
from invoice_sync.domain.merging import name_of
from invoice_sync.domain.three_way import STATUS, TOTAL, FieldDifference, Snapshot
from pipeline_contracts.money import plain_money

_NAMES = {
    STATUS: "the invoice",
    TOTAL: "the total",
    "invoice_number": "the number",
    "reference": "the reference",
    "contact": "the contact",
    "issue_date": "the date",
    "due_date": "the due date",
    "currency": "the currency",
    "currency_rate": "the exchange rate",
    "amounts_are": "how amounts relate to tax",
}
_NAMES_ON_LINES = {
    "description": "the description",
    "quantity": "the quantity",
    "unit_amount": "the price",
    "discount_rate": "the discount in percent",
    "account_code": "the account",
    "tax_type": "the tax rate",
    "tax_amount": "the tax",
    "item_code": "the item",
    "tracking": "the tracking",
}
_VALUES = {
    "live": "valid",
    "withdrawn": "void",
    "tax_exclusive": "before tax",
    "tax_inclusive": "including tax",
    "no_tax": "without tax",
}
_WORDED = frozenset({STATUS, "amounts_are"})
# A line may differ in all its fields: the first few tell which one it is and what happened to it.
_MOST_FIELDS = 3
_LONGEST_NAME = 40
_LONGEST_VALUE = 60


def total_first(differences: Iterable[FieldDifference]) -> list[FieldDifference]:
    """The same, fields of the invoice before those of lines, the total before all."""
    return sorted(differences, key=lambda each: (each.field != TOTAL, bool(line_of(each.field))))


def in_words(differences: Sequence[FieldDifference], ours: Snapshot) -> list[str]:
    """Each thing that differs in words: a field of the invoice, or a line, however many of its fields differ.

    Args:
        differences: Every field on which both sides differ.
        ours: Pipeline's side, which knows what the lines are called.
    """
    things: dict[str, list[FieldDifference]] = {}
    for each in total_first(differences):
        things.setdefault(line_of(each.field) or each.field, []).append(each)
    return [
        _of_line(key, found, ours) if line_of(found[0].field) else _of_field(found[0])
        for key, found in things.items()
    ]


def names_of(paths: Iterable[str], ours: Snapshot) -> str:
    """Fields in words, without their values."""
    return ", ".join(_name(path) + _place(path, ours) for path in paths)


def _of_line(key: str, fields: Sequence[FieldDifference], ours: Snapshot) -> str:
    by_name = {name_of(each.field): each for each in fields}
    described = by_name.get("description")
    # A line has a description on each side that has the line at all.
    if described is not None and described.pipeline is None:
        return (
            f"only Xero has the line {_line({name: each.xero for name, each in by_name.items()})}"
        )
    if described is not None and described.xero is None:
        return f"only Pipeline has the line {_line({name: each.pipeline for name, each in by_name.items()})}"
    told = [_of_field(each) for each in fields[:_MOST_FIELDS]]
    if more := len(fields) - len(told):
        told.append(f"and {more} more")
    return f"{', '.join(told)}{_place(f'{key}: ', ours)}"


def _line(fields: Mapping[str, str | None]) -> str:
    price = f" ({fields.get('quantity')} at {fields.get('unit_amount')})"
    is_priced = fields.get("quantity") and fields.get("unit_amount")
    return f"“{(fields.get('description') or '')[:_LONGEST_NAME]}”{price if is_priced else ''}"


def _of_field(difference: FieldDifference) -> str:
    name, ours, theirs = difference.field, difference.pipeline, difference.xero
    if name == "contact" and ours and theirs:
        return "the contact is another one in Xero than in Pipeline"
    if name == TOTAL and ours and theirs:
        one, other = Decimal(ours), Decimal(theirs)
        return (
            f"the total is {plain_money(one)} in Pipeline and {plain_money(other)} in Xero "
            f"(a difference of {plain_money(abs(other - one))})"
        )
    return f"{_name(name)} is {_shown(name, ours)} in Pipeline and {_shown(name, theirs)} in Xero"


def _name(path: str) -> str:
    return _NAMES_ON_LINES.get(name_of(path)) or _NAMES.get(path) or path


def _place(path: str, ours: Snapshot) -> str:
    key = line_of(path)
    if not key:
        return ""
    description = ours.get(f"{key}: description")
    return f" on the line “{description[:_LONGEST_NAME]}”" if description else f" on the {key}"


def _shown(name: str, value: str | None) -> str:
    if not value:
        return "not set"
    if name in _WORDED:
        return _VALUES.get(value, value)
    return f"“{value[:_LONGEST_VALUE]}”"
