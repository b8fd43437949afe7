"""Read a topic from its beginning, or from a moment, to where it ends now: for whoever compares, lists or rebuilds."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import datetime

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaTimeoutError, UnknownTopicOrPartitionError

from pipeline_contracts import lenient_records
from pipeline_contracts.envelope import Record
from pipeline_contracts.topics import Topic
from pipeline_messaging.broker import KafkaSettings

_WAIT_MS = 1_000
_CLOSE_SECONDS = 1.0
_STALL_SECONDS = 60.0
"""A broker that is away is asked again for ever by aiokafka; whoever reads history would rather be told."""


async def history(kafka: KafkaSettings, topic: Topic) -> AsyncIterator[Record]:
    """Every record the topic holds at the time of asking, each partition in its order.

    No group is joined and no offset is kept: it disturbs nobody.

    Raises:
        KafkaError: The broker cannot be reached, or the topic does not exist.
    """
    async with aclosing(consumed(kafka, topic)) as records:
        async for record in records:
            yield Record(topic.name, record.key, record.value, tuple(record.headers))


async def consumed(
    kafka: KafkaSettings, topic: Topic, *, since: datetime | None = None
) -> AsyncGenerator[ConsumerRecord, None]:
    """As `history`, with each record's place and time; from `since` on, by the records' own times.

    Raises:
        KafkaError: As `history`; KafkaTimeoutError when nothing more can be read for a minute.
    """
    async with _reader(kafka, topic.name) as consumer:
        partitions = await _assign_all(consumer, topic.name)
        ends = await consumer.end_offsets(partitions)
        await _seek(consumer, partitions, since)
        while any([await consumer.position(one) < ends[one] for one in partitions]):
            for one, records in (await _more(consumer, topic.name)).items():
                for record in records:
                    if record.offset < ends[one]:
                        yield record


async def record_at(
    kafka: KafkaSettings, topic: str, partition: int, offset: int
) -> ConsumerRecord | None:
    """The one record at a place; None where there is none, or none any more.

    Raises:
        KafkaError: As `consumed`.
    """
    place = TopicPartition(topic, partition)
    async with _reader(kafka, topic) as consumer:
        consumer.assign([place])
        first = (await consumer.beginning_offsets([place]))[place]
        end = (await consumer.end_offsets([place]))[place]
        if not first <= offset < end:
            return None
        consumer.seek(place, offset)
        # Compaction and transactions leave holes: what comes first may lie behind the place asked for.
        while await consumer.position(place) <= offset:
            for record in (await _more(consumer, topic)).get(place, ()):
                return record if record.offset == offset else None
        return None


async def lag_of(kafka: KafkaSettings, topic: Topic, group_id: str) -> int:
    """How many records of a topic a consumer group has not committed yet; for a group unheard of, all there are.

    Raises:
        KafkaError: As `consumed`.
    """
    async with _reader(kafka, topic.name) as consumer:
        partitions = await _assign_all(consumer, topic.name)
        ends = await consumer.end_offsets(partitions)
        firsts = await consumer.beginning_offsets(partitions)
    async with _reader(kafka, topic.name, group_id) as consumer:
        # By hand: the group is asked, not joined. And once: aiokafka's coordination of a group fails an assertion when
        # it comes upon an assignment that another has replaced.
        consumer.assign(partitions)
        committed = [await consumer.committed(one) for one in partitions]
    return sum(
        max(ends[one] - max(offset or 0, firsts[one]), 0)
        for one, offset in zip(partitions, committed, strict=True)
    )


async def held(kafka: KafkaSettings, topic: Topic) -> int:
    """How many records a topic holds, or a little more: compaction and transactions leave holes.

    Raises:
        KafkaError: As `consumed`.
    """
    async with _reader(kafka, topic.name) as consumer:
        partitions = await _assign_all(consumer, topic.name)
        ends = await consumer.end_offsets(partitions)
        firsts = await consumer.beginning_offsets(partitions)
        return sum(ends[one] - firsts[one] for one in partitions)


async def _assign_all(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """Read every partition there is: an operator may have added some to those that the contracts name."""
    first = TopicPartition(topic, 0)
    consumer.assign([first])
    # The cluster tells of a topic's partitions to whoever reads one of them.
    await consumer.end_offsets([first])
    numbers = sorted(consumer.partitions_for_topic(topic) or {0})
    partitions = [TopicPartition(topic, number) for number in numbers]
    consumer.assign(partitions)
    return partitions


async def _seek(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition], since: datetime | None
) -> None:
    if since is None:
        await consumer.seek_to_beginning(*partitions)
        return
    moment = int(since.timestamp() * 1000)
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, moment))
    for partition in partitions:
        if found[partition] is None:
            await consumer.seek_to_end(partition)
        else:
            consumer.seek(partition, found[partition].offset)


async def _more(
    consumer: AIOKafkaConsumer, topic: str
) -> dict[TopicPartition, list[ConsumerRecord]]:
    """What comes next: nothing, now and then, where only positions move on."""
    loop = asyncio.get_running_loop()
    before = [await consumer.position(one) for one in consumer.assignment()]
    deadline = loop.time() + _STALL_SECONDS
    while loop.time() < deadline:
        found: dict[TopicPartition, list[ConsumerRecord]] = await consumer.getmany(
            timeout_ms=_WAIT_MS
        )
        if found or before != [await consumer.position(one) for one in consumer.assignment()]:
            return found
    raise KafkaTimeoutError(f"{topic}: nothing could be read for {_STALL_SECONDS:.0f} s")


@asynccontextmanager
async def _reader(
    kafka: KafkaSettings, topic: str, group_id: str | None = None
) -> AsyncIterator[AIOKafkaConsumer]:
    lenient_records.install()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=[server.strip() for server in kafka.bootstrap_servers.split(",")],
        client_id=kafka.client_id,
        group_id=group_id,
        enable_auto_commit=False,
        # What retention removes meanwhile is skipped, not an error.
        auto_offset_reset="earliest",
        security_protocol=kafka.security_protocol,
        ssl_context=kafka.ssl_context(),
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_plain_username=kafka.sasl_username,
        sasl_plain_password=kafka.sasl_password,
    )
    try:
        await consumer.start()
        # aiokafka would ask for its partitions' leaders again and again, for most of a minute.
        if topic not in await consumer.topics():
            raise UnknownTopicOrPartitionError(f"{topic}: there is no such topic")
        yield consumer
    finally:
        # uvloop waits half a minute for the end of a TLS connection on which an answer was under way; nothing depends on it.
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await consumer.stop()
