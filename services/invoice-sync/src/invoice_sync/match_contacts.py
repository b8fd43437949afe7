"""Link customers to contacts that are already in Xero, where there is no doubt which one is meant."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from invoice_sync.deps import Deps
from invoice_sync.domain import contacts
from invoice_sync.domain.contact_fields import held, wanted
from invoice_sync.domain.matching import Matched, match_all
from invoice_sync.domain.state import Account, ContactMapping, Customer
from invoice_sync.read_contacts import contacts_like, rest_after
from invoice_sync.record_contacts import OURSELVES, block_customers, save_mappings
from invoice_sync.store import accounts, audit, contact_mappings, customers
from pipeline_contracts.problems import ProblemCode
from pipeline_messaging.connection import Connection
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.worker import Lease
from pipeline_xero.errors import RequestRejected, XeroError
from pipeline_xero.wire import XeroContact


async def match_contacts(
    deps: Deps, lease: Lease, account: Account, due: Sequence[Customer]
) -> None:
    """Look these customers up in Xero, link those that are certain, and leave the others to a person.

    Nothing is written to Xero, so dying anywhere means no more than looking again.

    Raises:
        LeaseLost: Nothing was recorded.
    """
    try:
        found = await contacts_like(deps, account, due)
    except RequestRejected:
        await _part(deps, lease, account, due)
        return
    except XeroError as error:
        await _postpone(deps, lease, account, due, error)
        return
    failpoint("match:after_read")
    await _record(deps, lease, account, due, found)
    deps.on_recorded()


async def _part(deps: Deps, lease: Lease, account: Account, due: Sequence[Customer]) -> None:
    """Xero cannot look for one of these, whatever is in its name. It must not hold up the others: each goes alone.

    The one that is alone already is left to a person.
    """
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        current, now = await accounts.lock(conn, account.account_id)
        if current.tenant_id != account.tenant_id:
            return
        open_rows = await _still_open(conn, account, due)
        if len(due) > 1:
            await customers.save(
                conn, [contacts.again(each, now, failed=True) for each in open_rows]
            )
        else:
            why = ProblemCode.CUSTOMER_NOT_MAPPED
            left = [contacts.unlinkable(each, why) for each in open_rows]
            await block_customers(conn, account.account_id, left)
    deps.on_recorded()


async def _still_open(
    conn: Connection, account: Account, due: Sequence[Customer]
) -> list[Customer]:
    """Those neither changed nor linked by a person while Xero was asked: of the others its answer says nothing."""
    versions = {each.customer_id: each.version for each in due}
    known = await customers.lock_of(conn, account.account_id, sorted(versions))
    return [
        each
        for each in known.values()
        if each.version == versions[each.customer_id] and each.due_at is not None
    ]


async def _postpone(
    deps: Deps, lease: Lease, account: Account, due: Sequence[Customer], error: XeroError
) -> None:
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        until, _ = await rest_after(conn, deps, account, error)
        known = await customers.lock_of(
            conn, account.account_id, [each.customer_id for each in due]
        )
        later = [replace(each, due_at=until) for each in known.values() if each.due_at is not None]
        await customers.save(conn, later)


async def _record(
    deps: Deps,
    lease: Lease,
    account: Account,
    due: Sequence[Customer],
    found: Sequence[XeroContact],
) -> None:
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        current, now = await accounts.lock(conn, account.account_id)
        tenant_id = current.tenant_id or ""
        if current.tenant_id != account.tenant_id:
            return
        if account.pause_count:
            await accounts.resume(conn, account.account_id)
        open_rows = await _still_open(conn, account, due)
        namesakes = await customers.unlinked_like(conn, account.account_id, tenant_id, open_rows)
        linked = await contact_mappings.linked_to(
            conn, account.account_id, tenant_id, [each.contact_id or "" for each in found]
        )
        verdicts = match_all([*open_rows, *namesakes], found, linked)
        made: list[ContactMapping] = []
        left: list[Customer] = []
        for row in open_rows:
            verdict = verdicts[row.customer_id]
            if isinstance(verdict, Matched):
                made.append(_link(row, tenant_id, verdict.contact, now))
            elif verdict.candidates:
                left.append(contacts.unlinkable(row, ProblemCode.CONTACT_AMBIGUOUS))
            else:
                left.append(contacts.unlinkable(row, ProblemCode.CUSTOMER_NOT_MAPPED))
        linked_ids = {each.customer_id for each in made}
        await customers.save(
            conn, [contacts.settled(row) for row in open_rows if row.customer_id in linked_ids]
        )
        failpoint("match:before_commit")
        traceparents = {row.customer_id: row.traceparent for row in open_rows}
        await save_mappings(conn, made, now, traceparents)
        await block_customers(conn, account.account_id, left)
        for each in made:
            await audit.add(
                conn,
                each.account_id,
                actor=OURSELVES,
                action="match_contact",
                subject=each.customer_id,
                detail=each.contact_id,
            )


def _link(
    customer: Customer, tenant_id: str, contact: XeroContact, now: datetime
) -> ContactMapping:
    """The link to a contact that exists: nothing in it is changed until Pipeline changes the customer."""
    return ContactMapping(
        customer.account_id,
        tenant_id,
        customer.customer_id,
        contact.contact_id or "",
        contact.name,
        OURSELVES,
        agreed=wanted(customer),
        base=held(contact),
        # The one with our number may be archived or merged: looked at before it is used.
        check_at=now if contact.is_archived else None,
    )
