"""Go and look at the invoices whose doorbell rang, many per call, and take in what is found."""

from collections.abc import Callable
from datetime import datetime, timedelta

import asyncpg
import structlog

from payment_ingest import metrics
from payment_ingest.domain.pace import UNSTATED_LIMIT
from payment_ingest.ingest_payments import (
    Ingested,
    SeenInvoice,
    count_ingested,
    ingest_payments,
)
from payment_ingest.read_invoices import InvoiceReader, Read
from payment_ingest.store import doorbells, ledger
from payment_ingest.store.doorbells import Doorbell
from payment_ingest.store.ledger import Provenance
from payment_ingest.trace_looks import looking
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.worker import Lease
from pipeline_xero.errors import RateLimited

log = structlog.get_logger(__name__)

_PER_CALL = 50
_LONGEST_PAUSE = timedelta(hours=1)
_FIRST_PAUSE = timedelta(seconds=2)
_MOST_LOOKS_FOR_ABSENT = 10
"""After some 30 minutes: a webhook may outrun Xero's own reads, but not by that much."""


async def answer_doorbells(
    pool: asyncpg.Pool,
    reader: InvoiceReader,
    lease: Lease,
    tenant_id: str,
    clock: Callable[[], datetime],
    on_told: Callable[[], None],
) -> int | None:
    """Answer up to one call's worth of the tenant's due doorbells.

    Ledger, events and the taking down of the doorbells commit together, so dying anywhere means looking again.
    Returns how many calls Xero says are left in this minute, None when it was not asked or did not say.

    Raises:
        LeaseLost, and whatever of pipeline_xero.errors kept us from reading; the doorbells stay.
    """
    claimed = await _due(pool, tenant_id)
    if not claimed:
        return None
    failpoint("payment:after_claim")
    async with looking(pool, lease.account_id, claimed) as traceparents:
        read = await _read(pool, reader, lease, tenant_id, claimed)
        if read is None:
            return None
        rung = {one.xero_invoice_id: one for one in claimed}
        now = clock()
        async with pool.acquire() as conn, conn.transaction():
            await ledger.write(conn)
            await lease.verify(conn)
            ingested = await ingest_payments(
                conn,
                account_id=lease.account_id,
                tenant_id=tenant_id,
                seen=_seen(read, rung, traceparents),
                observed_at=read.observed_at,
                now=now,
            )
            answered, late = _verdicts(claimed, read, ingested)
            await doorbells.lock(conn, claimed)
            await doorbells.answer(conn, answered)
            await doorbells.postpone(conn, late)
            failpoint("payment:before_commit")
        failpoint("payment:after_commit")
        count_ingested(ingested, now)
        on_told()
        return read.calls_left


async def _read(
    pool: asyncpg.Pool,
    reader: InvoiceReader,
    lease: Lease,
    tenant_id: str,
    claimed: list[Doorbell],
) -> Read | None:
    """The doorbells' invoices, in one call; None where they are mere creations and there is no room for them now."""
    # Creations come last: where the first is one, all are. They are looked at like a sweep: when there is room.
    is_sweep = claimed[0].created_at is not None
    try:
        return await reader.by_ids(
            lease.account_id,
            tenant_id,
            [one.xero_invoice_id for one in claimed],
            lane="sweeps" if is_sweep else None,
        )
    except RateLimited as error:
        if not is_sweep:
            raise
        async with pool.acquire() as conn, conn.transaction():
            await lease.verify(conn)
            await doorbells.lock(conn, claimed)
            await doorbells.put_off(conn, claimed, error.retry_after or UNSTATED_LIMIT)
        return None


async def _due(pool: asyncpg.Pool, tenant_id: str) -> list[Doorbell]:
    """The doorbells to answer with the next call. Whose creation is known by now is not asked about."""
    async with pool.acquire() as conn:
        claimed = await doorbells.due(conn, tenant_id, _PER_CALL)
        created = [one for one in claimed if one.created_at is not None]
        if not created:
            return claimed
        keys = [(one.tenant_id, one.xero_invoice_id) for one in created]
        dismissed = await doorbells.dismiss_own(conn, keys)
        metrics.OWN_CREATIONS.inc(dismissed)
        return await doorbells.due(conn, tenant_id, _PER_CALL) if dismissed else claimed


def _seen(read: Read, rung: dict[str, Doorbell], traceparents: dict[str, str]) -> list[SeenInvoice]:
    return [
        SeenInvoice(
            invoice,
            observation,
            Provenance(
                found_by=rung[invoice.invoice_id].found_by,
                delivery=rung[invoice.invoice_id].delivery,
                rung_at=rung[invoice.invoice_id].rung_at,
                fetched_at=read.fetched_at,
                traceparent=traceparents.get(invoice.invoice_id),
            ),
        )
        for invoice, observation in read.invoices
        # Never anything we did not ask for, whatever the answer holds.
        if invoice.invoice_id in rung
    ]


def _verdicts(
    claimed: list[Doorbell], read: Read, ingested: Ingested
) -> tuple[list[Doorbell], list[tuple[Doorbell, timedelta]]]:
    """Which doorbells are answered, and which need another look after how long."""
    found = {invoice.invoice_id for invoice, _ in read.invoices}
    again = read.unreadable | ingested.again
    answered: list[Doorbell] = []
    late: list[tuple[Doorbell, timedelta]] = []
    for one in claimed:
        is_absent = one.xero_invoice_id not in found | read.settled | read.unreadable
        if one.xero_invoice_id in again or (is_absent and one.attempts < _MOST_LOOKS_FOR_ABSENT):
            late.append((one, min(_FIRST_PAUSE * 2 ** min(one.attempts, 20), _LONGEST_PAUSE)))
            continue
        if is_absent:
            log.warning(
                "invoice_absent", xero_invoice_id=one.xero_invoice_id, attempts=one.attempts
            )
        answered.append(one)
    return answered, late
