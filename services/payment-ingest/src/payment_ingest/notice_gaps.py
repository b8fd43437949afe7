"""Notice when webhooks may have been lost, and look around everywhere: after a start, and when numbers are missing.

Xero numbers the events it sends. A number that never arrives proves nothing about any tenant, but it costs little to
look. When an organisation's sweeps themselves find what no webhook told of, they come closer together by themselves
(`SweepTimes.after_a_miss`).
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import asyncpg
import structlog

from payment_ingest import metrics
from payment_ingest.domain.sweeping import SweepTimes
from payment_ingest.store import sequences, sweeps
from pipeline_messaging import worker
from pipeline_messaging.connection import Connection

log = structlog.get_logger(__name__)

_PATIENCE = timedelta(minutes=2)
"""Deliveries overtake each other; one that comes again does so at once or after 15 minutes (Xero's webhooks page)."""
_LOOK_SECONDS = 15.0


async def sweep_everybody(pool: asyncpg.Pool, times: SweepTimes) -> None:
    """Let every connected tenant be swept soon, none more than once a pause: nobody may have been listening."""
    async with pool.acquire() as conn, conn.transaction():
        await _sweep_everybody(conn, times)


async def notice_gaps(
    pool: asyncpg.Pool, times: SweepTimes, patience: timedelta = _PATIENCE
) -> int:
    """Look around everywhere if numbers have been missing for a while; returns how many events never came."""
    async with pool.acquire() as conn, conn.transaction():
        lost = await sequences.give_up_holes(conn, patience)
        if not lost:
            return 0
        await _sweep_everybody(conn, times)
    metrics.LOST_EVENTS.inc(lost)
    log.warning("webhook_events_lost", events=lost)
    return lost


async def watch_for_gaps(pool: asyncpg.Pool, times: SweepTimes, on_gap: Callable[[], None]) -> None:
    """Keep noticing until cancelled."""
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        try:
            if await notice_gaps(pool, times):
                on_gap()
        except Exception as error:  # whoever watches must outlive a database that is away
            log.warning("gaps_not_watched", error=type(error).__name__, exc_info=error)


async def _sweep_everybody(conn: Connection, times: SweepTimes) -> None:
    accounts = await sweeps.hurry_all(conn, times.pause, over=times.pause)
    await worker.mark_due(conn, accounts)
