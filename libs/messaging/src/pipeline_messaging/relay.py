"""From the outbox to Kafka: one active relay per database, in order per key, at least once.

Every replica runs a relay; the one holding an advisory lock on its own connection publishes. Rows are read and deleted
on that same connection, so a relay that lost its lock can neither read nor delete. Should it still be sending what it
had read, its copies carry ids that go out from the new holder too: whoever drops known ids sees every key in order,
because each relay sends a key's next record only after the one before it was confirmed.
"""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Self

import asyncpg
import structlog
from aiokafka.errors import KafkaError

from pipeline_messaging import inbox, metrics, outbox
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.faults import told
from pipeline_messaging.publishing import Outcome, Publisher
from pipeline_messaging.unreachable import why_unreachable

log = structlog.get_logger(__name__)

LOCK = 0x6F7574626F78  # "outbox"
"""Key of the advisory lock. Advisory locks are per database, so one constant serves every service."""

_CONNECTION = {
    "application_name": "outbox-relay",
    # A holder that is frozen, or cut off, keeps its lock until the server ends its session. It is never idle for long.
    "idle_session_timeout": "60s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
_LOCK_POLL_SECONDS = 1.0
_GAUGES_EVERY_SECONDS = 5.0
_FORGET_EVERY_SECONDS = 3600.0
_FORGET_MORE_SECONDS = 1.0
_PASS_SECONDS = 10.0
"""How long rows of one reading are sent before what was confirmed is deleted: with a last slow round still well inside
the idle session's limit. Hundreds of rows of one key, each a round of its own, may take a slow broker longer."""
_MAX_BACKOFF_SECONDS = 10.0
_DRAIN_SECONDS = 5.0


class Relay:
    """Publishes one database's outbox. Either `async with Relay(...)`, or `run()` in a task and `stop()`."""

    def __init__(
        self,
        dsn: str,
        kafka: KafkaSettings,
        *,
        poll_seconds: float = 0.25,
        batch_rows: int = 500,
        batch_bytes: int = 8 * 1024 * 1024,
        publish_seconds: float = 20.0,
        inbox_keep: timedelta = inbox.KEEP,
    ) -> None:
        """`inbox_keep`: the lock's holder also forgets inbox rows older than this; see `inbox.forget`."""
        self._dsn = dsn
        self._kafka = kafka
        self._publisher = Publisher(kafka, publish_seconds)
        self._poll_seconds = poll_seconds
        self._batch_rows = batch_rows
        self._batch_bytes = batch_bytes
        self._inbox_keep = inbox_keep
        self._awake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._failing_since: float | None = None
        self._next_gauges = 0.0
        self._next_forget = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run(), name="outbox-relay")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if self._task is not None:
            await self._task

    def wake(self) -> None:
        """There may be something to publish: look now instead of at the next poll."""
        self._awake.set()

    def stop(self) -> None:
        """Publish what is there, within a few seconds, then let `run` return and another replica take over."""
        self._stopping.set()
        self._awake.set()

    def problem(self, *, patience: float = 30.0) -> str | None:
        """Why nothing gets published, in one sentence, or None: for health checks."""
        if self._task is not None and self._task.done():
            return "the outbox relay has ended"
        if self._failing_since and time.monotonic() - self._failing_since > patience:
            return (
                f"the outbox has not got through for {time.monotonic() - self._failing_since:.0f} s"
            )
        return None

    async def run(self) -> None:
        """Publish until `stop`. Failures of database or broker are logged and tried again, for ever."""
        failures = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                await self._session()
            except Exception as error:  # noqa: BLE001 - a relay that ends is an outbox that silently grows
                self._failing_since = self._failing_since or time.monotonic()
                failures = 1 if time.monotonic() - started > _GAUGES_EVERY_SECONDS else failures + 1
                why = await why_unreachable(self._kafka) if isinstance(error, KafkaError) else None
                log.warning("relay_interrupted", why=why, **told(error))
                await self._back_off(failures)

    async def _session(self) -> None:
        """One connection's life: wait for the lock, then publish until stopped or broken."""
        conn = await asyncpg.connect(
            self._dsn, timeout=10, command_timeout=30, server_settings=_CONNECTION
        )
        try:
            while not await conn.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                await self._measure(conn)
                self._failing_since = None
                if await _signalled(self._stopping, _LOCK_POLL_SECONDS):
                    return
            log.info("relay_active")
            failpoint("relay:after_lock")
            await self._publish_until_stopped(conn)
        finally:
            await self._publisher.close(gracefully=not conn.is_closed())
            conn.terminate()  # ends the session and with it the lock, even if a query is hanging

    async def _publish_until_stopped(self, conn: asyncpg.Connection) -> None:
        failures = 0
        deadline = None
        while True:
            if self._stopping.is_set():
                deadline = deadline or time.monotonic() + _DRAIN_SECONDS
                if time.monotonic() > deadline:
                    return
            self._awake.clear()  # before reading: a wake-up from here on means another look
            rows = await outbox.head(conn, limit=self._batch_rows, max_bytes=self._batch_bytes)
            failpoint("relay:after_read")
            await self._measure(conn)
            if not rows:
                self._failing_since = None
                if self._stopping.is_set():
                    return
                await _signalled(self._awake, self._poll_seconds)
                continue
            outcome = await self._publisher.publish(rows, _until_cut_or_late(conn))
            await self._record(conn, outcome)
            if outcome.failed:
                failures += 1
                self._failing_since = self._failing_since or time.monotonic()
                await self._back_off(failures)
            else:
                failures, self._failing_since = 0, None

    async def _record(self, conn: asyncpg.Connection, outcome: Outcome) -> None:
        failpoint("relay:before_delete")
        if outcome.confirmed:
            await outbox.delete(conn, outcome.confirmed)
        failpoint("relay:after_delete")
        if outcome.refused:
            for row_id, reason in outcome.refused.items():
                log.error("publish_refused", outbox_id=row_id, reason=reason)
            await outbox.postpone(conn, list(outcome.refused))

    async def _measure(self, conn: asyncpg.Connection) -> None:
        """Gauges, from every replica so that an alert does not depend on which one holds the lock; housekeeping."""
        now = time.monotonic()
        if now >= self._next_gauges:
            self._next_gauges = now + _GAUGES_EVERY_SECONDS
            backlog = await outbox.backlog(conn)
            metrics.outbox_pending.set(backlog.pending)
            metrics.outbox_refused.set(backlog.refused)
            metrics.outbox_oldest_age_seconds.set(backlog.oldest_age_seconds)
        if now >= self._next_forget:
            forgotten = await inbox.forget(conn, keep=self._inbox_keep)
            is_done = forgotten < inbox.FORGET_ROWS
            self._next_forget = now + (_FORGET_EVERY_SECONDS if is_done else _FORGET_MORE_SECONDS)

    async def _back_off(self, failures: int) -> None:
        longest = min(0.2 * 2 ** min(failures, 10), _MAX_BACKOFF_SECONDS)
        await _signalled(self._stopping, random.uniform(longest / 2, longest))  # noqa: S311 - jitter


def _until_cut_or_late(conn: asyncpg.Connection) -> Callable[[], bool]:
    late = time.monotonic() + _PASS_SECONDS
    return lambda: not conn.is_closed() and time.monotonic() < late


async def _signalled(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
