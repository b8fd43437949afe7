"""What a comparison of an invoice that is in Xero already comes to, and the payload of a change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from invoice_sync.domain import (
    codes,
    confirm,
    lifecycle,
    locks,
    mapping,
    merging,
    picture,
    resolution,
    taxes,
    three_way,
)
from invoice_sync.domain.account_settings import EditPolicy
from invoice_sync.domain.blocks import block
from invoice_sync.domain.locks import UNISSUED
from invoice_sync.domain.picture import Picture
from invoice_sync.domain.plan import by_codes, read_body, sent_body
from invoice_sync.domain.push import Push, changeable, update_element, void_element
from invoice_sync.domain.state import Choice, Invoice, Keep, Link, Operation, State, Step
from invoice_sync.domain.three_way import TOTAL, Plan, Snapshot
from pipeline_contracts.invoice import Invoice as InvoiceBody
from pipeline_contracts.problems import ProblemCode


@dataclass(frozen=True, slots=True)
class Change:
    """An invoice to be changed in Xero: the step before sending, and the element to send."""

    push: Push
    element: Mapping[str, Any]
    sent: str | None
    """The body behind the element, where it is not the desired one: in Xero's codes, its number with its prefix."""

    @property
    def is_void(self) -> bool:
        """Whether the invoice is to be withdrawn: only then is its status sent."""
        return "Status" in self.element


def resolve(  # noqa: PLR0911 - one return per cause, in their order
    row: Invoice,
    link: Link,
    contact_id: str | None,
    seen: confirm.Seen | None,
    settings: mapping.WriteSettings,
    terms: codes.Terms,
    choice: Choice | None = None,
) -> Step | Change:
    """Decide on an invoice that is, or was, in Xero.

    Args:
        row: The invoice, locked.
        link: Its link.
        contact_id: The customer's contact now; None when it is mapped no more.
        seen: The invoice as Xero just showed it; None when Xero has it no more.
        settings: What a payload needs besides.
        terms: What Pipeline's codes are called in Xero, and which of them Xero has.
        choice: What a person last chose of it; it takes effect only on the very picture that was seen.
    """
    is_void = row.operation is Operation.VOID
    if seen is None and is_void:
        return resolution.withdrawn_and_gone(row, link)
    body = read_body(row.desired)
    if body is None:
        return lifecycle.failed(row, block(ProblemCode.INTERNAL_ERROR))
    if seen is None and resolution.accepts_gone(row, choice):
        return resolution.accepted_as_gone(row, link)
    if seen is None:
        gone = block(ProblemCode.INVOICE_GONE_FROM_XERO, invoice_number=link.xero_number)
        return lifecycle.failed(row, gone)
    ours = in_xeros_form(row, link, body, terms)
    found = look(row, link, ours, contact_id, seen)
    if choice is not None and choice.fingerprint == found.fingerprint:
        if choice.keep is Keep.XERO:
            return resolution.accepted(found, seen, choice.actor)
        found, ours = _forced(found, ours, contact_id)
    verdict = judge(found, seen)
    if not isinstance(verdict, Push):
        return verdict
    sent = sent_body(body, ours)
    if locked := _locked(verdict, terms, seen.now):
        return lifecycle.then(verdict.step, locked)
    if is_void:
        return Change(verdict, void_element(verdict.link), sent)
    if stopped := _stopped(verdict, body, terms, seen.now):
        return lifecycle.then(verdict.step, stopped)
    contact = contact_id or link.base.get("contact") or ""
    return Change(verdict, update_element(ours, contact, settings, verdict), sent)


def days_of(push: Push) -> list[date]:
    """The days a change touches: where the invoice is, and where it is to go."""
    return locks.days_of(each.get("issue_date") for each in (push.link.observed, push.target))


def _locked(push: Push, terms: codes.Terms, now: datetime) -> Step | None:
    """What lock dates say to a change of an invoice."""
    if push.link.xero_status in UNISSUED:
        return None
    days = days_of(push)
    why = locks.stops_now(terms.locks, days, now)
    return replace(lifecycle.failed(push.step.row, why), link=push.link) if why else None


def _stopped(push: Push, body: InvoiceBody, terms: codes.Terms, now: datetime) -> Step | None:
    """What stops a change before it is sent.

    An issued document keeps its currency. Of codes an old list stops none: the invoice is in Xero, and Xero decides.
    """
    row = push.step.row
    if "currency" in push.changed and push.link.xero_status not in UNISSUED:
        number = push.link.xero_number
        changed = block(ProblemCode.CURRENCY_CHANGED, invoice_number=number, currency=body.currency)
        return lifecycle.failed(row, changed)
    if not any(path.startswith("line ") for path in push.changed):
        return None
    new_amounts = any(merging.is_money(path) for path in push.changed)
    return by_codes(row, body, terms, now, new_amounts=new_amounts)


def after_unknown(
    row: Invoice,
    link: Link,
    element: Mapping[str, Any],
    contact_id: str | None,
    seen: confirm.Seen | None,
    settings: mapping.WriteSettings,
    terms: codes.Terms,
) -> Step | None:
    """Settle a change of unknown outcome by what Xero shows now.

    Xero holds what was sent: it arrived, or somebody made the same change. Xero holds something else than before
    sending: somebody edited it, whether or not our change had come first; the two are compared, and sending again
    would overwrite that edit. None when the invoice is as it was before: nothing has arrived so far.

    Args:
        row: The invoice, which still carries its intent.
        link: Its link; ``observed`` is what Xero showed just before the change was sent.
        element: The element that was sent.
        contact_id: The customer's contact now; None when it is mapped no more.
        seen: The invoice as Xero just showed it; None when Xero has it no more.
        settings: What a payload needs besides.
        terms: What Pipeline's codes are called in Xero, and which of them Xero has.
    """
    taken_up = replace(row, state=State.PENDING, intent=None, block=None)
    if seen is not None:
        observed = mapping.xero_snapshot(seen.invoice, link.line_item_ids)
        if "Status" in element and observed[three_way.STATUS] == three_way.WITHDRAWN:
            return confirm.voided(row, seen, link)
        sent = read_body(row.sent)
        version = row.intent.version if row.intent else row.version
        if "Status" not in element and sent is not None and _holds(row, sent, element, seen, link):
            return confirm.updated(row, sent, version, seen, link, element)
        if observed == link.observed:
            return None
        seen = _without_merging_lines(sent, seen, link)
    found = resolve(taken_up, link, contact_id, seen, settings, terms)
    if isinstance(found, Change):
        # The bytes sent may name lines as they were: whatever is still to be written is decided on a fresh look.
        return lifecycle.again_alone(
            row, found.push.link.observed_at, "changed in Xero meanwhile; compared again"
        )
    return found


def _without_merging_lines(
    sent: InvoiceBody | None, seen: confirm.Seen, link: Link
) -> confirm.Seen:
    """Where a line was sent as new, a new line in Xero may be that one, edited since: only a person can tell."""
    known = {*link.line_item_ids}
    is_new = sent is not None and any(line.line_id not in known for line in sent.lines)
    return replace(seen, edit_policy=EditPolicy.BLOCK) if is_new else seen


def _holds(
    row: Invoice, sent: InvoiceBody, element: Mapping[str, Any], seen: confirm.Seen, link: Link
) -> bool:
    """Whether Xero holds just what was sent."""
    version = row.intent.version if row.intent else row.version
    wanted = confirm.sent_snapshot(row, sent, version, link, element)
    shown = mapping.xero_snapshot(seen.invoice, link.line_item_ids)
    paired, observed = picture.linked(link, wanted, shown)
    ours = confirm.in_opinions(wanted, paired, observed)
    target = merging.target_of(paired.base, ours, paired.observed)
    is_there = all(
        value is None or value == observed.get(path)
        for path, value in target.items()
        if path != TOTAL
    )
    is_all = mapping.lines_of(target).keys() == mapping.lines_of(observed).keys()
    return is_there and is_all and not confirm.wrong_total(target, wanted, observed, seen.invoice)


def in_xeros_form(row: Invoice, link: Link, body: InvoiceBody, terms: codes.Terms) -> InvoiceBody:
    """The invoice as it is to be in Xero: by Xero's codes and tax rates."""
    return taxes.for_update(body, terms, row.number_prefix or "", link.agreed)


def look(
    row: Invoice, link: Link, body: InvoiceBody, contact_id: str | None, seen: confirm.Seen
) -> Picture:
    """The picture of an invoice that is in Xero.

    Args:
        row: The invoice, locked.
        link: Its link.
        body: What Pipeline wants, in Xero's codes (for a void: what it wanted before).
        contact_id: The customer's contact now; None when it is mapped no more.
        seen: The invoice as Xero just showed it.
    """
    now_seen = replace(
        link,
        observed_at=seen.now,
        xero_status=seen.invoice.status or link.xero_status,
        xero_number=seen.invoice.invoice_number or link.xero_number,
        is_paid=seen.is_paid,
        xero_updated_at=seen.invoice.updated_at,
    )
    observed = mapping.xero_snapshot(seen.invoice, link.line_item_ids)
    return picture.picture_of(row, now_seen, body, contact_id, observed)


def _forced(
    found: Picture, body: InvoiceBody, contact_id: str | None
) -> tuple[Picture, InvoiceBody]:
    """The picture in which all of Pipeline's version is its change, because a person chose it."""
    link, named = resolution.forced(found, body)
    again = picture.picture_of(found.row, link, named, contact_id, found.link.observed)
    return replace(again, resolved_by=lifecycle.PERSON), named


def judge(found: Picture, seen: confirm.Seen) -> Step | Push:
    """Judge an invoice that is in Xero by its picture, and the circumstances in which it was seen."""
    row = found.row
    if row.operation is Operation.VOID and found.link.observed[three_way.STATUS] == (
        three_way.WITHDRAWN
    ):
        return confirm.voided(row, seen, found.link)
    match found.plan:
        case Plan.IN_SYNC:
            return _in_sync(found, seen)
        case Plan.KEEP_XERO if row.state is not State.OUT_OF_SYNC:
            return _kept(row, found.link, seen)
        case Plan.PUSH:
            return _write(found, found.ours, seen)
        case Plan.KEEP_XERO | Plan.CONFLICT:
            if seen.edit_policy is EditPolicy.MERGE:
                merged = merging.merge(found.link.base, found.ours, found.link.observed)
                if merged is not None:
                    return _write(found, merged, seen)
            return _conflict(found, found.differences, seen)


def _conflict(
    found: Picture, differences: Sequence[three_way.FieldDifference], seen: confirm.Seen
) -> Step:
    number, status = found.link.xero_number, found.link.xero_status
    told = confirm.conflict_block(number, differences, found.ours)
    if found.link.observed.get(three_way.STATUS) == three_way.WITHDRAWN:
        told = confirm.withdrawn_block(number, status)
    return lifecycle.out_of_sync(found.row, found.link, differences, told, seen.invoice.updated_at)


def _in_sync(found: Picture, seen: confirm.Seen) -> Step:
    observed = found.link.observed
    kept = merging.still_kept(found.link.kept, found.wanted, observed)
    agreed = replace(found.link, agreed=found.wanted, base=observed, kept=kept)
    rest = _at_rest(found, agreed, seen)
    if not kept or found.row.synced_version == found.row.version:
        return rest
    told = confirm.kept_by_choice(kept, found.wanted, agreed)
    return lifecycle.with_note(rest, "kept_in_xero", told)


def _at_rest(pictured: Picture, link: Link, seen: confirm.Seen) -> Step:
    row = pictured.row
    first = _resumed(pictured, link)
    if row.synced_version == row.version and not row.is_failure_told:
        rest = replace(first.row, state=State.SYNCED, due_at=None, attempts=0, block=None)
        return Step(rest, first.events, first.notes, link)
    found = confirm.in_xero(link, seen)
    return lifecycle.then(first, lifecycle.synced(first.row, found, row.version, seen.now))


def _resumed(found: Picture, link: Link) -> Step:
    """SyncResumed, if there was a conflict."""
    if found.row.state is not State.OUT_OF_SYNC:
        return Step(found.row)
    return lifecycle.resumed(found.row, link, found.resolved_by)


def _kept(row: Invoice, link: Link, seen: confirm.Seen) -> Step:
    """Only Xero changed. That is remembered, not overwritten."""
    if row.synced_version == row.version and not row.is_failure_told:
        return lifecycle.noticed(
            row, link, "changed in Xero; Pipeline's version is not pushed over it"
        )
    return lifecycle.synced(row, confirm.in_xero(link, seen), row.version, seen.now)


def _write(found: Picture, target: Snapshot, seen: confirm.Seen) -> Step | Push:
    """What is still to be written of Pipeline's side; where that is nothing, the invoice rests as it is."""
    row, link = found.row, found.link
    push = Push(_resumed(found, link), link, seen.invoice, target, seen.is_paid)
    if not push.changed:
        if wrong := confirm.wrong_total(target, found.wanted, link.observed, seen.invoice):
            return _conflict(found, wrong, seen)
        merged = confirm.merged_link(found.wanted, found.ours, link, target)
        rest = _at_rest(found, merged, seen)
        kept = merging.changed(found.ours, target) - {TOTAL}
        told = confirm.kept_from_xero(kept, found.wanted, link.observed)
        return lifecycle.with_note(rest, "merged", told) if kept else rest
    if seen.is_paid and not all(changeable(path) for path in push.changed):
        paid = block(ProblemCode.INVOICE_HAS_PAYMENT, invoice_number=link.xero_number)
        return replace(lifecycle.failed(row, paid), link=link)
    return push
