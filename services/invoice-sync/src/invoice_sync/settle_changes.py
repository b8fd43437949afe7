"""Settle changes and voids of unknown outcome: look first, so that nobody's edit made meanwhile is overwritten.

Xero has no conditional writes, and the same bytes under the same key are safe only against doubling. Had the first
sending not arrived, repeating it minutes later would write over whatever somebody did to the very same field since.
"""

import time
from typing import Final

from invoice_sync.choose_work import write_settings
from invoice_sync.compare_invoice import contacts_of, seen_of, terms_of
from invoice_sync.deps import Deps
from invoice_sync.domain import lifecycle, retry, trouble, update
from invoice_sync.domain.state import Account, Intent, Invoice, Step
from invoice_sync.read_codes import record_steps
from invoice_sync.read_invoices import Read, read_in_xero
from invoice_sync.send_intent import record_trouble, send_intent
from invoice_sync.store import accounts, intents, invoice_links, invoices
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.worker import Lease
from pipeline_xero.errors import XeroError
from pipeline_xero.wire import elements, loads

CHANGES: Final = frozenset({"update", "void"})
"""Kinds of intents that change what is in Xero already."""


async def settle_changes(
    deps: Deps, lease: Lease, account: Account, intent: Intent, *, key_counts: bool
) -> None:
    """Find out what became of an open intent of changes.

    Args:
        deps: What the verbs share.
        lease: The account's lease.
        account: The account as read when the work was chosen.
        intent: The open intent.
        key_counts: Whether Xero still knows the key, so that repeating the call cannot carry it out twice.

    Raises:
        LeaseLost: Nothing was recorded.
    """
    failpoint("lookup:before")
    async with deps.pool.acquire() as conn:
        rows = await invoices.lock_of_intent(conn, intent.id)
        links = await invoice_links.links_of(
            conn, intent.account_id, [row.invoice_id for row in rows]
        )
    try:
        reads = await read_in_xero(deps, list(links.values()), "invoices")
    except XeroError as error:
        await record_trouble(deps, lease, account, intent, error, is_first=False)
        return
    read_at = time.monotonic()
    is_as_before = await _record(deps, lease, intent, reads, key_counts=key_counts)
    failpoint("lookup:after")
    deps.on_recorded()
    if is_as_before:
        await send_intent(deps, lease, account, intent, chosen_at=read_at, is_first=False)


async def _record(
    deps: Deps, lease: Lease, intent: Intent, reads: dict[str, Read], *, key_counts: bool
) -> bool:
    """Record what was found; True, with nothing recorded, if all is as before and the same call may be repeated."""
    sent = elements(loads(intent.body), "Invoices")
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        account, now = await accounts.lock(conn, intent.account_id)
        rows = await invoices.lock_of_intent(conn, intent.id)
        links = await invoice_links.links_of(
            conn, intent.account_id, [row.invoice_id for row in rows]
        )
        contacts = await contacts_of(conn, intent.account_id, rows, list(links.values()))
        terms = await terms_of(conn, deps, account, list(links.values()))
        settings = write_settings(deps, terms)
        settled: list[Step] = []
        unreadable: list[Step] = []
        untouched: list[Invoice] = []
        for row in rows:
            link, read = links[row.invoice_id], reads[row.invoice_id]
            if read.error is not None:
                unreadable.append(lifecycle.still_unclear(row, now + trouble.LOOK_AGAIN))
                continue
            element = sent[row.intent.position if row.intent else 0]
            contact_id = contacts.get(row.customer_id or "")
            policy = terms.settings.edit_policy
            seen = seen_of(deps, account, link, read, now, policy)
            found = update.after_unknown(row, link, element, contact_id, seen, settings, terms)
            if found is None:
                untouched.append(row)
            else:
                settled.append(found)
        if key_counts and rows and len(untouched) == len(rows):
            return True
        again = [
            lifecycle.again_alone(
                row,
                now + retry.backoff(row.attempts + 1, deps.chance()),
                "outcome unknown; compared with Xero again",
            )
            for row in untouched
        ]
        await record_steps(conn, intent.account_id, [*settled, *again, *unreadable], now)
        if unreadable:
            await intents.defer(
                conn,
                intent.id,
                until=now + trouble.LOOK_AGAIN,
                must_look_up=True,
                attempts=intent.attempts,
            )
        else:
            await intents.close(conn, intent.id)
        if account.pause_count:
            await accounts.resume(conn, intent.account_id)
    return False
