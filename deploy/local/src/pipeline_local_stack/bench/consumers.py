"""Consumers of the same topic, each a process: invoice-sync's own intake, and two plain ways from Kafka to a row.

Only taking in is measured, so ours runs without its worker and its relay.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import uvloop
from aiokafka import AIOKafkaProducer
from faststream import AckPolicy
from faststream.kafka import KafkaBroker

from invoice_sync.accept_events import accept_invoices
from pipeline_contracts.topics import Topic
from pipeline_messaging.broker import KafkaSettings, consuming, make_broker
from pipeline_messaging.subscriber import (
    BATCH_TIMEOUT_MS,
    MAX_PARTITION_FETCH_BYTES,
    subscribe,
)
from pipeline_service_defaults.serve import spare_what_stands

INVOICES = Topic("bench.consumed.invoices.v1", "invoice_id")
TOLD = Topic("bench.consumed.told.v1", "invoice_id")
CREATE_TABLE = (
    "CREATE TABLE raw (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea NOT NULL)"
)
_STORE = "INSERT INTO raw (body) SELECT unnest($1::bytea[])"
_PER_BATCH = 500
_Handler = Callable[[list[bytes]], Awaitable[None]]


@asynccontextmanager
async def taking_in(kafka: str, pool: asyncpg.Pool, group: str) -> AsyncIterator[None]:
    """InvoiceCreated into durable desired state, as the service does it."""
    broker = make_broker(KafkaSettings(kafka))
    subscribe(broker, INVOICES.name, group_id=group, pool=pool, handle=accept_invoices)
    async with consuming(broker):
        yield


@asynccontextmanager
async def storing_bytes(kafka: str, pool: asyncpg.Pool, group: str) -> AsyncIterator[None]:
    """The bytes of each record into a row, undecoded: a batch, one statement, one commit of the offsets."""
    broker = KafkaBroker(kafka, logger=None, apply_types=False)

    @_batches(broker, group)
    async def store(values: list[bytes]) -> None:
        await pool.execute(_STORE, values)

    await broker.start()
    try:
        yield
    finally:
        await broker.stop()


@asynccontextmanager
async def telling_on(kafka: str, pool: asyncpg.Pool, group: str) -> AsyncIterator[None]:
    """The whole step of a plain consumer: the same, and an event published of each record before the commit."""
    broker = KafkaBroker(kafka, logger=None, apply_types=False)
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all")

    @_batches(broker, group)
    async def store_and_tell(values: list[bytes]) -> None:
        await pool.execute(_STORE, values)
        await asyncio.gather(*[await producer.send(TOLD.name, value) for value in values])

    await producer.start()
    await broker.start()
    try:
        yield
    finally:
        await broker.stop()
        await producer.stop()


def _batches(broker: KafkaBroker, group: str) -> Callable[[_Handler], Any]:
    """Batches of raw bytes, fetched as much at once as ours does: else the two would differ in how they read."""

    async def bodies(message: Any) -> Any:
        return [record.value for record in message.raw_message]

    return broker.subscriber(
        INVOICES.name, group_id=group, batch=True, max_records=_PER_BATCH, decoder=bodies,
        ack_policy=AckPolicy.ACK, auto_offset_reset="earliest", no_reply=True,
        batch_timeout_ms=BATCH_TIMEOUT_MS, max_partition_fetch_bytes=MAX_PARTITION_FETCH_BYTES,
    )  # fmt: skip


CONSUMERS: dict[str, Callable[[str, asyncpg.Pool, str], AbstractAsyncContextManager[None]]] = {
    "invoice-sync": taking_in,
    "whole-step": telling_on,
    "raw-bytes": storing_bytes,
}


async def serve(consumer: str) -> None:
    """Consume until SIGTERM."""
    spare_what_stands()  # both, as a service does
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            asyncpg.create_pool(os.environ["BENCH_DSN"], min_size=1, max_size=4)
        )
        await stack.enter_async_context(
            CONSUMERS[consumer](os.environ["BENCH_KAFKA"], pool, os.environ["BENCH_GROUP"])
        )
        await stopped.wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
