"""A small stand-in for Kafka: partitions in order, offsets per group, redelivery of what was not committed, copies.

What it promises is what the services may count on and no more: a key's records stay in order; a producer's record is
appended once or not at all, and its sender may not learn which; who dies has its partitions read on by others from
the committed offset; who is frozen loses them too, and finds out late.
"""

import asyncio
import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, RequestTimedOutError

from pipeline_contracts import topics
from pipeline_contracts.envelope import Record
from pipeline_messaging.subscriber import Store, Subscription
from simulated.seams import LIFE, Life, Seams

PARTITIONS = 2
TOPICS = frozenset(each.name for each in topics.ALL)
_BATCH = 4


@dataclass(frozen=True, slots=True)
class Consumed:
    """A record as a consumer reads it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int


@dataclass(eq=False)
class Reader:
    """A member of a group: what it believes to own, and how far it has read."""

    life: Life
    group: str
    topic: str
    positions: dict[TopicPartition, int] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Kafka:
    """The broker."""

    def __init__(self, seams: Seams) -> None:
        self.seams = seams
        self.logs: dict[TopicPartition, list[Consumed]] = defaultdict(list)
        self.committed: dict[tuple[str, TopicPartition], int] = defaultdict(int)
        self.readers: list[Reader] = []
        self.troubles: list[str] = []
        """What becomes of the next records that are sent: `lost`, or `unconfirmed`."""

    def append(self, record: Record) -> None:
        """At the end of the key's partition."""
        partition = TopicPartition(record.topic, zlib.crc32(record.key or b"") % PARTITIONS)
        log = self.logs[partition]
        moment = int(self.seams.loop.timestamp() * 1000)
        headers = tuple(record.headers)
        log.append(
            Consumed(*partition, len(log), record.key, record.value, headers, timestamp=moment)
        )
        value = zlib.crc32(record.value or b"")
        self.seams.note(f"append {record.topic} {(record.key or b'').decode()} {value:08x}")
        self._tell(record.topic)

    def records(self, topic: str) -> list[Record]:
        """All of a topic, in order per key."""
        return [
            Record(each.topic, each.key, each.value, each.headers)
            for partition in sorted(self.logs)
            if partition.topic == topic
            for each in self.logs[partition]
        ]

    def is_read(self) -> bool:
        """Whether every group has read all there is; nobody must be at work."""
        read = {
            (reader.topic, partition): position
            for reader in self.readers
            for partition, position in reader.positions.items()
        }
        topics_read = {reader.topic for reader in self.readers}
        return all(
            read.get((partition.topic, partition), 0) >= len(log)
            for partition, log in self.logs.items()
            if partition.topic in topics_read
        )

    def assign(self) -> None:
        """Share each topic's partitions out among those who live and answer; they begin where was committed."""
        self.readers = [each for each in self.readers if not each.life.is_dead]
        for group in sorted({each.group for each in self.readers}):
            members = [each for each in self.readers if each.group == group]
            able = [each for each in members if not each.life.is_frozen] or members
            for number in range(PARTITIONS):
                partition = TopicPartition(members[0].topic, number)
                owner = able[number % len(able)]
                for each in able:
                    if each is not owner:
                        each.positions.pop(partition, None)
                owner.positions.setdefault(partition, self.committed[group, partition])
            for each in able:
                each.news.set()

    def thawed(self, life: Life) -> None:
        """Who was frozen does not know yet that it owns nothing; what it reads next, it reads by the new sharing."""
        for each in self.readers:
            if each.life is life:
                each.positions.clear()
        self.assign()

    def _tell(self, topic: str) -> None:
        for each in self.readers:
            if each.topic == topic:
                each.news.set()

    def start_reading(
        self, life: Life, group: str, topic: str, store: Store, on_committed: Any
    ) -> None:
        """The service's own `Subscription`, fed from here."""
        reader = Reader(life, group, topic)
        self.readers.append(reader)
        subscription = Subscription(topic, group, store, on_committed)
        subscription.attach(SimpleNamespace(consumer=_Consumer(self, reader)))
        self.seams.start(self._read(reader, subscription), life)

    async def _read(self, reader: Reader, subscription: Subscription) -> None:
        while True:
            if not (records := self._next(reader)):
                reader.news.clear()
                await reader.news.wait()
                continue
            await self.seams.pause(f"poll {reader.topic}")
            if records := self._next(reader):
                for each in records:
                    reader.positions[TopicPartition(each.topic, each.partition)] = each.offset + 1
                await subscription.consume(records)

    def _next(self, reader: Reader) -> list[Consumed]:
        for partition, position in sorted(reader.positions.items()):
            if found := self.logs[partition][position : position + _BATCH]:
                return found
        return []


class _Consumer:
    """The part of aiokafka's consumer that a Subscription uses."""

    def __init__(self, kafka: Kafka, reader: Reader) -> None:
        self._kafka, self._reader = kafka, reader

    def assignment(self) -> set[TopicPartition]:
        return set(self._reader.positions)

    def highwater(self, partition: TopicPartition) -> int:
        return len(self._kafka.logs[partition])

    def seek(self, partition: TopicPartition, offset: int) -> None:
        if partition in self._reader.positions:
            self._reader.positions[partition] = offset

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        await self._kafka.seams.pause(f"commit {self._reader.topic}")
        for partition, offset in offsets.items():
            if partition in self._reader.positions:
                self._kafka.committed[self._reader.group, partition] = offset


class Producer:
    """The part of aiokafka's producer that the relay uses."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self.client = self

    async def fetch_all_metadata(self) -> Any:
        return SimpleNamespace(topics=lambda: TOPICS)

    async def start(self) -> None:
        await self._kafka.seams.pause("producer")

    async def stop(self) -> None:
        return

    async def send(
        self, topic: str, *, value: Any, key: Any, headers: Any, timestamp_ms: int
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        record = Record(topic, key, value, tuple(headers))
        # The record is on the network: it may arrive after its sender has died.
        self._kafka.seams.start(self._carry(record, future, LIFE.get()), None)
        return future

    async def _carry(
        self, record: Record, future: asyncio.Future[Any], sender: Life | None
    ) -> None:
        seams = self._kafka.seams
        await seams.pause(f"carry {record.topic} of {sender and sender.name}")
        trouble = self._kafka.troubles.pop() if self._kafka.troubles else ""
        if trouble == "lost":
            seams.strike("kafka lost")
            _fail(future, KafkaConnectionError())
            return
        self._kafka.append(record)
        await seams.pause(f"confirm {record.topic} of {sender and sender.name}")
        if trouble == "unconfirmed":
            seams.strike("kafka unconfirmed")
            _fail(future, RequestTimedOutError())
        elif not future.done():
            future.set_result(None)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # its reader may be dead
