"""Sending outbox rows so that a key's records can never overtake each other, and sorting out what failed."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka_errors
from aiokafka.errors import KafkaError

from pipeline_messaging import metrics, traces
from pipeline_messaging.broker import KafkaSettings, make_producer
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.outbox import OutboxRow

log = structlog.get_logger(__name__)

_START_SECONDS = 15.0
_STOP_SECONDS = 15.0
_DISCARD_SECONDS = 2.0

REFUSALS = (
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordListTooLargeError,
    kafka_errors.InvalidTimestampError,
    kafka_errors.InvalidTopicError,
    kafka_errors.PolicyViolationError,
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.UnsupportedForMessageFormatError,
)
"""What the broker will answer to the same record again. Every other error is worth another try."""

Lane = tuple[str, bytes]


@dataclass(slots=True)
class Outcome:
    """What became of one pass: row ids the broker confirmed, refused for good, and whether to back off."""

    confirmed: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    failed: bool = False
    suspected: bool = False


def lane_of(row: OutboxRow) -> Lane | None:
    """What has to stay in order: one topic's records of one key. Without a key there is no order to keep."""
    return None if row.record.key is None else (row.record.topic, row.record.key)


def rounds(rows: Iterable[OutboxRow], alone: Callable[[OutboxRow], bool]) -> list[list[OutboxRow]]:
    """Cut rows into rounds, each sent only after the one before it was confirmed.

    A round holds at most one record of each key: whatever fails, its followers have not been sent yet. Rows for which
    `alone(row)` holds, and their followers, come last in rounds of one, where a refusal names its culprit.
    """
    together: list[list[OutboxRow]] = []
    one_by_one: list[list[OutboxRow]] = []
    depth: Counter[Lane] = Counter()
    held: set[Lane] = set()
    for row in rows:
        lane = lane_of(row)
        if alone(row) or lane in held:
            one_by_one.append([row])
            if lane is not None:
                held.add(lane)
            continue
        position = 0 if lane is None else depth[lane]
        if lane is not None:
            depth[lane] += 1
        if position == len(together):
            together.append([])
        together[position].append(row)
    return together + one_by_one


class Publisher:
    """The relay's producer: made when needed, and thrown away after any failure.

    After a refused batch an idempotent producer's sequence numbers have a gap, and everything after it fails with
    OutOfOrderSequenceNumber; fenced or stuck ones never recover either. A new one costs some milliseconds.
    """

    def __init__(self, kafka: KafkaSettings, publish_seconds: float) -> None:
        self._kafka = kafka
        self._publish_seconds = publish_seconds
        self._producer: AIOKafkaProducer | None = None
        self._topics: set[str] = set()
        self._suspects: set[int] = set()

    async def publish(self, rows: Sequence[OutboxRow], may_go_on: Callable[[], bool]) -> Outcome:
        """Send rows, in order per key; `may_go_on` is asked before each round (is the lock still ours? is it late?).

        Rows it cuts off are in no part of the outcome.

        Raises KafkaError, OSError or TimeoutError when no producer can be had; a failed send is in the outcome.
        """
        producer = await self._started()
        outcome = Outcome()
        blocked: set[Lane] = set()
        missing = await self._missing_topics(producer, {row.record.topic for row in rows})
        for row in rows:
            if row.record.topic in missing:
                outcome.refused[row.id] = (
                    "the topic does not exist, or may not be seen by this principal"
                )
        sendable = [row for row in rows if row.record.topic not in missing]
        for together in rounds(sendable, lambda row: row.attempts > 0 or row.id in self._suspects):
            if not may_go_on():
                break
            free = [row for row in together if lane_of(row) not in blocked]
            with traces.publishing(row.record for row in free):
                results = await self._send_round(producer, free)
            failpoint("relay:after_send")
            blocked |= {lane for row in free if results[row.id] and (lane := lane_of(row))}
            if not self._sort(free, results, outcome):
                await self.close(gracefully=False)
                break
        return outcome

    def _sort(
        self,
        rows: Sequence[OutboxRow],
        results: dict[int, BaseException | None],
        outcome: Outcome,
    ) -> bool:
        """Enter one round's results; False when the producer has to be replaced before anything else is sent."""
        usable = True
        for row in rows:
            error = results[row.id]
            if error is None:
                outcome.confirmed.append(row.id)
                self._suspects.discard(row.id)
                metrics.outbox_published_total.labels(row.record.topic).inc()
                continue
            name = type(error).__name__
            metrics.outbox_publish_failures_total.labels(row.record.topic, name).inc()
            if isinstance(error, _RefusedHereError):
                outcome.refused[row.id] = str(error)
                continue
            usable = False
            if not isinstance(error, REFUSALS):
                outcome.failed = True
                log.warning("publish_failed", outbox_id=row.id, topic=row.record.topic, error=name)
            elif len(rows) == 1:
                outcome.refused[row.id] = name
                self._suspects.discard(row.id)
            else:
                # The broker refuses whole batches: which record it meant shows when each is sent alone.
                outcome.suspected = True
                self._suspects.add(row.id)
        return usable

    async def _send_round(
        self, producer: AIOKafkaProducer, rows: Sequence[OutboxRow]
    ) -> dict[int, BaseException | None]:
        """Send rows and wait for the broker; None for a confirmed one, else the error.

        A timeout means "unknown", not "failed": the record may be there. It is sent again, byte for byte.
        """
        results: dict[int, BaseException | None] = {}
        sent: dict[int, asyncio.Future[object]] = {}
        try:
            # aiokafka never gives up on an idempotent batch by itself.
            async with asyncio.timeout(self._publish_seconds):
                for row in rows:
                    try:
                        sent[row.id] = await self._send(producer, row)
                    except _RefusedHereError as error:
                        results[row.id] = error
                if sent:
                    await asyncio.wait(sent.values())
        except (KafkaError, TimeoutError) as error:
            results |= {row.id: error for row in rows if row.id not in results}
        for row_id, future in sent.items():
            if future.done():
                results[row_id] = future.exception()
            else:
                future.add_done_callback(
                    lambda late: late.exception()
                )  # read, so not complained about
        return results

    async def _send(self, producer: AIOKafkaProducer, row: OutboxRow) -> "asyncio.Future[object]":
        record = row.record
        try:
            future: asyncio.Future[object] = await producer.send(
                record.topic,
                value=record.value,
                key=record.key,
                headers=list(record.headers),
                # Not "now": every copy of a record is the same, its time included.
                timestamp_ms=int(row.created_at.timestamp() * 1000),
            )
        except (
            kafka_errors.MessageSizeTooLargeError,
            AssertionError,
            TypeError,
            ValueError,
        ) as error:
            raise _RefusedHereError(f"{type(error).__name__}: {error}") from error
        return future

    async def _missing_topics(self, producer: AIOKafkaProducer, wanted: set[str]) -> set[str]:
        """Which topics do not exist. `send` would wait its whole timeout for each, and everything else with it."""
        if not wanted <= self._topics:
            async with asyncio.timeout(self._publish_seconds):
                cluster = await producer.client.fetch_all_metadata()
            self._topics = set(cluster.topics())
        return wanted - self._topics

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = make_producer(self._kafka)
            try:
                # An idempotent producer asks for its id in an endless loop.
                async with asyncio.timeout(_START_SECONDS):
                    await producer.start()
            except BaseException:
                await discard(producer)
                raise
            self._producer, self._topics = producer, set()
        return self._producer

    async def close(self, *, gracefully: bool = True) -> None:
        """Stop the producer: finishing what it has buffered, or dropping it."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        if gracefully:
            with suppress(TimeoutError, KafkaError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await producer.stop()
                    return
        await discard(producer)


async def discard(producer: AIOKafkaProducer) -> None:
    """Stop a producer without waiting for its buffered records.

    `stop()` waits for every batch, and an idempotent batch never expires. aiokafka has no public way to give up: cancel
    its sender, fail what is buffered, and then `stop()` has nothing left to wait for. The connections go first, for the
    sender waits for the answers it is owed.
    """
    sender, accumulator = producer._sender, producer._message_accumulator  # noqa: SLF001
    with suppress(TimeoutError, KafkaError, asyncio.CancelledError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            await producer.client.close()
            await sender.close()
    accumulator.fail_all(kafka_errors.ProducerClosed())
    with suppress(TimeoutError, KafkaError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            await producer.stop()


class _RefusedHereError(Exception):
    """aiokafka would not even buffer the record; nothing was sent and the producer is fine."""
