"""From a topic into the database: batches of raw bytes, one transaction, then the offsets.

The steps, each of which the process may die between: read a batch; in one transaction accept its events in the inbox,
let the service store their effect, and put what cannot be used into the outbox as dead letters; commit; commit the
batch's own offsets. Dying before the database commit leaves nothing; dying after it, the batch comes again and the
inbox recognises every part of it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import asyncpg
import structlog
from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import FAKE_CONSUMER, KafkaMessage

from pipeline_contracts.envelope import Envelope
from pipeline_messaging import metrics
from pipeline_messaging.batch import Stored, store_batch
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.faults import told

log = structlog.get_logger(__name__)

Handle = Callable[[asyncpg.Connection, list[Envelope]], Awaitable[None]]
Records = Sequence[ConsumerRecord]
Store = Callable[[Records], Awaitable[Stored]]

BATCH_TIMEOUT_MS = 25
"""FastStream sleeps this long after an empty read, on top of the read itself: it is latency."""
MAX_PARTITION_FETCH_BYTES = 4 * 1024 * 1024
"""What one answer of the broker brings of a partition."""
STORE_SECONDS = 30.0
"""Limit of one batch's transaction."""
_REVOKE_SECONDS = 40.0
"""How long a rebalance waits for the running batch: longer than the batch may take."""
_REBALANCE_MS = 60_000
"""How long Kafka lets a member take to rejoin: longer than `_REVOKE_SECONDS`; by default it is the session's 10 s."""
_COMMIT_SECONDS = 10.0
_MAX_BACKOFF_SECONDS = 5.0


def subscribe(
    broker: KafkaBroker,
    topic: str,
    *,
    group_id: str,
    pool: asyncpg.Pool,
    handle: Handle,
    on_committed: Callable[[], None] | None = None,
    max_records: int = 1_000,
) -> "Subscription":
    """Consume the events of `topic` as `group_id`; call before the broker starts.

    `handle(conn, envelopes)` stores the effect of new events, in partition order, inside the transaction it is given;
    it must do no other I/O. If it fails for a reason other than the infrastructure, the batch is handled again event
    by event and the guilty one becomes a dead letter with code HANDLER_FAILED. `on_committed()` is called after each
    batch that brought something new, to wake a worker or the relay.
    """
    return subscribe_raw(
        broker,
        topic,
        group_id=group_id,
        store=partial(store_batch, pool, handle=handle),
        on_committed=on_committed,
        max_records=max_records,
    )


def subscribe_raw(
    broker: KafkaBroker,
    topic: str,
    *,
    group_id: str,
    store: Store,
    on_committed: Callable[[], None] | None = None,
    max_records: int = 1_000,
    max_partition_fetch_bytes: int = MAX_PARTITION_FETCH_BYTES,
) -> "Subscription":
    """As `subscribe`, for whoever stores records as they are, readable or not, and publishes nothing.

    `store(records)` stores a batch in one transaction, so that the same batch again changes nothing; what it raises
    is taken for the infrastructure's fault, and the batch comes again.
    """
    subscription = Subscription(topic, group_id, store, on_committed)
    subscriber = broker.subscriber(
        topic,
        group_id=group_id,
        batch=True,
        max_records=max_records,
        batch_timeout_ms=BATCH_TIMEOUT_MS,
        # Offsets are committed below, explicitly: every other policy commits *all* positions, or loses, or spins.
        ack_policy=AckPolicy.MANUAL,
        auto_offset_reset="earliest",
        no_reply=True,
        listener=subscription,
        rebalance_timeout_ms=_REBALANCE_MS,
        max_partition_fetch_bytes=max_partition_fetch_bytes,
        parser=_take_as_is,
        decoder=_raw_records,
    )
    subscriber(subscription.consume)
    subscription.attach(subscriber)
    return subscription


async def _take_as_is(records: Any) -> KafkaMessage:
    """Replaces FastStream's parser, which decodes header bytes as UTF-8 and fails the whole batch on bad ones."""
    return KafkaMessage(raw_message=records, body=b"", consumer=FAKE_CONSUMER)


async def _raw_records(message: KafkaMessage) -> Any:
    return message.raw_message


class Subscription(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """One topic being consumed. Also its rebalance listener."""

    def __init__(
        self,
        topic: str,
        group_id: str,
        store: Store,
        on_committed: Callable[[], None] | None,
    ) -> None:
        self.topic = topic
        self.group_id = group_id
        self._store = store
        self._on_committed = on_committed
        self._subscriber: Any = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._hurry = asyncio.Event()
        self._failures = 0
        self._failing: tuple[float, str] | None = None
        self._stored: dict[TopicPartition, int] = {}

    def attach(self, subscriber: Any) -> None:
        """Remember FastStream's subscriber: it owns the consumer."""
        self._subscriber = subscriber

    def problem(self, *, patience: float = 30.0) -> str | None:
        """Why this subscription does not work, in one sentence, or None: for health checks."""
        if self._subscriber is None or not self._subscriber.running:
            return f"{self.topic}: not connected to Kafka yet"
        if all(task.done() for task in self._subscriber.tasks):
            return f"{self.topic}: the consuming task has ended"
        if self._failing and time.monotonic() - self._failing[0] > patience:
            seconds = time.monotonic() - self._failing[0]
            return f"{self.topic}: no batch stored for {seconds:.0f} s ({self._failing[1]})"
        return None

    async def consume(self, records: Records) -> None:
        """Store one batch and commit its offsets, or put it back and wait a little.

        Raises nothing but cancellation: FastStream swallows errors and goes on to the next batch, whose commit would
        then skip this one.
        """
        self._idle.clear()
        try:
            for partition, first in _edges(records, min).items():
                self._stored.setdefault(partition, first)
            failpoint("consume:before_store")
            async with asyncio.timeout(STORE_SECONDS):
                stored = await self._store(records)
        except Exception as error:  # noqa: BLE001 - whatever it was, the batch must be read again
            await self._put_back(records, error)
        else:
            failpoint("consume:after_commit")
            await self._finish(records, stored)
        finally:
            self._idle.set()

    async def _finish(self, records: Records, stored: Stored) -> None:
        """What follows the database's commit. Nothing here may put the batch back: it is stored."""
        self._failures, self._failing = 0, None
        stored.count(self.topic)
        try:
            await self._commit_offsets(
                {partition: last + 1 for partition, last in _edges(records, max).items()}
            )
            failpoint("consume:after_offsets")
            if self._on_committed is not None and (stored.accepted or stored.dead_letters):
                self._on_committed()
        except Exception:
            log.exception("after_commit_failed", topic=self.topic)

    async def _commit_offsets(self, offsets: dict[TopicPartition, int]) -> None:
        """Commit exactly these partitions and offsets. A failure is harmless: the inbox knows the batch."""
        self._stored |= offsets
        self._report_lag()
        consumer = self._subscriber.consumer
        # A rebalance may have taken some of the partitions away; asking for those would commit none.
        owned = {p: offset for p, offset in offsets.items() if p in consumer.assignment()}
        try:
            async with asyncio.timeout(_COMMIT_SECONDS):  # aiokafka retries for ever
                await consumer.commit(owned)
        except (KafkaError, TimeoutError) as error:
            log.info("offsets_not_committed", topic=self.topic, error=type(error).__name__)

    async def _put_back(self, records: Records, error: Exception) -> None:
        """Rewind to the start of the batch and wait: the next read gets the same records again."""
        self._failures += 1
        self._failing = self._failing or (time.monotonic(), type(error).__name__)
        metrics.consumer_retries_total.labels(self.topic, type(error).__name__).inc()
        wait = min(0.1 * 2 ** min(self._failures, 10), _MAX_BACKOFF_SECONDS)
        log.warning(
            "batch_put_back",
            topic=self.topic,
            group_id=self.group_id,
            records=len(records),
            retry_in=wait,
            **told(error),
        )
        for partition, first in _edges(records, min).items():
            try:
                self._subscriber.consumer.seek(partition, first)
            except (IllegalStateError, AttributeError):
                # Revoked or stopped meanwhile: its next owner starts at the committed offset.
                continue
        self._report_lag()
        try:
            async with asyncio.timeout(
                wait
            ):  # not sleep: a rebalance or a stop need not wait for it
                await self._hurry.wait()
        except TimeoutError:
            return

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Wait for the running batch: aiokafka would rejoin meanwhile and the batch run twice at once."""
        self._hurry.set()
        try:
            async with asyncio.timeout(_REVOKE_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            log.warning("rebalance_did_not_wait", topic=self.topic, group_id=self.group_id)
        for partition in revoked & self._stored.keys():
            del self._stored[partition]
            with suppress(KeyError):
                metrics.consumer_lag.remove(partition.topic, str(partition.partition))

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Take up intake again."""
        self._hurry.clear()
        log.info("partitions_assigned", topic=self.topic, partitions=len(assigned))

    def _report_lag(self) -> None:
        consumer = self._subscriber.consumer
        for partition in consumer.assignment() & self._stored.keys():
            highwater = consumer.highwater(partition)
            if highwater is not None:
                lag = metrics.consumer_lag.labels(partition.topic, str(partition.partition))
                lag.set(max(highwater - self._stored[partition], 0))


def _edges(records: Records, edge: Callable[[list[int]], int]) -> dict[TopicPartition, int]:
    offsets: dict[TopicPartition, list[int]] = {}
    for record in records:
        offsets.setdefault(TopicPartition(record.topic, record.partition), []).append(record.offset)
    return {partition: edge(of_partition) for partition, of_partition in offsets.items()}
