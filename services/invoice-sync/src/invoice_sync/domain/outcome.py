"""Reading Xero's verdict on one invoice of a write, and what looking an invoice up has shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from invoice_sync.domain import confirm, lifecycle, mapping
from invoice_sync.domain.account_settings import EditPolicy
from invoice_sync.domain.blocks import block
from invoice_sync.domain.plan import read_body
from invoice_sync.domain.state import Account, Intent, Invoice, Link, Operation, Step
from pipeline_contracts.problems import ProblemCode
from pipeline_xero.documents import XeroInvoice
from pipeline_xero.errors import UnexpectedAnswer
from pipeline_xero.json_forms import ZERO_GUID
from pipeline_xero.outcomes import ElementResult, ElementStatus

GONE = frozenset({"VOIDED", "DELETED"})
# A request that got no answer may wait somewhere on its way; by then every hop of it has given up.
LANDS_WITHIN = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Answer:
    """The circumstances of an answer."""

    account: Account
    intent: Intent
    xero_web_url: str
    now: datetime
    correlation_id: str | None = None
    sent: Sequence[Mapping[str, Any]] = ()
    """The elements of a change that was sent, in their places."""
    edit_policy: EditPolicy = EditPolicy.BLOCK


@dataclass(frozen=True, slots=True)
class Outcome:
    """The step to record, and whether the invoice must be looked up before it is settled."""

    step: Step
    look_up: bool = False


def answer_to(
    row: Invoice,
    link: Link | None,
    results: Sequence[ElementResult],
    placed: Sequence[ElementResult],
) -> ElementResult | None:
    """The element of a write's answer that is about this invoice; None if nobody can say which.

    Args:
        row: The invoice, which still carries its intent.
        link: Its link, for an update or void: Xero names the InvoiceID in its answer.
        results: All elements answered.
        placed: The same, if they stand in the places of what was sent; else empty.
    """
    if link is not None:
        ours = link.xero_invoice_id.lower()
        for each in results:
            if _id_of(each) == ours:
                return each
    place = row.intent.position if row.intent else 0
    found = placed[place] if place < len(placed) else None
    if found is not None and link is not None and _id_of(found) not in {"", ZERO_GUID}:
        return None  # it names another invoice
    return found


def _id_of(result: ElementResult) -> str:
    return str(result.source.get("InvoiceID") or "").lower()


def outcome_of(
    row: Invoice, result: ElementResult | None, link: Link | None, answer: Answer
) -> Outcome:
    """Judge one element of a write's answer.

    Args:
        row: The invoice, which still carries its intent.
        result: Its element; None when the answer has fewer elements than were sent.
        link: Its link, for an update or void.
        answer: The circumstances.
    """
    if result is None or result.status is ElementStatus.UNCLEAR:
        return Outcome(lifecycle.unsettled(row), look_up=True)
    if not result.accepted:
        if _is_of_another(row, result):
            return Outcome(lifecycle.unsettled(row), look_up=True)
        if answer.intent.kind == "create" and lifecycle.number_taken(result.errors):
            return Outcome(lifecycle.taken(row, result.errors), look_up=True)
        refused = lifecycle.refused_with(
            row, result.errors, answer.now, answer.correlation_id, sent=read_body(row.sent)
        )
        return Outcome(refused)
    try:
        seen = _seen(result.source, answer)
    except UnexpectedAnswer:
        # Stored, but not readable: reading it again decides.
        return Outcome(lifecycle.unsettled(row), look_up=True)
    step = _accepted(row, result.source, seen, link, answer)
    if result.warnings and step is not None:
        step = lifecycle.with_warnings(step, result.warnings)
    return Outcome(step) if step else Outcome(lifecycle.unsettled(row), look_up=True)


def _is_of_another(row: Invoice, result: ElementResult) -> bool:
    """Whether a refusal names another number than the one sent: answers are matched by place, and places may shift."""
    named = result.source.get("InvoiceNumber")
    body = read_body(row.sent)
    return bool(named) and body is not None and not matches(result.source, body.invoice_number)


def _accepted(
    row: Invoice,
    source: Mapping[str, Any],
    seen: confirm.Seen,
    link: Link | None,
    answer: Answer,
) -> Step | None:
    body = read_body(row.sent)
    version = row.intent.version if row.intent else row.version
    if answer.intent.kind == "void" and link is not None:
        return confirm.voided(row, seen, link)
    if body is None:
        return None
    if answer.intent.kind == "update" and link is not None:
        place = row.intent.position if row.intent else 0
        return confirm.updated(row, body, version, seen, link, answer.sent[place])
    if not matches(source, body.invoice_number):
        return None  # an answer at our place that is not ours: linking it would mix up two invoices
    return confirm.created(row, body, version, seen)


def _seen(source: Mapping[str, Any], answer: Answer) -> confirm.Seen:
    return confirm.Seen(
        invoice=XeroInvoice.from_json(source),
        account=answer.account,
        tenant_id=answer.intent.tenant_id,
        xero_web_url=answer.xero_web_url,
        now=answer.now,
        correlation_id=answer.correlation_id,
        edit_policy=answer.edit_policy,
    )


def found_in_xero(
    row: Invoice,
    elements: Sequence[Mapping[str, Any]],
    marker: str,
    answer: Answer,
    *,
    retry_after: timedelta,
) -> Step:
    """Settle a write of unknown outcome by what Xero holds under its number.

    Args:
        row: The invoice, which still carries its intent.
        elements: The sales invoices Xero has under that number, as read.
        marker: The ``Url`` our invoice would carry.
        answer: The circumstances.
        retry_after: How long to wait before sending it anew, should nothing be there.
    """
    ours = [each for each in elements if mapping.is_ours(each, marker)]
    live = [each for each in ours if each.get("Status") not in GONE]
    body = read_body(row.sent)
    if live and body is not None:
        version = row.intent.version if row.intent else row.version
        return confirm.adopted(row, body, version, _seen(live[0], answer))
    if ours:
        if row.operation is Operation.VOID:
            return lifecycle.never_sent(row)
        gone = block(ProblemCode.INVOICE_GONE_FROM_XERO, invoice_number=row.xero_number)
        return lifecycle.failed(row, gone)
    was_refused = row.block is not None and row.block.code == ProblemCode.INVOICE_NUMBER_TAKEN
    strangers = [each for each in elements if each.get("Status") not in GONE]
    if strangers or was_refused:
        errors = row.block.xero_errors if row.block is not None and was_refused else ()
        other = mapping.other_of(strangers, marker)
        taken = ProblemCode.INVOICE_NUMBER_TAKEN
        return lifecycle.refused_as(row, taken, errors, answer.now, other=other)
    if row.operation is Operation.VOID:
        return lifecycle.never_sent(row)
    return lifecycle.again_alone(
        row, answer.now + retry_after, "looked in Xero: it is not there; sent again under a new key"
    )


def may_still_land(row: Invoice, elements: Sequence[Mapping[str, Any]], answer: Answer) -> bool:
    """Whether an absent write must be awaited: nothing of ours would collide with it if it came after all.

    An invoice sent anew under its number is refused should the first one land late, and then that one is adopted. A
    void sends nothing, and another number is free: the late one would stay in Xero, known to nobody.

    Args:
        row: The invoice, which still carries its intent.
        elements: What Xero has under the number that was sent.
        answer: The circumstances.
    """
    if elements or (row.block is not None and row.block.code == ProblemCode.INVOICE_NUMBER_TAKEN):
        return False
    sent = read_body(row.sent)
    renumbered = sent is not None and (
        sent.invoice_number.strip().casefold() != row.xero_number.casefold()
    )
    is_recent = answer.now - answer.intent.first_sent_at < LANDS_WITHIN
    return is_recent and (row.operation is Operation.VOID or renumbered)


def matches(element: Mapping[str, Any], number: str) -> bool:
    """Whether this is a sales invoice with that number (numbers of bills are not unique and do not count)."""
    same = str(element.get("InvoiceNumber") or "").strip().casefold() == number.strip().casefold()
    return same and element.get("Type") in {None, "ACCREC"}
