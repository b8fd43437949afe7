"""Look at everything that changed in a tenant: what the webhooks never told is found here."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg
import structlog

from payment_ingest import metrics
from payment_ingest.domain.delivery import Ring
from payment_ingest.domain.ledger import FoundBy
from payment_ingest.domain.pace import UNSTATED_LIMIT
from payment_ingest.ingest_payments import SeenInvoice, count_ingested, ingest_payments
from payment_ingest.read_invoices import InvoiceReader, since
from payment_ingest.store import connections, doorbells
from payment_ingest.store.ledger import Provenance
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.worker import Lease
from pipeline_xero.errors import RateLimited, RequestRejected, UnexpectedAnswer

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SweepTimes:
    """How often a tenant is swept, how far each sweep reaches back behind the last, and the shortest pause."""

    interval: timedelta
    overlap: timedelta
    pause: timedelta


async def sweep_account(
    pool: asyncpg.Pool,
    reader: InvoiceReader,
    lease: Lease,
    tenant_id: str,
    times: SweepTimes,
    clock: Callable[[], datetime],
    on_told: Callable[[], None],
) -> None:
    """Take in one page of the tenant's sweep, if one is due.

    The watermark, Xero's clock when the sweep began, moves in the transaction that stores its last page; a sweep
    that died goes on at the page it had reached.

    Raises:
        LeaseLost, and whatever of pipeline_xero.errors kept us from reading; the sweep stays due. Only a question
        that Xero refuses is put off for an interval, and one for which there is no room until there may be.
    """
    async with pool.acquire() as conn:
        sweep = await connections.sweep_of(conn, tenant_id)
        if sweep is None or not await connections.sweep_is_due(conn, tenant_id):
            return
    try:
        read = await reader.changed_since(
            lease.account_id, tenant_id, since(sweep.watermark, times.overlap), sweep.next_page
        )
    except (RequestRejected, UnexpectedAnswer) as error:
        # Asking again at once would be answered the same; doorbells must not wait for it either.
        metrics.FETCHES.labels("sweep", "refused").inc()
        log.warning("sweep_refused", account_id=lease.account_id, error=str(error)[:200])
        async with pool.acquire() as conn:
            await connections.delay_sweep(conn, tenant_id, times.interval)
        return
    except RateLimited as error:
        # A sweep has time, and its limit may be its lane's alone: doorbells go on and find out for themselves.
        log.info("sweep_put_off", account_id=lease.account_id, limit=error.problem)
        async with pool.acquire() as conn:
            await connections.delay_sweep(conn, tenant_id, error.retry_after or UNSTATED_LIMIT)
        return
    began_at = sweep.began_at or read.observed_at
    how = Provenance(
        found_by=FoundBy.SWEEP, delivery=None, rung_at=None, fetched_at=read.fetched_at
    )
    now = clock()
    async with pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        ingested = await ingest_payments(
            conn,
            account_id=lease.account_id,
            tenant_id=tenant_id,
            seen=[SeenInvoice(invoice, observation, how) for invoice, observation in read.invoices],
            observed_at=read.observed_at,
            now=now,
        )
        # What could not be taken in now is looked at again by itself, so the sweep need not wait for it.
        again = [(Ring(tenant_id, one), now, None) for one in read.unreadable | ingested.incomplete]
        await doorbells.ring(conn, again, FoundBy.SWEEP)
        if read.is_last_page:
            await connections.finish_sweep(conn, sweep, began_at, times.interval, times.pause)
        else:
            await connections.continue_sweep(conn, sweep, began_at, sweep.next_page + 1)
        failpoint("sweep:before_commit")
    failpoint("sweep:after_commit")
    if read.is_last_page:
        metrics.SWEEPS.inc()
    count_ingested(ingested, now)
    on_told()
