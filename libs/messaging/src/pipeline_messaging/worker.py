"""Work per account: each account is processed by one worker at a time, in any replica, oldest due first.

A worker claims an account by raising its epoch and setting a lease by the database's clock, renews the lease while it
works, and at the end says when to come back. Whoever outlives the lease (paused, cut off) finds the epoch raised and
its results refused: `await lease.verify(conn)` in the transaction that writes them.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import structlog

from pipeline_messaging import leases, metrics
from pipeline_messaging.connection import Connection
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.faults import told
from pipeline_messaging.leases import Lease, LeaseLost, mark_due

__all__ = ["AccountWorker", "Lease", "LeaseLost", "Process", "mark_due"]

log = structlog.get_logger(__name__)

Process = Callable[[Lease], Awaitable[datetime | None]]

_END_SECONDS = 5.0


@dataclass(slots=True)
class _Run:
    """One account being processed."""

    lease: Lease
    wakeups: int
    failures: int


class AccountWorker:
    """Runs `process(lease)` for due accounts, up to `concurrency` at once.

    `process` gives back when to come back, or None for "only when marked". Its own transactions call
    `lease.verify(conn)` first. An exception is logged and the account rescheduled with a growing pause. A run longer
    than `run_seconds` is cancelled: the lease is renewed while `process` runs, so a hanging one would hold it for ever.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        process: Process,
        *,
        concurrency: int = 8,
        lease_seconds: float = 30.0,
        run_seconds: float = 300.0,
        poll_seconds: float = 0.5,
        drain_seconds: float = 30.0,
        backoff_seconds: float = 1.0,
        max_backoff_seconds: float = 300.0,
    ) -> None:
        self._pool = pool
        self._process = process
        self._concurrency = concurrency
        self._lease_seconds = lease_seconds
        self._run_seconds = run_seconds
        self._poll_seconds = poll_seconds
        self._drain_seconds = drain_seconds
        self._backoff = (backoff_seconds, max_backoff_seconds)
        self._awake = asyncio.Event()
        self._stopping = False
        self._running: set[asyncio.Task[None]] = set()
        self._failing_since: float | None = None

    def wake(self) -> None:
        """Something may be due: look now instead of at the next poll."""
        self._awake.set()

    def stop(self) -> None:
        """Claim nothing more; `run` returns when the running accounts are done, or after `drain_seconds`."""
        self._stopping = True
        self._awake.set()

    def problem(self, *, patience: float = 30.0) -> str | None:
        """Why no account gets claimed, in one sentence, or None: for health checks."""
        if self._failing_since and time.monotonic() - self._failing_since > patience:
            return f"no account could be claimed for {time.monotonic() - self._failing_since:.0f} s"
        return None

    async def run(self) -> None:
        """Claim and process until `stop`; on the way out, leases are released and unfinished accounts stay due."""
        try:
            while not self._stopping:
                self._awake.clear()  # before looking: a wake-up from here on means another look
                claimed = await self._claim()
                if claimed == 0 or len(self._running) >= self._concurrency:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self._poll_seconds):
                            await self._awake.wait()
            if self._running:
                await asyncio.wait(self._running, timeout=self._drain_seconds)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _claim(self) -> int:
        """Start as many due accounts as there is room for; how many that were."""
        room = self._concurrency - len(self._running)
        if room <= 0:
            return 0
        try:
            async with self._connection() as conn:
                claims = await leases.claim(conn, limit=room, seconds=self._lease_seconds)
        except Exception as error:  # noqa: BLE001 - the database being away must not end the worker
            self._failing_since = self._failing_since or time.monotonic()
            log.warning("claim_failed", **told(error))
            return 0
        self._failing_since = None
        if claims:
            failpoint("worker:after_claim")
        for claim in claims:
            run = _Run(claim.lease, claim.wakeups, claim.failures)
            task = asyncio.create_task(self._work(run), name=f"account-{claim.lease.account_id}")
            self._running.add(task)
            task.add_done_callback(self._ended)
        return len(claims)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        metrics.worker_running.set(len(self._running))
        self._awake.set()

    async def _work(self, run: _Run) -> None:
        """Process one account under its lease, then say when it is due again. Raises nothing but cancellation."""
        metrics.worker_running.set(len(self._running))
        lease = run.lease
        try:
            come_back = await self._process_renewing(lease)
            failpoint("worker:after_process")
            await self._release(run, come_back)
        except LeaseLost:
            metrics.worker_runs_total.labels("lease_lost").inc()
            log.warning("lease_lost", account_id=lease.account_id, epoch=lease.epoch)
        except asyncio.CancelledError:
            with suppress(Exception):
                await self._give_back(lease)
            raise
        except Exception as error:  # noqa: BLE001 - one account's failure must not end the worker
            metrics.worker_runs_total.labels("failed").inc()
            log.error(  # noqa: TRY400 - `told` adds the traceback where it says something
                "account_failed",
                account_id=lease.account_id,
                failures=run.failures + 1,
                **told(error),
            )
            await self._retry_later(run)
        else:
            metrics.worker_runs_total.labels("done").inc()

    async def _process_renewing(self, lease: Lease) -> datetime | None:
        """Run `process` beside the renewal of its lease; when the lease is lost, `process` is cancelled."""
        process = asyncio.ensure_future(self._process(lease))
        renewal = asyncio.create_task(self._renew(lease))
        try:
            async with asyncio.timeout(self._run_seconds):
                await asyncio.wait({process, renewal}, return_when=asyncio.FIRST_COMPLETED)
            if process.done():
                return process.result()
            raise LeaseLost(lease)
        finally:
            await _end(process, renewal)

    async def _renew(self, lease: Lease) -> None:
        """Extend the lease every third of its time. Returns when it is lost, or can't be known to be held."""
        held_until = time.monotonic() + self._lease_seconds
        while time.monotonic() < held_until:
            await asyncio.sleep(self._lease_seconds / 3)
            asked = time.monotonic()
            try:
                async with self._connection(self._lease_seconds / 3) as conn:
                    if not await leases.renew(conn, lease, seconds=self._lease_seconds):
                        return
            except Exception as error:  # noqa: BLE001 - try again while the lease lasts
                log.warning("lease_not_renewed", account_id=lease.account_id, **told(error))
            else:
                held_until = asked + self._lease_seconds

    async def _release(self, run: _Run, come_back: datetime | None) -> None:
        async with self._connection() as conn:
            released = await leases.release(conn, run.lease, wakeups=run.wakeups, due_at=come_back)
        failpoint("worker:after_release")
        if not released:
            raise LeaseLost(run.lease)

    async def _retry_later(self, run: _Run) -> None:
        first, longest = self._backoff
        pause = min(first * 2 ** min(run.failures, 20), longest) * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
        try:
            async with self._connection() as conn:
                await leases.retry_later(conn, run.lease, seconds=pause)
        except Exception as error:  # noqa: BLE001 - then the lease runs out, and the account is still due
            log.warning("retry_not_recorded", account_id=run.lease.account_id, **told(error))

    async def _give_back(self, lease: Lease) -> None:
        async with self._connection() as conn:
            await leases.give_back(conn, lease)

    @asynccontextmanager
    async def _connection(self, seconds: float = 10.0) -> AsyncIterator[Connection]:
        """A pooled connection for one statement, all within a time limit: a dead peer may never answer."""
        async with asyncio.timeout(seconds), self._pool.acquire() as conn:
            yield conn


async def _end(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel tasks and wait for their end, but not for ever: one stuck in a dead connection must not keep its slot."""
    for task in tasks:
        task.cancel()
    ended, stuck = await asyncio.wait(tasks, timeout=_END_SECONDS)
    for task in ended:
        if not task.cancelled():
            task.exception()  # read, so not complained about; the lease decides what its work was worth
    if stuck:
        log.error("work_does_not_end", tasks=len(stuck))
