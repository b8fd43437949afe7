"""Comparing an account's books as a whole: when, what one invoice in Xero shows, and what it all comes to."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final
from urllib.parse import unquote

from invoice_sync.domain import mapping
from invoice_sync.domain.currencies import NO_CURRENCY
from invoice_sync.domain.state import WAITING, Link, State
from invoice_sync.domain.three_way import STATUS, TOTAL, WITHDRAWN
from pipeline_contracts.money import WHOLE_DIGITS, plain_money
from pipeline_contracts.reconciled import Finding, LedgerTotal, StateTotal
from pipeline_xero.documents import XeroInvoice

SCHEDULE: Final = "schedule"
NOT_LINKED: Final = "not_linked"
LEFT_BEHIND: Final = "left_behind"
"""Stands for the state of invoices that are in an organisation the account was connected to before."""
PATIENCE: Final = timedelta(minutes=5)
"""How long a step lets invoices go first; an account that never rests is compared all the same, a page each time."""
PAGE_SIZE: Final = 1_000
"""The most invoices Xero shows at once (developer.xero.com, "Invoices", paging)."""
WORD_TAKES: Final = timedelta(minutes=10)
"""How long word of a change in Xero may take: its webhooks come within minutes, and a sweep finds what they miss."""
_SMALLEST_PAGE: Final = 10
_JITTER: Final = 0.02
# What events can tell (pipeline_contracts.money).
_LIMIT: Final = Decimal(10) ** WHOLE_DIGITS


class Verdict(StrEnum):
    """What Xero shows of one invoice of ours."""

    LIVE = "live"
    WITHDRAWN = "withdrawn"
    GONE = "gone"
    UNREADABLE = "unreadable"


class FindingKind(StrEnum):
    """What may not be as it should."""

    GONE = "gone_from_xero"
    CHANGED = "changed_in_xero"
    EDITED = "edited_in_xero"
    KEPT = "kept_in_xero"
    DOUBLED = "doubled_in_xero"
    UNKNOWN = "unknown_in_xero"
    LIVE_THOUGH_VOIDED = "live_though_voided"
    UNREADABLE = "unreadable_in_xero"
    OVERDUE = "overdue"
    NEVER_DUE = "never_due"
    SYNCING_WITHOUT_WRITE = "syncing_without_write"
    WRITE_WITHOUT_INVOICE = "write_without_invoice"
    WAITS_THOUGH_MAPPED = "waits_though_mapped"
    WAITS_THOUGH_CONNECTED = "waits_though_connected"
    WITHOUT_REASON = "without_reason"
    SETTLED_WITHOUT_LINK = "settled_without_link"


_RETRY = "Retry the invoices named; if that does not help, tell support."
_SUPPORT = "Tell support, naming the reconciliation: this must not happen."
# Of each kind: what is said of one, what is said of several, and the next step.
_WORDS: Final[Mapping[FindingKind, tuple[str, str, str]]] = {
    FindingKind.GONE: (
        "invoice that was synced is no longer in Xero.",
        "invoices that were synced are no longer in Xero.",
        "Each says itself whose move it is: void it in Pipeline too, or issue a new invoice.",
    ),
    FindingKind.CHANGED: (
        "invoice was changed in Xero without our hearing of it.",
        "invoices were changed in Xero without our hearing of it.",
        "Nothing to do: each is compared again, and says so if Pipeline and Xero conflict.",
    ),
    FindingKind.EDITED: (
        "synced invoice was edited in Xero and is not the same as in Pipeline.",
        "synced invoices were edited in Xero and are not the same as in Pipeline.",
        "Make the same change in Pipeline, or undo it in Xero. Until then Pipeline's version is not pushed over it.",
    ),
    FindingKind.KEPT: (
        "synced invoice is not the same as in Pipeline, because somebody chose to keep Xero's version.",
        "synced invoices are not the same as in Pipeline, because somebody chose to keep Xero's version.",
        "Take Xero's version over into Pipeline; the event SyncResumed carries it.",
    ),
    FindingKind.DOUBLED: (
        "live invoice in Xero is a second one of an invoice of Pipeline's.",
        "live invoices in Xero are second ones of invoices of Pipeline's.",
        "Void the one in Xero that carries no payment and that Pipeline does not link to, and tell support.",
    ),
    FindingKind.UNKNOWN: (
        "live invoice in Xero carries Pipeline's mark and belongs to no invoice here.",
        "live invoices in Xero carry Pipeline's mark and belong to no invoice here.",
        "If it was copied in Xero, nothing to do; if it is an invoice of Pipeline's, link it by an import.",
    ),
    FindingKind.LIVE_THOUGH_VOIDED: (
        "invoice is voided in Pipeline and live in Xero.",
        "invoices are voided in Pipeline and live in Xero.",
        "Void it in Xero, or issue a new invoice in Pipeline.",
    ),
    FindingKind.UNREADABLE: (
        "invoice could not be read in Xero.",
        "invoices could not be read in Xero.",
        "Nothing to do: the next reconciliation reads them again. If it lasts, tell support.",
    ),
    FindingKind.OVERDUE: (
        "invoice has been due for more than an hour and was not taken up.",
        "invoices have been due for more than an hour and were not taken up.",
        "Nothing to do while a long backlog is being sent; otherwise tell support.",
    ),
    FindingKind.NEVER_DUE: (
        "invoice waits for its turn and has none.",
        "invoices wait for their turn and have none.",
        _RETRY,
    ),
    FindingKind.SYNCING_WITHOUT_WRITE: (
        "invoice counts as being sent, and there is no write that carries it.",
        "invoices count as being sent, and there is no write that carries them.",
        _RETRY,
    ),
    FindingKind.WRITE_WITHOUT_INVOICE: (
        "write to Xero is open and carries nothing.",
        "writes to Xero are open and carry nothing.",
        _SUPPORT,
    ),
    FindingKind.WAITS_THOUGH_MAPPED: (
        "invoice waits for a contact that its customer has.",
        "invoices wait for contacts that their customers have.",
        _RETRY,
    ),
    FindingKind.WAITS_THOUGH_CONNECTED: (
        "invoice waits for a connection that is there.",
        "invoices wait for a connection that is there.",
        _RETRY,
    ),
    FindingKind.WITHOUT_REASON: (
        "invoice is not in Xero and cannot say why.",
        "invoices are not in Xero and cannot say why.",
        _RETRY,
    ),
    FindingKind.SETTLED_WITHOUT_LINK: (
        "invoice counts as being in Xero, and it is not known which one it is there.",
        "invoices count as being in Xero, and it is not known which ones they are there.",
        "Link them by an import; if that does not help, tell support.",
    ),
}


# What is said of an invoice by its number; ``{who}`` chose.
_OF_ONE: Final[Mapping[FindingKind, str]] = {
    FindingKind.GONE: "was synced and is no longer in Xero",
    FindingKind.CHANGED: "was changed in Xero without our hearing of it, and is compared again",
    FindingKind.EDITED: "was edited in Xero and is left as it is there",
    FindingKind.KEPT: "is not the same in Pipeline and in Xero, because {who} chose to keep Xero's version",
    FindingKind.DOUBLED: "is in Xero a second time",
    FindingKind.UNKNOWN: "carries Pipeline's mark in Xero and belongs to no invoice here",
    FindingKind.LIVE_THOUGH_VOIDED: "is voided in Pipeline and live in Xero",
    FindingKind.UNREADABLE: "could not be read in Xero",
    FindingKind.OVERDUE: "has been due for more than an hour and was not taken up",
    FindingKind.NEVER_DUE: "waits for its turn and has none",
    FindingKind.SYNCING_WITHOUT_WRITE: "counts as being sent, and there is no write that carries it",
    FindingKind.WRITE_WITHOUT_INVOICE: "A write to Xero is open and carries nothing",
    FindingKind.WAITS_THOUGH_MAPPED: "waits for a contact that its customer has",
    FindingKind.WAITS_THOUGH_CONNECTED: "waits for a connection that is there",
    FindingKind.WITHOUT_REASON: "is not in Xero and cannot say why",
    FindingKind.SETTLED_WITHOUT_LINK: "counts as being in Xero, and it is not known which one it is there",
}


def next_slot(account_id: str, after: datetime, every: timedelta, chance: float) -> datetime:
    """When the account's next reconciliation begins.

    Accounts are spread evenly over the interval by a hash of their id, whatever they were made or connected at; a
    little chance keeps those of one second apart.

    Args:
        account_id: The account.
        after: The moment it lies behind, by less than twice the interval.
        every: The interval.
        chance: A random number from 0 to 1.
    """
    digest = hashlib.sha256(account_id.encode()).digest()
    place = int.from_bytes(digest[:8]) / 2**64
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    first = epoch + every * place
    rounds = (after - first) // every + 1
    return first + rounds * every + every * (_JITTER * chance)


def smaller_page(page: int, size: int) -> tuple[int, int] | None:
    """The same place in a list of pages a tenth as large; None when they are small already."""
    if size <= _SMALLEST_PAGE:
        return None
    return (page - 1) * 10 + 1, size // 10


def larger_page(page: int, size: int) -> tuple[int, int]:
    """The same place in a list of pages of full size again, if one begins there: one odd invoice slows no whole run."""
    behind = (page - 1) * size
    while size < PAGE_SIZE and behind % (size * 10) == 0:
        size *= 10
    return behind // size + 1, size


@dataclass(frozen=True, slots=True)
class Sighting:
    """One invoice of ours as Xero showed it to a reconciliation."""

    xero_invoice_id: str
    invoice_id: str
    is_linked: bool
    verdict: Verdict
    read_at: datetime
    currency: str = NO_CURRENCY
    total: Decimal = Decimal(0)
    is_changed: bool = False
    """Not as it was last read: to be compared again."""
    is_recent: bool = False
    """Changed so lately that word of it may be on its way: no finding."""
    is_edited: bool = False


def sighted(invoice: XeroInvoice, link: Link, read_at: datetime) -> Sighting:
    """A linked invoice, held against what we last read of it and what both last agreed on."""
    shown = mapping.xero_snapshot(invoice, link.line_item_ids)
    changed_at = invoice.updated_at
    # A line that was typed in again is the same line: the sync links it.
    is_changed = shown != link.observed or bool(mapping.same_lines(link.base, shown))
    return Sighting(
        invoice.invoice_id,
        link.invoice_id,
        is_linked=True,
        verdict=Verdict.WITHDRAWN if shown[STATUS] == WITHDRAWN else Verdict.LIVE,
        read_at=read_at,
        currency=invoice.currency or NO_CURRENCY,
        total=invoice.total or Decimal(0),
        is_changed=is_changed,
        is_recent=is_changed and changed_at is not None and read_at - changed_at < WORD_TAKES,
        is_edited=shown != link.base,
    )


def marked(invoice: XeroInvoice, invoice_id: str, read_at: datetime) -> Sighting | None:
    """An invoice that carries our mark and is not linked; None if it is live no more."""
    if invoice.status in {"VOIDED", "DELETED"}:
        return None
    return Sighting(
        invoice.invoice_id,
        invoice_id,
        is_linked=False,
        verdict=Verdict.LIVE,
        read_at=read_at,
        currency=invoice.currency or NO_CURRENCY,
        total=invoice.total or Decimal(0),
    )


def not_shown(link: Link, read_at: datetime, *, is_gone: bool) -> Sighting:
    """A linked invoice that Xero has no more, or whose answer cannot be read (its last known state then counts)."""
    return Sighting(
        link.xero_invoice_id,
        link.invoice_id,
        is_linked=True,
        verdict=Verdict.GONE if is_gone else Verdict.UNREADABLE,
        read_at=read_at,
        currency=link.observed.get("currency") or NO_CURRENCY,
        total=Decimal(0 if is_gone else link.observed.get(TOTAL) or 0),
    )


def marked_as(url: object, pipeline_web_url: str, account_id: str) -> str | None:
    """The invoice of this account whose mark (``mapping.marker``) this is; None if it is none."""
    given = str(url or "").strip().rstrip("/")
    root = mapping.marker(pipeline_web_url, account_id, "")
    if not given.lower().startswith(root.lower()) or "/" in given[len(root) :]:
        return None
    return unquote(given[len(root) :]) or None


@dataclass(frozen=True, slots=True)
class Total:
    """The invoices of one state and currency in both books."""

    state: str
    currency: str
    invoices: int
    total: Decimal
    in_xero: int
    xero_total: Decimal

    @property
    def difference(self) -> Decimal:
        """What Pipeline has and Xero has not."""
        return self.total - self.xero_total


def by_currency(totals: Iterable[Total]) -> list[Total]:
    """The totals of all states together, by currency; their state is empty."""
    summed: dict[str, Total] = {}
    for each in totals:
        so_far = summed.get(each.currency, Total("", each.currency, 0, Decimal(0), 0, Decimal(0)))
        summed[each.currency] = Total(
            "",
            each.currency,
            so_far.invoices + each.invoices,
            so_far.total + each.total,
            so_far.in_xero + each.in_xero,
            so_far.xero_total + each.xero_total,
        )
    return [summed[currency] for currency in sorted(summed)]


@dataclass(frozen=True, slots=True)
class Named:
    """One thing found, as it was then; figures are None where a side has none, or none was kept."""

    id: int
    kind: str
    invoice_id: str | None
    xero_invoice_id: str | None
    invoice_number: str | None = None
    currency: str | None = None
    total: Decimal | None = None
    xero_total: Decimal | None = None
    kept_by: str | None = None

    @property
    def difference(self) -> Decimal | None:
        """What Pipeline has and Xero has not; None unless both figures are known."""
        if self.total is None or self.xero_total is None:
            return None
        return self.total - self.xero_total


def of_one(found: Named) -> str:
    """One thing found, in a sentence: which invoice, what is the matter, and what it comes to on both sides."""
    try:
        told = _OF_ONE[FindingKind(found.kind)].format(who=found.kept_by or "somebody")
    except ValueError:
        told = f"is a finding of the kind {found.kind}"
    if found.invoice_id is None and found.xero_invoice_id is None:
        return f"{told}."
    told = f"Invoice {found.invoice_number or found.invoice_id} {told}"
    sides = [
        f"{plain_money(amount)} {found.currency} in {book}"
        for amount, book in ((found.total, "Pipeline"), (found.xero_total, "Xero"))
        if amount is not None
    ]
    if found.difference:
        sides.append(f"a difference of {plain_money(found.difference)}")
    return f"{': '.join([told, ', '.join(sides)]) if sides else told}."


def in_words(kind: str, count: int) -> Finding:
    """A finding as it is told. One that this release does not know is told by its name."""
    try:
        one, several, hint = _WORDS[FindingKind(kind)]
    except ValueError:
        one = several = f"of the kind {kind}."
        hint = _SUPPORT
    return Finding(
        kind=kind, count=count, message=f"{count} {one if count == 1 else several}", hint=hint
    )


def sentence(totals: Sequence[Total], findings: Mapping[str, int]) -> str:
    """What a reconciliation came to, in one sentence for people."""
    books = [
        _in_both(each, [of_state for of_state in totals if of_state.currency == each.currency])
        for each in by_currency(totals)
    ]
    accounted = "; ".join(books) or "there are no invoices"
    if not findings:
        return f"Every invoice is accounted for, and nothing is out of place: {accounted}."
    told = " ".join(in_words(kind, count).message for kind, count in sorted(findings.items()))
    return f"{told} In all: {accounted}."


# In the order in which they are told: among which invoices a difference of totals lies.
_AMONG: Final = (
    (frozenset(WAITING), "on the way to Xero"),
    (frozenset({State.FAILED}), "that Xero does not have as they are in Pipeline, each says why"),
    (frozenset({State.OUT_OF_SYNC}), "out of sync"),
    (frozenset({State.SYNCED}), "synced, where Xero's totals are other ones by now"),
    (frozenset({State.VOIDED}), "voided in Pipeline and still in Xero"),
    (frozenset({LEFT_BEHIND}), "left in an organisation connected before"),
    (frozenset({NOT_LINKED}), "only in Xero"),
)


def _in_both(total: Total, states: Sequence[Total]) -> str:
    told = (
        f"{_count(total.invoices)} of {plain_money(total.total)} {total.currency} in Pipeline, "
        f"{total.in_xero} of {plain_money(total.xero_total)} in Xero, "
    )
    apart = [
        (
            sum((each.difference for each in states if each.state in group), Decimal(0)),
            sum(each.invoices or each.in_xero for each in states if each.state in group),
            words,
        )
        for group, words in _AMONG
    ]
    parts = [
        f"{plain_money(amount)} among {_count(count)} {words}"
        for amount, count, words in apart
        if amount
    ]
    return f"{told}a difference of {plain_money(total.difference)}" + (
        f" ({', '.join(parts)})" if parts else ""
    )


def _count(invoices: int) -> str:
    return f"{invoices} invoice{'' if invoices == 1 else 's'}"


def ledger_totals(totals: Sequence[Total]) -> tuple[LedgerTotal, ...]:
    """Both books by currency, as an event tells them; sums beyond what one can tell are left out."""
    return tuple(
        LedgerTotal(
            currency=each.currency,
            invoices=each.invoices,
            total=each.total,
            in_xero=each.in_xero,
            xero_total=each.xero_total,
            difference=each.difference,
        )
        for each in by_currency(totals)
        if _can_be_told(each)
    )


def state_totals(totals: Sequence[Total]) -> tuple[StateTotal, ...]:
    """Both books by state and currency, as an event tells them."""
    return tuple(
        StateTotal(
            state=each.state,
            currency=each.currency,
            invoices=each.invoices,
            total=each.total,
            in_xero=each.in_xero,
            xero_total=each.xero_total,
            difference=each.difference,
        )
        for each in totals
        if _can_be_told(each)
    )


def _can_be_told(total: Total) -> bool:
    return all(abs(each) < _LIMIT for each in (total.total, total.xero_total, total.difference))
