"""Kafka to database on the real ones: dead letters, duplicates, failures, rebalances."""

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from pipeline_contracts.envelope import Envelope, Record
from pipeline_messaging import metrics, outbox
from pipeline_messaging.broker import KafkaSettings, consuming, make_broker
from pipeline_messaging.relay import Relay
from pipeline_messaging.subscriber import Subscription, subscribe

Until = Callable[..., Awaitable[Any]]


class Effects:
    """A handler that writes one row per event, and fails as told."""

    def __init__(self) -> None:
        self.guilty: set[str] = set()
        self.errors: list[Exception] = []
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, conn: asyncpg.Connection, envelopes: list[Envelope]) -> None:
        self.entered.set()
        for envelope in envelopes:
            await conn.execute(
                "INSERT INTO effects (event_id, subject) VALUES ($1, $2)",
                envelope.id,
                envelope.subject,
            )
        await self.go_on.wait()
        if self.errors:
            raise self.errors.pop(0)
        if any(envelope.id in self.guilty for envelope in envelopes):
            raise RuntimeError("a bug")


@pytest.fixture
async def effects(pool: asyncpg.Pool) -> Effects:
    await pool.execute(
        "CREATE TABLE effects (position bigserial, event_id text NOT NULL, subject text NOT NULL)"
    )
    return Effects()


@asynccontextmanager
async def running(
    settings: KafkaSettings, topic: str, group: str, pool: asyncpg.Pool, handle: Effects
) -> AsyncIterator[Subscription]:
    broker = make_broker(settings)
    subscription = subscribe(broker, topic, group_id=group, pool=pool, handle=handle)
    async with consuming(broker):
        yield subscription


@pytest.fixture
def group() -> str:
    return f"test-{secrets.token_hex(4)}"


async def stored(pool: asyncpg.Pool) -> list[str]:
    rows = await pool.fetch("SELECT event_id FROM effects ORDER BY position")
    return [row["event_id"] for row in rows]


def count_is(pool: asyncpg.Pool, number: int) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return len(await stored(pool)) >= number

    return check


def poisons(topic: str, customer: Callable[..., Record]) -> dict[str, Record]:
    """Every kind of unusable record, each under the code it must get."""
    good = customer(topic, "x")
    others = tuple(header for header in good.headers if header[0] != "ce_id")
    unknown = tuple(
        (name, b"pipeline.martian.landed.v1" if name == "ce_type" else value)
        for name, value in good.headers
    )
    return {
        "bad json": replace(good, value=b"{not json"),
        "bad header bytes": replace(good, headers=(*others, ("ce_id", b"\xff\xfe\x00"))),
        "null header": replace(good, headers=(*others, ("ce_id", None))),
        "header name with NUL": replace(good, headers=(("a\0b", b"\0"),)),
        "no headers": replace(good, headers=()),
        "unknown type": replace(good, headers=unknown),
        "tombstone": replace(good, value=None),
        "nothing at all but a key": Record(topic, b"\xff\0", None, ()),
        "empty key": replace(good, key=b""),
        "2 MB": replace(good, value=b'{"name": "' + b"x" * 2_000_000 + b'"}'),
        "almost 3 MB": replace(good, value=b"x" * 2_950_000),
        "wrong types": replace(good, value=b'{"account_id": 7}'),
    }


async def test_a_poison_record_becomes_one_dead_letter_and_the_partition_moves_on(
    broker_tools, settings, pool, dsn, effects, customer, group, until: Until
):
    topic = await broker_tools.topic(partitions=1)
    bad = poisons(topic, customer)
    mixed = [customer(topic, "first")]
    for number, record in enumerate(bad.values()):
        mixed += [record, customer(topic, f"good-{number}")]
    effects.guilty.add("guilty-1")
    mixed += [customer(topic, "guilty"), customer(topic, "last")]
    await broker_tools.send(mixed)
    async with Relay(dsn, settings) as relay, running(settings, topic, group, pool, effects):
        await until(count_is(pool, len(bad) + 2))

        async def all_set_aside() -> bool:
            relay.wake()
            return len(await broker_tools.read(f"{topic}.dlq")) >= len(bad) + 1

        await until(all_set_aside)
    # The group's offsets are lost: everything comes again, and nothing happens again.
    async with (
        Relay(dsn, settings),
        running(settings, topic, group + "-again", pool, effects) as sub,
    ):

        async def read_again() -> bool:
            return sum(sub._stored.values()) >= len(mixed)

        await until(read_again)
    letters = await broker_tools.read(f"{topic}.dlq")
    assert len(letters) == len(bad) + 1
    assert await stored(pool) == ["first-1", *(f"good-{n}-1" for n in range(len(bad))), "last-1"]
    sent = dict(enumerate(mixed))
    for letter in letters:
        headers = dict(letter.headers)
        original = sent[int(headers["x-dlq-offset"])]
        assert (letter.key, letter.value) == (original.key, original.value)
        assert letter.headers[: len(original.headers)] == original.headers
        assert headers["x-dlq-topic"].decode() == topic
        assert headers["x-dlq-partition"] == b"0"
        assert headers["x-dlq-code"]
        assert headers["x-dlq-reason"]
    codes = {dict(letter.headers)["x-dlq-code"].decode() for letter in letters}
    assert codes >= {
        "HANDLER_FAILED", "TOMBSTONE", "HEADER_MISSING", "HEADER_INVALID", "UNKNOWN_EVENT_TYPE",
        "PAYLOAD_INVALID", "RECORD_TOO_LARGE", "KEY_MISMATCH",
    }  # fmt: skip


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_a_header_name_that_is_not_text_does_not_stop_the_partition(
    compression, broker_tools, settings, pool, effects, customer, group, until: Until
):
    topic = await broker_tools.topic(partitions=1)
    foreign = await asyncio.create_subprocess_exec(
        sys.executable,
        Path(__file__).parent / "foreign_producer.py",
        topic,
        compression,
        env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers},
    )
    assert await foreign.wait() == 0
    await broker_tools.send([customer(topic, "good")])
    async with running(settings, topic, group, pool, effects):
        await until(count_is(pool, 1))
    letters = [row.record for row in await outbox.head(pool, limit=10, max_bytes=10**6)]
    assert [letter.value for letter in letters] == [b"before", b"broken", b"behind"]
    assert letters[1].headers[:3] == (
        ("ce_type", b"x"), ("\\xff\\xfename", b"\x00\xff"), ("after", None),
    )  # fmt: skip


async def test_copies_of_an_event_have_one_effect_and_are_counted(
    broker_tools, settings, pool, effects, customer, group, until: Until
):
    topic = await broker_tools.topic()
    await broker_tools.send([customer(topic, "a")] * 5 + [customer(topic, "b")])
    async with running(settings, topic, group, pool, effects):
        await until(count_is(pool, 2))
        await broker_tools.send([customer(topic, "a"), customer(topic, "c")])
        await until(count_is(pool, 3))

        async def counted() -> bool:
            return metrics.inbox_duplicates_total.labels(topic)._value.get() == 5

        await until(counted)
    assert sorted(await stored(pool)) == ["a-1", "b-1", "c-1"]
    assert await broker_tools.committed(group, topic) == 8


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DeadlockDetectedError("deadlock"),
        asyncpg.UndefinedTableError("not migrated yet"),
        ConnectionResetError("gone"),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_infrastructure_error_puts_the_batch_back_and_loses_nothing(
    error, broker_tools, settings, pool, effects, customer, group, until: Until
):
    topic = await broker_tools.topic()
    effects.errors = [error] * 3
    await broker_tools.send([customer(topic, f"c{n}") for n in range(20)])
    async with running(settings, topic, group, pool, effects):
        await until(count_is(pool, 20))

        async def committed() -> bool:
            return await broker_tools.committed(group, topic) == 20

        await until(committed)
    assert len(set(await stored(pool))) == len(await stored(pool)) == 20
    assert await broker_tools.read(f"{topic}.dlq") == []
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 0


async def test_the_database_cutting_connections_is_survived(
    broker_tools, settings, pool, dsn, effects, customer, group, postgres_dsn, until: Until
):
    topic = await broker_tools.topic()
    effects.go_on.clear()
    await broker_tools.send([customer(topic, f"c{n}") for n in range(50)])
    async with running(settings, topic, group, pool, effects):
        async with asyncio.timeout(30):
            await effects.entered.wait()
        admin = await asyncpg.connect(postgres_dsn)
        cut = await admin.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1",
            dsn.rpartition("/")[2],
        )
        await admin.close()
        assert cut > 0
        effects.go_on.set()
        await until(count_is(pool, 50))
    assert len(set(await stored(pool))) == len(await stored(pool)) == 50


async def test_a_rebalance_waits_for_the_running_batch(
    broker_tools, settings, pool, effects, customer, group, until: Until
):
    topic = await broker_tools.topic()
    effects.go_on.clear()
    await broker_tools.send([customer(topic, f"c{n}") for n in range(200)])
    slow, quick = effects, Effects()
    async with running(settings, topic, group, pool, slow) as first:
        async with asyncio.timeout(30):
            await slow.entered.wait()
        async with running(settings, topic, group, pool, quick):

            async def rebalancing() -> bool:
                return first._hurry.is_set()

            await until(rebalancing)
            assert not quick.entered.is_set()
            slow.go_on.set()

            async def shared() -> bool:
                return await broker_tools.committed(group, topic) == 200

            await until(shared)
            await broker_tools.send([customer(topic, f"d{n}") for n in range(200)])
            await until(count_is(pool, 400))
            assert quick.entered.is_set()
    assert len(set(await stored(pool))) == len(await stored(pool)) == 400
    assert await pool.fetchval("SELECT count(*) FROM inbox") == 400


async def test_a_rebalance_that_did_not_wait_still_has_one_effect(
    broker_tools, settings, pool, effects, customer, group, until: Until, monkeypatch
):
    """The batch outlives the patience of the rebalance: two consumers hold the same records at once."""
    monkeypatch.setattr("pipeline_messaging.subscriber._REVOKE_SECONDS", 0.2)
    topic = await broker_tools.topic()
    effects.go_on.clear()
    await broker_tools.send([customer(topic, f"c{n}") for n in range(200)])
    slow, quick = effects, Effects()
    async with running(settings, topic, group, pool, slow):
        async with asyncio.timeout(30):
            await slow.entered.wait()
        async with running(settings, topic, group, pool, quick):

            async def blocked_on_the_inbox() -> bool:
                return bool(
                    await pool.fetchval(
                        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                        "AND query LIKE '%INTO inbox%' AND datname = current_database()"
                    )
                )

            await until(blocked_on_the_inbox)
            slow.go_on.set()
            await until(count_is(pool, 200))

            async def all_committed() -> bool:
                return await broker_tools.committed(group, topic) == 200

            await until(all_committed)
    assert len(set(await stored(pool))) == len(await stored(pool)) == 200


async def test_stopping_finishes_the_batch_and_commits_it(
    broker_tools, settings, pool, effects, customer, group
):
    topic = await broker_tools.topic()
    effects.go_on.clear()
    await broker_tools.send([customer(topic, f"c{n}") for n in range(10)])
    async with running(settings, topic, group, pool, effects):
        async with asyncio.timeout(30):
            await effects.entered.wait()
        asyncio.get_running_loop().call_later(0.3, effects.go_on.set)
    kept = len(await stored(pool))
    assert kept > 0
    assert await broker_tools.committed(group, topic) == kept


async def test_kafka_being_away_at_the_start_and_later_is_waited_for(
    broker_tools, settings, pool, effects, customer, group, proxy, until: Until
):
    topic = await broker_tools.topic()
    await broker_tools.send([customer(topic, f"c{n}") for n in range(10)])
    proxy.set("refuse")
    proxy.route()
    broker = make_broker(settings)
    subscription = subscribe(broker, topic, group_id=group, pool=pool, handle=effects)
    async with consuming(broker, retry_seconds=0.1):
        await asyncio.sleep(0.3)
        assert "not connected" in (subscription.problem() or "")
        proxy.set("pass")
        await until(count_is(pool, 10))
        assert subscription.problem() is None
        proxy.set("refuse")
        proxy.bypass()
        await broker_tools.send([customer(topic, f"d{n}") for n in range(10)])
        proxy.route()
        proxy.set("pass")
        await until(count_is(pool, 20))
    assert len(set(await stored(pool))) == len(await stored(pool)) == 20
