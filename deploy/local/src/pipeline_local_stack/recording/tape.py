"""Everything that is said on the topics, in the order in which it was said."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from pipeline_contracts.envelope import Envelope, Record, decode
from pipeline_contracts.event import Event
from pipeline_contracts.topics import EVENT_TOPICS
from pipeline_local_stack.paths import StackError

_PATIENCE_SECONDS = 90.0


class Tape:
    """What was read so far of all topics of events."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        """Start with nothing read."""
        self._consumer = consumer
        self._read: list[tuple[ConsumerRecord, Envelope]] = []

    def of(self, account_id: str) -> list[Record]:
        """The records about an account, by the time at which Kafka got them."""
        mine = [each for each, told in self._read if told.event.account_id == account_id]
        return [
            Record(each.topic, each.key, each.value, tuple(each.headers))
            for each in sorted(mine, key=lambda each: each.timestamp)
        ]

    async def until(self, account_id: str, kind: type[Event], count: int = 1) -> None:
        """Read on until there are so many events of a kind about an account.

        Raises:
            StackError: they did not come.
        """
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while self._count(account_id, kind) < count:
                    await self._read_on(1_000)
        except TimeoutError:
            found = [type(told.event).__name__ for _, told in self._read]
            raise StackError(
                f"{account_id}: {count} {kind.__name__} never came, only {found[-8:]}"
            ) from None

    async def to_the_end(self) -> None:
        """Read whatever the topics hold by now."""
        ends = await self._consumer.end_offsets(list(self._consumer.assignment()))
        while any([await self._consumer.position(tp) < end for tp, end in ends.items()]):
            await self._read_on(200)

    def _count(self, account_id: str, kind: type[Event]) -> int:
        return len(
            {
                told.identity
                for _, told in self._read
                if isinstance(told.event, kind) and told.event.account_id == account_id
            }
        )

    async def _read_on(self, timeout_ms: int) -> None:
        for records in (await self._consumer.getmany(timeout_ms=timeout_ms)).values():
            for each in records:
                with contextlib.suppress(Exception):  # others put unreadable records here too
                    told = decode(key=each.key, value=each.value, headers=each.headers)
                    self._read.append((each, told))


@contextlib.asynccontextmanager
async def taping(bootstrap_servers: str) -> AsyncIterator[Tape]:
    """A tape of everything from the beginning."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(
            [
                TopicPartition(topic.name, p)
                for topic in EVENT_TOPICS
                for p in range(topic.partitions)
            ]
        )
        await consumer.seek_to_beginning()
        yield Tape(consumer)
    finally:
        await consumer.stop()
