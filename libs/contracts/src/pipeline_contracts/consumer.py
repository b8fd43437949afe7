"""Consume events in any service (needs the extra `kafka`).

::

    consumer = EventConsumer(
        "kafka:9092", group_id="ledger", topics=[topics.SYNC], handle=handle, on_unreadable=set_aside
    )
    loop.add_signal_handler(signal.SIGTERM, consumer.stop)
    await consumer.run()

Every event arrives at least once, those of one key in order. The steps, each of which the process may die between:
read a batch; hand it to `handle`; commit its offsets. Dying before the commit, the batch comes again, so `handle`
stores its effect and the identities of its events in one transaction of its own.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from pipeline_contracts import lenient_records
from pipeline_contracts.envelope import Envelope, Record, decode
from pipeline_contracts.errors import UndecodableRecord, UnknownEventType
from pipeline_contracts.producer import EventPublisher
from pipeline_contracts.topics import Topic

_log = logging.getLogger(__name__)

Identity = tuple[str, str]
"""(`source`, `id`) of an event."""

_POLL_MS = 200
_MAX_PAUSE_SECONDS = 5.0
_REVOKE_SECONDS = 40.0
# How long Kafka lets a member take to rejoin: longer than `_REVOKE_SECONDS`; by default it is the session's 10 s.
_REBALANCE_MS = 60_000
# A record may have 3 MB, and aiokafka gives up on one beyond this limit.
_FETCH_BYTES = 4 * 1024 * 1024
_COMMIT_SECONDS = 10.0
_REASON_LIMIT = 1_000


class ConsumerStartError(Exception):
    """Consuming could not begin; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that is no event, byte for byte, with where it stood and why it could not be read.

    The same bytes will never be readable later: keep them, and go on.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    code: str
    reason: str

    def dead_letter(self, topic: str) -> Record:
        """The record for a dead letter topic: as read, with `x-dlq-*` headers added that tell the rest."""
        about = {
            "x-dlq-topic": self.topic,
            "x-dlq-partition": str(self.partition),
            "x-dlq-offset": str(self.offset),
            "x-dlq-code": self.code,
            "x-dlq-reason": self.reason[:_REASON_LIMIT],
        }
        added = tuple((name, text.encode("utf-8", "replace")) for name, text in about.items())
        # aiokafka cannot send "neither key nor value".
        nothing_at_all = self.key is None and self.value is None
        return Record(topic, self.key, b"" if nothing_at_all else self.value, self.headers + added)


Handle = Callable[[Sequence[Envelope]], Awaitable[None]]
OnUnreadable = Callable[[Unreadable], Awaitable[None]]
AlreadyHandled = Callable[[Sequence[Identity]], Awaitable[Collection[Identity]]]


def to_dead_letters(publisher: EventPublisher, topic: str) -> OnUnreadable:
    """An `on_unreadable` that publishes to a dead letter topic of yours, and returns once Kafka has it.

    Create the topic with `max.message.bytes` of 3500000: a record may have 3 MB, and one that cannot be kept comes again.
    """

    async def set_aside(unreadable: Unreadable) -> None:
        await publisher.send(unreadable.dead_letter(topic))

    return set_aside


class EventConsumer:
    """Reads events in batches, hands on the new ones, and commits once they are handled.

    Args:
        bootstrap_servers: `host:port`, several joined by commas.
        group_id: the consumer group; its replicas share the partitions.
        topics: what to read, from `pipeline_contracts.topics`.
        handle: stores the effect of a batch, in order. If it fails, nothing is committed and the same events come
            again after a pause, for ever: an event that must be skipped is for `handle` to skip.
        on_unreadable: keeps a record that is no event (`to_dead_letters`). If it fails, the record comes again.
        already_handled: which of these identities were handled before; those are left out. Without it, `handle`
            sees every copy but those within one batch. What makes it safe is a unique constraint on the identity,
            written by `handle` in the transaction of the effect.
        max_records: largest batch.
        kafka_options: passed to aiokafka as they are, e.g. `security_protocol` and `ssl_context`.

    An event of a type that this release does not know is left out: it is for a newer one.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        group_id: str,
        topics: Iterable[Topic],
        handle: Handle,
        on_unreadable: OnUnreadable,
        already_handled: AlreadyHandled | None = None,
        max_records: int = 500,
        **kafka_options: Any,
    ) -> None:
        if not group_id.strip():
            raise ValueError("group_id: name the consuming service, e.g. 'ledger'")
        self._topics = [topic.name for topic in topics]
        if not self._topics:
            raise ValueError("topics: name at least one, e.g. pipeline_contracts.topics.SYNC")
        self._handle = handle
        self._on_unreadable = on_unreadable
        self._already_handled = already_handled
        self._max_records = max_records
        self._options: dict[str, Any] = {
            "bootstrap_servers": bootstrap_servers,
            "group_id": group_id,
            "client_id": group_id,
            "auto_offset_reset": "earliest",
            "rebalance_timeout_ms": _REBALANCE_MS,
            "max_partition_fetch_bytes": _FETCH_BYTES,
        } | kafka_options
        self._stopping = asyncio.Event()
        self._failures = 0
        self._kept: set[str] = set()

    def stop(self) -> None:
        """End `run` after the batch at hand; safe to call from a signal handler, and twice."""
        self._stopping.set()

    async def run(self) -> None:
        """Consume until `stop`.

        Raises:
            ConsumerStartError: Kafka cannot be reached, or a topic is missing or may not be read.
            KafkaError: Kafka refuses to go on; let the process end and be started again.
        """
        lenient_records.install()
        # Offsets are committed below: aiokafka's own timer would commit what is not handled yet.
        kafka = AIOKafkaConsumer(enable_auto_commit=False, **self._options)
        try:
            await self._start(kafka)
            listener = _Rebalances()
            kafka.subscribe(self._topics, listener=listener)
            while not self._stopping.is_set():
                read = await kafka.getmany(timeout_ms=_POLL_MS, max_records=self._max_records)
                records = [record for of_partition in read.values() for record in of_partition]
                if records:
                    with listener.busy():
                        await self._take(kafka, records)
        finally:
            await kafka.stop()

    async def _start(self, kafka: AIOKafkaConsumer) -> None:
        servers = self._options["bootstrap_servers"]
        try:
            await kafka.start()
            missing = set(self._topics) - await kafka.topics()
        except KafkaError as error:
            raise ConsumerStartError(
                f"Kafka at {servers} cannot be read ({error}); check the address and the credentials"
            ) from error
        if missing:
            raise ConsumerStartError(
                f"Kafka at {servers} shows no topic {', '.join(sorted(missing))}; check the name, "
                "that it was created, and the permission to read it"
            )

    async def _take(self, kafka: AIOKafkaConsumer, records: Sequence[ConsumerRecord]) -> None:
        """Handle one batch and commit it, or put it back."""
        try:
            events = await self._readable(records)
            if events:
                await self._handle(events)
        except Exception:  # noqa: BLE001 - whatever it was, the batch must be read again
            self._failures += 1
            pause = min(0.1 * 2 ** min(self._failures, 10), _MAX_PAUSE_SECONDS)
            _log.exception(
                "batch of %d records not handled; read again in %.1f s", len(records), pause
            )
            _seek_back(kafka, records)
            await self._wait(pause)
            return
        self._failures = 0
        self._kept.clear()
        await _commit(kafka, records)

    async def _readable(self, records: Sequence[ConsumerRecord]) -> list[Envelope]:
        """The events to handle: readable, of a known type, each once, none that was handled before."""
        found: dict[Identity, Envelope] = {}
        for record in records:
            try:
                envelope = decode(key=record.key, value=record.value, headers=record.headers)
            except UnknownEventType:
                _log.debug("left out at %s: an event of an unknown type", _place(record))
            except UndecodableRecord as error:
                # A batch that fails and comes again must not be kept once for each time.
                if (place := _place(record)) not in self._kept:
                    await self._on_unreadable(_unreadable(record, error))
                    self._kept.add(place)
            else:
                found.setdefault(envelope.identity, envelope)
        if self._already_handled is not None and found:
            for identity in await self._already_handled(list(found)):
                found.pop(identity, None)
        return list(found.values())

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Holds a rebalance up until the running batch is committed: otherwise its next owner runs it a second time."""

    def __init__(self) -> None:
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def busy(self) -> Iterator[None]:
        self._idle.clear()
        try:
            yield
        finally:
            self._idle.set()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002 - aiokafka's signature
        try:
            async with asyncio.timeout(_REVOKE_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("a rebalance did not wait for the running batch: it may run twice")

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        _log.info("%d partitions assigned", len(assigned))


def _place(record: ConsumerRecord) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"


def _unreadable(record: ConsumerRecord, error: UndecodableRecord) -> Unreadable:
    _log.warning("unreadable at %s: %s: %s", _place(record), error.code, error)
    return Unreadable(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
        code=error.code,
        reason=str(error),
    )


def _ends(records: Sequence[ConsumerRecord]) -> dict[TopicPartition, int]:
    """What to read next in each partition of a batch; its records stand in order."""
    return {TopicPartition(each.topic, each.partition): each.offset + 1 for each in records}


async def _commit(kafka: AIOKafkaConsumer, records: Sequence[ConsumerRecord]) -> None:
    # A rebalance may have taken some of the partitions away; asking for those would commit none.
    owned = kafka.assignment()
    offsets = {place: offset for place, offset in _ends(records).items() if place in owned}
    try:
        async with asyncio.timeout(_COMMIT_SECONDS):  # aiokafka retries for ever
            await kafka.commit(offsets)
    except (KafkaError, TimeoutError) as error:
        # The batch is handled; should it come again, its identities are known.
        _log.warning("offsets not committed: %s", str(error) or "timed out")


def _seek_back(kafka: AIOKafkaConsumer, records: Sequence[ConsumerRecord]) -> None:
    firsts = {TopicPartition(each.topic, each.partition): each.offset for each in reversed(records)}
    for place, first in firsts.items():
        try:
            kafka.seek(place, first)
        except IllegalStateError:
            continue  # revoked meanwhile: its next owner starts at the committed offset


__all__ = ["ConsumerStartError", "EventConsumer", "Unreadable", "to_dead_letters"]
