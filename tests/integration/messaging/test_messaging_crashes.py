"""kill -9 between any two steps, and zombies: nothing lost, nothing doubled, nothing out of order."""

import asyncio
import os
import re
import secrets
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from pipeline_contracts.envelope import Record
from pipeline_messaging import MIGRATIONS

Until = Callable[..., Awaitable[Any]]

STEPS = {
    # consume -> store -> commit -> offsets
    "consume:before_store": (1,),
    "consume:after_inbox": (1,),
    "consume:after_handle": (1, 2),
    "consume:before_commit": (1,),
    "consume:after_commit": (1, 3),
    "consume:after_offsets": (1,),
    # claim -> process -> record -> release
    "worker:after_claim": (1,),
    "service:before_result": (1,),
    "service:inside_result": (2,),
    "service:after_result": (1,),
    "worker:after_process": (1,),
    "worker:after_release": (1,),
    # lock -> read -> publish -> delete
    "relay:after_lock": (1,),
    "relay:after_read": (2,),
    "relay:after_send": (1, 2),
    "relay:before_delete": (1,),
    "relay:after_delete": (1,),
}
EVENTS = 60
KEYS = 12


def every_failpoint_named_in_the_code() -> set[str]:
    folder = MIGRATIONS.parent
    return {
        name
        for file in folder.glob("*.py")
        for name in re.findall(r'failpoint\(\s*"([^"]+)"', file.read_text())
        # A person's deeds: test_replaying_dead_letters.py, test_taking_up_dead_letters.py
        if not name.startswith(("replay:", "take_up:"))
    }


class Life:
    """One database, one pair of topics, one consumer group, and the processes that live and die on them."""

    def __init__(self, dsn: str, kafka: Any, topic_in: str, topic_out: str, script: Path) -> None:
        self.dsn = dsn
        self.kafka = kafka
        self.topic_in = topic_in
        self.topic_out = topic_out
        self.script = script
        self.group = f"test-{secrets.token_hex(4)}"
        self.log = Path(tempfile.mkstemp(prefix="child-service-", suffix=".log")[1])

    @classmethod
    async def begin(cls, make_database: Any, kafka: Any, script: Path) -> "Life":
        dsn = await make_database(MIGRATIONS)
        conn = await asyncpg.connect(dsn)
        await conn.execute(
            "CREATE TABLE effects (position bigserial PRIMARY KEY, event_id text NOT NULL, "
            "account_id text NOT NULL, subject text NOT NULL, done boolean NOT NULL DEFAULT false)"
        )
        await conn.close()
        return cls(dsn, kafka, await kafka.topic(), await kafka.topic(), script)

    async def start(self, **environment: str) -> asyncio.subprocess.Process:
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                self.script,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
                    "DSN": self.dsn,
                    "TOPIC_IN": self.topic_in,
                    "TOPIC_OUT": self.topic_out,
                    "GROUP": self.group,
                    **environment,
                },
            )

    @asynccontextmanager
    async def running(self, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await self.start(**environment)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                await process.wait()

    async def says(self, words: str) -> bool:
        return words in self.log.read_text()

    async def answered(self, number: int = EVENTS) -> bool:
        conn = await asyncpg.connect(self.dsn)
        try:
            row = await conn.fetchrow(
                "SELECT (SELECT count(*) FROM effects WHERE done) AS done, "
                "(SELECT count(*) FROM outbox) AS waiting"
            )
        finally:
            await conn.close()
        return row["done"] >= number and row["waiting"] == 0

    async def check(self, number: int = EVENTS) -> int:
        """The three ledgers agree; gives back how many copies were published beyond the first."""
        conn = await asyncpg.connect(self.dsn)
        effects = await conn.fetch("SELECT event_id, subject FROM effects ORDER BY position")
        poison = await conn.fetchval("SELECT count(*) FROM inbox WHERE source LIKE 'kafka:%'")
        await conn.close()
        ids = [row["event_id"] for row in effects]
        assert len(ids) == len(set(ids)) == number, "an effect was lost or doubled"
        assert poison == 1
        letters = await self.kafka.read(f"{self.topic_in}.dlq")
        assert {letter.value for letter in letters} == {b"poison"}
        published = await self.kafka.read(self.topic_out)
        copies: dict[bytes, set[tuple[Any, ...]]] = defaultdict(set)
        order: dict[bytes, list[int]] = defaultdict(list)
        for record in published:
            event_id = dict(record.headers)["ce_id"]
            if event_id not in copies:
                order[record.key].append(int(event_id.rpartition(b"-")[2]))
            copies[event_id].add((record.key, record.value, record.headers, record.timestamp))
        assert set(copies) == {event_id.encode() for event_id in ids}, "an answer was lost"
        assert {len(different) for different in copies.values()} == {1}, "copies differ"
        for versions in order.values():
            assert versions == sorted(versions), "a key's answers are out of order"
        return len(published) - number + len(letters) - 1


def events(topic: str, customer: Callable[..., Record], first: int = 0) -> list[Record]:
    records = [
        customer(topic, f"c{n % KEYS}", n // KEYS + 1, account_id=f"acc-{n % KEYS % 4}")
        for n in range(first, first + EVENTS)
    ]
    return [*records[:7], Record(topic, b"c1", b"poison", ()), *records[7:]]


def test_the_steps_to_die_at_are_all_there_are():
    ours = {step for step in STEPS if not step.startswith("service:")}
    assert every_failpoint_named_in_the_code() == ours


@pytest.mark.timeout(600)
async def test_kill_9_between_any_two_steps_loses_and_doubles_nothing(
    make_database, broker_tools, child_service, customer, until: Until
):
    """Every step, several at a time: most of each life is waiting for the group to drop its dead member."""
    at_once = asyncio.Semaphore(6)
    copies: dict[str, int] = {}

    async def die_and_live_on(step: str, nth: int) -> None:
        async with at_once:
            life = await Life.begin(make_database, broker_tools, child_service)
            await broker_tools.send(events(life.topic_in, customer))
            async with life.running(FAILPOINT=f"{step}@{nth}") as doomed, asyncio.timeout(60):
                assert await doomed.wait() == -signal.SIGKILL, f"{step}@{nth}: {life.log}"
            async with life.running() as survivor:
                await until(life.answered, 90)
                survivor.terminate()
                async with asyncio.timeout(30):
                    assert await survivor.wait() == 0, life.log
            copies[f"{step}@{nth}"] = await life.check()

    await asyncio.gather(
        *(die_and_live_on(step, nth) for step, nths in STEPS.items() for nth in nths)
    )
    # Between the broker's word and the row's deletion a record is sure to go out twice: the case was there.
    assert copies["relay:before_delete@1"] > 0


async def test_a_paused_worker_cannot_write_what_another_has_done(
    make_database, broker_tools, child_service, customer, until: Until
):
    life = await Life.begin(make_database, broker_tools, child_service)
    await broker_tools.send(events(life.topic_in, customer))
    async with life.running(WORK_SECONDS="2", LEASE_SECONDS="1") as zombie:
        await until(lambda: life.says("processing"))
        zombie.send_signal(signal.SIGSTOP)
        conn = await asyncpg.connect(life.dsn)
        paused = {row["account_id"] for row in await conn.fetch(
            "SELECT account_id FROM account_leases WHERE lease_until IS NOT NULL")}  # fmt: skip
        assert paused
        # The zombie's relay and consumer are frozen as well: its lock and its partitions must pass on.
        await conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'outbox-relay' AND datname = current_database()"
        )
        await conn.close()
        async with life.running(LEASE_SECONDS="1") as heir:
            await until(life.answered, 60)
            before = await broker_tools.read(life.topic_out)
            zombie.send_signal(signal.SIGCONT)
            zombie.terminate()
            async with asyncio.timeout(60):
                assert await zombie.wait() == 0
            heir.terminate()
            await heir.wait()
    after = await broker_tools.read(life.topic_out)
    assert await life.says("lease_lost")
    assert len(after) == len(before), "the zombie's answers went out"
    await life.check()


async def test_sigterm_in_the_middle_finishes_what_was_begun(
    make_database, broker_tools, child_service, customer, until: Until
):
    life = await Life.begin(make_database, broker_tools, child_service)
    await broker_tools.send(events(life.topic_in, customer))
    async with life.running(WORK_SECONDS="0.5", LEASE_SECONDS="20") as process:
        await until(lambda: life.says("processing"))
        process.terminate()
        async with asyncio.timeout(30):
            assert await process.wait() == 0
        assert await life.says("stopped cleanly")
    conn = await asyncpg.connect(life.dsn)
    assert (
        await conn.fetchval("SELECT count(*) FROM account_leases WHERE lease_until IS NOT NULL")
        == 0
    )
    assert await conn.fetchval("SELECT count(*) FROM outbox") == 0
    await conn.close()
    async with life.running():
        await until(life.answered, 60)
    await life.check()


@pytest.mark.parametrize("replicas", [3])
async def test_replicas_killed_and_replaced_at_random_lose_nothing(
    replicas, make_database, broker_tools, child_service, customer, until: Until
):
    life = await Life.begin(make_database, broker_tools, child_service)
    await broker_tools.send(events(life.topic_in, customer))
    living = [await life.start() for _ in range(replicas)]
    try:
        for round_ in range(4):
            await asyncio.sleep(1.5)
            victim = living.pop(0)
            victim.kill()
            await victim.wait()
            living.append(await life.start())
            more = events(life.topic_in, customer, first=EVENTS * (round_ + 1))
            await broker_tools.send([record for record in more if record.value != b"poison"])
        await until(lambda: life.answered(EVENTS * 5), 90)
    finally:
        for process in living:
            process.kill()
            await process.wait()
    await life.check(EVENTS * 5)
