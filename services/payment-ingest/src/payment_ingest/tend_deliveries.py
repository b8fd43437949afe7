"""Keep raw deliveries as long as is set, and no longer: days are made ahead, and dropped by age once they are read.

Every replica does it; whatever another one has done already is simply not there to do. Nothing depends on its being
done in time: a webhook that finds no partition for its day makes one (`accept_delivery`).
"""

import asyncio
from collections.abc import Callable

import asyncpg
import structlog

from payment_ingest.store import retention
from pipeline_messaging.connection import Connection
from pipeline_messaging.failpoints import failpoint

log = structlog.get_logger(__name__)

DAYS_AHEAD = 7
_EVERY_SECONDS = 60.0
_ROWS_MOVED = 100
"""In one transaction: bodies are at most 256 KiB each."""


async def tend_deliveries(conn: Connection, days_kept: int) -> int:
    """Make the days to come, take over what the former release stored, drop the days past; returns how many it took over.

    Raises:
        asyncpg.LockNotAvailableError: Somebody, such as a backup, reads the days to be dropped; all else is done.
    """
    await retention.make_partitions(conn, DAYS_AHEAD)
    taken = await _take_over(conn, days_kept)
    while day := await retention.drop_partition(conn, days_kept):
        log.info("deliveries_dropped", day=day.isoformat())
    return taken


async def _take_over(conn: Connection, days_kept: int) -> int:
    taken, after = 0, b""
    while True:
        async with conn.transaction():
            hashes = await retention.lock_former(conn, after, _ROWS_MOVED)
            if not hashes:
                return taken
            await retention.make_room(conn, hashes, days_kept)
            await retention.move_former(conn, hashes, days_kept)
            failpoint("retention:before_commit")
        # Onwards, not from the start: what has been deleted there would be passed over again and again.
        taken, after = taken + len(hashes), hashes[-1]


async def keep_tending(
    pool: asyncpg.Pool, days_kept: int, on_taken_over: Callable[[], None]
) -> None:
    """Keep at it until cancelled."""
    while True:
        try:
            async with pool.acquire() as conn:
                if await tend_deliveries(conn, days_kept):
                    on_taken_over()
        except Exception as error:  # tried again in a minute; webhooks do not wait for it
            log.warning("deliveries_not_tended", error=type(error).__name__, exc_info=error)
        await asyncio.sleep(_EVERY_SECONDS)
