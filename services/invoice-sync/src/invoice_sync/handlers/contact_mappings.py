"""`GET/PUT/DELETE …/contact-mappings` and what to link a customer to."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, BeforeValidator, Field

from invoice_sync.deps import Deps
from invoice_sync.domain.state import Block, ContactMapping
from invoice_sync.handlers.access import Reader, Writer, deps_of, name_of
from invoice_sync.handlers.views import (
    ContactDifferenceView,
    ContactMappingsView,
    ContactMappingView,
    ContactSuggestionView,
    CustomerSuggestionsView,
    RefusedChangeView,
    SuggestionsView,
)
from invoice_sync.map_contact import map_contact, unmap_contact
from invoice_sync.store import accounts, contact_mappings, customers
from invoice_sync.suggest_contacts import Suggestions, suggest_for, suggest_waiting
from pipeline_contracts.fields import Id
from pipeline_service_defaults.problems import Problem
from pipeline_xero.queries import contact_link

router = APIRouter(tags=["contact mappings"])
_PATH = "/v1/accounts/{account_id}/contact-mappings"
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_UNMAPPED: dict[int | str, dict[str, Any]] = {
    404: {"description": "The customer is not linked to a contact."}
}


_ASKS_XERO: dict[int | str, dict[str, Any]] = {
    409: {"description": "Not connected."},
    429: {
        "description": "Xero was asked too often for this account; Retry-After says how long to wait."
    },
    503: {"description": "Xero could not be asked; try again."},
}


def _contact_id(value: object) -> object:
    if not isinstance(value, str) or not _GUID.fullmatch(value):
        raise ValueError(
            "give Xero's ContactID, such as 243216c5-369e-4056-ac67-05388f86dc81: the end of the address of the contact's "
            "page in Xero, or `contact_id` of …/contact-mappings/{customer}/suggestions"
        )
    return value


class ContactChoice(BaseModel):
    """The contact a customer is to be linked to."""

    contact_id: Annotated[str, BeforeValidator(_contact_id)] = Field(
        description="Xero's ContactID (a GUID)."
    )


@router.get(_PATH, summary="Customers linked to contacts in Xero")
async def list_mappings(
    request: Request,
    account_id: Id,
    _: Reader,
    after: Annotated[
        str,
        Query(max_length=255, pattern=r"^[^\x00]*$", description="Customer id to continue behind."),
    ] = "",
    limit: Annotated[int, Query(ge=1, le=500, description="Mappings per page.")] = 100,
) -> ContactMappingsView:
    """A page of the mappings in the organisation the account is connected to."""
    async with deps_of(request).pool.acquire() as conn:
        account, _now = await accounts.find(conn, account_id)
        found = await contact_mappings.list_mappings(
            conn, account_id, account.tenant_id or "", after=after, limit=limit + 1
        )
    page = found[:limit]
    return ContactMappingsView(
        mappings=[_view(mapping) for mapping in page],
        next_after=page[-1].customer_id if len(found) > limit else None,
    )


@router.get(
    _PATH + "/suggestions",
    summary="Contacts that waiting customers may be",
    responses=_ASKS_XERO,
)
async def list_suggestions(
    request: Request,
    account_id: Id,
    _: Reader,
    limit: Annotated[int, Query(ge=1, le=20, description="Customers at most.")] = 10,
) -> SuggestionsView:
    """For the customers with the most invoices waiting: contacts with their number, email or name, and why."""
    deps = deps_of(request)
    found = await suggest_waiting(deps, account_id, limit=limit)
    return SuggestionsView(customers=[_suggested(deps, each) for each in found])


@router.get(
    _PATH + "/{customer_id}/suggestions",
    summary="Contacts that a customer may be",
    responses={404: {"description": "Pipeline has told of no such customer."}, **_ASKS_XERO},
)
async def get_suggestions(
    request: Request,
    account_id: Id,
    customer_id: Id,
    _: Reader,
    name: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=255,
            pattern=r"^[^\x00]+$",
            description="What the customer is called, where Pipeline has not told of it.",
        ),
    ] = None,
) -> CustomerSuggestionsView:
    """Contacts with the customer's number, email, tax number or name, and those of similar names, each with why."""
    deps = deps_of(request)
    return _suggested(deps, await suggest_for(deps, account_id, customer_id, name))


@router.get(_PATH + "/{customer_id}", summary="The contact of a customer", responses=_UNMAPPED)
async def get_mapping(
    request: Request, account_id: Id, customer_id: Id, _: Reader
) -> ContactMappingView:
    """The contact the customer is linked to."""
    async with deps_of(request).pool.acquire() as conn:
        account, _now = await accounts.find(conn, account_id)
        found = await contact_mappings.mappings_of(
            conn, account_id, account.tenant_id or "", [customer_id]
        )
        known = await customers.customers_of(conn, account_id, [customer_id])
        if customer_id not in found:
            raise _unmapped()
        contact_id = found[customer_id].contact_id
        linked = await contact_mappings.linked_to(
            conn, account_id, account.tenant_id or "", [contact_id]
        )
    block = known[customer_id].block if customer_id in known else None
    others = [each for each in linked.get(contact_id, []) if each != customer_id]
    return _view(found[customer_id], refused=block, shared_with=others)


@router.put(
    _PATH + "/{customer_id}",
    summary="Link a customer to a contact in Xero",
    responses={
        409: {
            "description": "Not connected, or the contact is archived, being erased, or was merged."
        },
        422: {"description": "No such contact in the connected organisation."},
        503: {"description": "Xero could not be asked; try again."},
    },
)
async def put_mapping(
    request: Request, account_id: Id, customer_id: Id, choice: ContactChoice, caller: Writer
) -> ContactMappingView:
    """Checks in Xero that the contact exists and is active; invoices that waited for it follow by themselves."""
    mapped = await map_contact(
        deps_of(request), account_id, customer_id, choice.contact_id, name_of(caller)
    )
    request.app.state.worker.wake()
    return _view(mapped.mapping, released=mapped.released)


@router.delete(
    _PATH + "/{customer_id}",
    status_code=204,
    summary="Unlink a customer from its contact",
    responses=_UNMAPPED,
)
async def delete_mapping(request: Request, account_id: Id, customer_id: Id, caller: Writer) -> None:
    """Invoices already in Xero stay; new ones of this customer wait until a person links it again."""
    if not await unmap_contact(deps_of(request), account_id, customer_id, name_of(caller)):
        raise _unmapped()
    request.app.state.worker.wake()


def _unmapped() -> Problem:
    return Problem(
        404,
        "CONTACT_NOT_MAPPED",
        "Not found",
        "The customer is not linked to a contact in the connected organisation.",
        hint="Link it with PUT on this address.",
    )


def _view(
    mapping: ContactMapping,
    *,
    released: int | None = None,
    refused: Block | None = None,
    shared_with: Sequence[str] = (),
) -> ContactMappingView:
    return ContactMappingView(
        account_id=mapping.account_id,
        customer_id=mapping.customer_id,
        contact_id=mapping.contact_id,
        contact_name=mapping.contact_name,
        tenant_id=mapping.tenant_id,
        mapped_by=mapping.mapped_by,
        mapped_at=mapping.mapped_at,
        released=released,
        problem=mapping.problem,
        shared_with=list(shared_with),
        differences=[ContactDifferenceView(**asdict(each)) for each in mapping.differences],
        refused_change=RefusedChangeView(
            code=refused.code, message=refused.message, hint=refused.hint
        )
        if refused
        else None,
    )


def _suggested(deps: Deps, found: Suggestions) -> CustomerSuggestionsView:
    block = found.customer.block
    return CustomerSuggestionsView(
        customer_id=found.customer.customer_id,
        customer_name=found.customer.name,
        code=block.code if block else None,
        message=block.message if block else None,
        hint=block.hint if block else None,
        suggestions=[
            ContactSuggestionView(
                contact_id=each.contact.contact_id or "",
                name=each.contact.name,
                email=each.contact.email,
                reasons=list(each.reasons),
                linked_customers=found.linked.get(each.contact.contact_id or "", []),
                deep_link=contact_link(
                    deps.xero_web_url, found.account.short_code, each.contact.contact_id or ""
                ),
            )
            for each in found.contacts
        ],
    )
