"""Bring one account's due invoices to Xero: choose, send, record, until nothing is due or its turn is over."""

import time
from datetime import datetime

import structlog

from invoice_sync.choose_work import (
    Ask,
    CompareInXero,
    ImportInvoices,
    LookOn,
    MatchContacts,
    ReadCodes,
    Reconcile,
    Rest,
    Resume,
    Send,
    TendContacts,
    choose_work,
)
from invoice_sync.compare_invoice import compare_in_xero
from invoice_sync.deps import Deps
from invoice_sync.import_invoices import import_invoices
from invoice_sync.match_contacts import match_contacts
from invoice_sync.read_codes import read_codes
from invoice_sync.reconcile_account import reconcile_account
from invoice_sync.send_intent import send_intent
from invoice_sync.settle_unknown import resume_intent
from invoice_sync.store import accounts, invoices
from invoice_sync.tend_contacts import tend_contacts
from pipeline_messaging.worker import Lease
from pipeline_xero.errors import NotFound, RequestRejected, XeroError

log = structlog.get_logger(__name__)

# An account with a long backlog gives way after this: others may have waited for its place.
TURN_SECONDS = 5.0
# An event about the connection that the connector has published takes about this long to be read.
_EVENT_SECONDS = 5.0


async def sync_account(  # noqa: C901, PLR0912 - one case per kind of work
    deps: Deps, lease: Lease
) -> datetime | None:
    """Work on the leased account for one turn.

    Returns:
        When to come back; None when nothing is left that time alone would make due.

    Raises:
        LeaseLost: Another worker took over; nothing more was written.
    """
    ends = time.monotonic() + TURN_SECONDS
    asked = False
    while (now := time.monotonic()) < ends:
        if now < (gathered_at := deps.rests_until.get(lease.account_id, now)):
            return await _in(deps, gathered_at - now)
        deps.rests_until.pop(lease.account_id, None)
        match await choose_work(deps, lease, asked=asked):
            case Ask():
                if not await _was_never_connected(deps, lease.account_id):
                    return await _in(deps, _EVENT_SECONDS)
                asked = True
            case Rest(until):
                return until
            case Resume(account, open_intents):
                await resume_intent(deps, lease, account, open_intents[0])
            case Send(account, intent, chosen_at):
                await send_intent(deps, lease, account, intent, chosen_at=chosen_at)
            case MatchContacts(account, due):
                await match_contacts(deps, lease, account, due)
            case TendContacts(account, due_links):
                await tend_contacts(deps, lease, account, due_links)
            case CompareInXero(account, rows):
                await compare_in_xero(deps, lease, account, rows)
            case ReadCodes(account, kinds):
                await read_codes(deps, lease, account, kinds)
            case ImportInvoices(account):
                await import_invoices(deps, lease, account)
            case Reconcile(account):
                await reconcile_account(deps, lease, account)
            case LookOn():
                deps.on_recorded()
    return await _come_back(deps, lease.account_id)


async def _was_never_connected(deps: Deps, account_id: str) -> bool:
    """Whether the connector knows of no connection; False if its event is on the way, or it cannot be asked now."""
    try:
        return (await deps.gateway.connection(account_id)).sequence == 0
    except (NotFound, RequestRejected):
        return True  # the connector takes no such id, so nobody can have connected it
    except XeroError as error:
        log.warning("connection_not_asked", account_id=account_id, error=type(error).__name__)
        return False


async def _in(deps: Deps, seconds: float) -> datetime:
    async with deps.pool.acquire() as conn:
        at: datetime = await conn.fetchval("SELECT now() + make_interval(secs => $1)", seconds)
    return at


async def _come_back(deps: Deps, account_id: str) -> datetime | None:
    async with deps.pool.acquire() as conn:
        account, now = await accounts.find(conn, account_id)
        due = await invoices.next_due(conn, account_id)
    # Not before now: an account with an old backlog would else be the longest due one every time.
    return None if due is None else max(due, now, account.paused_until or now)
