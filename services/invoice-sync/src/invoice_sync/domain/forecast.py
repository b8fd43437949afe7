"""What would become of an invoice, told without doing it: findings, the request, the figures of both sides.

Made of the very functions the worker decides with; only what they say is gathered here instead of acted upon.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from invoice_sync.domain import mapping, merging, taxes
from invoice_sync.domain.blocks import block, contact_pending
from invoice_sync.domain.freshness import Standing
from invoice_sync.domain.left_apart import LeftApart, left_apart
from invoice_sync.domain.locks import LockDates, stopped, suspected
from invoice_sync.domain.outcome import GONE
from invoice_sync.domain.picture import picture_of
from invoice_sync.domain.plan import Draft, Known, objections
from invoice_sync.domain.rounding import TotalRange
from invoice_sync.domain.state import Block, Invoice, Link, Operation, State, Step
from invoice_sync.domain.taxes import LineSum
from invoice_sync.domain.three_way import FieldDifference
from invoice_sync.domain.update import Change
from pipeline_contracts.invoice import Invoice as InvoiceBody
from pipeline_contracts.problems import ProblemCode
from pipeline_xero.documents import XeroInvoice


class Ahead(StrEnum):
    """What is ahead of an invoice, as things stand."""

    CREATE = "create"
    CHANGE = "change"
    VOID = "void"
    NOTHING = "nothing"
    """Xero and Pipeline agree, or only Xero changed: nothing is sent."""
    STOP = "stop"
    """Pipeline stops it before anything is sent."""
    REFUSAL = "refusal"
    """It is sent, and Xero will refuse it."""
    CONFLICT = "conflict"
    """Both sides changed: nothing is sent before they agree."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check that fails."""

    block: Block
    by_xero: bool = False
    """Whether it is sent all the same, and Xero refuses it."""
    is_certain: bool = True
    """False where it rests on one of Xero's lists that is read again before it stops anything."""


@dataclass(frozen=True, slots=True)
class Request:
    """A call to Xero, exactly as it would leave if this invoice went alone."""

    method: str
    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Figures:
    """What the invoice comes to, line by line, on both sides."""

    lines: tuple[LineSum, ...]
    pipeline: Decimal
    xero: TotalRange

    @property
    def difference(self) -> Decimal:
        """By how much Pipeline's total is impossible in Xero."""
        return self.xero.difference(self.pipeline)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is ahead of one invoice, why, and with which bytes."""

    invoice: Invoice
    ahead: Ahead
    findings: tuple[Finding, ...]
    request: Request | None = None
    figures: Figures | None = None
    differences: tuple[FieldDifference, ...] = ()
    changed: tuple[str, ...] = ()
    """The fields a change would send, by their paths."""
    in_xero: XeroInvoice | None = None
    difference: Decimal | None = None
    """Pipeline's total less Xero's, as it would be after this; None where that is what the figures say."""
    left_apart: LeftApart | None = None


def as_published(row: Invoice | None, body: InvoiceBody) -> Invoice:
    """The row as it would be, had Pipeline just published this body as its newest version."""
    desired = body.model_dump_json(exclude_none=True)
    if row is None:
        row = Invoice(body.account_id, body.invoice_id, State.PENDING, 0, Operation.WRITE, None)
    in_conflict = row.state is State.OUT_OF_SYNC
    return replace(
        row,
        state=row.state if in_conflict else State.PENDING,
        version=max(row.version + 1, body.version),
        operation=Operation.WRITE,
        desired=desired,
        invoice_number=body.invoice_number,
        customer_id=body.customer_id,
        intent=None,
        block=row.block if in_conflict else None,
    )


def all_objections(row: Invoice, draft: Draft, known: Known) -> Iterator[Finding]:
    """Every check that the worker would stop at; it stops at the first."""
    for found in objections(row, draft, known):
        why = found.step.row.block or contact_pending()
        yield Finding(why, is_certain=found.standing(known) is Standing.FRESH)


def figures_of(draft: Draft, known: Known) -> Figures:
    """The amounts of a draft by Xero's rounding."""
    lines = tuple(taxes.line_sums(draft.ours, draft.body, known.terms))
    return Figures(lines, draft.body.total, taxes.range_of(draft.ours, known.terms))


def number_in_use(
    number: str, elements: Sequence[Mapping[str, Any]], marker: str
) -> Finding | None:
    """Whether a live invoice of somebody else's has the number; ``elements`` are those Xero has under it."""
    others = [
        each
        for each in elements
        if each.get("Status") not in GONE and not mapping.is_ours(each, marker)
    ]
    if not others:
        return None
    other = mapping.other_of(others, marker)
    taken = block(ProblemCode.INVOICE_NUMBER_TAKEN, invoice_number=number, other=other)
    return Finding(taken, by_xero=True)


def locked(days: Sequence[date], locks: LockDates) -> Finding | None:
    """What Xero may say of a day that only others' lock dates are known to close."""
    if stopped(locks, days):
        return None
    why = suspected(locks, days)
    return Finding(why, by_xero=True, is_certain=False) if why else None


def compared(
    forecast: Forecast, draft: Draft, link: Link, contact_id: str | None, decision: Step | Change
) -> Forecast:
    """The forecast with where Pipeline and Xero differ: now field by field, and in the total after what is ahead."""
    if forecast.in_xero is None:
        return forecast
    observed = mapping.xero_snapshot(forecast.in_xero, link.line_item_ids)
    found = picture_of(forecast.invoice, link, draft.ours, contact_id, observed)
    difference: Decimal | None = draft.body.total - (forecast.in_xero.total or Decimal(0))
    if isinstance(decision, Change):
        difference = None
        target = decision.push.target
        if merging.is_of_both(target, found.wanted):
            shown = mapping.own_amounts(decision.push.xero)
            after = merging.totals_of(target, found.wanted, shown)
            difference = after.difference(draft.body.total)
    rests = forecast.ahead is Ahead.NOTHING
    return replace(
        forecast,
        differences=found.apart,
        difference=difference,
        left_apart=left_apart(found) if rests else None,
    )


def after_reading(forecast: Forecast, decision: Step | Change) -> Forecast:
    """The forecast of an invoice that is in Xero, once it was read and the comparison decided."""
    if isinstance(decision, Change):
        ahead = Ahead.VOID if decision.is_void else Ahead.CHANGE
        request = Request("POST", "Invoices", mapping.invoices_body([decision.element]))
        changed = () if decision.is_void else tuple(sorted(decision.push.changed))
        return replace(forecast, ahead=ahead, request=request, changed=changed)
    row = decision.row
    if row.state is State.OUT_OF_SYNC:
        return replace(forecast, ahead=Ahead.CONFLICT)
    if row.state in {State.SYNCED, State.VOIDED} or row.block is None:
        return replace(forecast, ahead=Ahead.NOTHING)
    told = (*forecast.findings, Finding(row.block))
    return replace(forecast, ahead=Ahead.STOP, findings=told)


def judged(forecast: Forecast) -> Forecast:
    """The forecast with its end: what stops an invoice comes before what Xero would say of it."""
    certain = [each for each in forecast.findings if each.is_certain]
    if any(not each.by_xero for each in certain) and forecast.ahead is not Ahead.CONFLICT:
        return replace(forecast, ahead=Ahead.STOP)
    sends = forecast.ahead in {Ahead.CREATE, Ahead.CHANGE, Ahead.VOID}
    return replace(forecast, ahead=Ahead.REFUSAL) if certain and sends else forecast
