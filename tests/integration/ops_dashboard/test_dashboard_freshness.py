"""Whether this view keeps up: a reader that stands still is told, however little waits."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from ops_dashboard.measure_lag import _consumer, measure
from ops_dashboard.store import positions
from pipeline_messaging.broker import KafkaSettings
from pipeline_service_defaults.migrate import directories_of

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: int) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.fixture
async def conn(make_database):
    made = await asyncpg.connect(await make_database(*directories_of("ops_dashboard")))
    yield made
    await made.close()


async def complete_until(conn) -> datetime | None:
    (lag,), _ = await positions.lags(conn)
    return lag.complete_until


async def test_complete_until_moves_only_while_everything_is_stored(conn):
    async def ends(begin: int, end: int, seconds: int) -> datetime | None:
        both = {("t", 0): (begin, end), ("t", 1): (0, 0)}
        await positions.note_ends(conn, both, at(seconds))
        return await complete_until(conn)

    async def stored(offset: int) -> None:
        await positions.advance(conn, {("t", 0): (offset, START)})

    assert await ends(0, 3, 0) == at(0)
    await stored(3)
    assert await ends(0, 4, 5) == at(0)  # what was there at 0 s is stored; the fourth is new
    for seconds in range(10, 100, 5):
        assert await ends(0, 4, seconds) == at(0)
    await stored(4)
    assert await ends(0, 9, 100) == at(95)
    # On a topic that never rests it goes on as well: each time, what was there the time before is stored.
    await stored(9)
    assert await ends(0, 12, 105) == at(100)
    assert await ends(12, 12, 110) == at(
        105
    )  # retention removed what was never read: nothing waits


async def test_partitions_that_an_operator_added_are_measured_too(world):
    declared = [replace(topic, partitions=1) for topic in world.topics]
    name = declared[0].name
    for partition in (0, 1, 1):
        await world.producer.send_and_wait(name, b"x", partition=partition)
    consumer = _consumer(KafkaSettings(world.bootstrap))
    await consumer.start()
    try:
        for _ in range(2):
            await measure(world.pool, consumer, declared)
            lags, _seen = await positions.lags(world.pool)
            assert {lag.topic: lag.behind for lag in lags if lag.behind} == {name: 3}
    finally:
        await consumer.stop()


async def test_rows_of_before_begin_the_count_at_the_next_measurement(conn):
    await positions.note_ends(conn, {("t", 0): (0, 3)}, at(0))
    await conn.execute("UPDATE topic_ends SET complete_until = NULL")
    assert await complete_until(conn) is None
    for seconds in (5, 10):
        await positions.note_ends(conn, {("t", 0): (0, 3)}, at(seconds))
        assert await complete_until(conn) == at(5)
