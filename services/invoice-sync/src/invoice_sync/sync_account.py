"""Bring one account's due invoices to Xero: choose, send, record, until nothing is due or its turn is over."""

import time
from datetime import datetime

from invoice_sync.choose_work import CompareInXero, LookOn, Rest, Resume, Send, choose_work
from invoice_sync.compare_invoice import compare_in_xero
from invoice_sync.deps import Deps
from invoice_sync.send_intent import send_intent
from invoice_sync.settle_unknown import resume_intent
from invoice_sync.store import accounts, invoices
from pipeline_messaging.worker import Lease

# An account with a long backlog gives way after this: others may have waited for its place.
TURN_SECONDS = 5.0


async def sync_account(deps: Deps, lease: Lease) -> datetime | None:
    """Work on the leased account for one turn.

    Returns:
        When to come back; None when nothing is left that time alone would make due.

    Raises:
        LeaseLost: Another worker took over; nothing more was written.
    """
    ends = time.monotonic() + TURN_SECONDS
    while (now := time.monotonic()) < ends:
        if now < (gathered_at := deps.rests_until.get(lease.account_id, now)):
            return await _in(deps, gathered_at - now)
        deps.rests_until.pop(lease.account_id, None)
        match await choose_work(deps, lease):
            case Rest(until):
                return until
            case Resume(account, open_intents):
                await resume_intent(deps, lease, account, open_intents[0])
            case Send(account, intent, chosen_at):
                await send_intent(deps, lease, account, intent, chosen_at=chosen_at)
            case CompareInXero(account, rows):
                await compare_in_xero(deps, lease, account, rows[0])
            case LookOn():
                deps.on_recorded()
    return await _come_back(deps, lease.account_id)


async def _in(deps: Deps, seconds: float) -> datetime:
    async with deps.pool.acquire() as conn:
        at: datetime = await conn.fetchval("SELECT now() + make_interval(secs => $1)", seconds)
    return at


async def _come_back(deps: Deps, account_id: str) -> datetime | None:
    async with deps.pool.acquire() as conn:
        account, _ = await accounts.find(conn, account_id)
        due = await invoices.next_due(conn, account_id)
    if due is not None and account.paused_until is not None:
        return max(due, account.paused_until)
    return due
