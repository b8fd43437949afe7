"""/Invoices, its history, e-mail and online address."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from xero_simulator import invoices, messages, shapes
from xero_simulator.contacts import Scene
from xero_simulator.documents import note
from xero_simulator.idempotency import Answer
from xero_simulator.ids import is_guid
from xero_simulator.records import Document, HistoryRecord
from xero_simulator.routes import listing
from xero_simulator.routes.request import (
    ApiError,
    ApiRequest,
    Writer,
    not_found,
    validation_failed,
    write,
)
from xero_simulator.shapes import View
from xero_simulator.where import Getter
from xero_simulator.wire import Json, milliseconds, stamp

MAX_DETAILS = 2500


def fields(request: ApiRequest) -> Mapping[str, Getter]:
    """The fields `where` and `order` may name."""
    contacts = request.books.contacts
    return {
        "type": lambda row: row.type,
        "status": lambda row: row.status,
        "invoiceid": lambda row: row.document_id,
        "invoicenumber": lambda row: row.number,
        "creditnoteid": lambda row: row.document_id,
        "creditnotenumber": lambda row: row.number,
        "reference": lambda row: row.reference,
        "date": lambda row: row.date,
        "duedate": lambda row: row.due_date,
        "total": lambda row: row.total,
        "amountdue": lambda row: row.outstanding,
        "amountpaid": lambda row: row.amount_paid,
        "amountcredited": lambda row: row.amount_credited,
        "currencycode": lambda row: row.currency,
        "updateddateutc": lambda row: row.updated,
        "fullypaidondate": lambda row: row.fully_paid_on,
        "contact.contactid": lambda row: row.contact_id,
        "contact.name": lambda row: contacts[row.contact_id].name,
        "contact.contactnumber": lambda row: contacts[row.contact_id].number,
    }


def collection(request: ApiRequest) -> Answer:
    """GET, PUT and POST /Invoices."""
    if request.method == "GET":
        return _list(request)
    create = request.method == "PUT"

    def apply(scene: Scene, row: Json) -> tuple[str, Sequence[str]]:
        rule = invoices.create_invoice if create else invoices.update_or_create_invoice
        written = rule(scene, row)
        return written.document.document_id, written.warnings

    return write(request, request.elements("Invoices"), _writer(request, apply))


def single(request: ApiRequest) -> Answer:
    """GET and POST /Invoices/{id or number}."""
    found = find(request, request.path[1])
    if found is None:
        return not_found()
    if request.method == "GET":
        view = View(full=True, unit_places=request.unit_places)
        return request.reply({"Invoices": [shapes.invoice(request.books, found, view)]})

    def apply(scene: Scene, row: Json) -> tuple[str, Sequence[str]]:
        written = invoices.update_invoice(scene, scene.books.documents[found.document_id], row)
        return written.document.document_id, written.warnings

    rows = request.elements("Invoices")[:1]
    return write(request, [{"InvoiceID": found.document_id} | rows[0]], _writer(request, apply))


def history(request: ApiRequest) -> Answer:
    """GET and PUT /Invoices/{id}/History."""
    found = find(request, request.path[1])
    if found is None:
        return not_found()
    if request.method == "GET":
        rows = request.books.history[found.document_id]
        return request.reply({"HistoryRecords": [_history(row) for row in reversed(rows)]})
    written = []
    for element in request.elements("HistoryRecords"):
        details = element.get("Details")
        if not isinstance(details, str) or not details or len(details) > MAX_DETAILS:
            text = messages.TOO_LONG.format(field="Details", limit=MAX_DETAILS)
            return validation_failed([element | {"ValidationErrors": [{"Message": text}]}])
        now = request.world.clock.now()
        request.books.add_history(
            HistoryRecord(found.document_id, "Note", details, "System Generated", now)
        )
        written.append(
            {
                "DateUTCString": now.strftime("%Y-%m-%dT%H:%M:%S"),
                "DateUTC": f"/Date({milliseconds(now)})/",
                "Details": details,
                "ValidationErrors": [],
            }
        )
    request.world.commit(request.books)
    return request.reply({"HistoryRecords": written})


def online(request: ApiRequest) -> Answer:
    """GET /Invoices/{id}/OnlineInvoice: sales invoices past the draft only."""
    found = find(request, request.path[1])
    if found is None or found.type != "ACCREC" or found.status == "DRAFT":
        return not_found()
    url = f"https://in.xero.com/{found.document_id.replace('-', '')}"
    return request.reply({"OnlineInvoices": [{"OnlineInvoiceUrl": url}]})


def email(request: ApiRequest) -> Answer:
    """POST /Invoices/{id}/Email: 204, and the invoice counts as sent."""
    found = find(request, request.path[1])
    if found is None or found.type != "ACCREC":
        return not_found()
    if found.status not in {"SUBMITTED", "AUTHORISED", "PAID"}:
        errors = [{"Message": messages.STATUS_FOR_MODIFICATION}]
        return validation_failed([{"InvoiceID": found.document_id, "ValidationErrors": errors}])
    # UpdatedDateUTC of a part-paid invoice stays as it is when it is sent (Invoices page).
    updated = found.updated if found.touched else request.world.clock.now()
    request.books.put_document(replace(found, sent_to_contact=True, updated=updated))
    note(request.scene(), found.document_id, "Invoice sent", "This invoice has been sent")
    request.world.commit(request.books)
    return Answer(204, (), b"")


def find(request: ApiRequest, key: str) -> Document | None:
    """The invoice with this id or number (of several, the newest that is not voided or deleted)."""
    found = request.books.documents.get(key.lower())
    if found is not None:
        return found if found.kind == "invoice" else None
    same = request.books.invoices_numbered(key)
    live = [row for row in same if row.status not in {"VOIDED", "DELETED"}]
    return next(reversed(live or same), None)


def _writer(request: ApiRequest, apply: object) -> Writer:
    view = View(
        written=True,
        unit_places=request.unit_places,
        nested_contact_shift=request.world.nested_contact_shift,
    )

    def show(document_id: str) -> Json:
        return shapes.invoice(request.books, request.books.documents[document_id], view)

    return Writer("Invoices", "InvoiceID", apply, show)  # type: ignore[arg-type]


def _list(request: ApiRequest) -> Answer:
    where = listing.condition(request, fields(request))
    changed = listing.modified_since(request)
    contacts = listing.names(request, "ContactIDs")
    statuses = listing.names(request, "Statuses")
    mine = request.flag("createdByMyApp")
    search = request.parameter("searchTerm").lower()
    rows = [
        row
        for row in _candidates(request, where.equals)
        if changed(row.updated)
        and (contacts is None or row.contact_id in contacts)
        and (statuses is None or row.status.lower() in statuses)
        and (not mine or row.created_by_app)
        and (not search or search in f"{row.number} {row.reference}".lower())
        and where.matches(row)
    ]
    shown, paging = listing.arrange(request, rows, fields(request))
    view = View(
        lines=paging is not None,
        summary=request.flag("summaryOnly"),
        unit_places=request.unit_places,
    )
    return request.reply(
        {"Invoices": [shapes.invoice(request.books, row, view) for row in shown]}, paging
    )


def _candidates(request: ApiRequest, equals: Mapping[str, object]) -> Iterable[Document]:
    """The smallest set an index gives for the request."""
    books = request.books
    ids, numbers = listing.names(request, "IDs"), listing.names(request, "InvoiceNumbers")
    if ids is not None:
        if not all(is_guid(key) for key in ids):
            raise ApiError(not_found())
        rows = [books.documents[key] for key in ids if key in books.documents]
        if numbers is not None:
            rows = [row for row in rows if row.number.lower() in numbers]
    elif numbers is not None:
        rows = [row for text in sorted(numbers) for row in books.invoices_numbered(text)]
    elif isinstance(wanted := equals.get("invoicenumber"), str):
        rows = books.invoices_numbered(wanted)
    elif isinstance(wanted := equals.get("contact.contactid"), str):
        rows = [books.documents[key] for key in books.documents_by_contact.get(wanted, ())]
    else:
        rows = list(books.documents.values())
    return (row for row in rows if row.kind == "invoice")


def _history(row: HistoryRecord) -> Json:
    return {
        "Changes": row.changes,
        "DateUTCString": row.moment.strftime("%Y-%m-%dT%H:%M:%S"),
        "DateUTC": stamp(row.moment),
        "User": row.user,
        "Details": row.details,
    }
