"""Reads topics as any other team would: a bare consumer, from the beginning, without a group."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline_contracts.envelope import Envelope, decode
from pipeline_contracts.topics import CONNECTIONS, DEAD_LETTER_TOPICS, PAYMENTS, SYNC, Topic

WHAT_COMES_OUT = (SYNC, PAYMENTS, CONNECTIONS, *DEAD_LETTER_TOPICS)


class Watcher:
    """Collects every record of some topics while it runs."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        """Start with nothing seen."""
        self.envelopes: dict[str, list[Envelope]] = defaultdict(list)
        self.dead_letters: list[dict[str, str]] = []
        self._consumer = consumer
        self._changed = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    async def changed(self, seconds: float) -> None:
        """Return when something new was read, or after some seconds without; raise what stopped the reading."""
        if self._following is not None and self._following.done():
            self._following.result()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)
        self._changed.clear()

    async def read_to_the_end(self) -> None:
        """Return when everything that the topics hold by now has been read."""
        ends = await self._consumer.end_offsets(list(self._consumer.assignment()))
        while any([await self._consumer.position(tp) < end for tp, end in ends.items()]):
            await self.changed(0.2)

    def start(self) -> None:
        """Read in the background until stopped."""
        self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Read no more."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})

    async def _follow(self) -> None:
        async for record in self._consumer:
            if record.topic.endswith(".dlq"):
                self.dead_letters.append(
                    {"key": (record.key or b"").decode(errors="replace")}
                    | {name: (raw or b"").decode(errors="replace") for name, raw in record.headers}
                )
            else:
                self.envelopes[record.topic].append(
                    decode(key=record.key, value=record.value, headers=record.headers)
                )
            self._changed.set()


@contextlib.asynccontextmanager
async def watching(
    bootstrap_servers: str, topics: Sequence[Topic] = WHAT_COMES_OUT, **options: Any
) -> AsyncIterator[Watcher]:
    """Follow the topics in the background; `options` are the consumer's, for entering."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=8 * 1024 * 1024,
        **options,
    )
    watcher = Watcher(consumer)
    await consumer.start()
    consumer.assign(
        [TopicPartition(topic.name, p) for topic in topics for p in range(topic.partitions)]
    )
    await consumer.seek_to_beginning()
    watcher.start()
    try:
        yield watcher
    finally:
        await watcher.stop()
        await consumer.stop()
