"""Read a topic from its beginning to where it ends now, for whoever compares or rebuilds."""

from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline_contracts import lenient_records
from pipeline_contracts.envelope import Record
from pipeline_contracts.topics import Topic
from pipeline_messaging.broker import KafkaSettings

_WAIT_MS = 1_000


async def history(kafka: KafkaSettings, topic: Topic) -> AsyncIterator[Record]:
    """Every record the topic holds at the time of asking, each partition in its order.

    No group is joined and no offset is kept: it disturbs nobody.

    Raises:
        KafkaError: The broker cannot be reached, or the topic does not exist.
    """
    lenient_records.install()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=[server.strip() for server in kafka.bootstrap_servers.split(",")],
        client_id=kafka.client_id,
        enable_auto_commit=False,
        # What retention removes meanwhile is skipped, not an error.
        auto_offset_reset="earliest",
        security_protocol=kafka.security_protocol,
        ssl_context=kafka.ssl_context(),
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_plain_username=kafka.sasl_username,
        sasl_plain_password=kafka.sasl_password,
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await consumer.seek_to_beginning(*partitions)
        while any([await consumer.position(one) < ends[one] for one in partitions]):
            for one, records in (await consumer.getmany(timeout_ms=_WAIT_MS)).items():
                for record in records:
                    if record.offset < ends[one]:
                        yield Record(topic.name, record.key, record.value, tuple(record.headers))
    finally:
        await consumer.stop()
