"""Contacts: who is meant by a request, and what may be changed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from xero_simulator import messages
from xero_simulator.ids import IdSource
from xero_simulator.messages import RuleBroken
from xero_simulator.records import Contact
from xero_simulator.state import Books
from xero_simulator.wire import Json

_TEXTS = {
    "Name": "name",
    "ContactNumber": "number",
    "AccountNumber": "account_number",
    "EmailAddress": "email",
    "FirstName": "first_name",
    "LastName": "last_name",
    "CompanyNumber": "company_number",
    "TaxNumber": "tax_number",
}
_DETAILS = (
    "BankAccountDetails",
    "Website",
    "DefaultCurrency",
    "AccountsReceivableTaxType",
    "AccountsPayableTaxType",
    "SalesDefaultAccountCode",
    "PurchasesDefaultAccountCode",
)
_LIMITS = {"Name": 255, "ContactNumber": 50, "AccountNumber": 50, "EmailAddress": 255}
_ADDRESS_FIELDS = ("AddressType", "AddressLine1", "AddressLine2", "AddressLine3", "AddressLine4",
                   "City", "Region", "PostalCode", "Country", "AttentionTo")  # fmt: skip
_PHONE_FIELDS = ("PhoneType", "PhoneNumber", "PhoneAreaCode", "PhoneCountryCode")


@dataclass(frozen=True, slots=True)
class Scene:
    """What every rule needs besides the request: the books, ids and the moment."""

    books: Books
    ids: IdSource
    now: datetime
    by_app: bool = True
    unit_places: int = 2
    lock_date_format: str = "%d %B %Y"
    is_adviser: bool = False
    whole_object_void_fails: bool = True
    settlements_move_invoice: bool = True


def active_named(books: Books, name: str) -> Contact | None:
    """The active contact called `name` in any case."""
    rows = (books.contacts[key] for key in books.contacts_by_name.get(name.strip().lower(), ()))
    return next((row for row in rows if row.status == "ACTIVE"), None)


def numbered(books: Books, number: str) -> Contact | None:
    """The contact with this ContactNumber, archived or not."""
    keys = books.contacts_by_number.get(number.lower(), ())
    return next((books.contacts[key] for key in keys), None)


def create_contact(scene: Scene, payload: Json) -> Contact:
    """PUT: a new contact, never an existing one.

    Raises:
        RuleBroken: A rule of the contact tables refuses it.
    """
    name = _text(payload, "Name")
    if not name:
        raise RuleBroken(messages.CONTACT_NAME_REQUIRED)
    number = _text(payload, "ContactNumber") or ""
    if active_named(scene.books, name) or (number and numbered(scene.books, number)):
        raise RuleBroken(messages.CONTACT_NAME_TAKEN.format(name=name))
    blank = Contact(scene.ids.guid(), name.strip(), scene.now)
    contact = _merge(blank, payload, scene.now)
    scene.books.put_contact(contact)
    return contact


def update_or_create_contact(scene: Scene, payload: Json) -> Contact:
    """POST: the contact meant by ContactID, else ContactNumber, else Name; a new one otherwise.

    A colliding name without an id overwrites the contact that has it, as reported of Xero.

    Raises:
        RuleBroken: A rule of the contact tables refuses it.
        KeyError: A ContactID nobody has.
    """
    found = _meant(scene.books, payload)
    if found is None:
        return create_contact(scene, payload)
    return edit_contact(scene, found, payload)


def edit_contact(scene: Scene, contact: Contact, payload: Json, *, person: bool = False) -> Contact:
    """Changes a contact; only a person in Xero may touch (and so un-archive) an archived one.

    Raises:
        RuleBroken: The contact is archived, or its new name is taken.
    """
    if contact.status != "ACTIVE" and not person:
        raise RuleBroken(messages.CONTACT_NOT_EDITABLE)
    name = _text(payload, "Name")
    if (
        name
        and (other := active_named(scene.books, name))
        and other.contact_id != contact.contact_id
    ):
        raise RuleBroken(messages.CONTACT_NAME_TAKEN.format(name=name))
    number = _text(payload, "ContactNumber")
    if (
        number
        and (other := numbered(scene.books, number))
        and other.contact_id != contact.contact_id
    ):
        raise RuleBroken(messages.CONTACT_NAME_TAKEN.format(name=name or contact.name))
    edited = _merge(contact, payload, scene.now)
    scene.books.put_contact(edited)
    return edited


def contact_for_document(scene: Scene, payload: object, current: str | None) -> str:
    """Resolves the Contact nested in a document, with the side effects Xero has.

    Extra fields beside the id edit the contact; an unknown Name creates one.

    Returns:
        The ContactID.

    Raises:
        RuleBroken: None is named, it does not exist, or it is archived.
    """
    if not isinstance(payload, dict) or not any(
        payload.get(key) for key in ("ContactID", "ContactNumber", "Name")
    ):
        if current is None:
            raise RuleBroken(messages.CONTACT_REQUIRED)
        return current
    try:
        found = _meant(scene.books, payload)
    except KeyError as error:
        raise RuleBroken(messages.CONTACT_UNKNOWN) from error
    if found is None:
        name = _text(payload, "Name")
        if not name:
            raise RuleBroken(messages.CONTACT_UNKNOWN)
        if scene.books.contacts_by_name.get(name.strip().lower()):
            raise RuleBroken(messages.CONTACT_ARCHIVED)
        return create_contact(scene, payload).contact_id
    if found.status != "ACTIVE" and found.contact_id != current:
        raise RuleBroken(messages.CONTACT_ARCHIVED)
    if found.status == "ACTIVE" and _merge(found, payload, found.updated) != found:
        edit_contact(scene, found, payload)
    return found.contact_id


def mark_used(scene: Scene, contact_id: str, *, sale: bool) -> None:
    """Sets IsCustomer or IsSupplier, which Xero derives from the documents of a contact."""
    contact = scene.books.contacts[contact_id]
    used = replace(contact, is_customer=True) if sale else replace(contact, is_supplier=True)
    if used != contact:
        scene.books.put_contact(used, silent=True)


def _meant(books: Books, payload: Json) -> Contact | None:
    if contact_id := _text(payload, "ContactID"):
        return books.contacts[contact_id.lower()]
    number = _text(payload, "ContactNumber")
    if number and (found := numbered(books, number)):
        return found
    name = _text(payload, "Name")
    return active_named(books, name) if name else None


def _text(payload: Json, field: str) -> str | None:
    value = payload.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise RuleBroken(messages.FIELD_INVALID.format(field=field, value=value))
    limit = _LIMITS.get(field)
    if limit and len(value) > limit:
        raise RuleBroken(messages.TOO_LONG.format(field=field, limit=limit))
    if field == "Name" and ("<" in value or ">" in value):
        raise RuleBroken(messages.CONTACT_NAME_INVALID)
    return value


def _merge(contact: Contact, payload: Json, now: datetime) -> Contact:
    texts: dict[str, Any] = {
        target: value.strip() if field == "Name" else value
        for field, target in _TEXTS.items()
        if (value := _text(payload, field)) is not None
    }
    if texts.get("name") == "":
        del texts["name"]
    details = dict(contact.details)
    details |= {field: value for field in _DETAILS if (value := _text(payload, field)) is not None}
    status = _text(payload, "ContactStatus") or contact.status
    if status not in {"ACTIVE", "ARCHIVED", "GDPRREQUEST"}:
        raise RuleBroken(messages.FIELD_INVALID.format(field="ContactStatus", value=status))
    return replace(
        contact,
        updated=now,
        status=status,
        details=tuple(details.items()),
        phones=_phones(payload.get("Phones"), contact.phones),
        addresses=_addresses(payload.get("Addresses"), contact.addresses),
        **texts,
    )


def _phones(
    given: object, kept: tuple[tuple[str, str, str, str], ...]
) -> tuple[tuple[str, str, str, str], ...]:
    if not isinstance(given, list):
        return kept
    merged = {phone[0]: phone for phone in kept}
    for phone in given:
        if isinstance(phone, dict):
            kind, number, area, country = (str(phone.get(name) or "") for name in _PHONE_FIELDS)
            merged[kind or "DEFAULT"] = (kind or "DEFAULT", number, area, country)
    return tuple(merged.values())


def _addresses(
    given: object, kept: tuple[tuple[tuple[str, str], ...], ...]
) -> tuple[tuple[tuple[str, str], ...], ...]:
    if not isinstance(given, list):
        return kept
    merged = {dict(address).get("AddressType", "STREET"): address for address in kept}
    for address in given:
        if isinstance(address, Mapping):
            kind = str(address.get("AddressType") or "STREET")
            fields = tuple(
                (name, str(address[name])) for name in _ADDRESS_FIELDS if address.get(name)
            )
            merged[kind] = (
                fields if ("AddressType", kind) in fields else (("AddressType", kind), *fields)
            )
    return tuple(merged.values())
