"""Publish events from any service in five lines (needs the extra `kafka`).

::

    async with EventPublisher("kafka:9092", source="billing") as publisher:
        await publisher.publish(InvoiceCreated(account_id="acc-7", invoice_id="inv-1001", ...))

A service that writes to a database of its own in the same breath wants an outbox instead: between its
commit and this publish there is room to be killed in.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline_contracts.envelope import Record, encode, stable_id
from pipeline_contracts.errors import NotEncodable
from pipeline_contracts.event import Event

_log = logging.getLogger(__name__)
# The largest record a topic takes, and what a dead letter adds to it; aiokafka stops at 1 MB.
_REQUEST_BYTES = 4 * 1024 * 1024
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.02


class PublishUnconfirmed(Exception):  # noqa: N818 - a state of knowledge, not a fault: it may be published
    """Kafka did not confirm the event in time; it may be published all the same.

    Publish the same event again: its id is the same, so a consumer that sees both takes one.
    """


class EventPublisher:
    """Publishes events durably: acknowledged by all replicas in sync, once per call, in order per key.

    Args:
        bootstrap_servers: `host:port`, several joined by commas.
        source: the publishing service, the CloudEvents `source`.
        enable_idempotence: leave it on; off only for a demo broker that cannot do it, where a retry within
            the producer may then be written twice (with the same id).
        timeout: seconds to wait for Kafka's acknowledgement, and for the first connection.
        now: the clock for `ce_time`.
        kafka_options: passed to aiokafka as they are, e.g. `security_protocol` and `ssl_context`.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        source: str,
        enable_idempotence: bool = True,
        timeout: float = 30.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        **kafka_options: Any,
    ) -> None:
        if not source.strip():
            raise ValueError("source: name the publishing service, e.g. 'billing'")
        self._options = {
            "bootstrap_servers": bootstrap_servers,
            "client_id": source,
            "enable_idempotence": enable_idempotence,
            "max_request_size": _REQUEST_BYTES,
        } | kafka_options
        self._source = source
        self._timeout = timeout
        self._now = now
        self._producer: AIOKafkaProducer | None = None
        self._open = False
        self._starting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            PublishUnconfirmed: Kafka cannot be reached within the timeout.
        """
        self._open = True
        await self._started()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = False
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)

    async def publish(
        self,
        event: Event,
        *,
        id: str | None = None,  # noqa: A002 - CloudEvents' word
        time: datetime | None = None,
        traceparent: str | None = None,
    ) -> Record:
        """Publish one event and return once Kafka has it for good.

        Args:
            event: the event.
            id: the CloudEvents id; by default derived from type, account, subject and version, so that
                publishing the same version twice is read once. Raise the version with every change.
            time: when it happened; by default now.
            traceparent: W3C trace context, if there is one.

        Returns:
            The record as published.

        Raises:
            NotEncodable: the event breaks the contract; nothing was sent.
            PublishUnconfirmed: see there; call again with the same event.
            RuntimeError: outside `async with`.
        """
        record = encode(
            event,
            id=stable_id(event) if id is None else id,
            source=self._source,
            time=time or self._now(),
            traceparent=traceparent,
        )
        await self.send(record)
        return record

    async def send(self, record: Record) -> None:
        """Publish a record made elsewhere (an outbox's, or a dead letter) and return once Kafka has it for good.

        Raises:
            PublishUnconfirmed: see there; send the same record again.
            RuntimeError: outside `async with`.
        """
        producer = await self._started()
        try:
            # An idempotent batch never expires by itself, so the wait must.
            async with asyncio.timeout(self._timeout):
                await producer.send_and_wait(
                    record.topic, record.value, key=record.key, headers=list(record.headers)
                )
        except (KafkaError, TimeoutError) as error:
            # A producer that lost its sequence, or sits on an endless batch, stays so: take a fresh one.
            if self._producer is producer:
                self._producer = None
            await _abandon(producer)
            raise PublishUnconfirmed(
                f"{_named(record)}: Kafka did not confirm it ({str(error) or 'timed out'}); publish the same event again"
            ) from error

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if not self._open:
                raise RuntimeError("EventPublisher is closed: publish inside `async with`")
            if self._producer is not None:
                return self._producer
            producer = AIOKafkaProducer(acks="all", **self._options)
            try:
                async with asyncio.timeout(self._timeout):
                    await producer.start()
            except BaseException as error:
                await _abandon(producer)
                if isinstance(error, KafkaError | TimeoutError):
                    raise PublishUnconfirmed(
                        f"Kafka at {self._options['bootstrap_servers']} cannot be reached ({str(error) or 'timed out'}); nothing was sent"
                    ) from error
                raise
            self._producer = producer
            return producer


def _named(record: Record) -> str:
    kind = (dict(record.headers).get("ce_type") or record.topic.encode()).decode(errors="replace")
    return f"{kind} for {(record.key or b'').decode(errors='replace')}"


async def _stop(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await producer.stop()
    except (KafkaError, TimeoutError):
        # Whoever waits for a record has already been told that it is unconfirmed.
        _log.warning("Kafka producer did not stop cleanly", exc_info=True)
        await _abandon(producer)


async def _abandon(producer: AIOKafkaProducer) -> None:
    """Stop without delivering what is left: late, it would overtake what a fresh producer has sent since.

    aiokafka's own `stop()` waits for every batch, and an idempotent batch never gives up. So: tell the
    sender to end, cut the connections its requests wait on, and only then fail the batches; failed earlier,
    a request that comes back would trip over them.
    """
    sender = producer._sender and producer._sender.sender_task  # noqa: SLF001 - no public way to give up
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            if sender is not None:
                sender.cancel()
            await producer.client.close()
            while sender is not None and not sender.done():
                # Requests that came back broken wait for news of the brokers, which a closed client
                # never hears; without this answer they and the sender would wait for ever.
                news = producer.client._md_update_fut  # noqa: SLF001 - as above
                if news is not None and not news.done():
                    news.set_result(False)
                await asyncio.wait([sender], timeout=_POLL_SECONDS)
            producer._message_accumulator.fail_all(KafkaError("abandoned"))  # noqa: SLF001 - as above
            await producer.stop()
    except (KafkaError, TimeoutError):
        _log.warning("Kafka producer did not stop after being abandoned", exc_info=True)


__all__ = ["EventPublisher", "NotEncodable", "PublishUnconfirmed"]
