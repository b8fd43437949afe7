"""Outbox to Kafka on the real ones: order, refusals, outages, takeover."""

import asyncio
import functools
import operator
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from aiokafka import ConsumerRecord

from pipeline_contracts.envelope import Record
from pipeline_messaging import inbox, metrics, outbox
from pipeline_messaging import relay as relay_module
from pipeline_messaging.publishing import Publisher
from pipeline_messaging.relay import LOCK, Relay

Until = Callable[..., Awaitable[Any]]


def numbered(topic: str, key: str | None, number: int) -> Record:
    value = f"{number}".encode()
    return Record(topic, key and key.encode(), value, (("ce_id", f"{key}-{number}".encode()),))


async def add(pool: asyncpg.Pool, *records: Record) -> None:
    async with pool.acquire() as conn:
        await outbox.add(conn, *records)


def emptied(pool: asyncpg.Pool, left: int = 0) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return await pool.fetchval("SELECT count(*) FROM outbox") <= left

    return check


def first_copies(records: list[ConsumerRecord]) -> dict[bytes, list[int]]:
    """Per key, the numbers in order of arrival, known ids dropped as every consumer does."""
    seen: set[bytes] = set()
    numbers: dict[bytes, list[int]] = defaultdict(list)
    for record in records:
        event_id = dict(record.headers)["ce_id"]
        if event_id not in seen:
            seen.add(event_id)
            numbers[record.key].append(int(record.value))
    return numbers


async def write_concurrently(pool: asyncpg.Pool, topic: str, writers: int, each: int) -> None:
    """Writers share keys: the row lock on the key's counter puts its numbers, and its outbox ids, in order."""
    keys = [f"key-{n}" for n in range(writers)]
    await pool.execute(
        "CREATE TABLE counters (key text PRIMARY KEY, number int NOT NULL DEFAULT 0)"
    )
    await pool.executemany("INSERT INTO counters (key) VALUES ($1)", [(key,) for key in keys])

    async def write(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(each):
            async with pool.acquire() as conn, conn.transaction():
                key = dice.choice(keys)
                number = await conn.fetchval(
                    "UPDATE counters SET number = number + 1 WHERE key = $1 RETURNING number", key
                )
                await outbox.add(conn, numbered(topic, key, number))
                if dice.random() < 0.2:  # stay open a little, so that ids commit out of order
                    await conn.execute("SELECT pg_sleep(0.005)")

    await asyncio.gather(*(write(seed) for seed in range(writers)))


async def test_sixteen_writers_are_published_in_order_per_key(
    broker_tools, settings, pool, dsn, until: Until
):
    topic = await broker_tools.topic()
    async with Relay(dsn, settings, batch_rows=37), Relay(dsn, settings):
        await write_concurrently(pool, topic, writers=16, each=125)
        await until(emptied(pool))
    records = await broker_tools.read(topic)
    assert len(records) == 2000
    for numbers in first_copies(records).values():
        assert numbers == list(range(1, len(numbers) + 1))


async def test_order_holds_while_lock_holder_and_broker_connections_keep_dying(
    broker_tools, settings, pool, dsn, proxy, until: Until
):
    topic = await broker_tools.topic()
    proxy.route()
    done = asyncio.Event()

    async def nemesis() -> int:
        kills = 0
        while not done.is_set() or kills <= 3:
            await asyncio.sleep(0.15)
            proxy.cut()
            kills += await pool.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE application_name = 'outbox-relay' AND datname = current_database()"
            )
        return kills

    async with Relay(dsn, settings, batch_rows=23), Relay(dsn, settings, batch_rows=41):
        killing = asyncio.create_task(nemesis())
        await write_concurrently(pool, topic, writers=16, each=60)
        done.set()
        assert await killing > 3
        await until(emptied(pool), 60)
    proxy.bypass()
    records = await broker_tools.read(topic)
    total = 0
    for numbers in first_copies(records).values():
        assert numbers == list(range(1, len(numbers) + 1))
        total += len(numbers)
    assert total == 960
    copies = defaultdict(set)
    for record in records:
        copies[dict(record.headers)["ce_id"]].add(
            (record.partition, record.key, record.value, record.headers, record.timestamp)
        )
    assert {len(different) for different in copies.values()} == {1}


async def test_every_byte_arrives_as_it_was_added(broker_tools, settings, pool, dsn, until: Until):
    topic = await broker_tools.topic(partitions=1)
    headers = (
        ("ce_id", b"\x00\xff\xfe"), ("traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"),
        ("none", None), ("twice", b"1"), ("twice", b"2"), ("", b""),
    )  # fmt: skip
    sent = [
        Record(topic, b"\x00\xff", b"\xfe" * 2_500_000, headers),
        Record(topic, b"k", None, ()),
        Record(topic, None, b"no key", ()),
        Record(topic, b"", b"", ()),
    ]
    await add(pool, *sent)
    async with Relay(dsn, settings):
        await until(emptied(pool))
    arrived = [Record(r.topic, r.key, r.value, r.headers) for r in await broker_tools.read(topic)]
    assert sorted(arrived, key=repr) == sorted(sent, key=repr)


async def test_a_refused_record_holds_back_its_key_alone(
    broker_tools, settings, pool, dsn, until: Until
):
    topic = await broker_tools.topic(max_bytes=20_000, partitions=1)
    huge = Record(topic, b"a", b"x" * 50_000, (("ce_id", b"huge"),))
    impossible = Record(topic, b"c", b"x" * 20_000_000, (("ce_id", b"impossible"),))
    nothing = Record(topic, None, None, ())
    before = metrics.outbox_refused._value.get()
    await add(pool, numbered(topic, "a", 1), huge, numbered(topic, "a", 2), impossible, nothing)
    await add(pool, *(numbered(topic, "b", n) for n in range(1, 40)), numbered(topic, "c", 1))
    async with Relay(dsn, settings, batch_rows=10) as relay:
        await until(emptied(pool, left=5))
        await add(pool, numbered(topic, "b", 40))
        relay.wake()

        async def told() -> bool:
            relay._next_gauges = 0
            return metrics.outbox_refused._value.get() == before + 3

        await until(told)
        await until(emptied(pool, left=5))
        published = first_copies(await broker_tools.read(topic))
        assert published == {b"a": [1], b"b": list(range(1, 41))}
        kept = await pool.fetch(
            "SELECT attempts, retry_at > now() AS waits FROM outbox ORDER BY id"
        )
        assert [row["attempts"] for row in kept] == [1, 0, 1, 1, 0]
        assert relay.problem(patience=0) is None
        # The limit is raised and the pause over: what was held back goes out, in order.
        await broker_tools.raise_limit(topic, 100_000)
        await pool.execute("UPDATE outbox SET retry_at = now() WHERE attempts > 0")
        await until(emptied(pool, left=3))
    published = [(r.key, len(r.value)) for r in await broker_tools.read(topic) if r.key == b"a"]
    assert published == [(b"a", 1), (b"a", 50_000), (b"a", 1)]


async def test_a_missing_topic_does_not_hold_back_the_others(
    broker_tools, settings, pool, dsn, until: Until
):
    topic = await broker_tools.topic()
    lost = f"{topic}.missing"
    await add(pool, numbered(lost, "a", 1), numbered(topic, "a", 1), numbered(lost, "a", 2))
    async with Relay(dsn, settings):
        await until(emptied(pool, left=2), 5)
        assert first_copies(await broker_tools.read(topic)) == {b"a": [1]}
    refused = await pool.fetchval("SELECT count(*) FROM outbox WHERE retry_at > now()")
    assert refused == 2


@pytest.mark.parametrize("fault", ["refuse", "blackhole", "swallow_replies"])
async def test_an_outage_of_the_broker_delays_and_loses_nothing(
    fault, broker_tools, settings, pool, dsn, proxy, until: Until
):
    topic = await broker_tools.topic()
    proxy.route()
    async with Relay(dsn, settings, publish_seconds=1.5) as relay:
        await add(pool, numbered(topic, "a", 1))
        await until(emptied(pool))
        proxy.set(fault)
        await add(pool, *(numbered(topic, f"k{n % 7}", n) for n in range(2, 100)))
        relay.wake()

        async def noticed() -> bool:
            return relay.problem(patience=0) is not None

        await until(noticed)
        assert await pool.fetchval("SELECT count(*) FROM outbox") == 98
        proxy.set("pass")
        await until(emptied(pool), 60)
        assert relay.problem(patience=0) is None
    proxy.bypass()
    numbers = first_copies(await broker_tools.read(topic))
    assert sorted(functools.reduce(operator.iadd, numbers.values(), [])) == list(range(1, 100))
    for of_key in numbers.values():
        assert of_key == sorted(of_key)


async def test_the_broker_being_away_at_the_start_is_waited_for(
    broker_tools, settings, pool, dsn, proxy, until: Until
):
    topic = await broker_tools.topic()
    proxy.set("refuse")
    proxy.route()
    await add(pool, numbered(topic, "a", 1))
    async with Relay(dsn, settings) as relay:

        async def noticed() -> bool:
            return relay.problem(patience=0) is not None

        await until(noticed)
        proxy.set("pass")
        await until(emptied(pool))
    proxy.bypass()
    assert first_copies(await broker_tools.read(topic)) == {b"a": [1]}


async def test_one_relay_publishes_and_another_takes_over(
    broker_tools, settings, pool, dsn, until: Until
):
    topic = await broker_tools.topic()
    holders = (
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = $1 "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    async with Relay(dsn, settings), Relay(dsn, settings):

        async def held() -> list[int]:
            return [row["pid"] for row in await pool.fetch(holders, LOCK & 0xFFFFFFFF)]

        (first,) = await until(held)
        await pool.execute("SELECT pg_terminate_backend($1)", first)

        async def taken_over() -> bool:
            pids = await held()
            return len(pids) == 1 and pids != [first]

        await until(taken_over)
        await add(pool, numbered(topic, "a", 1))
        await until(emptied(pool))
    await until(lambda: advisory_lock_is(pool, held=False))


async def test_a_frozen_holder_loses_its_session(pool, dsn, settings, until: Until, monkeypatch):
    """A frozen process sends nothing; the server must end its session, and the lock with it."""
    monkeypatch.setitem(relay_module._CONNECTION, "idle_session_timeout", "300ms")
    relay = Relay(dsn, settings, poll_seconds=3600)
    async with relay:
        await until(lambda: advisory_lock_is(pool, held=True))
        # Nothing is sent for longer than the limit: as when frozen.
        await until(lambda: advisory_lock_is(pool, held=False))


async def advisory_lock_is(pool: asyncpg.Pool, *, held: bool) -> bool:
    taken = await pool.fetchval(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return bool(taken) is held


async def test_stopping_publishes_what_is_there(broker_tools, settings, pool, dsn, until: Until):
    topic = await broker_tools.topic()
    relay = Relay(dsn, settings, poll_seconds=3600)
    async with relay:
        await until(lambda: advisory_lock_is(pool, held=True))
        await add(pool, *(numbered(topic, "a", n) for n in range(20)))
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 0
    assert len(await broker_tools.read(topic)) == 20


async def test_a_slow_broker_and_a_busy_key_still_make_progress(
    broker_tools, settings, pool, dsn, until: Until, monkeypatch
):
    """A pass longer than an idle session may last would lose its lock with everything it had confirmed, for ever."""
    topic = await broker_tools.topic()
    monkeypatch.setitem(relay_module._CONNECTION, "idle_session_timeout", "1s")
    monkeypatch.setattr(relay_module, "_PASS_SECONDS", 0.4, raising=False)
    send_round = Publisher._send_round

    async def slowly(self, producer, rows):
        await asyncio.sleep(0.1)
        return await send_round(self, producer, rows)

    monkeypatch.setattr(Publisher, "_send_round", slowly)
    await add(pool, *(numbered(topic, "busy", n) for n in range(1, 31)))
    async with Relay(dsn, settings):
        await until(emptied(pool), 15)
    records = await broker_tools.read(topic)
    assert [int(one.value) for one in records] == list(range(1, 31))


async def test_forgetting_goes_in_small_steps(pool, dsn, settings, until: Until, monkeypatch):
    """Publishing waits for each step, and the connection's time limit would undo a long one again and again."""
    monkeypatch.setattr(inbox, "FORGET_ROWS", 10, raising=False)
    async with pool.acquire() as conn:
        await inbox.accept(conn, [("s", str(n)) for n in range(35)])
        await conn.execute("UPDATE inbox SET accepted_at = now() - interval '91 days'")
        assert await inbox.forget(conn, keep=timedelta(days=90)) == 10

        async def forgotten() -> bool:
            return await conn.fetchval("SELECT count(*) FROM inbox") == 0

        async with Relay(dsn, settings):
            await until(forgotten)


async def test_old_inbox_rows_are_forgotten(pool, dsn, settings, until: Until):
    async with pool.acquire() as conn:
        assert await inbox.accept(conn, [("s", "old"), ("s", "new")]) == {
            ("s", "old"),
            ("s", "new"),
        }
    await pool.execute(
        "UPDATE inbox SET accepted_at = now() - interval '91 days' WHERE event_id = 'old'"
    )
    async with Relay(dsn, settings):

        async def forgotten() -> bool:
            return await pool.fetchval("SELECT count(*) FROM inbox") == 1

        await until(forgotten)
    async with pool.acquire() as conn:
        assert await inbox.accept(conn, [("s", "old"), ("s", "new")]) == {("s", "old")}
