"""Pipeline's codes and Xero's: what a line's codes are called in Xero, and whether Xero has them.

A code without a mapping is the same in both. Xero's lists are kept from the last time they were read; only a fresh
one may stop an invoice. Where none can be had, Xero decides.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

from invoice_sync.domain import freshness
from invoice_sync.domain.account_settings import AccountSettings
from invoice_sync.domain.freshness import Standing
from invoice_sync.domain.locks import LockDates
from invoice_sync.domain.mapping import amounts_are
from invoice_sync.domain.rounding import LineFigures, line_amount
from invoice_sync.domain.xero_messages import place_of
from pipeline_contracts.invoice import Invoice, InvoiceLine, TrackingOption
from pipeline_contracts.problems import ProblemCode
from pipeline_xero.json_forms import flag, members, number, text


class CodeKind(StrEnum):
    """The four kinds of codes a line names. A tracking code is spelt ``Category: Option``."""

    ACCOUNT = "account"
    TAX = "tax"
    TRACKING = "tracking"
    ITEM = "item"


PROBLEM_OF = {
    CodeKind.ACCOUNT: ProblemCode.ACCOUNT_NOT_MAPPED,
    CodeKind.TAX: ProblemCode.TAX_NOT_MAPPED,
    CodeKind.TRACKING: ProblemCode.TRACKING_NOT_MAPPED,
    CodeKind.ITEM: ProblemCode.ITEM_NOT_MAPPED,
}
_FACT_OF = {
    CodeKind.ACCOUNT: "account_code",
    CodeKind.TAX: "tax_code",
    CodeKind.TRACKING: "tracking",
    CodeKind.ITEM: "item_code",
}
_CLASSES = {
    "ASSET": "CanApplyToAssets",
    "EQUITY": "CanApplyToEquity",
    "EXPENSE": "CanApplyToExpenses",
    "LIABILITY": "CanApplyToLiabilities",
    "REVENUE": "CanApplyToRevenue",
}
# The ledgers Xero keeps itself; no line of an invoice can name them, nor a bank account.
_OWN_LEDGERS = frozenset({"DEBTORS", "CREDITORS"})
_SEPARATOR = ": "
NO_TAX = "NONE"
_MOST_NAMED = 5
_ALIKE = 0.5


@dataclass(frozen=True, slots=True)
class CodeList:
    """The usable codes of one kind as last read, in lower case: an account with its class, a tax with its classes."""

    entries: Mapping[str, tuple[str, ...]]
    read_at: datetime
    tried_at: datetime
    rates: Mapping[str, Decimal] = field(default_factory=dict)
    """The rate of each tax in percent, where it has one that can be reckoned with."""

    def standing(self, now: datetime) -> Standing:
        """How far the list may be believed at ``now``."""
        return freshness.standing(self.read_at, self.tried_at, now)


@dataclass(frozen=True, slots=True)
class CodeListing:
    """A kind of codes as just read: the usable ones, and for taxes their rates."""

    entries: Mapping[str, tuple[str, ...]]
    rates: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which settings, code mappings and lists an account's invoices go to Xero."""

    settings: AccountSettings
    default_account_code: str
    """Xero's account of lines that name none: the account's own choice, or the service's."""
    mappings: Mapping[tuple[CodeKind, str], str] = field(default_factory=dict)
    lists: Mapping[CodeKind, CodeList] = field(default_factory=dict)
    base_currency: str | None = None
    """The organisation's own currency, where it is known: Xero keeps its rate at 1."""
    locks: LockDates | None = None
    """Its lock dates; None while they were never read."""

    def xero_code(self, kind: CodeKind, code: str) -> str:
        """Xero's word for Pipeline's code; for no code, the default."""
        if code:
            return self.mappings.get((kind, code), code)
        if kind is CodeKind.ACCOUNT:
            return self.default_account_code
        return self.settings.default_tax_type or "" if kind is CodeKind.TAX else ""

    def tax_rate(self, line: InvoiceLine) -> Decimal | None:
        """The rate of the tax that a line names by Xero's word; None where nothing is named or known."""
        if line.tax_code == NO_TAX:
            return Decimal(0)
        known = self.lists.get(CodeKind.TAX)
        return known.rates.get((line.tax_code or "").casefold()) if known else None


@dataclass(frozen=True, slots=True)
class Unmapped:
    """A code on a line that Xero cannot use: its cause, the facts its sentence names, and what would release it."""

    kind: CodeKind
    facts: Mapping[str, str]
    fixes: tuple[str, ...]

    @property
    def code(self) -> ProblemCode:
        """The cause."""
        return PROBLEM_OF[self.kind]


@dataclass(frozen=True, slots=True)
class _Use:
    """One code of one line: Pipeline's word (empty: the default's place) and Xero's."""

    kind: CodeKind
    code: str
    xero_code: str
    place: str

    @property
    def told(self) -> str:
        if not self.code:
            return f"{self.xero_code} (the default) {self.place}"
        renamed = f" (in Xero {self.xero_code})" if self.xero_code != self.code else ""
        return f"{self.code}{renamed} {self.place}"


def in_xeros_codes(body: Invoice, terms: Terms, number_prefix: str) -> Invoice:
    """The invoice as it is to be in Xero: its codes by Xero's names, its number with its prefix.

    The very same object where nothing changes. The default account is not put in: Pipeline then has no opinion. Of the
    rate of the organisation's own currency nobody has one.
    """
    has_default_tax = _takes_default_tax(body, terms.settings)
    lines = tuple(_line(line, terms, has_default_tax=has_default_tax) for line in body.lines)
    number = body.invoice_number
    if number.strip():
        number = number_prefix + number
    rate = None if body.currency == terms.base_currency else body.currency_rate
    changes = {"lines": lines, "invoice_number": number, "currency_rate": rate}
    if all(getattr(body, name) == value for name, value in changes.items()):
        return body
    return body.model_copy(update=changes)


def _line(line: InvoiceLine, terms: Terms, *, has_default_tax: bool) -> InvoiceLine:
    tax_code = line.tax_code or ("" if has_default_tax else None)
    changes: dict[str, object] = {
        "account_code": line.account_code and terms.xero_code(CodeKind.ACCOUNT, line.account_code),
        "tax_code": line.tax_code if tax_code is None else terms.xero_code(CodeKind.TAX, tax_code),
        "item_code": line.item_code and terms.xero_code(CodeKind.ITEM, line.item_code),
        "tracking": tuple(_option(each, terms) for each in line.tracking),
    }
    if all(getattr(line, name) == value for name, value in changes.items()):
        return line
    return line.model_copy(update=changes)


def _option(option: TrackingOption, terms: Terms) -> TrackingOption:
    code = tracking_code(option.category, option.option)
    found = terms.xero_code(CodeKind.TRACKING, code)
    if found == code:
        return option
    category, _, name = found.partition(_SEPARATOR)
    return TrackingOption(category=category, option=name)


def tracking_code(category: str, option: str) -> str:
    """A tracking category and its option as one code."""
    return f"{category}{_SEPARATOR}{option}"


def is_tracking_code(code: str) -> bool:
    """Whether the code names a category and an option."""
    category, _, option = code.partition(_SEPARATOR)
    return bool(category.strip() and option.strip())


def _takes_default_tax(body: Invoice, settings: AccountSettings) -> bool:
    """Whether the lines without a tax get the default one.

    An invoice of amounts before tax whose total is the sum of its lines carries none. A default tax would be added
    on top, and the customer would owe more than Pipeline's total.
    """
    if not settings.default_tax_type or body.amounts_are == "no_tax":
        return False
    if amounts_are(body) != "no_tax":
        return True
    return body.total != sum(
        line_amount(LineFigures(each.quantity, each.unit_amount, each.discount_rate, None))
        for each in body.lines
    )


def unmapped(body: Invoice, terms: Terms) -> Iterator[Unmapped]:
    """The codes on Pipeline's invoice that Xero's lists lack; a kind whose list was never read finds nothing."""
    for position, line in enumerate(body.lines, 1):
        place = place_of(line, position)
        account = _Use(
            CodeKind.ACCOUNT,
            line.account_code or "",
            terms.xero_code(CodeKind.ACCOUNT, line.account_code or ""),
            place,
        )
        tax = _tax_use(body, line, terms, place)
        named = [account, *([tax] if tax else []), *_others(line, terms, place)]
        for use in named:
            fixes = _fixes(use, account, terms)
            if fixes:
                yield Unmapped(use.kind, {_FACT_OF[use.kind]: use.told}, fixes)


def _tax_use(body: Invoice, line: InvoiceLine, terms: Terms, place: str) -> _Use | None:
    code = line.tax_code or ""
    is_default = not code and _takes_default_tax(body, terms.settings)
    if amounts_are(body) == "no_tax" and not is_default:
        return None  # whatever it names, Xero is told that there is no tax
    if not code and not is_default:
        return None
    return _Use(CodeKind.TAX, code, terms.xero_code(CodeKind.TAX, code), place)


def _others(line: InvoiceLine, terms: Terms, place: str) -> Iterator[_Use]:
    for each in line.tracking:
        code = tracking_code(each.category, each.option)
        yield _Use(CodeKind.TRACKING, code, terms.xero_code(CodeKind.TRACKING, code), place)
    if line.item_code:
        found = terms.xero_code(CodeKind.ITEM, line.item_code)
        yield _Use(CodeKind.ITEM, line.item_code, found, place)


def _fixes(use: _Use, account: _Use, terms: Terms) -> tuple[str, ...]:
    """What would make the code usable; empty when it is, or when nobody can tell."""
    known = terms.lists.get(use.kind)
    if known is None or use.xero_code == NO_TAX:
        return ()
    entry = known.entries.get(use.xero_code.casefold())
    if entry is None:
        return (fix(use.kind, use.code),)
    if use.kind is not CodeKind.TAX or CodeKind.ACCOUNT not in terms.lists:
        return ()
    classes = terms.lists[CodeKind.ACCOUNT].entries.get(account.xero_code.casefold()) or ()
    if not classes or not entry or set(classes) & set(entry):
        return ()
    return (fix(use.kind, use.code), fix(account.kind, account.code))


def fix(kind: CodeKind, code: str) -> str:
    """The name under which invoices wait for this code of Pipeline's (empty: for the default) to become usable."""
    return f"{kind}:{code}"


def candidates(body: Invoice, code: str, named: Mapping[str, str], terms: Terms) -> tuple[str, ...]:
    """What may release an invoice that Xero itself refused for a code.

    Args:
        body: The invoice in Pipeline's words.
        code: The cause Xero's message was read as.
        named: The facts its message names.
        terms: The account's terms.
    """
    kinds = {kind for kind, problem in PROBLEM_OF.items() if problem == code}
    if CodeKind.TAX in kinds:
        kinds.add(CodeKind.ACCOUNT)
    uses = [use for use in _uses(body, terms) if use.kind in kinds]
    hit = [use for use in uses if use.xero_code == named.get(_FACT_OF[use.kind])]
    return tuple(sorted({fix(use.kind, use.code) for use in hit or uses}))


def _uses(body: Invoice, terms: Terms) -> Iterator[_Use]:
    for line in body.lines:
        code = line.account_code or ""
        yield _Use(CodeKind.ACCOUNT, code, terms.xero_code(CodeKind.ACCOUNT, code), "")
        if tax := _tax_use(body, line, terms, ""):
            yield tax
        yield from _others(line, terms, "")


def newly_usable(
    waited_for: Iterable[str],
    terms: Terms,
    found: Mapping[CodeKind, CodeListing],
) -> list[str]:
    """Which of these fixes a reading of Xero's lists brought: there now, and not so at the reading before.

    What Xero refused although its list had the code is not released again and again by the same list.
    """
    fixed = []
    for name in sorted(set(waited_for)):
        word, _, code = name.partition(":")
        kind = CodeKind(word)
        key = terms.xero_code(kind, code).casefold()
        before = terms.lists[kind].entries.get(key) if kind in terms.lists else None
        after = found[kind].entries.get(key) if kind in found else None
        if after is not None and after != before:
            fixed.append(name)
    return fixed


def listing_of(kind: CodeKind, listed: Sequence[Mapping[str, Any]]) -> CodeListing:
    """What Xero answered, read.

    Raises:
        UnexpectedAnswer: It cannot be read.
    """
    rates = rates_of(listed) if kind is CodeKind.TAX else {}
    return CodeListing(entries_of(kind, listed), rates)


def entries_of(kind: CodeKind, listed: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """The usable codes among the elements Xero answered ("Accounts", "TaxRates", "TrackingCategories", "Items").

    Raises:
        UnexpectedAnswer: They cannot be read.
    """
    return {code.casefold(): classes for code, classes in _usable(kind, listed)}


def nearest(kind: CodeKind, listed: Iterable[Mapping[str, Any]], wanted: str) -> list[str]:
    """Some of Xero's usable codes as Xero spells them, those most like the wanted one first.

    Raises:
        UnexpectedAnswer: They cannot be read.
    """
    spelt = {code.casefold(): code for code, _ in _usable(kind, listed)}
    alike = get_close_matches(wanted.casefold(), spelt, _MOST_NAMED, _ALIKE)
    others = [each for each in sorted(spelt) if each not in alike]
    return [spelt[each] for each in (*alike, *others)][:_MOST_NAMED]


def why_unusable(kind: CodeKind, listed: Iterable[Mapping[str, Any]], wanted: str) -> str | None:
    """Why no line of an invoice can name a code that Xero has; None if one can, or if Xero has no such code.

    A bank account is only paid from and into ("Accounts": type BANK), and two ledgers Xero keeps itself.

    Raises:
        UnexpectedAnswer: They cannot be read.
    """
    if kind is not CodeKind.ACCOUNT:
        return None
    for each in listed:
        if (text(each, "Code") or "").casefold() != wanted.casefold():
            continue
        if text(each, "Type") == "BANK":
            return "is a bank account, which cannot be used on the lines of an invoice"
        if text(each, "SystemAccount") in _OWN_LEDGERS:
            return "is kept by Xero itself and cannot be used on the lines of an invoice"
    return None


def _usable(
    kind: CodeKind, listed: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for each in listed:
        if text(each, "Status") in {None, "ACTIVE"}:
            yield from _ENTRIES[kind](each)


def rates_of(listed: Iterable[Mapping[str, Any]]) -> dict[str, Decimal]:
    """The rates among the elements of "TaxRates", in percent.

    A tax of several components is left out: whether each is rounded by itself is nowhere said.

    Raises:
        UnexpectedAnswer: They cannot be read.
    """
    rates: dict[str, Decimal] = {}
    for each in listed:
        code, rate = text(each, "TaxType"), number(each, "EffectiveRate")
        components = members(each.get("TaxComponents") or [], "TaxComponents")
        if code and rate is not None and rate >= 0 and len(components) <= 1:
            rates[code.casefold()] = rate
    return rates


_Entries = Iterator[tuple[str, tuple[str, ...]]]


def _account_entries(source: Mapping[str, Any]) -> _Entries:
    code = text(source, "Code")
    if (
        code
        and text(source, "Type") != "BANK"
        and text(source, "SystemAccount") not in _OWN_LEDGERS
    ):
        class_ = text(source, "Class")
        yield code, (class_,) if class_ else ()


def _tax_entries(source: Mapping[str, Any]) -> _Entries:
    if code := text(source, "TaxType"):
        yield code, tuple(name for name, key in _CLASSES.items() if flag(source, key) is not False)


def _tracking_entries(source: Mapping[str, Any]) -> _Entries:
    category = text(source, "Name")
    for option in members(source.get("Options") or [], "Options"):
        name = text(option, "Name")
        if category and name and text(option, "Status") in {None, "ACTIVE"}:
            yield tracking_code(category, name), ()


def _item_entries(source: Mapping[str, Any]) -> _Entries:
    if code := text(source, "Code"):
        yield code, ()


_ENTRIES = {
    CodeKind.ACCOUNT: _account_entries,
    CodeKind.TAX: _tax_entries,
    CodeKind.TRACKING: _tracking_entries,
    CodeKind.ITEM: _item_entries,
}
