"""Look at linked contacts in Xero: follow merges, notice archived and deleted ones, push what Pipeline changed."""

import time
import uuid
from collections.abc import Sequence
from datetime import datetime

from invoice_sync.deps import Deps
from invoice_sync.domain import contacts
from invoice_sync.domain.contact_fields import element_of
from invoice_sync.domain.contact_health import ContactsRead, Look, look_at
from invoice_sync.domain.state import Account, ContactMapping, Customer, Intent
from invoice_sync.read_contacts import contacts_by_id, rest_after
from invoice_sync.record_contacts import OURSELVES, save_mappings
from invoice_sync.send_intent import send_intent
from invoice_sync.store import (
    accounts,
    audit,
    contact_mappings,
    customers,
    intents,
    invoice_links,
    invoices,
)
from pipeline_messaging.connection import Connection
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.worker import Lease
from pipeline_xero.errors import XeroError


async def tend_contacts(
    deps: Deps, lease: Lease, account: Account, due: Sequence[ContactMapping]
) -> None:
    """Read these contacts in one call, record what was found, and send what is to be changed in them.

    Raises:
        LeaseLost: Nothing was recorded.
    """
    try:
        read = await contacts_by_id(deps, account, {each.contact_id for each in due})
    except XeroError as error:
        await _postpone(deps, lease, account, due, error)
        return
    failpoint("contacts:after_read")
    intent = await _record(deps, lease, account, due, read)
    deps.on_recorded()
    if intent is not None:
        await send_intent(deps, lease, account, intent, chosen_at=time.monotonic())


async def _postpone(
    deps: Deps, lease: Lease, account: Account, due: Sequence[ContactMapping], error: XeroError
) -> None:
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        until, _ = await rest_after(conn, deps, account, error)
        ids = [each.customer_id for each in due]
        await contact_mappings.check(conn, account.account_id, account.tenant_id or "", ids, until)


async def _record(
    deps: Deps,
    lease: Lease,
    account: Account,
    due: Sequence[ContactMapping],
    read: ContactsRead,
) -> Intent | None:
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        current, now = await accounts.lock(conn, account.account_id)
        if current.tenant_id != account.tenant_id:
            return None
        if account.pause_count:
            await accounts.resume(conn, account.account_id)
        ids = [each.customer_id for each in due]
        known = await customers.lock_of(conn, account.account_id, ids)
        looks = await _looks(conn, current, due, known, read, now)
        await _save(conn, looks, now)
        changes = [
            (customer, each)
            for each in looks
            if each.push and (customer := known.get(each.mapping.customer_id)) is not None
        ]
        if not changes:
            return None
        return await _intend(conn, current, changes, now)


async def _looks(
    conn: Connection,
    account: Account,
    due: Sequence[ContactMapping],
    known: dict[str, Customer],
    read: ContactsRead,
    now: datetime,
) -> list[Look]:
    """The verdicts; a customer linked to another contact since these were chosen is left out."""
    account_id, tenant_id = account.account_id, account.tenant_id or ""
    rows = await contact_mappings.mappings_of(
        conn, account_id, tenant_id, [each.customer_id for each in due]
    )
    shared = await contact_mappings.linked_to(
        conn, account_id, tenant_id, [each.contact_id for each in due]
    )
    return [
        look_at(
            row,
            known.get(row.customer_id),
            read,
            now,
            is_shared=len(shared.get(row.contact_id, ())) > 1,
        )
        for each in due
        if (row := rows.get(each.customer_id)) is not None and row.contact_id == each.contact_id
    ]


async def _save(conn: Connection, looks: Sequence[Look], now: datetime) -> None:
    moved = [each.mapping for each in looks if each.moved_from is not None]
    await contact_mappings.update(conn, [each.mapping for each in looks if each.moved_from is None])
    await save_mappings(conn, moved, now)
    if moved:
        merged = [
            (each.mapping.customer_id, each.moved_from, each.mapping.contact_id)
            for each in looks
            if each.moved_from is not None
        ]
        first = moved[0]
        await invoice_links.follow_merge(conn, first.account_id, first.tenant_id, merged)
    for each in looks:
        if each.happening is not None:
            await audit.add(
                conn,
                each.mapping.account_id,
                actor=OURSELVES,
                action=each.happening,
                subject=each.mapping.customer_id,
                detail=each.detail,
            )
    # Xero's refusal of an invoice is less exact than what the contact itself shows.
    if unusable := [
        (each.mapping.customer_id, each.mapping.problem) for each in looks if each.mapping.problem
    ]:
        await invoices.retell_contacts(conn, looks[0].mapping.account_id, unusable)
    if healed := [each.mapping.customer_id for each in looks if each.releases]:
        account_id = looks[0].mapping.account_id
        await invoices.release_for_contacts(conn, account_id, healed)
        # A contact merged away changed on its invoices too; with the link moved they may agree again.
        await invoices.compare_conflicts_of(conn, account_id, healed)


async def _intend(
    conn: Connection, account: Account, changes: Sequence[tuple[Customer, Look]], now: datetime
) -> Intent:
    """Commit the write of what Pipeline changed: all in one call, one that was refused with others before alone."""
    tenant_id = account.tenant_id or ""
    fresh = [each for each in changes if not each[0].attempts]
    batch = fresh or changes[:1]
    left = {customer.customer_id for customer, _ in changes} - {
        each[0].customer_id for each in batch
    }
    await contact_mappings.check(conn, account.account_id, tenant_id, sorted(left), now)
    failpoint("contact_changes:before_intent")
    intent = await intents.add(
        conn,
        account_id=account.account_id,
        tenant_id=tenant_id,
        kind="contacts",
        method="POST",
        path="Contacts",
        body=contacts.contacts_body(
            [{"ContactID": each.mapping.contact_id} | element_of(each.push) for _, each in batch]
        ),
        idempotency_key=f"contact-changes-{uuid.uuid4().hex}",
    )
    await customers.save(
        conn,
        [
            contacts.sending(customer, intent.id, place, tenant_id)
            for place, (customer, _) in enumerate(batch)
        ],
    )
    failpoint("contact_changes:after_intent")
    return intent
