"""What a comparison of an invoice that is in Xero already comes to, and the payload of a change."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from invoice_sync.domain import codes, confirm, lifecycle, mapping, taxes, three_way
from invoice_sync.domain.blocks import block
from invoice_sync.domain.plan import Stop, by_codes, read_body, sent_body
from invoice_sync.domain.state import Invoice, Link, Operation, State, Step
from invoice_sync.domain.three_way import Plan, Snapshot
from pipeline_contracts.invoice import Invoice as InvoiceBody
from pipeline_contracts.problems import ProblemCode
from pipeline_xero.documents import XeroInvoice

_HEAD = {
    "invoice_number": "InvoiceNumber",
    "reference": "Reference",
    "contact": "Contact",
    "issue_date": "Date",
    "due_date": "DueDate",
    "currency": "CurrencyCode",
    "amounts_are": "LineAmountTypes",
}
# What Xero still lets change once something is paid or credited ("Invoices").
_CHANGEABLE_HEAD = frozenset({"invoice_number", "reference", "due_date", "contact"})
_CODED = (
    "amounts_are",
    ": account_code",
    ": tax_type",
    ": tax_amount",
    ": item_code",
    ": tracking",
)
_CHANGEABLE_OF_LINES = (": description", ": account_code", ": tracking")


@dataclass(frozen=True, slots=True)
class Push:
    """Pipeline's version is to be written: the step before sending, and the link with what was read."""

    step: Step
    link: Link
    changed: frozenset[str]
    is_paid: bool


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
) -> Step | Change:
    """Decide on an invoice that is, or was, in Xero.

    Args:
        row: The invoice, locked.
        link: Its link.
        contact_id: The customer's contact now; None when it is mapped no more.
        seen: The invoice as Xero just showed it; None when Xero has it no more.
        settings: What a payload needs besides.
        terms: What Pipeline's codes are called in Xero, and which of them Xero has.
    """
    is_void = row.operation is Operation.VOID
    if seen is None and is_void:
        return lifecycle.never_sent(row)
    body = read_body(row.desired)
    if body is None:
        return lifecycle.failed(row, block(ProblemCode.INTERNAL_ERROR))
    if seen is None:
        gone = block(ProblemCode.INVOICE_GONE_FROM_XERO, invoice_number=link.xero_number)
        return lifecycle.failed(row, gone)
    ours = taxes.for_xero(body, terms, row.number_prefix or "")
    verdict = judge(row, link, ours, contact_id, seen)
    if not isinstance(verdict, Push):
        return verdict
    ours = taxes.told_anew(ours, verdict.link.agreed, terms)
    sent = sent_body(body, ours)
    if is_void:
        return Change(verdict, void_element(verdict.link), sent)
    if stopped := _by_codes(verdict, body, terms, seen.now):
        return lifecycle.then(verdict.step, stopped)
    contact = contact_id or link.base.get("contact") or ""
    return Change(verdict, update_element(ours, contact, settings, verdict), sent)


def _by_codes(push: Push, body: InvoiceBody, terms: codes.Terms, now: datetime) -> Step | None:
    """What stops a push that names codes. An old list stops none: the invoice is in Xero, and Xero decides."""
    if not any(path.startswith("line ") for path in push.changed):
        return None
    found = by_codes(push.step.row, body, terms, now)
    return found.step if isinstance(found, Stop) else None


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
        if "Status" not in element and sent is not None and _holds(sent, element, seen, link):
            version = row.intent.version if row.intent else row.version
            return confirm.updated(row, sent, version, seen, link)
        if observed == link.observed:
            return None
    found = resolve(taken_up, link, contact_id, seen, settings, terms)
    return None if isinstance(found, Change) else found


def _holds(sent: InvoiceBody, element: Mapping[str, Any], seen: confirm.Seen, link: Link) -> bool:
    """Whether Xero holds just what was sent."""
    contact = (element.get("Contact") or {}).get("ContactID") or link.base.get("contact")
    wanted = mapping.desired_snapshot(sent, contact)
    ours = mapping.in_xeros_words(wanted, link.agreed, link.base)
    paired = _paired(sent, link, seen)
    return three_way.compare(link.base, ours, paired.observed).plan is Plan.IN_SYNC


def _paired(body: InvoiceBody, link: Link, seen: confirm.Seen) -> Link:
    """The link with Xero's lines that are new to us taken for those of ours that are new to Xero, by their place."""
    lines = mapping.pair_lines(
        [line.line_id for line in body.lines],
        [line.line_item_id for line in seen.invoice.lines or () if line.line_item_id],
        link.line_item_ids,
    )
    return replace(link, line_item_ids=lines, observed=mapping.xero_snapshot(seen.invoice, lines))


def judge(
    row: Invoice, link: Link, body: InvoiceBody, contact_id: str | None, seen: confirm.Seen
) -> Step | Push:
    """Judge an invoice that is in Xero.

    Args:
        row: The invoice, locked.
        link: Its link.
        body: What Pipeline wants, in Xero's codes (for a void: what it wanted before).
        contact_id: The customer's contact now; None when it is mapped no more.
        seen: The invoice as Xero just showed it.
    """
    observed = mapping.xero_snapshot(seen.invoice, link.line_item_ids)
    wanted = mapping.desired_snapshot(body, contact_id or link.base.get("contact"))
    if row.operation is Operation.VOID:
        wanted = mapping.withdrawn({**link.agreed})
    elif row.synced_version == row.version:
        wanted = _as_agreed(wanted, link.agreed)
    ours = mapping.in_xeros_words(wanted, link.agreed, link.base)
    compared = three_way.compare(link.base, ours, observed)
    now_seen = replace(
        link,
        observed=observed,
        observed_at=seen.now,
        xero_status=seen.invoice.status or link.xero_status,
        xero_number=seen.invoice.invoice_number or link.xero_number,
    )
    if row.operation is Operation.VOID and observed[three_way.STATUS] == three_way.WITHDRAWN:
        return confirm.voided(row, seen, link)
    paired = _paired(body, now_seen, seen)
    if (
        compared.plan is Plan.CONFLICT
        and three_way.compare(link.base, ours, paired.observed).plan is Plan.IN_SYNC
    ):
        # The same line was added on both sides: by hand, or by a write of ours that landed late.
        return _in_sync(row, replace(paired, agreed=wanted, base=paired.observed), seen)
    match compared.plan:
        case Plan.IN_SYNC:
            agreed = replace(now_seen, agreed=wanted, base=observed)
            return _in_sync(row, agreed, seen)
        case Plan.KEEP_XERO:
            return _kept(row, now_seen, seen, compared)
        case Plan.CONFLICT:
            told = confirm.conflict_block(now_seen.xero_number, compared.differences)
            return lifecycle.out_of_sync(
                row, now_seen, compared.differences, told, seen.invoice.updated_at
            )
        case Plan.PUSH:
            return _push(row, now_seen, ours, seen.invoice)


def _as_agreed(wanted: Snapshot, agreed: Snapshot) -> Snapshot:
    """The same version as it was sent: a code mapped anew, or another tax rate, changes no invoice that is in Xero."""
    return {
        path: agreed.get(path, value) if path.endswith(_CODED) else value
        for path, value in wanted.items()
    }


def _in_sync(row: Invoice, link: Link, seen: confirm.Seen) -> Step:
    first = _resumed(row, link)
    if row.synced_version == row.version:
        rest = replace(first.row, state=State.SYNCED, due_at=None, attempts=0, block=None)
        return Step(rest, first.events, first.notes, link)
    found = confirm.in_xero(link, seen)
    return lifecycle.then(first, lifecycle.synced(first.row, found, row.version, seen.now))


def _resumed(row: Invoice, link: Link) -> Step:
    """SyncResumed, if there was a conflict; by whose hand is told by which side moved since."""
    if row.state is not State.OUT_OF_SYNC:
        return Step(row)
    by = "pipeline_change" if row.synced_version != row.version else "xero_change"
    return lifecycle.resumed(row, link, by)


def _kept(row: Invoice, link: Link, seen: confirm.Seen, compared: three_way.Comparison) -> Step:
    """Only Xero changed. That is remembered, not overwritten; a conflict it does not settle stays one."""
    if row.state is State.OUT_OF_SYNC:
        told = confirm.conflict_block(link.xero_number, compared.differences)
        return lifecycle.out_of_sync(row, link, compared.differences, told, seen.invoice.updated_at)
    if row.synced_version == row.version:
        return lifecycle.noticed(
            row, link, "changed in Xero; Pipeline's version is not pushed over it"
        )
    return lifecycle.synced(row, confirm.in_xero(link, seen), row.version, seen.now)


def _push(row: Invoice, link: Link, ours: Snapshot, xero: XeroInvoice) -> Step | Push:
    changed = frozenset(
        path for path in ours.keys() | link.base.keys() if ours.get(path) != link.base.get(path)
    )
    is_paid = bool(xero.amount_paid or xero.amount_credited)
    if is_paid and not all(_changeable(path) for path in changed):
        paid = block(ProblemCode.INVOICE_HAS_PAYMENT, invoice_number=link.xero_number)
        return replace(lifecycle.failed(row, paid), link=link)
    first = _resumed(row, link)
    return Push(first, link, changed, is_paid)


def _changeable(path: str) -> bool:
    return path in _CHANGEABLE_HEAD or path.endswith(_CHANGEABLE_OF_LINES)


def void_element(link: Link) -> dict[str, Any]:
    """Voiding: id and status only; Xero refuses a void that carries the rest. A draft is deleted instead."""
    status = "DELETED" if link.xero_status in {"DRAFT", "SUBMITTED"} else "VOIDED"
    return {"InvoiceID": link.xero_invoice_id, "Status": status}


def update_element(
    body: InvoiceBody, contact_id: str, settings: mapping.WriteSettings, push: Push
) -> Mapping[str, Any]:
    """The change to send: only the fields Pipeline changed.

    Xero has no conditional writes. A field left out keeps what somebody may be writing into it at this moment, and
    the answer then shows it. Lines go together: one left out would be removed.
    """
    element = mapping.to_xero(body, contact_id, settings, push.link.line_item_ids)
    del element["Status"]
    keep = {_HEAD[path] for path in push.changed if path in _HEAD}
    if "currency" in push.changed:
        keep.add("CurrencyRate")
    if "amounts_are" in push.changed or any(path.startswith("line ") for path in push.changed):
        keep |= {"LineItems", "LineAmountTypes"}
    if push.is_paid:
        keep.discard("LineAmountTypes")
    changes = {key: value for key, value in element.items() if key in keep}
    return {"InvoiceID": push.link.xero_invoice_id, **(changes or element)}
