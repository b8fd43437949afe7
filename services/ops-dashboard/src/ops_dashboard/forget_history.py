"""What happened long ago is forgotten, so that the tables do not grow for ever. How things stand is kept.

Lines of timelines and odd records go by age, in slices of a transaction each: the projection never waits long for one,
and killed between two, the next round goes on. Where an account stands is told by its newest line of its kind, however
old that is, so that one stays.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import structlog

from ops_dashboard.store import facts, odd_records
from pipeline_messaging.connection import Connection
from pipeline_messaging.faults import told
from pipeline_service_defaults.database import Pool

log = structlog.get_logger(__name__)

_EVERY_SECONDS = 3_600.0
_ROWS = 5_000

Forget = Callable[[Connection, datetime, int], Awaitable[int]]


async def keep_forgetting(pool: Pool, keep: timedelta) -> None:
    """Forget at once and every hour, until cancelled. Replicas that do it together take different rows."""
    while True:
        try:
            rows = await forget_history(pool, datetime.now(UTC) - keep)
            if rows:
                log.info("history_forgotten", rows=rows)
        except Exception as error:  # noqa: BLE001 - the database comes back, and so must this
            log.warning("history_not_forgotten", **told(error))
        await asyncio.sleep(_EVERY_SECONDS)


async def forget_history(pool: Pool, before: datetime, *, slice_rows: int = _ROWS) -> int:
    """Delete what happened before that moment, `slice_rows` at a time; how many rows that were."""
    return sum(
        [await _all_of(pool, one, before, slice_rows) for one in (facts.forget, odd_records.forget)]
    )


async def _all_of(pool: Pool, forget: Forget, before: datetime, rows: int) -> int:
    total = 0
    while True:
        async with pool.acquire() as conn:
            gone = await forget(conn, before, rows)
        total += gone
        if gone < rows:
            return total
