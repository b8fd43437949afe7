"""Look at everything that changed in a tenant: what the webhooks never told is found here.

A recent sweep asks for what changed since its watermark, first invoices and then payments; a deep one, once a night,
for every invoice, because not all that Xero changes moves the time of change it shows.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from payment_ingest import metrics
from payment_ingest.deps import Deps
from payment_ingest.domain.delivery import Ring
from payment_ingest.domain.ledger import FoundBy
from payment_ingest.domain.pace import UNSTATED_LIMIT
from payment_ingest.domain.reconciliation import absent, compared, sums
from payment_ingest.domain.sweeping import (
    PAGE,
    Part,
    SweepKind,
    SweepTimes,
    after,
    smaller,
    unlike_ledger,
)
from payment_ingest.ingest_payments import (
    Ingested,
    SeenInvoice,
    count_ingested,
    ingest_payments,
)
from payment_ingest.read_invoices import Read
from payment_ingest.read_payments import PaymentPage
from payment_ingest.store import doorbells, ledger, reconciliations, sweeps
from payment_ingest.store.ledger import Provenance
from payment_ingest.store.sweeps import Sweep
from pipeline_messaging import traces
from pipeline_messaging.connection import Connection
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.worker import Lease
from pipeline_xero.errors import (
    RateLimited,
    RequestRejected,
    UnexpectedAnswer,
    XeroError,
    XeroUnavailable,
)

log = structlog.get_logger(__name__)

_AT_ONCE = 100
"""Invoices taken in by one transaction: others wait for their rows meanwhile."""


async def sweep_account(deps: Deps, lease: Lease, tenant_id: str) -> None:
    """Take in one page of the tenant's sweep, if one is due.

    The watermark, Xero's clock when the sweep began, moves in the transaction that stores its last page; a sweep
    that died goes on at the page it had reached.

    Raises:
        LeaseLost, and whatever of pipeline_xero.errors kept us from reading; the sweep stays due. Only a question
        that Xero refuses is put off for an interval, and one for which there is no room until there may be.
    """
    async with deps.pool.acquire() as conn:
        sweep = await sweeps.due(conn, tenant_id)
    if sweep is None:
        return
    told = {"account_id": lease.account_id, "sweep": sweep.kind.value}
    try:
        with traces.doing(f"sweep {sweep.place.part.value}", attributes=told) as traceparent:
            if sweep.place.part is Part.PAYMENTS:
                await _sweep_payments(deps, lease, sweep)
            else:
                await _sweep_invoices(deps, lease, sweep, traceparent)
    except UnexpectedAnswer as error:
        await _ask_for_less(deps, lease, sweep, error)
    except XeroUnavailable as error:
        # The page may have been too much to wait for. No more than once: if Xero is down, it is not the size.
        if sweep.place.size == PAGE:
            await _ask_for_less(deps, lease, sweep, error)
        raise
    except RequestRejected as error:
        await _put_off(deps, lease, sweep, error)
    except RateLimited as error:
        # A sweep has time, and its limit may be its lane's alone: doorbells go on and find out for themselves.
        log.info("sweep_put_off", account_id=lease.account_id, limit=error.problem)
        async with deps.pool.acquire() as conn:
            await sweeps.delay(conn, sweep, error.retry_after or UNSTATED_LIMIT)


async def _sweep_invoices(deps: Deps, lease: Lease, sweep: Sweep, traceparent: str | None) -> None:
    read = await deps.reader.changed_since(
        lease.account_id,
        sweep.tenant_id,
        deps.sweep.since(sweep.watermark),
        sweep.place.page,
        sweep.place.size,
    )
    how = Provenance(
        found_by=FoundBy.SWEEP,
        delivery=None,
        rung_at=None,
        fetched_at=read.fetched_at,
        traceparent=traceparent,
    )
    seen = [SeenInvoice(invoice, observation, how) for invoice, observation in read.invoices]
    missed, again = 0, set(read.unreadable)
    for start in range(0, len(seen), _AT_ONCE):
        ingested = await _take_in(
            deps, lease, sweep, seen[start : start + _AT_ONCE], read.observed_at
        )
        missed += len(ingested.missed)
        again |= ingested.again
    # What could not be taken in now is looked at again by itself, so the sweep need not wait for it.
    await _advance(deps, lease, sweep, again, read, missed)


async def _take_in(
    deps: Deps,
    lease: Lease,
    sweep: Sweep,
    seen: Sequence[SeenInvoice],
    observed_at: datetime,
) -> Ingested:
    now = deps.clock()
    async with deps.pool.acquire() as conn, conn.transaction():
        await ledger.write(conn)
        await lease.verify(conn)
        ingested = await ingest_payments(
            conn,
            account_id=lease.account_id,
            tenant_id=sweep.tenant_id,
            seen=seen,
            observed_at=observed_at,
            now=now,
        )
    failpoint("sweep:after_portion")
    count_ingested(ingested, now)
    deps.on_told()
    return ingested


async def _sweep_payments(deps: Deps, lease: Lease, sweep: Sweep) -> None:
    page = await deps.payments.changed_since(
        lease.account_id,
        sweep.tenant_id,
        deps.sweep.since(sweep.watermark),
        sweep.place.page,
        sweep.place.size,
    )
    async with deps.pool.acquire() as conn:
        known = await ledger.payments_of(
            conn, sweep.tenant_id, {one.xero_invoice_id for one in page.payments}
        )
    await _advance(deps, lease, sweep, unlike_ledger(page.payments, known), page, 0)


async def _advance(
    deps: Deps,
    lease: Lease,
    sweep: Sweep,
    look_at: Collection[str],
    page: Read | PaymentPage,
    missed: int,
) -> None:
    """Everything of a page is durable: ring for what needs a look of its own, and move on, in one transaction."""
    now = deps.clock()
    began_at = sweep.began_at or page.observed_at
    following = after(sweep.kind, sweep.place, is_last_page=page.is_last_page)
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        rings = [(Ring(sweep.tenant_id, one), now, None) for one in look_at]
        await doorbells.ring(conn, rings, FoundBy.SWEEP)
        if following is None:
            wait = _until_next(deps.sweep, sweep, missed, now)
            is_moved = await sweeps.finish(conn, sweep, began_at, wait, deps.sweep.pause)
        else:
            is_moved = await sweeps.go_on(conn, sweep, began_at, following, missed)
        if is_moved and sweep.kind is SweepKind.DEEP and isinstance(page, Read):
            await _reconcile(conn, sweep.tenant_id, began_at, page, is_last=following is None)
        failpoint("sweep:before_commit")
    failpoint("sweep:after_commit")
    if following is None and is_moved:
        metrics.SWEEPS.labels(sweep.kind.value).inc()


async def _reconcile(
    conn: Connection, tenant_id: str, began_at: datetime, page: Read, *, is_last: bool
) -> None:
    """Compare what was just taken in with Xero's own figures; in the move's transaction, so each page counts once."""
    seen = [observation for _, observation in page.invoices]
    kept = await reconciliations.kept(conn, tenant_id, [one.xero_invoice_id for one in seen])
    await reconciliations.add(conn, tenant_id, began_at, sums(compared(seen, kept)))
    failpoint("reconcile:after_sums")
    if is_last:
        await _reconcile_unlisted(conn, tenant_id, began_at)
        await reconciliations.complete(conn, tenant_id, began_at)
        failpoint("reconcile:after_complete")


async def _reconcile_unlisted(conn: Connection, tenant_id: str, began_at: datetime) -> None:
    """Payments on what Xero no longer lists are a difference as well, and worth a look by the invoice's id."""
    unlisted = await reconciliations.unlisted(conn, tenant_id, began_at)
    if not unlisted:
        return
    kept = await reconciliations.kept(conn, tenant_id, unlisted.keys())
    await reconciliations.add(conn, tenant_id, began_at, sums(absent(unlisted, kept)))
    now = datetime.now(UTC)
    rings = [(Ring(tenant_id, one), now, None) for one in unlisted]
    await doorbells.ring(conn, rings, FoundBy.SWEEP)
    log.warning("invoices_unlisted", tenant_id=tenant_id, invoices=len(unlisted))


def _until_next(times: SweepTimes, sweep: Sweep, missed: int, now: datetime) -> timedelta:
    if sweep.kind is SweepKind.DEEP:
        return times.next_deep(sweep.tenant_id, now) - now
    return times.after_a_miss() if sweep.missed + missed else times.interval


async def _ask_for_less(deps: Deps, lease: Lease, sweep: Sweep, error: XeroError) -> None:
    """A page of large invoices may be more than one answer can carry: go on with smaller pages, if they can be."""
    place = smaller(sweep.place)
    if place is None:
        await _put_off(deps, lease, sweep, error)
        return
    log.info("sweep_asks_for_less", account_id=lease.account_id, error=str(error)[:200])
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        await sweeps.shrink(conn, sweep, place)


async def _put_off(deps: Deps, lease: Lease, sweep: Sweep, error: XeroError) -> None:
    # Asking again at once would be answered the same; doorbells must not wait for it either.
    metrics.FETCHES.labels("sweep", "refused").inc()
    log.warning("sweep_refused", account_id=lease.account_id, error=str(error)[:200])
    async with deps.pool.acquire() as conn:
        await sweeps.delay(conn, sweep, deps.sweep.interval)
