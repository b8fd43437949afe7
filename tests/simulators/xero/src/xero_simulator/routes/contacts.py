"""/Contacts."""

from collections.abc import Mapping, Sequence

from xero_simulator import contacts, shapes
from xero_simulator.contacts import Scene
from xero_simulator.idempotency import Answer
from xero_simulator.records import Contact
from xero_simulator.routes import listing
from xero_simulator.routes.request import ApiRequest, Writer, not_found, write
from xero_simulator.where import Getter
from xero_simulator.wire import Json

FIELDS: Mapping[str, Getter] = {
    "contactid": lambda row: row.contact_id,
    "name": lambda row: row.name,
    "contactnumber": lambda row: row.number,
    "accountnumber": lambda row: row.account_number,
    "emailaddress": lambda row: row.email,
    "firstname": lambda row: row.first_name,
    "lastname": lambda row: row.last_name,
    "companynumber": lambda row: row.company_number,
    "taxnumber": lambda row: row.tax_number,
    "contactstatus": lambda row: row.status,
    "iscustomer": lambda row: row.is_customer,
    "issupplier": lambda row: row.is_supplier,
    "updateddateutc": lambda row: row.updated,
}


def collection(request: ApiRequest) -> Answer:
    """GET, PUT and POST /Contacts."""
    if request.method == "GET":
        return _list(request)
    create = request.method == "PUT"

    def apply(scene: Scene, row: Json) -> tuple[str, Sequence[str]]:
        rule = contacts.create_contact if create else contacts.update_or_create_contact
        return rule(scene, row).contact_id, ()

    return write(request, request.elements("Contacts"), _writer(request, apply))


def single(request: ApiRequest) -> Answer:
    """GET and POST /Contacts/{ContactID or ContactNumber}."""
    found = find(request, request.path[1])
    if found is None:
        return not_found()
    if request.method == "GET":
        body = shapes.contact(found)
        body["Balances"] = shapes.contact_balances(request.books, found)
        return request.reply({"Contacts": [body]})

    def apply(scene: Scene, row: Json) -> tuple[str, Sequence[str]]:
        current = scene.books.contacts[found.contact_id]
        return contacts.edit_contact(scene, current, row).contact_id, ()

    rows = request.elements("Contacts")[:1]
    return write(request, [{"ContactID": found.contact_id} | rows[0]], _writer(request, apply))


def find(request: ApiRequest, key: str) -> Contact | None:
    """The contact with this id or ContactNumber."""
    return request.books.contacts.get(key.lower()) or contacts.numbered(request.books, key)


def _writer(request: ApiRequest, apply: object) -> Writer:
    def show(contact_id: str) -> Json:
        body = shapes.contact(request.books.contacts[contact_id])
        del body["HasAttachments"]
        return body

    return Writer("Contacts", "ContactID", apply, show, flag="HasValidationErrors")  # type: ignore[arg-type]


def _list(request: ApiRequest) -> Answer:
    where = listing.condition(request, FIELDS)
    changed = listing.modified_since(request)
    ids = listing.names(request, "IDs")
    archived = request.flag("includeArchived")
    search = request.parameter("searchTerm").lower()
    books = request.books
    rows = [
        row
        for row in (
            books.contacts.values()
            if ids is None
            else (books.contacts[key] for key in ids if key in books.contacts)
        )
        if changed(row.updated)
        and (archived or row.status == "ACTIVE")
        and (not search or search in _searchable(row))
        and where.matches(row)
    ]
    shown, paging = listing.arrange(request, rows, FIELDS)
    bodies = [shapes.contact(row) for row in shown]
    for body in bodies:
        if paging is None:
            # Only a page or a single read says into which contact this one was merged.
            body.pop("MergedToContactID", None)
        del body["SalesTrackingCategories"], body["PurchasesTrackingCategories"]
    return request.reply({"Contacts": bodies}, paging)


def _searchable(row: Contact) -> str:
    parts = (row.name, row.first_name, row.last_name, row.number, row.company_number, row.email)
    return "\n".join(parts).lower()
