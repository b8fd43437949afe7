"""One turn of one account's work: answer its doorbells, then go on with its sweep.

Called by the account worker under the account's lease; nothing here waits or sleeps. Whatever keeps us from Xero is
answered with the time to come back.
"""

from datetime import datetime, timedelta

import structlog

from payment_ingest import metrics
from payment_ingest.answer_documents import answer_documents
from payment_ingest.answer_doorbells import answer_doorbells
from payment_ingest.deps import Deps
from payment_ingest.domain.pace import UNSTATED_LIMIT, pace
from payment_ingest.follow_connections import BEFORE_CONNECTING
from payment_ingest.store import connections, document_doorbells, doorbells, sweeps
from payment_ingest.store.connections import AccountConnection
from payment_ingest.sweep_account import sweep_account
from pipeline_messaging.connection import Connection
from pipeline_messaging.worker import Lease
from pipeline_xero.errors import (
    NotConnected,
    NotSent,
    RateLimited,
    TenantChanged,
    XeroError,
    XeroUnavailable,
)

log = structlog.get_logger(__name__)

_UNREACHABLE = timedelta(seconds=5)
_UNTIL_TOLD = timedelta(minutes=1)
"""A ConnectionStatusChanged wakes the account at once; this bounds the wait should the gateway know better. Asking it
costs no call of Xero's."""


async def process_account(deps: Deps, lease: Lease) -> datetime | None:
    """Do what is due for the account; returns when to come back, None for "when something happens".

    Raises:
        LeaseLost: Another replica took over; nothing was written.
    """
    async with deps.pool.acquire() as conn:
        connection = await connections.connection_of(conn, lease.account_id)
    if (
        connection is None
        or connection.tenant_id is None
        or connection.status != connections.CONNECTED
    ):
        return None
    if connection.not_before is not None:
        return connection.not_before
    tenant_id = connection.tenant_id
    try:
        left = await answer_doorbells(
            deps.pool, deps.reader, lease, tenant_id, deps.clock, deps.on_told
        )
        of_documents = await answer_documents(deps, lease, tenant_id)
        await sweep_account(deps, lease, tenant_id)
    except XeroError as error:
        metrics.FETCHES.labels("account", type(error).__name__).inc()
        log.info(
            "xero_not_read",
            account_id=lease.account_id,
            error=type(error).__name__,
            request_id=error.request_id,
        )
        return await _park(deps, lease, _pause_after(error))
    if pause := pace(left if of_documents is None else of_documents):
        return await _park(deps, lease, pause)
    async with deps.pool.acquire() as conn:
        return await _next_time(conn, connection, tenant_id)


async def _park(deps: Deps, lease: Lease, pause: timedelta) -> datetime:
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        return await connections.park(conn, lease.account_id, pause)


def _pause_after(error: XeroError) -> timedelta:
    match error:
        case RateLimited():
            return error.retry_after or UNSTATED_LIMIT
        case NotConnected() | TenantChanged():
            return _UNTIL_TOLD
        case NotSent():
            return error.retry_after or _UNREACHABLE
        case XeroUnavailable():
            return _UNREACHABLE
        case _:
            raise error


async def _next_time(
    conn: Connection, connection: AccountConnection, tenant_id: str
) -> datetime | None:
    at = await sweeps.next_time(conn, tenant_id)
    if at is None:
        # A replica of the former release heard of the connection, and knows nothing of these sweeps.
        await sweeps.begin(conn, tenant_id, connection.since - BEFORE_CONNECTING)
        at = await sweeps.next_time(conn, tenant_id)
    times = [
        await doorbells.next_time(conn, tenant_id),
        await document_doorbells.next_time(conn, tenant_id),
        at,
    ]
    return min((at for at in times if at is not None), default=None)
