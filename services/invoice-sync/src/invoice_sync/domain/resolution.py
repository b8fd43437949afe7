"""A person's choice between two versions of an invoice: what may be chosen, and what a choice comes to."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from pydantic import ValidationError

from invoice_sync.domain import confirm, lifecycle, locks, mapping, merging, telling
from invoice_sync.domain.blocks import block
from invoice_sync.domain.currencies import NO_CURRENCY
from invoice_sync.domain.locks import LockDates
from invoice_sync.domain.picture import Picture, fingerprint_of
from invoice_sync.domain.push import changeable
from invoice_sync.domain.state import Choice, Invoice, Keep, Link, Operation, State, Step
from invoice_sync.domain.three_way import STATUS, TOTAL, WITHDRAWN, FieldDifference, Snapshot
from pipeline_contracts.invoice import Invoice as InvoiceBody
from pipeline_contracts.invoice import InvoiceLine, TrackingOption
from pipeline_contracts.observed import ObservedInvoice, ObservedLine
from pipeline_contracts.problems import ProblemCode
from pipeline_xero.documents import XeroInvoice

GONE = "gone_from_xero"
REFUSED = "refused_by_xero"
# Refusals of Xero's that only its own version may end: those of Pipeline's data are for Pipeline to correct.
_REFUSALS = frozenset(
    {
        ProblemCode.PERIOD_LOCKED,
        ProblemCode.INVOICE_HAS_PAYMENT,
        ProblemCode.INVOICE_NOT_EDITABLE,
        ProblemCode.XERO_VALIDATION,
    }
)
# An event may be a million bytes; what stands around the invoice takes some.
_MOST_BYTES = 900_000
_NEW_ONE = "Keep Xero's version, and issue a new invoice with a new number if it is to be billed."


@dataclass(frozen=True, slots=True)
class Option:
    """One side to choose: whether that is possible, and why not or what follows."""

    keep: Keep
    why_not: str | None
    """None where it can be chosen."""
    follows: str

    @property
    def allowed(self) -> bool:
        """Whether it can be chosen."""
        return self.why_not is None


@dataclass(frozen=True, slots=True)
class Conflict:
    """An invoice a person may decide on."""

    kind: str
    fingerprint: str
    differences: tuple[FieldDifference, ...]
    """Field by field, the total first."""
    in_words: tuple[str, ...]
    """The same for people, line by line."""
    options: tuple[Option, Option]

    def option(self, keep: Keep) -> Option:
        """The option of one side."""
        return next(each for each in self.options if each.keep is keep)


def is_open(row: Invoice) -> bool:
    """Whether there is anything to decide on an invoice that is, or was, in Xero."""
    refused = row.block is not None and row.block.code in _REFUSALS
    return row.state is State.OUT_OF_SYNC or is_gone(row) or (row.state is State.FAILED and refused)


def is_gone(row: Invoice) -> bool:
    """Whether Xero was found to have the invoice no more."""
    gone = row.block is not None and row.block.code == ProblemCode.INVOICE_GONE_FROM_XERO
    return row.state is State.FAILED and gone


def gone(row: Invoice) -> Conflict:
    """The decision on an invoice that Xero has no more."""
    never = Option(Keep.PIPELINE, "Xero has the invoice no more.", _NEW_ONE)
    accept = Option(Keep.XERO, None, "The invoice is taken as withdrawn.")
    return Conflict(GONE, _gone_fingerprint(row), (), (), (never, accept))


def conflict_of(found: Picture, lock_dates: LockDates | None, now: datetime) -> Conflict:
    """The decision on an invoice as it was last seen in Xero, under its organisation's lock dates."""
    row = found.row
    kind = lifecycle.conflict_kind(found.link) if row.state is State.OUT_OF_SYNC else REFUSED
    pipelines = _locked(found, lock_dates, now) or _pipelines(found)
    options = (pipelines, Option(Keep.XERO, None, _what_follows(found)))
    differences = tuple(telling.total_first(found.differences))
    told = tuple(telling.in_words(differences, found.ours))
    return Conflict(kind, found.fingerprint, differences, told, options)


def _what_follows(found: Picture) -> str:
    if found.link.observed.get(STATUS) == WITHDRAWN:
        return "The invoice is taken as voided; Pipeline should void it too."
    if found.row.operation is Operation.VOID:
        return "The invoice stays in Xero although it is void in Pipeline."
    return "Xero's version stands and is told to Pipeline, which should take it over."


def _locked(found: Picture, lock_dates: LockDates | None, now: datetime) -> Option | None:
    if found.link.xero_status in locks.UNISSUED or found.link.observed.get(STATUS) == WITHDRAWN:
        return None
    days = locks.days_of(each.get("issue_date") for each in (found.link.observed, found.ours))
    why = locks.stops_now(lock_dates, days, now)
    return Option(Keep.PIPELINE, why.message, why.hint) if why else None


def _pipelines(found: Picture) -> Option:
    follows = "Pipeline's version is written to Xero, over what was changed there."
    number = found.link.xero_number
    if found.link.observed.get(STATUS) == WITHDRAWN:
        final = f"Invoice {number} is void in Xero, and Xero cannot bring it back."
        return Option(Keep.PIPELINE, final, _NEW_ONE)
    if not found.link.is_paid:
        return Option(Keep.PIPELINE, None, follows)
    fixed = sorted(
        path
        for path in merging.changed(found.link.observed, found.ours)
        if path != TOTAL and not changeable(path)
    )
    if not fixed:
        return Option(Keep.PIPELINE, None, follows)
    told = telling.names_of(fixed[:5], found.ours)
    paid = (
        f"Invoice {number} has a payment or credit in Xero, so {told} cannot change there; number, reference, "
        "due date, contact, and descriptions, accounts and tracking of its lines still can."
    )
    refused = block(ProblemCode.INVOICE_HAS_PAYMENT, invoice_number=number)
    return Option(Keep.PIPELINE, paid, refused.hint)


def _gone_fingerprint(row: Invoice) -> str:
    return fingerprint_of([row.version, row.operation, GONE])


def accepts_gone(row: Invoice, choice: Choice | None) -> bool:
    """Whether a person accepted that Xero has the invoice no more."""
    return (
        choice is not None
        and choice.keep is Keep.XERO
        and choice.fingerprint == _gone_fingerprint(row)
    )


def accepted_as_gone(row: Invoice, link: Link) -> Step:
    """Xero has the invoice no more, and that is how it is to be."""
    first = lifecycle.resumed(row, link, lifecycle.PERSON)
    return lifecycle.then(first, withdrawn_and_gone(first.row, link))


def withdrawn_and_gone(row: Invoice, link: Link) -> Step:
    """What is not wanted any more, Xero has no more: told as deleted to whoever heard that it was there."""
    agreed, observed = mapping.withdrawn(link.agreed), mapping.withdrawn(link.observed)
    after = replace(
        link,
        agreed=agreed,
        base=observed,
        observed=observed,
        xero_status="DELETED",
        kept=frozenset(),
    )
    total, currency = Decimal(link.observed.get(TOTAL) or 0), link.observed.get("currency")
    found = lifecycle.InXero(after, total, currency or NO_CURRENCY, deep_link="")
    return replace(lifecycle.voided(row, found), notes=lifecycle.never_sent(row).notes)


def accepted(found: Picture, seen: confirm.Seen, actor: str) -> Step:
    """Xero's version stands: it is what both agree on from now on, and where Pipeline has another one is remembered."""
    if found.link.observed.get(STATUS) == WITHDRAWN:
        first = lifecycle.resumed(found.row, found.link, lifecycle.PERSON)
        return lifecycle.then(first, confirm.voided(first.row, seen, found.link))
    # A line that Pipeline gave up is Xero's own from now on.
    wanted = mapping.lines_of(found.wanted)
    lines = {
        ours: each for ours, each in found.link.line_item_ids.items() if f"line {ours}" in wanted
    }
    shown = mapping.xero_snapshot(seen.invoice, lines)
    given_up = {
        f"line {ours}": f"line xero:{theirs}"
        for ours, theirs in found.link.line_item_ids.items()
        if ours not in lines
    }
    apart = dict.fromkeys(each.field for each in found.apart)
    link = replace(
        found.link,
        line_item_ids=lines,
        agreed=found.wanted,
        base=shown,
        observed=shown,
        kept=frozenset(mapping.with_lines_named(apart, given_up)),
        kept_by=actor,
    )
    adopt = as_observed(seen.invoice, link.line_item_ids)
    first = lifecycle.resumed(found.row, link, lifecycle.PERSON, adopt)
    return lifecycle.then(first, lifecycle.in_step(first.row, link))


def forced(found: Picture, body: InvoiceBody) -> tuple[Link, InvoiceBody]:
    """Pipeline's version stands: Xero's, as the person saw it, is the base over which it is written.

    Returns:
        The link under which all of Pipeline's version counts as its change, and the body that names what Pipeline
        left to Xero before somebody there chose otherwise.
    """
    ours, observed = found.ours, found.link.observed
    apart = merging.changed(ours, observed)
    agreed: dict[str, str | None] = {
        path: value for path, value in found.wanted.items() if path not in apart
    }
    agreed |= {path: value for path, value in observed.items() if path not in found.wanted}
    lines = tuple(_named(line, ours, observed) for line in body.lines)
    link = replace(found.link, agreed=agreed, base=observed, kept=found.link.kept - apart)
    return link, body.model_copy(update={"lines": lines})


def _named(line: InvoiceLine, ours: Snapshot, observed: Snapshot) -> InvoiceLine:
    fields = {"account_code": "account_code", "tax_type": "tax_code", "item_code": "item_code"}
    left_open = {
        name: ours.get(path)
        for field, name in fields.items()
        if getattr(line, name) is None
        and (path := mapping.line_field(line.line_id, field))
        and ours.get(path) != observed.get(path)
    }
    return line.model_copy(update=left_open)


def as_observed(xero: XeroInvoice, line_item_ids: Mapping[str, str]) -> ObservedInvoice | None:
    """The invoice as Xero has it, for an event; None where an event cannot carry it."""
    ours = {theirs: line_id for line_id, theirs in line_item_ids.items()}
    words = {theirs: word for word, theirs in mapping.LINE_AMOUNT_TYPES.items()}
    try:
        found = ObservedInvoice(
            invoice_number=xero.invoice_number,
            reference=xero.reference,
            status=xero.status or "AUTHORISED",
            contact_id=xero.contact.contact_id if xero.contact else None,
            contact_name=xero.contact.name if xero.contact else None,
            issue_date=xero.issue_date,
            due_date=xero.due_date,
            currency=xero.currency or NO_CURRENCY,
            currency_rate=xero.currency_rate,
            amounts_are=words.get(xero.line_amount_types or "", "tax_exclusive"),
            lines=tuple(
                ObservedLine(
                    line_item_id=line.line_item_id,
                    description=line.description,
                    quantity=line.quantity,
                    unit_amount=line.unit_amount,
                    discount_rate=line.discount_rate,
                    account_code=line.account_code or None,
                    tax_type=line.tax_type or None,
                    tax_amount=line.tax_amount,
                    line_amount=line.line_amount,
                    item_code=line.item_code or None,
                    tracking=tuple(
                        TrackingOption(category=each.name, option=each.option)
                        for each in line.tracking
                        if each.name and each.option
                    ),
                    line_id=ours.get(line.line_item_id or ""),
                )
                for line in xero.lines or ()
            ),
            sub_total=xero.sub_total,
            total_tax=xero.total_tax,
            total=xero.total or 0,
            amount_due=xero.amount_due,
            amount_paid=xero.amount_paid,
            amount_credited=xero.amount_credited,
            updated_at=xero.updated_at,
        )
    except ValidationError:
        return None
    return found if len(found.model_dump_json().encode()) < _MOST_BYTES else None
