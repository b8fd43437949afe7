"""/CreditNotes and their allocations."""

from collections.abc import Sequence

from xero_simulator import credit_notes, shapes
from xero_simulator.contacts import Scene
from xero_simulator.idempotency import Answer
from xero_simulator.records import Document
from xero_simulator.routes import listing
from xero_simulator.routes.invoices import fields
from xero_simulator.routes.request import JSON, ApiRequest, Writer, not_found, write
from xero_simulator.shapes import View
from xero_simulator.wire import Json, day_stamp, dumps


def collection(request: ApiRequest) -> Answer:
    """GET, PUT and POST /CreditNotes."""
    if request.method == "GET":
        return _list(request)
    create = request.method == "PUT"

    def apply(scene: Scene, row: Json) -> tuple[str, Sequence[str]]:
        rule = (
            credit_notes.create_credit_note if create else credit_notes.update_or_create_credit_note
        )
        written = rule(scene, row)
        return written.document.document_id, written.warnings

    view = View(written=True, unit_places=request.unit_places)

    def show(document_id: str) -> Json:
        return shapes.credit_note(request.books, request.books.documents[document_id], view)

    writer = Writer("CreditNotes", "CreditNoteID", apply, show)
    return write(request, request.elements("CreditNotes"), writer)


def single(request: ApiRequest) -> Answer:
    """GET /CreditNotes/{id or number}."""
    found = _find(request)
    if found is None:
        return not_found()
    view = View(full=True, unit_places=request.unit_places)
    return request.reply({"CreditNotes": [shapes.credit_note(request.books, found, view)]})


def prepayment(request: ApiRequest) -> Answer:
    """GET /Prepayments/{id}."""
    return _other(request, "prepayment", "Prepayments")


def overpayment(request: ApiRequest) -> Answer:
    """GET /Overpayments/{id}."""
    return _other(request, "overpayment", "Overpayments")


def _other(request: ApiRequest, kind: str, collection_name: str) -> Answer:
    found = request.books.documents.get(request.path[1].lower())
    if found is None or found.kind != kind:
        return not_found()
    view = View(full=True, unit_places=request.unit_places)
    return request.reply({collection_name: [shapes.credit_note(request.books, found, view)]})


def allocations(request: ApiRequest) -> Answer:
    """PUT /CreditNotes/{id}/Allocations."""
    found = _find(request)
    if found is None:
        return not_found()

    def apply(scene: Scene, row: Json) -> tuple[str, Sequence[str]]:
        source = scene.books.documents[found.document_id]
        return credit_notes.allocate(scene, source, row).allocation_id, ()

    def show(allocation_id: str) -> Json:
        row = request.books.allocations[allocation_id]
        body = shapes.allocation(request.books, row)
        return body | {"CreditNote": {"CreditNoteID": row.source_id, "ID": row.source_id,
                                      "LineItems": []}, "ValidationErrors": []}  # fmt: skip

    writer = Writer("Allocations", "AllocationID", apply, show)
    return write(request, request.elements("Allocations"), writer)


def allocation(request: ApiRequest) -> Answer:
    """DELETE /CreditNotes/{id}/Allocations/{AllocationID}."""
    found = _find(request)
    row = request.books.allocations.get(request.path[3].lower())
    if found is None or row is None or row.source_id != found.document_id:
        return not_found()
    credit_notes.remove_allocation(request.scene(), row)
    request.world.commit(request.books)
    # This reply has no envelope, spells the id differently and lists the invoice (specification).
    body = {
        "AllocationId": row.allocation_id,
        "Date": day_stamp(row.date),
        "Invoice": [{"InvoiceID": row.invoice_id}],
        "IsDeleted": True,
    }
    return Answer(200, (JSON,), dumps(body))


def _find(request: ApiRequest) -> Document | None:
    key = request.path[1]
    found = request.books.documents.get(key.lower())
    if found is None:
        found = next(iter(request.books.credit_notes_numbered(key)), None)
    return found if found is not None and found.kind == "credit_note" else None


def _list(request: ApiRequest) -> Answer:
    where = listing.condition(request, fields(request))
    changed = listing.modified_since(request)
    rows = [
        row
        for row in request.books.documents.values()
        if row.kind == "credit_note" and changed(row.updated) and where.matches(row)
    ]
    shown, paging = listing.arrange(request, rows, fields(request))
    view = View(lines=paging is not None, unit_places=request.unit_places)
    return request.reply(
        {"CreditNotes": [shapes.credit_note(request.books, row, view) for row in shown]}, paging
    )
