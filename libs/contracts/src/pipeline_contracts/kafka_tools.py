"""What the command-line programs of this package do with a Kafka (needs the extra `kafka`)."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, NoError, TopicAlreadyExistsError, for_code

from pipeline_contracts import lenient_records
from pipeline_contracts.envelope import Record
from pipeline_contracts.producer import EventPublisher, PublishUnconfirmed
from pipeline_contracts.topics import Topic

_READ_MS = 1_000
_FETCH_BYTES = 4 * 1024 * 1024


class KafkaTrouble(Exception):  # noqa: N818 - what it is, for a person
    """Kafka cannot do what was asked; the message says what is missing."""


async def check_topics(servers: str, wanted: Mapping[str, Topic], *, create: bool) -> None:
    """Make sure that the topics are there, under the names that are the keys of `wanted`.

    Raises:
        KafkaTrouble: one is missing and is not to be created, or Kafka does not answer.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    try:
        await admin.start()
        missing = [name for name in wanted if name not in await admin.list_topics()]
        if missing and not create:
            raise KafkaTrouble(
                f"no topic {', '.join(missing)} at {servers}; create it, or say --create-topics"
            )
        if missing:
            created = await admin.create_topics(
                [
                    NewTopic(name, topic.partitions, 1, topic_configs=topic.config)
                    for name, topic in wanted.items()
                    if name in missing
                ]
            )
            _check_created(created.topic_errors)
    except (KafkaError, OSError, ValueError) as error:
        raise KafkaTrouble(f"Kafka at {servers} cannot be reached: {error}") from error
    finally:
        await admin.close()


def _check_created(answers: Sequence[Sequence[Any]]) -> None:
    for name, code, *told in answers:
        error = for_code(code)
        if error not in {NoError, TopicAlreadyExistsError}:
            raise KafkaTrouble(
                f"topic {name} cannot be created: {told[0] if told else error.__name__}"
            )


async def publish(servers: str, records: Sequence[Record]) -> None:
    """Publish records as they are, in their order, each once Kafka has the one before.

    Raises:
        KafkaTrouble: Kafka does not confirm one.
    """
    try:
        async with EventPublisher(servers, source="replay") as publisher:
            for record in records:
                await publisher.send(record)
    except PublishUnconfirmed as error:
        raise KafkaTrouble(str(error)) from error


async def read_topic(servers: str, topic: str) -> AsyncIterator[tuple[str, Record]]:
    """Every record that the topic holds by now, with its place, partition by partition in order.

    Raises:
        KafkaTrouble: there is no such topic, or Kafka does not answer.
    """
    lenient_records.install()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers,
        enable_auto_commit=False,
        max_partition_fetch_bytes=_FETCH_BYTES,
    )
    try:
        await consumer.start()
        places = [TopicPartition(topic, number) for number in await _partitions(servers, topic)]
        if not places:
            raise KafkaTrouble(f"no topic {topic} at {servers}; check the name and the permission")
        consumer.assign(places)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(places)
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for partition, read in (await consumer.getmany(timeout_ms=_READ_MS)).items():
                for each in read:
                    if each.offset >= ends[partition]:
                        break  # came while this was reading
                    place = f"{each.topic}/{each.partition}/{each.offset}"
                    yield place, Record(each.topic, each.key, each.value, tuple(each.headers))
    except (KafkaError, OSError, ValueError) as error:
        raise KafkaTrouble(f"Kafka at {servers} cannot be read: {error}") from error
    finally:
        await consumer.stop()


async def _partitions(servers: str, topic: str) -> list[int]:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    try:
        await admin.start()
        if topic not in await admin.list_topics():
            return []
        (described,) = await admin.describe_topics([topic])
        return sorted(each["partition"] for each in described["partitions"])
    finally:
        await admin.close()
