"""The loop that reads deliveries: woken at once, stepping back in a burst, and outliving the database's absence."""

import asyncio
import hashlib
from contextlib import asynccontextmanager, suppress

from payment_ingest.ring_doorbells import DoorbellRinger, ring_doorbells
from payment_ingest.store.deliveries import Delivery, keep


@asynccontextmanager
async def ringing(pool, *, is_busy=lambda: False):
    rung = asyncio.Event()
    ringer = DoorbellRinger(pool, on_rung=rung.set, is_busy=is_busy)
    task = asyncio.create_task(ringer.run())
    try:
        yield ringer, rung
    finally:
        ringer.stop()
        await task


async def store(pool, body: bytes) -> None:
    await keep(pool, [Delivery(hashlib.sha256(body).digest(), body, 0)])


async def unread(pool) -> int:
    return await pool.fetchval("SELECT count(*) FROM unread_deliveries")


async def test_a_delivery_is_read_although_webhooks_never_stop_coming(pool):
    async with ringing(pool, is_busy=lambda: True) as (ringer, rung):
        await store(pool, b"not json")
        ringer.wake()
        async with asyncio.timeout(10):
            await rung.wait()
    assert await pool.fetchval("SELECT outcome FROM delivery_readings") == "unreadable"


async def test_without_a_wake_up_it_looks_by_itself(pool):
    async with ringing(pool) as (_, rung):
        await store(pool, b'{"events":[]}')
        async with asyncio.timeout(10):
            await rung.wait()
    assert await pool.fetchval("SELECT outcome FROM delivery_readings") == "intent_to_receive"


async def test_two_replicas_read_each_delivery_once(pool):
    for number in range(60):
        await store(pool, b"body %d" % number)

    async def replica() -> int:
        read = 0
        async with pool.acquire() as conn:
            while handled := await ring_doorbells(conn, 10):
                read += handled
        return read

    assert sum(await asyncio.gather(replica(), replica(), replica())) == 60
    assert await unread(pool) == 0


async def test_a_database_that_was_away_is_waited_for(pool):
    await store(pool, b"not json")
    away = True

    class Pool:
        @asynccontextmanager
        async def acquire(self):
            if away:
                raise ConnectionRefusedError
            async with pool.acquire() as conn:
                yield conn

    async with ringing(Pool()) as (ringer, rung):
        with suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                await rung.wait()
        assert await unread(pool) == 1
        away = False
        ringer.wake()
        async with asyncio.timeout(10):
            await rung.wait()
    assert await unread(pool) == 0
