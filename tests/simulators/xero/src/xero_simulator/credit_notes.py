"""Credit notes, overpayments and prepayments, and where their credit goes.

An allocation is no Payment: an invoice can be PAID with AmountPaid 0.
"""

from dataclasses import replace

from xero_simulator import messages
from xero_simulator.contacts import Scene, mark_used
from xero_simulator.documents import (
    Written,
    blank_document,
    check_lock,
    day,
    fill,
    note,
    number,
    text,
)
from xero_simulator.invoices import CREATABLE, TRANSITIONS, apply_credit, settle
from xero_simulator.messages import RuleBroken
from xero_simulator.money import cents
from xero_simulator.records import Allocation, Document
from xero_simulator.wire import Json

_TYPES = frozenset({"ACCRECCREDIT", "ACCPAYCREDIT"})


def create_credit_note(scene: Scene, payload: Json) -> Written:
    """PUT: a new credit note.

    Raises:
        RuleBroken: A rule refuses it.
    """
    kind = text(payload, "Type")
    if kind not in _TYPES:
        raise RuleBroken(messages.TYPE_INVALID)
    status = text(payload, "Status", "DRAFT") or "DRAFT"
    if status not in CREATABLE:
        raise RuleBroken(messages.STATUS_FOR_CREATION)
    given = text(payload, "CreditNoteNumber")
    if given and kind == "ACCRECCREDIT" and scene.books.credit_notes_numbered(given):
        raise RuleBroken(messages.CREDIT_NOTE_NUMBER_TAKEN)
    blank = blank_document(scene, "credit_note", kind, status)
    written = fill(scene, blank, payload, strict=status == "AUTHORISED")
    check_lock(scene, written.document.date)
    document = replace(written.document, number=given or _automatic_number(scene))
    scene.books.put_document(document)
    mark_used(scene, document.contact_id, sale=kind == "ACCRECCREDIT")
    note(scene, document.document_id, "Created", f"Credit note {document.number} created.")
    return Written(document, written.warnings)


def update_or_create_credit_note(scene: Scene, payload: Json) -> Written:
    """POST: the one with that id or number, else a new one.

    Raises:
        RuleBroken: A rule refuses it.
        KeyError: An id nobody has.
    """
    found: Document | None = None
    if document_id := text(payload, "CreditNoteID"):
        found = scene.books.documents[document_id.lower()]
    elif given := text(payload, "CreditNoteNumber"):
        found = next(iter(scene.books.credit_notes_numbered(given)), None)
    if found is None:
        return create_credit_note(scene, payload)
    return _update(scene, found, payload)


def allocate(scene: Scene, source: Document, payload: Json) -> Allocation:
    """Applies credit of `source` to an invoice and settles both.

    Raises:
        RuleBroken: Not enough credit, too much for the invoice, or the two do not belong together.
    """
    reference = payload.get("Invoice")
    wanted: Json = reference if isinstance(reference, dict) else {}
    invoice = scene.books.documents.get(str(wanted.get("InvoiceID") or "").lower())
    if invoice is None or invoice.kind != "invoice":
        raise RuleBroken(messages.PAYMENT_DOCUMENT_UNKNOWN)
    if invoice.status != "AUTHORISED" or source.status != "AUTHORISED":
        raise RuleBroken(messages.PAYMENT_NOT_AUTHORISED)
    if not _belong(source, invoice):
        raise RuleBroken(messages.ALLOCATION_MISMATCH)
    given = number(payload, "Amount")
    if given is None or given <= 0:
        raise RuleBroken(messages.PAYMENT_AMOUNT_INVALID)
    amount = cents(given)
    if amount > invoice.outstanding:
        raise RuleBroken(messages.ALLOCATION_TOO_LARGE)
    if amount > source.outstanding:
        raise RuleBroken(messages.ALLOCATION_NO_CREDIT)
    on = day(payload, "Date", scene.now.date()) or scene.now.date()
    check_lock(scene, on)
    row = Allocation(scene.ids.guid(), source.document_id, invoice.document_id, amount, on)
    scene.books.put_allocation(row)
    apply_credit(scene, source, amount, on)
    apply_credit(scene, invoice, amount, on)
    note(scene, invoice.document_id, "Credited", f"Amount credited for {amount}.")
    return row


def remove_allocation(scene: Scene, row: Allocation) -> None:
    """Takes an allocation back; both documents become AUTHORISED again."""
    scene.books.drop_allocation(row)
    for document_id in (row.source_id, row.invoice_id):
        apply_credit(scene, scene.books.documents[document_id], -row.amount, row.date)
    note(scene, row.invoice_id, "Credit removed", f"Allocation of {row.amount} removed.")


def _update(scene: Scene, document: Document, payload: Json) -> Written:
    status = text(payload, "Status", document.status) or document.status
    if status not in TRANSITIONS[document.status]:
        raise RuleBroken(messages.STATUS_FOR_MODIFICATION)
    if document.touched:
        raise RuleBroken(messages.PAID_NOT_EDITABLE)
    check_lock(scene, document.date)
    if status in {"VOIDED", "DELETED"}:
        ended = replace(document, status=status, updated=scene.now)
        scene.books.put_document(ended)
        return Written(ended)
    strict = status == "AUTHORISED"
    written = fill(scene, replace(document, status=status), payload, strict=strict)
    edited = settle(replace(written.document, updated=scene.now), scene.now.date())
    scene.books.put_document(edited)
    return Written(edited, written.warnings)


def _automatic_number(scene: Scene) -> str:
    while True:
        candidate = f"CN-{scene.books.take_number('next_credit_note_number'):04d}"
        if not scene.books.credit_notes_numbered(candidate):
            return candidate


def _belong(source: Document, invoice: Document) -> bool:
    sales = source.type.startswith(("ACCREC", "RECEIVE"))
    return (
        source.contact_id == invoice.contact_id
        and source.currency == invoice.currency
        and sales == (invoice.type == "ACCREC")
    )
