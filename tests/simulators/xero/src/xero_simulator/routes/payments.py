"""/Payments."""

from collections.abc import Iterable, Mapping, Sequence

from xero_simulator import payments, shapes
from xero_simulator.contacts import Scene
from xero_simulator.idempotency import Answer
from xero_simulator.records import Payment
from xero_simulator.routes import listing
from xero_simulator.routes.request import ApiRequest, Writer, not_found, write
from xero_simulator.where import Getter
from xero_simulator.wire import Json

FIELDS: Mapping[str, Getter] = {
    "paymentid": lambda row: row.payment_id,
    "paymenttype": lambda row: row.payment_type,
    "status": lambda row: row.status,
    "date": lambda row: row.date,
    "amount": lambda row: row.amount,
    "reference": lambda row: row.reference,
    "isreconciled": lambda row: row.is_reconciled,
    "updateddateutc": lambda row: row.updated,
    "invoice.invoiceid": lambda row: row.document_id,
    "creditnote.creditnoteid": lambda row: row.document_id,
}


def collection(request: ApiRequest) -> Answer:
    """GET, PUT (many) and POST (one) /Payments."""
    if request.method == "GET":
        return _list(request)
    rows = request.elements("Payments")
    if request.method == "POST":
        rows = rows[:1]

    def apply(scene: Scene, row: Json) -> tuple[str, Sequence[str]]:
        return payments.create_payment(scene, row).payment_id, ()

    return write(request, rows, _writer(request, apply))


def single(request: ApiRequest) -> Answer:
    """GET and POST (deletion) /Payments/{id}."""
    found = request.books.payments.get(request.path[1].lower())
    if found is None:
        return not_found()
    if request.method == "GET":
        return request.reply({"Payments": [shapes.payment(request.books, found, full=True)]})

    def apply(scene: Scene, row: Json) -> tuple[str, Sequence[str]]:
        allowed = request.world.switches.reconciled_payment_deletable
        return payments.delete_payment(scene, found, row, reconciled_allowed=allowed).payment_id, ()

    return write(request, request.elements("Payments")[:1], _writer(request, apply))


def _writer(request: ApiRequest, apply: object) -> Writer:
    def show(payment_id: str) -> Json:
        return shapes.payment(request.books, request.books.payments[payment_id], full=True)

    return Writer("Payments", "PaymentID", apply, show, flag="HasValidationErrors")  # type: ignore[arg-type]


def _list(request: ApiRequest) -> Answer:
    where = listing.condition(request, FIELDS)
    changed = listing.modified_since(request)
    deleted = request.world.switches.deleted_payments_listed
    rows = [
        row
        for row in _candidates(request, where.equals)
        if changed(row.updated) and (deleted or row.status != "DELETED") and where.matches(row)
    ]
    shown, paging = listing.arrange(request, rows, FIELDS)
    return request.reply(
        {"Payments": [shapes.payment(request.books, row, full=False) for row in shown]}, paging
    )


def _candidates(request: ApiRequest, equals: Mapping[str, object]) -> Iterable[Payment]:
    books = request.books
    if isinstance(wanted := equals.get("invoice.invoiceid"), str):
        return [books.payments[key] for key in books.payments_by_document.get(wanted, ())]
    return list(books.payments.values())
