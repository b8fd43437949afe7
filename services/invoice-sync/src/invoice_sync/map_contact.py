"""Link a customer to a contact in Xero by hand, and unlink it."""

from dataclasses import dataclass, replace
from datetime import datetime

from invoice_sync.ask_for_people import spend_calls
from invoice_sync.deps import Deps
from invoice_sync.domain import contact_links, contacts
from invoice_sync.domain.state import Account, ContactMapping
from invoice_sync.record_contacts import save_mappings
from invoice_sync.store import accounts, audit, contact_mappings, customers, invoices
from pipeline_messaging.connection import Connection
from pipeline_messaging.worker import mark_due
from pipeline_service_defaults.problems import Problem
from pipeline_xero.errors import (
    NotConnected,
    NotFound,
    RateLimited,
    RequestRejected,
    TenantChanged,
    XeroError,
)
from pipeline_xero.wire import XeroContact, elements


@dataclass(frozen=True, slots=True)
class Mapped:
    """A mapping made, and how many invoices it released."""

    mapping: ContactMapping
    released: int


async def map_contact(
    deps: Deps, account_id: str, customer_id: str, contact_id: str, actor: str
) -> Mapped:
    """Link a customer to a contact, after Xero has confirmed that it exists and can be invoiced.

    Raises:
        Problem: Not connected, no such contact, archived or merged, or Xero could not be asked, or not any more for a while.
    """
    account = await connected_account(deps, account_id)
    await spend_calls(deps, account_id)
    contact = await _usable_contact(deps, account, contact_id)
    tenant_id = account.tenant_id or ""
    async with deps.pool.acquire() as conn, conn.transaction():
        await mark_due(conn, [account_id])
        current, now = await accounts.lock(conn, account_id)
        if current.tenant_id != tenant_id:
            raise _not_connected("the account was connected to another organisation meanwhile")
        known = (await customers.lock_of(conn, account_id, [customer_id])).get(customer_id)
        before = await contact_mappings.mappings_of(conn, account_id, tenant_id, [customer_id])
        former = before.get(customer_id)
        mapping = contact_links.by_hand(
            ContactMapping(account_id, tenant_id, customer_id, contact_id.lower(), None, actor),
            known,
            contact,
            former,
            now,
        )
        if known is not None:
            linked = known if known.intent_id is not None else contacts.settled(known)
            await customers.save(conn, [replace(linked, unlinked=False)])
        else:
            await customers.forget_unlinked(conn, account_id, customer_id)
        released = await save_mappings(conn, [mapping], now)
        saved = await contact_mappings.mappings_of(conn, account_id, tenant_id, [customer_id])
        if former is not None and former.contact_id != mapping.contact_id:
            await _look_at_those_left(conn, former, now)
        await audit.add(
            conn,
            account_id,
            actor=actor,
            action="map_contact",
            subject=customer_id,
            detail=contact_id,
        )
    deps.on_recorded()
    return Mapped(saved[customer_id], released)


async def unmap_contact(deps: Deps, account_id: str, customer_id: str, actor: str) -> bool:
    """Remove a customer's mapping; False if there was none. What is in Xero already stays as it is.

    The customer stays unlinked until a person links it, also one that Pipeline tells of only later: no policy links it
    by itself.
    Invoices that waited because of the contact it had are told that they wait for another one now.
    """
    async with deps.pool.acquire() as conn, conn.transaction():
        await mark_due(conn, [account_id])
        account, now = await accounts.lock(conn, account_id)
        tenant_id = account.tenant_id or ""
        before = await contact_mappings.mappings_of(conn, account_id, tenant_id, [customer_id])
        former = before.get(customer_id)
        if former is None:
            return False
        await customers.unlink(conn, account_id, customer_id)
        await contact_mappings.remove(conn, account_id, tenant_id, customer_id)
        await invoices.release_for_contacts(conn, account_id, [customer_id])
        await _look_at_those_left(conn, former, now)
        await audit.add(
            conn,
            account_id,
            actor=actor,
            action="unmap_contact",
            subject=customer_id,
            detail=former.contact_id,
        )
    deps.on_recorded()
    return True


async def _look_at_those_left(conn: Connection, former: ContactMapping, now: datetime) -> None:
    """A contact of several customers is changed by none. Where one is left now, what it wanted meanwhile is due."""
    linked = await contact_mappings.linked_to(
        conn, former.account_id, former.tenant_id, [former.contact_id]
    )
    left = linked.get(former.contact_id, [])
    if len(left) == 1:
        await contact_mappings.check(conn, former.account_id, former.tenant_id, left, now)


async def connected_account(deps: Deps, account_id: str) -> Account:
    """The account, if it is connected.

    Raises:
        Problem: 409 NOT_CONNECTED.
    """
    async with deps.pool.acquire() as conn:
        account, _ = await accounts.find(conn, account_id)
    if not account.is_connected:
        raise _not_connected(account.message or "the account was never connected")
    return account


async def _usable_contact(deps: Deps, account: Account, contact_id: str) -> XeroContact:
    try:
        reply = await deps.gateway.get(
            account.account_id,
            f"Contacts/{contact_id}",
            tenant_id=account.tenant_id,
            lane="people",
        )
        found = [XeroContact.from_json(each) for each in elements(reply.json(), "Contacts")]
    except XeroError as error:
        raise problem_of(error) from error
    contact = next((each for each in found if each.contact_id == contact_id.lower()), None)
    if contact is None:
        raise _no_contact()
    if contact.merged_to is not None:
        raise Problem(
            409,
            "CONTACT_MERGED",
            "The contact was merged",
            "This contact was merged into another one in Xero.",
            hint="Link the customer to the contact it was merged into.",
            merged_to=contact.merged_to,
        )
    if contact.is_erased:
        raise Problem(
            409,
            "CONTACT_ERASED",
            "The contact is being erased",
            "The person asked to be forgotten, so Xero takes no new invoices for this contact.",
            hint="Choose another contact.",
        )
    if contact.is_archived:
        raise Problem(
            409,
            "CONTACT_ARCHIVED",
            "The contact is archived",
            "Xero takes no new invoices for an archived contact.",
            hint="Restore the contact in Xero, or choose another one.",
        )
    return contact


def problem_of(error: XeroError) -> Problem:
    """What a person is told when contacts could not be asked for in Xero."""
    match error:
        case NotFound() | RequestRejected():
            return _no_contact()
        case NotConnected():
            return _not_connected(error.message)
        case TenantChanged():
            return _not_connected("the account is connected to another organisation now")
        case RateLimited():
            seconds = int(error.retry_after.total_seconds()) + 1 if error.retry_after else 1
            return Problem(
                503,
                "RATE_LIMITED",
                "Xero's limit is used up",
                "Xero accepts no more requests for this organisation at the moment.",
                hint=f"Try again in {seconds} seconds.",
                headers={"Retry-After": str(seconds)},
            )
        case _:
            return Problem(
                503,
                "XERO_UNAVAILABLE",
                "Xero cannot be reached",
                "The contact could not be checked in Xero.",
                hint="Try again in a minute.",
            )


def _no_contact() -> Problem:
    return Problem(
        422,
        "CONTACT_NOT_FOUND",
        "No such contact",
        "The connected Xero organisation has no contact with this id.",
        hint="Take the id from the contact's page in Xero, or create the contact first.",
    )


def _not_connected(reason: str) -> Problem:
    return Problem(
        409,
        "NOT_CONNECTED",
        "Not connected to Xero",
        f"The contact cannot be checked: {reason.rstrip('.')}.",
        hint="Open the Xero card, which names the next step; then link the customer again.",
    )
