"""The projection made anew from the topics, beside the running service.

A second generation is begun; from then on the service writes every batch into both. Whatever it stored before that
stands in the topics before their ends as read after that, so what is read here up to those ends and what the service
adds is everything. Then pages are switched over, and the old rows go. Killed anywhere, the old generation stays.
"""

from collections.abc import Callable, Iterable
from contextlib import aclosing

import asyncpg
from aiokafka import ConsumerRecord

from ops_dashboard.project_records import project, read, without_guilty
from ops_dashboard.store import generations
from pipeline_contracts.topics import Topic
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.faults import is_infrastructure
from pipeline_messaging.history import consumed
from pipeline_service_defaults.database import Pool

_BATCH = 500
_BYTES = 16 * 1024 * 1024
_LOCK = 7_403_001
"""Advisory lock: one rebuild of a database at a time."""


class AlreadyRebuilding(Exception):  # noqa: N818 - a fact about somebody else, told to the operator
    """Another rebuild of this database is running."""


async def rebuild(
    pool: Pool, kafka: KafkaSettings, topics: Iterable[Topic], say: Callable[[str], None]
) -> int:
    """Rebuild and switch over; how many records were read.

    Raises:
        AlreadyRebuilding: somebody else is at it.
        RebuildOvertaken: the database connection that holds the lock broke, and somebody else has begun.
        KafkaError, OSError, asyncpg.PostgresError: the old generation stays in use.
    """
    async with pool.acquire() as holder:
        if not await holder.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            raise AlreadyRebuilding("another rebuild is running; wait for it to end")
        try:
            return await _rebuild(pool, kafka, topics, say)
        finally:
            await holder.execute("SELECT pg_advisory_unlock($1)", _LOCK)


async def _rebuild(
    pool: Pool, kafka: KafkaSettings, topics: Iterable[Topic], say: Callable[[str], None]
) -> int:
    async with pool.acquire() as conn, conn.transaction():
        generation = await generations.begin(conn)
    total = 0
    for topic in topics:
        count = await _read_again(pool, kafka, topic, generation)
        say(f"{topic.name}: {count} records read.")
        total += count
    async with pool.acquire() as conn, conn.transaction():
        await generations.switch_to(conn, generation)
    say(f"Pages show generation {generation} now.")
    async with pool.acquire() as conn:
        for table in generations.PROJECTED:
            while await generations.sweep(conn, table):
                pass
    return total


async def _read_again(pool: Pool, kafka: KafkaSettings, topic: Topic, generation: int) -> int:
    count = size = 0
    batch: list[ConsumerRecord] = []
    async with aclosing(consumed(kafka, topic)) as records:
        async for record in records:
            batch.append(record)
            size += len(record.value or b"")
            if len(batch) == _BATCH or size >= _BYTES:
                await _project(pool, generation, batch)
                count += len(batch)
                batch, size = [], 0
    if batch:
        await _project(pool, generation, batch)
    return count + len(batch)


async def _project(pool: Pool, generation: int, records: list[ConsumerRecord]) -> None:
    batch, is_sorted_out = read(records), False
    while True:
        try:
            async with pool.acquire() as conn, conn.transaction():
                if is_sorted_out:
                    batch = await without_guilty(conn, generation, batch)
                await project(conn, generation, batch)
            return
        except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
            continue  # the service stores the same rows at this moment
        except Exception as error:
            if is_sorted_out or is_infrastructure(error):
                raise
            is_sorted_out = True
