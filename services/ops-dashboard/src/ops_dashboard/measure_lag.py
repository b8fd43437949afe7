"""How far the topics go, asked again and again: what "behind" is reckoned from."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from ops_dashboard import metrics
from ops_dashboard.store import positions
from pipeline_contracts.topics import Topic
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.faults import told
from pipeline_service_defaults.database import Pool

log = structlog.get_logger(__name__)

_EVERY_SECONDS = 5.0
_ANSWER_SECONDS = 10.0


async def keep_measuring(pool: Pool, kafka: KafkaSettings, topics: Sequence[Topic]) -> None:
    """Measure until cancelled. While Kafka is away nothing is noted, and that is what pages tell."""
    while True:
        consumer = _consumer(kafka)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await consumer.start()
            while True:
                await measure(pool, consumer, topics)
                await asyncio.sleep(_EVERY_SECONDS)
        except Exception as error:  # noqa: BLE001 - Kafka and the database come back, and so must this
            log.warning("lag_not_measured", **told(error))
        finally:
            await consumer.stop()
        await asyncio.sleep(_EVERY_SECONDS)


async def measure(pool: Pool, consumer: AIOKafkaConsumer, topics: Sequence[Topic]) -> None:
    """Note where every topic begins and ends now."""
    async with asyncio.timeout(_ANSWER_SECONDS):
        wanted = await _all_partitions(consumer, [topic.name for topic in topics])
        begins = await consumer.beginning_offsets(wanted)
        ends = await consumer.end_offsets(wanted)
    places = {(one.topic, one.partition): (begins[one], ends[one]) for one in wanted}
    async with pool.acquire() as conn, conn.transaction():
        await positions.note_ends(conn, places, datetime.now(UTC))
        lags, _ = await positions.lags(conn)
    for lag in lags:
        metrics.BEHIND.labels(lag.topic).set(lag.behind)


async def _all_partitions(consumer: AIOKafkaConsumer, names: Sequence[str]) -> list[TopicPartition]:
    """Every partition there is: an operator may have added some to those that the contracts name."""
    firsts = [TopicPartition(name, 0) for name in names]
    if consumer.assignment() != set(firsts):
        # The cluster tells of a topic's partitions to whoever reads one of them; paused, nothing is fetched.
        consumer.assign(firsts)
        consumer.pause(*firsts)
        await consumer.end_offsets(firsts)
    return [
        TopicPartition(name, number)
        for name in names
        for number in sorted(consumer.partitions_for_topic(name) or {0})
    ]


def _consumer(kafka: KafkaSettings) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        bootstrap_servers=[server.strip() for server in kafka.bootstrap_servers.split(",")],
        client_id=f"{kafka.client_id}-lag",
        enable_auto_commit=False,
        security_protocol=kafka.security_protocol,
        ssl_context=kafka.ssl_context(),
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_plain_username=kafka.sasl_username,
        sasl_plain_password=kafka.sasl_password,
    )
