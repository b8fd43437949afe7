"""Invoices: creation, transitions, and what may still change once money has arrived.

Source: the tables of the Invoices page (dev/documentation/api/accounting/invoices).
"""

from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal

from xero_simulator import messages
from xero_simulator.contacts import Scene, mark_used
from xero_simulator.documents import Written, blank_document, check_lock, fill, note, text
from xero_simulator.messages import RuleBroken
from xero_simulator.records import Document, Line
from xero_simulator.wire import Json

CREATABLE = frozenset({"DRAFT", "SUBMITTED", "AUTHORISED"})
TRANSITIONS: dict[str, frozenset[str]] = {
    "DRAFT": frozenset({"DRAFT", "SUBMITTED", "AUTHORISED", "DELETED"}),
    "SUBMITTED": frozenset({"SUBMITTED", "DRAFT", "AUTHORISED", "DELETED"}),
    "AUTHORISED": frozenset({"AUTHORISED", "VOIDED"}),
    "PAID": frozenset({"PAID"}),
    "VOIDED": frozenset(),
    "DELETED": frozenset(),
}
"""To which status a request may move an invoice; PAID and back is the system's business."""

_ENDING = frozenset({"VOIDED", "DELETED"})
_UNAPPROVED = frozenset({"DRAFT", "SUBMITTED"})
_TYPES = frozenset({"ACCREC", "ACCPAY"})
_VOID_KEYS = frozenset(
    {"InvoiceID", "InvoiceNumber", "Status", "Type", "CreditNoteID", "CreditNoteNumber"}
)


def create_invoice(scene: Scene, payload: Json) -> Written:
    """PUT: always a new invoice; an InvoiceID in the request is ignored.

    Raises:
        RuleBroken: A rule of the invoice tables refuses it.
    """
    kind = text(payload, "Type")
    if kind not in _TYPES:
        raise RuleBroken(messages.TYPE_INVALID)
    status = text(payload, "Status", "DRAFT") or "DRAFT"
    if status not in CREATABLE:
        raise RuleBroken(messages.STATUS_FOR_CREATION)
    _check_number(scene, kind, text(payload, "InvoiceNumber"), None)
    written = fill(
        scene,
        blank_document(scene, "invoice", kind, status),
        payload,
        strict=status == "AUTHORISED",
    )
    invoice = written.document
    _check_lock(scene, invoice)
    _check_approval(scene, None, invoice)
    given = text(payload, "InvoiceNumber")
    invoice = replace(invoice, number=given or _automatic_number(scene, kind))
    invoice = settle(invoice, invoice.date) if status == "AUTHORISED" else invoice
    scene.books.put_document(invoice)
    mark_used(scene, invoice.contact_id, sale=kind == "ACCREC")
    note(scene, invoice.document_id, "Created", f"INV {invoice.number} created.")
    return Written(invoice, written.warnings)


def _check_lock(scene: Scene, invoice: Document) -> None:
    """Drafts, also submitted ones, may have a locked day: help.xero.com, "Set and work with lock dates".

    Raises:
        RuleBroken: The invoice's day is locked for whoever connected the app.
    """
    if invoice.status not in _UNAPPROVED:
        check_lock(scene, invoice.date)


def update_or_create_invoice(scene: Scene, payload: Json) -> Written:
    """POST: the invoice with that InvoiceID, else that InvoiceNumber, else a new one.

    Raises:
        RuleBroken: A rule of the invoice tables refuses it.
        KeyError: An InvoiceID nobody has.
    """
    if invoice_id := text(payload, "InvoiceID"):
        found = scene.books.documents[invoice_id.lower()]
        if found.kind != "invoice":
            raise KeyError(invoice_id)
        return update_invoice(scene, found, payload)
    if given := text(payload, "InvoiceNumber"):
        kind = text(payload, "Type", "ACCREC")
        same = [row for row in scene.books.invoices_numbered(given) if row.type == kind]
        if same and kind == "ACCREC":
            return update_invoice(scene, same[-1], payload)
    return create_invoice(scene, payload)


def update_invoice(scene: Scene, invoice: Document, payload: Json) -> Written:
    """Changes an invoice within the transitions and the limits of what is paid or locked.

    Raises:
        RuleBroken: A rule of the invoice tables refuses it.
    """
    status = text(payload, "Status", invoice.status) or invoice.status
    _check_transition(invoice, status)
    _check_lock(scene, invoice)
    if status in _ENDING:
        return _end(scene, invoice, status, payload)
    strict = status in {"AUTHORISED", "PAID"}
    written = fill(scene, replace(invoice, status=status), payload, strict=strict)
    edited = replace(written.document, number=text(payload, "InvoiceNumber") or invoice.number)
    _check_number(scene, edited.type, edited.number, invoice)
    _check_lock(scene, edited)
    if invoice.touched:
        _check_paid_edit(invoice, edited)
    _check_approval(scene, invoice, edited)
    edited = replace(edited, updated=_updated(invoice, edited, scene))
    if strict:
        edited = settle(edited, edited.date)
    scene.books.put_document(edited)
    mark_used(scene, edited.contact_id, sale=edited.type == "ACCREC")
    note(scene, edited.document_id, "Edited", f"Invoice {edited.number} edited.")
    return Written(edited, written.warnings)


def settle(document: Document, paid_on: date) -> Document:
    """Flips AUTHORISED and PAID by what is outstanding; the system's own transition."""
    if document.status == "AUTHORISED" and document.outstanding == 0 and document.touched:
        return replace(document, status="PAID", fully_paid_on=paid_on)
    if document.status == "PAID" and document.outstanding != 0:
        return replace(document, status="AUTHORISED", fully_paid_on=None)
    return document


def apply_payment(scene: Scene, document: Document, amount: Decimal, on: date) -> Document:
    """Adds to (or, negative, takes from) what is paid and settles."""
    return _apply(scene, replace(document, amount_paid=document.amount_paid + amount), on)


def apply_credit(scene: Scene, document: Document, amount: Decimal, on: date) -> Document:
    """Adds to (or takes from) what is credited and settles."""
    return _apply(scene, replace(document, amount_credited=document.amount_credited + amount), on)


def _apply(scene: Scene, document: Document, on: date) -> Document:
    is_seen = scene.settlements_move_invoice or document.kind != "invoice"
    document = settle(replace(document, updated=scene.now if is_seen else document.updated), on)
    scene.books.put_document(document)
    return document


def _automatic_number(scene: Scene, kind: str) -> str:
    if kind != "ACCREC":
        return ""
    while True:
        number = f"INV-{scene.books.take_number('next_invoice_number'):04d}"
        if not scene.books.invoices_numbered(number):
            return number


def _check_number(scene: Scene, kind: str, number: str, own: Document | None) -> None:
    if kind != "ACCREC" or not number:
        return
    freed = scene.books.organisation.numbers_freed_by
    for other in scene.books.invoices_numbered(number):
        mine = own is not None and other.document_id == own.document_id
        if other.type == "ACCREC" and not mine and other.status not in freed:
            raise RuleBroken(messages.NUMBER_TAKEN)


def _check_transition(invoice: Document, status: str) -> None:
    if status == "VOIDED" and invoice.touched and invoice.status in {"AUTHORISED", "PAID"}:
        raise RuleBroken(messages.VOID_REFUSED)
    if status not in TRANSITIONS[invoice.status]:
        raise RuleBroken(messages.STATUS_FOR_MODIFICATION)


def _end(scene: Scene, invoice: Document, status: str, payload: Json) -> Written:
    """Voids or deletes; xero-node issue 407: posting the whole object to void it fails."""
    if scene.whole_object_void_fails and scene.by_app and set(payload) - _VOID_KEYS:
        raise RuleBroken(messages.STATUS_FOR_MODIFICATION)
    ended = replace(invoice, status=status, updated=scene.now)
    scene.books.put_document(ended)
    note(scene, ended.document_id, status.capitalize(), f"Invoice {ended.number} {status.lower()}.")
    return Written(ended)


def _check_approval(scene: Scene, before: Document | None, after: Document) -> None:
    """An approval needs a due date and a place in the monthly limit of an Early plan."""
    approved = before is not None and before.status in {"AUTHORISED", "PAID"}
    if after.status != "AUTHORISED" and not approved:
        return
    if after.due_date is None:
        raise RuleBroken(messages.DUE_DATE_REQUIRED)
    if approved or after.type != "ACCREC":
        return
    month = scene.now.strftime("%Y-%m")
    limit = scene.books.organisation.monthly_approval_limit
    if limit is not None and scene.books.approvals[month] >= limit:
        raise RuleBroken(messages.APPROVAL_LIMIT)
    scene.books.count_approval(month)


def _check_paid_edit(before: Document, after: Document) -> None:
    """Once paid in part only references, dates due and line descriptions or codes may move."""
    contact_moved = before.contact_id != after.contact_id and bool(before.amount_credited)
    if contact_moved or _fixed(before) != _fixed(after):
        raise RuleBroken(messages.PAID_NOT_EDITABLE)


def _fixed(document: Document) -> tuple[object, ...]:
    return (
        document.type,
        document.date,
        document.currency,
        document.currency_rate,
        document.line_amount_types,
        document.total,
        frozenset(_fixed_line(line) for line in document.lines),
    )


def _fixed_line(line: Line) -> tuple[object, ...]:
    return (
        line.line_id,
        line.quantity,
        line.unit_amount,
        line.item_code,
        line.tax_type,
        line.tax_amount,
        line.line_amount,
    )


def _updated(before: Document, after: Document, scene: Scene) -> datetime:
    """DueDate and SentToContact on a part-paid invoice leave UpdatedDateUTC alone."""
    silent = replace(after, due_date=before.due_date, sent_to_contact=before.sent_to_contact)
    if before.touched and silent == before and after != before:
        return before.updated
    return scene.now
