"""A customer of Pipeline as a contact in Xero."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from invoice_sync.domain import xero_messages
from invoice_sync.domain.blocks import block
from invoice_sync.domain.contact_fields import FIELDS, ContactFields, element_of, fields_of, wanted
from invoice_sync.domain.state import Block, Customer
from pipeline_contracts.problems import ProblemCode
from pipeline_xero.wire import dumps, loads

MAX_CONTACT_NUMBER = 50
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def contact_number(customer_id: str) -> str:
    """The ContactNumber by which the contact is found again: the customer's id.

    An id longer than Xero's 50 characters is represented by its digest.
    """
    if len(customer_id) <= MAX_CONTACT_NUMBER:
        return customer_id
    return f"pl-{sha256(customer_id.encode()).hexdigest()[:40]}"


def fits_a_path(number: str) -> bool:
    """Whether ``GET /Contacts/{ContactNumber}`` finds it: not what would be read as a ContactID or break the path."""
    return bool(_PLAIN.fullmatch(number)) and not _GUID.fullmatch(number)


def to_xero(customer: Customer) -> dict[str, Any]:
    """The element to create. Never sent by POST: a name that is taken must be refused, not overwritten."""
    fields = wanted(customer)
    element = element_of({name: value for name, value in fields.items() if value})
    return {"ContactNumber": contact_number(customer.customer_id)} | element


def contacts_body(elements: Sequence[Mapping[str, Any]]) -> bytes:
    """The exact bytes of a write with these contacts."""
    return dumps({"Contacts": list(elements)})


def sent_element(customer: Customer, body: bytes) -> Mapping[str, Any]:
    """What was sent of this customer with its open write; empty if the body has no such place."""
    sent = loads(body).get("Contacts", [])
    place = customer.intent_position or 0
    return sent[place] if place < len(sent) else {}


def moved_on(customer: Customer, body: bytes) -> bool:
    """Whether Pipeline has changed the customer since ``body`` was sent: a refusal of that says nothing of this one.

    A change names only the fields that differ, a creation all that are set.
    """
    element = sent_element(customer, body)
    sent, desired = fields_of(element), wanted(customer)
    if "ContactID" in element:
        return any(desired[name] != value for name, value in sent.items())
    return sent_fields(customer, body) != desired


def sent_fields(customer: Customer, body: bytes) -> ContactFields:
    """The state of the customer that was sent to be created, whole."""
    return dict.fromkeys(FIELDS, "") | dict(fields_of(sent_element(customer, body)))


def sending(customer: Customer, intent_id: int, position: int, tenant_id: str) -> Customer:
    """The customer is part of a write about to leave."""
    return replace(
        customer,
        due_at=None,
        block=None,
        intent_id=intent_id,
        intent_position=position,
        tenant_id=tenant_id,
    )


def settled(customer: Customer) -> Customer:
    """The customer has its contact."""
    return replace(
        customer, due_at=None, attempts=0, block=None, intent_id=None, intent_position=None
    )


def waits(customer: Customer, why: Block) -> Customer:
    """Nothing can be done before what ``why`` names has changed."""
    return replace(customer, due_at=None, block=why, intent_id=None, intent_position=None)


def again(customer: Customer, due_at: datetime, *, failed: bool) -> Customer:
    """No contact was made; try once more at ``due_at``, alone if it failed."""
    return replace(
        customer,
        due_at=due_at,
        block=None,
        intent_id=None,
        intent_position=None,
        attempts=customer.attempts + (1 if failed else 0),
    )


def unlinkable(customer: Customer, code: ProblemCode) -> Customer:
    """The account's policy links it to no contact by itself: a person does."""
    return waits(customer, block(code, customer=f"“{customer.name}”"))


def taken(customer: Customer, messages: Sequence[str]) -> Customer:
    """Its name or number is in use: by whom must be looked up before anything is said. Stays with its intent."""
    return replace(customer, block=refused(customer, messages).block)


def refused(customer: Customer, messages: Sequence[str]) -> Customer:
    """Xero did not take it: a name of somebody else's contact, or something wrong with the data."""
    if xero_messages.contact_name_taken(messages):
        why = block(ProblemCode.CONTACT_NAME_TAKEN, name=f"“{customer.name}”", xero_errors=messages)
    else:
        detail = " ".join(messages).rstrip(".")
        why = block(ProblemCode.CONTACT_INVALID, detail=detail, xero_errors=messages)
    return waits(customer, why)
