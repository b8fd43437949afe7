"""Topics, databases and clients of their own for each test of the messaging library."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiokafka.client
import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

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
    made: dict[str, int] = field(default_factory=dict)

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
        self.made |= {name: partitions, f"{name}.dlq": 1}
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
            partitions = [TopicPartition(topic, number) for number in range(self.made[topic])]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            records: list[ConsumerRecord] = []
            while any([await consumer.position(p) < ends[p] for p in partitions]):
                batches = await consumer.getmany(timeout_ms=200)
                records += [record for batch in batches.values() for record in batch]
            return records
        finally:
            await consumer.stop()

    async def raise_limit(self, topic: str, max_bytes: int) -> None:
        limit = {"max.message.bytes": str(max_bytes)}
        await self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, limit)])

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
    await admin.delete_topics(list(tools.made))
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


class Proxy:
    """Stands between this process and the broker, and misbehaves as told.

    `refuse`: no connection lives or is made. `blackhole`: nothing passes either way. `swallow_replies`: requests arrive
    at the broker and its answers vanish, so that the sender cannot know.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._mode = "pass"
        self._changed = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self.port = 0
        self.route: Callable[[], None]
        self.bypass: Callable[[], None]

    async def serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        if self._mode == "refuse":
            back.close()
            return
        server, forth = await asyncio.open_connection(*self._target)
        self._writers |= {back, forth}
        for reader, writer, direction in ((client, forth, "request"), (server, back, "reply")):
            pump = asyncio.create_task(self._pump(reader, writer, direction))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str
    ) -> None:
        try:
            while data := await reader.read(65536):
                while self._mode == "blackhole":
                    await self._changed.wait()
                if self._mode == "swallow_replies" and direction == "reply":
                    continue
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def set(self, mode: str) -> None:
        was, self._mode = self._mode, mode
        self._changed.set()
        self._changed = asyncio.Event()
        # A stream with a hole in it is of no use to either side.
        if mode == "refuse" or was == "swallow_replies":
            self.cut()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def close(self) -> None:
        self.set("refuse")
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)


@pytest.fixture
async def proxy(kafka: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    """A proxy that `route()` sends aiokafka's new connections of this process through."""
    host, _, port = kafka.split(",", maxsplit=1)[0].rpartition(":")
    proxy = Proxy(host, int(port))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    connect = aiokafka.client.create_conn

    async def through(_host: str, _port: int, **options: Any) -> Any:
        return await connect("127.0.0.1", proxy.port, **options)

    proxy.route = lambda: monkeypatch.setattr(aiokafka.client, "create_conn", through)
    proxy.bypass = lambda: monkeypatch.setattr(aiokafka.client, "create_conn", connect)
    yield proxy
    server.close()
    await proxy.close()
