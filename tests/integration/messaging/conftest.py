"""Topics, databases and clients of their own for each test of the messaging library."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pipeline_contracts.customer import CustomerCreated
from pipeline_contracts.envelope import Record, encode
from pipeline_messaging import MIGRATIONS
from pipeline_messaging.broker import KafkaSettings, make_producer

PARTITIONS = 6


@pytest.fixture
def settings(kafka: str) -> KafkaSettings:
    return KafkaSettings(kafka, client_id="test")


@pytest.fixture
async def dsn(make_database: Callable[..., Awaitable[str]]) -> str:
    return await make_database(MIGRATIONS)


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=24) as pool:
        yield pool


@dataclass
class Kafka:
    """What a test does with the broker directly."""

    bootstrap_servers: str
    settings: KafkaSettings
    admin: AIOKafkaAdminClient
    made: list[str] = field(default_factory=list)

    async def topic(self, max_bytes: int = 3_000_000, partitions: int = PARTITIONS) -> str:
        """A new topic with its dead letter topic."""
        name = f"test.{secrets.token_hex(6)}"
        await self.admin.create_topics(
            [
                NewTopic(name, partitions, 1, topic_configs={"max.message.bytes": str(max_bytes)}),
                NewTopic(
                    f"{name}.dlq",
                    1,
                    1,
                    topic_configs={"max.message.bytes": str(max_bytes + 500_000)},
                ),
            ]
        )
        self.made += [name, f"{name}.dlq"]
        return name

    @asynccontextmanager
    async def producer(self) -> AsyncIterator[AIOKafkaProducer]:
        producer = make_producer(self.settings)
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def send(self, records: Iterable[Record]) -> None:
        async with self.producer() as producer:
            for sent in [
                await producer.send(r.topic, r.value, r.key, headers=list(r.headers))
                for r in records
            ]:
                await sent

    async def read(self, topic: str) -> list[ConsumerRecord]:
        """Everything in a topic at this moment, each partition in its order."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap_servers, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            count = PARTITIONS if not topic.endswith(".dlq") else 1
            partitions = [TopicPartition(topic, number) for number in range(count)]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            records: list[ConsumerRecord] = []
            while any([await consumer.position(p) < ends[p] for p in partitions]):
                batches = await consumer.getmany(timeout_ms=200)
                records += [record for batch in batches.values() for record in batch]
            return records
        finally:
            await consumer.stop()

    async def committed(self, group_id: str, topic: str) -> int:
        """Sum of a group's committed offsets in a topic."""
        offsets = await self.admin.list_consumer_group_offsets(group_id)
        return sum(
            offset.offset for p, offset in offsets.items() if p.topic == topic and offset.offset > 0
        )


@pytest.fixture
async def broker_tools(kafka: str, settings: KafkaSettings) -> AsyncIterator[Kafka]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    tools = Kafka(kafka, settings, admin)
    yield tools
    await admin.delete_topics(tools.made)
    await admin.close()


def customer(topic: str, customer_id: str, version: int = 1, **fields: Any) -> Record:
    """A CustomerCreated record for a topic of the test's own."""
    event = CustomerCreated(
        account_id=fields.pop("account_id", "acc-1"),
        customer_id=customer_id,
        version=version,
        name=fields.pop("name", "Somebody"),
        **fields,
    )
    record = encode(
        event,
        id=f"{customer_id}-{version}",
        source="test",
        time=datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
    )
    return Record(topic, record.key, record.value, record.headers)


@pytest.fixture(name="customer")
def customer_fixture() -> Callable[..., Record]:
    return customer


@pytest.fixture
def until() -> Callable[..., Awaitable[Any]]:
    """Wait for a condition, give back its value, and say what was last seen when it never came true."""

    async def wait(condition: Callable[[], Awaitable[Any]], seconds: float = 30) -> Any:
        deadline = asyncio.get_running_loop().time() + seconds
        while not (value := await condition()):
            assert asyncio.get_running_loop().time() < deadline, f"never true; last seen: {value!r}"
            await asyncio.sleep(0.05)
        return value

    return wait


@pytest.fixture
def child_service() -> Path:
    return Path(__file__).parent / "child_service.py"
