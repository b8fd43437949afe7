"""Line items: what Xero fills in, recomputes, warns about and refuses."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from xero_simulator import messages, money
from xero_simulator.messages import RuleBroken
from xero_simulator.records import Account, Line, Organisation, TaxRate, Tracking
from xero_simulator.wire import Json

_MAX_DESCRIPTION = 4000
_MAX_TRACKING = 2


@dataclass(frozen=True, slots=True)
class LineRules:
    """Under which rules lines are read.

    Attributes:
        organisation: Whose accounts and tax rates apply.
        line_amount_types: Exclusive, Inclusive or NoTax.
        strict: Whether the document is (to be) approved; a draft only warns.
        unit_places: 2, or 4 with `unitdp=4`.
        sales: Whether items and tax defaults are those of a sale.
    """

    organisation: Organisation
    line_amount_types: str
    strict: bool
    unit_places: int
    new_id: Callable[[], str]
    sales: bool = True


def read_lines(
    payload: object, kept: Iterable[Line], rules: LineRules
) -> tuple[tuple[Line, ...], list[str]]:
    """Applies the LineItems of a request to the lines a document has.

    A line with a known LineItemID updates that line, one without is new, one left out is removed;
    new lines sort before kept ones (Xero-NetStandard issue 374).

    Returns:
        The document's lines and the warnings to report.

    Raises:
        RuleBroken: Some line cannot be accepted.
    """
    if not isinstance(payload, list):
        raise RuleBroken(messages.FIELD_INVALID.format(field="LineItems", value=payload))
    known = {line.line_id: line for line in kept}
    fresh: list[Line] = []
    updated: list[Line] = []
    warnings: list[str] = []
    broken: list[str] = []
    for element in payload:
        if not isinstance(element, dict):
            raise RuleBroken(messages.FIELD_INVALID.format(field="LineItems", value=element))
        base = known.pop(str(element.get("LineItemID") or "").lower(), None)
        try:
            line, notes = _read_line(element, base, rules)
        except RuleBroken as refusal:
            broken.extend(refusal.messages)
            continue
        warnings.extend(notes)
        (fresh if base is None else updated).append(line)
    if broken:
        raise RuleBroken(*dict.fromkeys(broken))
    return tuple(fresh + updated), warnings


def recompute(lines: Iterable[Line], rules: LineRules) -> tuple[Line, ...]:
    """Recomputes tax after LineAmountTypes changed without new lines."""
    return tuple(
        replace(line, tax_amount=_tax(line.line_amount, line.tax_type, rules)) for line in lines
    )


def _read_line(element: Json, base: Line | None, rules: LineRules) -> tuple[Line, list[str]]:
    line = base or Line(line_id=rules.new_id())
    line = _with_item(line, element, rules)
    line = replace(
        line,
        description=_text(element, "Description", line.description),
        account_code=_text(element, "AccountCode", line.account_code),
        tax_type=_text(element, "TaxType", line.tax_type),
        tracking=_tracking(element, line, rules),
    )
    if len(line.description) > _MAX_DESCRIPTION:
        raise RuleBroken(messages.DESCRIPTION_LENGTH)
    line = _amounts(element, line, base, rules)
    if line.quantity is None and line.unit_amount is None and not line.line_amount:
        # A line of text only: neither account nor tax.
        return line, []
    if rules.strict and not line.description:
        raise RuleBroken(messages.DESCRIPTION_REQUIRED)
    return _coded(element, line, rules)


def _text(element: Json, name: str, default: str) -> str:
    value = element.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise RuleBroken(messages.FIELD_INVALID.format(field=name, value=value))
    return value


def _number(element: Json, name: str) -> Decimal | None:
    try:
        return money.parse_amount(element.get(name))
    except ValueError as error:
        text = messages.FIELD_INVALID.format(field=name, value=element.get(name))
        raise RuleBroken(text) from error


def _with_item(line: Line, element: Json, rules: LineRules) -> Line:
    code = _text(element, "ItemCode", line.item_code)
    if not code or code == line.item_code:
        return line
    item = rules.organisation.items.get(code)
    if item is None:
        raise RuleBroken(messages.ITEM_UNKNOWN.format(code=code))
    return replace(
        line,
        item_code=code,
        description=item.description,
        unit_amount=item.unit_price,
        account_code=item.account_code,
        tax_type=item.tax_type,
    )


def _amounts(element: Json, line: Line, base: Line | None, rules: LineRules) -> Line:
    quantity = _number(element, "Quantity")
    unit = _number(element, "UnitAmount")
    given = _number(element, "LineAmount")
    rate = _number(element, "DiscountRate")
    discount = _number(element, "DiscountAmount")
    quantity = line.quantity if quantity is None else money.round_to(quantity, 4)
    unit = line.unit_amount if unit is None else money.round_to(unit, rules.unit_places)
    rate = line.discount_rate if rate is None else rate
    discount = line.discount_amount if discount is None else discount
    if quantity is None and (unit is not None or given is not None):
        quantity = Decimal(1)
    if unit is None and given is not None and quantity:
        unit = money.round_to(given / quantity, rules.unit_places)
    if quantity is None or unit is None:
        return replace(line, quantity=quantity, unit_amount=unit)
    expected = money.line_amount(quantity, unit, rate, discount)
    unchanged = base is not None and (quantity, unit, rate, discount) == (
        base.quantity,
        base.unit_amount,
        base.discount_rate,
        base.discount_amount,
    )
    if given is not None and money.cents(given) != expected and not unchanged:
        raise RuleBroken(
            messages.LINE_TOTAL.format(given=f"{money.cents(given)}", expected=f"{expected}")
        )
    return replace(
        line,
        quantity=quantity,
        unit_amount=unit,
        discount_rate=rate,
        discount_amount=discount,
        line_amount=expected,
    )


def _coded(element: Json, line: Line, rules: LineRules) -> tuple[Line, list[str]]:
    account, warnings = _account(line.account_code, rules)
    if account is None:
        line = replace(line, account_code="")
    tax_type = line.tax_type or (account.tax_type if account else "")
    if rules.line_amount_types == "NoTax":
        tax_type = "NONE"
    if tax_type:
        _check_tax(tax_type, account, line, rules)
    line = replace(line, tax_type=tax_type)
    override = _number(element, "TaxAmount")
    if override is not None and rules.line_amount_types != "NoTax":
        return replace(line, tax_amount=money.cents(override)), warnings
    return replace(line, tax_amount=_tax(line.line_amount, tax_type, rules)), warnings


def _account(code: str, rules: LineRules) -> tuple[Account | None, list[str]]:
    if not code:
        if rules.strict:
            raise RuleBroken(messages.ACCOUNT_REQUIRED)
        return None, []
    account = rules.organisation.accounts.get(code)
    if account is None or account.type == "BANK" or account.system_account:
        if rules.strict:
            raise RuleBroken(messages.ACCOUNT_INVALID.format(code=code))
        return None, [messages.ACCOUNT_REMOVED.format(code=code)]
    if account.status != "ACTIVE":
        raise RuleBroken(messages.ACCOUNT_ARCHIVED.format(code=code))
    return account, []


def _check_tax(tax_type: str, account: Account | None, line: Line, rules: LineRules) -> None:
    rate = rules.organisation.tax_rates.get(tax_type)
    fits = rate is not None and rate.status == "ACTIVE" and _fits(rate, account)
    if not fits:
        raise RuleBroken(messages.TAX_INVALID.format(tax_type=tax_type, code=line.account_code))


def _fits(rate: TaxRate, account: Account | None) -> bool:
    return account is None or account.class_ in rate.classes


def _tax(amount: Decimal, tax_type: str, rules: LineRules) -> Decimal:
    rate = rules.organisation.tax_rates.get(tax_type)
    percent = rate.rate if rate else money.ZERO
    return money.tax_of(amount, percent, rules.line_amount_types)


def _tracking(element: Json, line: Line, rules: LineRules) -> tuple[Tracking, ...]:
    choices: Any = element.get("Tracking")
    if choices is None:
        return line.tracking
    if not isinstance(choices, list):
        raise RuleBroken(messages.FIELD_INVALID.format(field="Tracking", value=choices))
    if len(choices) > _MAX_TRACKING:
        raise RuleBroken(messages.TRACKING_LIMIT)
    return tuple(_choice(choice, rules.organisation) for choice in choices)


def _choice(choice: Any, organisation: Organisation) -> Tracking:
    wanted: Json = choice if isinstance(choice, dict) else {}
    for category in organisation.tracking.values():
        if wanted.get("TrackingCategoryID") == category.category_id or (
            str(wanted.get("Name", "")).lower() == category.name.lower()
        ):
            for option_id, option in category.options:
                if wanted.get("TrackingOptionID") == option_id or (
                    str(wanted.get("Option", "")).lower() == option.lower()
                ):
                    return Tracking(category.category_id, category.name, option_id, option)
    name = f"{wanted.get('Name')}: {wanted.get('Option')}"
    raise RuleBroken(messages.TRACKING_UNKNOWN.format(name=name))
