"""Leases on the real database: one worker per account, nothing forgotten, zombies refused."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from pipeline_messaging import inbox, leases
from pipeline_messaging.worker import AccountWorker, Lease, LeaseLost, mark_due

DATABASE_GONE = (
    OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError,
)  # fmt: skip
Until = Callable[..., Awaitable[Any]]


@asynccontextmanager
async def working(worker: AccountWorker) -> AsyncIterator[AccountWorker]:
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await task


async def mark(pool: asyncpg.Pool, *accounts: str, at: datetime | None = None) -> None:
    async with pool.acquire() as conn:
        await mark_due(conn, accounts, at)


async def idle(pool: asyncpg.Pool) -> bool:
    return not await pool.fetchval("SELECT count(*) FROM account_leases WHERE due_at IS NOT NULL")


async def test_every_marked_account_is_processed_by_one_worker_at_a_time(pool, until: Until):
    at_work: Counter[str] = Counter()
    runs: Counter[str] = Counter()
    crowd = 0

    async def process(lease: Lease) -> None:
        nonlocal crowd
        at_work[lease.account_id] += 1
        crowd = max(crowd, at_work.total())
        assert at_work[lease.account_id] == 1
        await asyncio.sleep(0.01)
        at_work[lease.account_id] -= 1
        runs[lease.account_id] += 1

    accounts = [f"a{n}" for n in range(60)]
    async with (
        working(AccountWorker(pool, process, concurrency=4)) as one,
        working(AccountWorker(pool, process, concurrency=4)) as other,
    ):
        await mark(pool, *accounts)
        one.wake()
        other.wake()
        await until(lambda: idle(pool))
    assert runs == Counter(accounts)
    assert 2 <= crowd <= 8


async def test_a_mark_during_processing_is_never_lost(pool, until: Until):
    """Whenever the mark comes, a run that began after it must follow."""
    begun: list[int] = []
    marks = 0

    async def process(lease: Lease) -> None:
        begun.append(marks)
        await asyncio.sleep(0.003)

    async with working(AccountWorker(pool, process, poll_seconds=0.01)) as worker:
        for _ in range(100):
            await mark(pool, "busy")
            marks += 1
            worker.wake()
            await asyncio.sleep(0.002)
        await until(lambda: idle(pool))
    assert begun[-1] == 100
    assert len(begun) > 20


async def test_process_says_when_to_come_back(pool, until: Until):
    runs: list[datetime] = []

    async def process(lease: Lease) -> datetime | None:
        runs.append(datetime.now(UTC))
        return runs[0] + timedelta(seconds=0.4) if len(runs) == 1 else None

    async with working(AccountWorker(pool, process, poll_seconds=0.02)):
        await mark(pool, "a")
        await until(lambda: idle(pool))
    assert len(runs) == 2
    assert runs[1] - runs[0] >= timedelta(seconds=0.35)


async def test_an_account_marked_for_later_waits_and_an_earlier_mark_wins(pool, until: Until):
    runs: list[str] = []

    async def process(lease: Lease) -> None:
        runs.append(lease.account_id)

    later = datetime.now(UTC) + timedelta(hours=1)
    await mark(pool, "later", "sooner", at=later)
    await mark(pool, "sooner")
    await mark(pool, "sooner", at=later)
    async with working(AccountWorker(pool, process, poll_seconds=0.02)):

        async def ran() -> bool:
            return bool(runs)

        await until(ran)
        await asyncio.sleep(0.1)
    assert runs == ["sooner"]


async def test_a_busy_account_does_not_starve_the_others(pool, until: Until):
    runs: list[str] = []

    async def process(lease: Lease) -> datetime | None:
        runs.append(lease.account_id)
        await mark(pool, lease.account_id) if lease.account_id == "busy" and len(
            runs
        ) < 40 else None
        return None

    await mark(pool, "busy")
    await asyncio.sleep(0.01)
    await mark(pool, *(f"quiet-{n}" for n in range(10)))
    async with working(AccountWorker(pool, process, concurrency=1, poll_seconds=0.02)):
        await until(lambda: idle(pool))
    assert set(runs[1:11]) == {f"quiet-{n}" for n in range(10)}


async def test_a_failing_account_is_retried_with_a_growing_pause(pool, until: Until):
    attempts: list[float] = []
    loop = asyncio.get_running_loop()

    async def process(lease: Lease) -> None:
        attempts.append(loop.time())
        if len(attempts) < 5:
            raise RuntimeError("no")

    worker = AccountWorker(pool, process, poll_seconds=0.01, backoff_seconds=0.05)
    async with working(worker):
        await mark(pool, "a")
        await until(lambda: idle(pool))
    # 0.05, 0.1, 0.2 and 0.4 seconds, each give or take a fifth; a slow machine only adds to them.
    pauses = [b - a for a, b in itertools.pairwise(attempts)]
    assert all(p >= 0.04 * 2**n for n, p in enumerate(pauses))
    assert await pool.fetchval("SELECT failures FROM account_leases") == 0


async def test_the_lease_is_renewed_while_the_work_lasts(pool, until: Until):
    runs = 0

    async def process(lease: Lease) -> None:
        nonlocal runs
        runs += 1
        await asyncio.sleep(5)
        async with pool.acquire() as conn, conn.transaction():
            await lease.verify(conn)

    one = AccountWorker(pool, process, lease_seconds=2, poll_seconds=0.05)
    other = AccountWorker(pool, process, lease_seconds=2, poll_seconds=0.05)
    async with working(one), working(other):
        await mark(pool, "long")
        await until(lambda: idle(pool))
    assert runs == 1


async def test_work_that_hangs_is_cancelled_and_retried(pool, until: Until):
    runs = 0

    async def process(lease: Lease) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            await asyncio.Event().wait()

    worker = AccountWorker(pool, process, run_seconds=0.2, poll_seconds=0.02, backoff_seconds=0.05)
    async with working(worker):
        await mark(pool, "a")
        await until(lambda: idle(pool))
    assert runs == 2


async def test_a_lost_lease_stops_the_work_and_refuses_its_result(pool, until: Until):
    stopped: list[str] = []
    leases_seen: list[Lease] = []

    async def process(lease: Lease) -> None:
        leases_seen.append(lease)
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            stopped.append(lease.account_id)
            raise

    async with working(AccountWorker(pool, process, lease_seconds=0.3)) as worker:
        await mark(pool, "a")
        worker.wake()

        async def begun() -> bool:
            return bool(leases_seen)

        await until(begun)
        # What another worker does once the lease is over.
        await pool.execute(
            "UPDATE account_leases SET epoch = epoch + 1, lease_until = now() + interval '1 hour'"
        )

        async def gave_up() -> bool:
            return bool(stopped)

        await until(gave_up)
    async with pool.acquire() as conn, conn.transaction():
        with pytest.raises(LeaseLost, match="account a"):
            await leases_seen[0].verify(conn)
    row = await pool.fetchrow("SELECT * FROM account_leases")
    assert row["lease_until"] > datetime.now(UTC)
    assert row["due_at"] is not None


async def test_nobody_can_claim_between_verify_and_commit(pool):
    await mark(pool, "a")
    async with pool.acquire() as holder, pool.acquire() as rival:
        (claim,) = await leases.claim(holder, limit=5, seconds=0)
        async with holder.transaction():
            await claim.lease.verify(holder)
            # The lease is over, but its holder is writing: not now, and nobody waits.
            assert await leases.claim(rival, limit=5, seconds=10) == []
            async with asyncio.timeout(2):
                await mark_due(rival, ["a"])
        (again,) = await leases.claim(rival, limit=5, seconds=10)
        assert again.lease.epoch == claim.lease.epoch + 1
        async with holder.transaction():
            with pytest.raises(LeaseLost):
                await claim.lease.verify(holder)


async def test_stopping_lets_the_work_finish_and_then_frees_what_is_left(pool, until: Until):
    finished: list[str] = []

    async def process(lease: Lease) -> None:
        await asyncio.sleep(0.2 if lease.account_id == "quick" else 60)
        finished.append(lease.account_id)

    worker = AccountWorker(pool, process, drain_seconds=0.6)
    await mark(pool, "quick", "slow")
    async with working(worker):

        async def both_run() -> bool:
            return len(worker._running) == 2

        await until(both_run)
    assert finished == ["quick"]
    row = await pool.fetchrow("SELECT * FROM account_leases WHERE account_id = 'slow'")
    assert row["lease_until"] is None
    assert row["due_at"] <= datetime.now(UTC)


async def test_the_database_cutting_connections_is_survived(pool, until: Until):
    runs: Counter[str] = Counter()

    async def process(lease: Lease) -> None:
        await asyncio.sleep(0.01)
        async with pool.acquire() as conn, conn.transaction():
            await lease.verify(conn)
            # Like every real process, safe to repeat: the release after it may be what got cut.
            await inbox.accept(conn, [("run", lease.account_id)])
        runs[lease.account_id] += 1

    worker = AccountWorker(pool, process, lease_seconds=1, poll_seconds=0.02, backoff_seconds=0.05)
    async with working(worker):
        for n in range(40):
            try:
                await mark(pool, f"a{n}")
                await pool.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            except DATABASE_GONE:
                continue

        async def all_done() -> bool:
            try:
                marked = await pool.fetchval("SELECT count(*) FROM account_leases")
                return marked == await pool.fetchval("SELECT count(*) FROM inbox") and await idle(
                    pool
                )
            except DATABASE_GONE:
                return False

        await until(all_done)
    assert await pool.fetchval("SELECT count(*) FROM inbox") > 0


async def test_ten_thousand_idle_accounts_cost_a_look_nothing(pool):
    await mark(pool, *(f"idle-{n}" for n in range(10_000)))
    await pool.execute("UPDATE account_leases SET due_at = NULL")
    later = datetime.now(UTC) + timedelta(hours=1)
    await mark(pool, *(f"later-{n}" for n in range(10_000)), at=later)
    await pool.execute("VACUUM ANALYZE account_leases")
    plan = await pool.fetchval(
        """
        EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)
        SELECT account_id FROM account_leases
         WHERE due_at <= now() AND (lease_until IS NULL OR lease_until <= now())
         ORDER BY due_at LIMIT 8 FOR UPDATE SKIP LOCKED
        """
    )
    assert '"Index Name": "account_leases_due"' in plan
    assert '"Seq Scan"' not in plan
    (top,) = json.loads(plan)
    assert top["Plan"]["Shared Hit Blocks"] + top["Plan"]["Shared Read Blocks"] < 10


async def test_marking_locks_in_one_order(pool):
    """Two transactions marking the same accounts in opposite order both get through."""
    names = [f"a{n:03}" for n in range(200)]

    async def mark_many(order: list[str]) -> None:
        for _ in range(20):
            await mark(pool, *order)

    await asyncio.gather(*(mark_many(o) for o in (names, names[::-1], names[100:] + names[:100])))
    assert await pool.fetchval("SELECT min(wakeups) FROM account_leases") == 60
