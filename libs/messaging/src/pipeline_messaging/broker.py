"""Kafka connections with the settings that lose nothing: the one place where they are chosen."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from faststream._internal.endpoint.subscriber.utils import MultiLock
from faststream.kafka import KafkaBroker
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from pipeline_contracts import lenient_records
from pipeline_messaging.faults import told

log = structlog.get_logger(__name__)

MAX_REQUEST_BYTES = 16 * 1024 * 1024
"""Above any record a topic takes, so that the broker's limit decides and not aiokafka's 1 MB default."""

_FINISH_BATCH_SECONDS = 35.0
"""How long a stop waits for running batches: longer than a batch may take (`subscriber.STORE_SECONDS`)."""
_LEAVE_SECONDS = 5.0

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

_SASL = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """How to reach Kafka.

    `enable_idempotence` stays on for Apache Kafka. It is a setting because some stand-in brokers cannot do it; without
    it a retried send may be written twice, which consumers recognise by the event's id.
    """

    bootstrap_servers: str
    client_id: str = "pipeline"
    enable_idempotence: bool = True
    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None

    @classmethod
    def of(cls, client_id: str, options: "KafkaOptions") -> "KafkaSettings":
        """The Kafka part of a service's settings."""
        password = options.kafka_sasl_password
        return cls(
            bootstrap_servers=options.kafka_bootstrap_servers,
            client_id=client_id,
            enable_idempotence=options.kafka_enable_idempotence,
            security_protocol=options.kafka_security_protocol,
            sasl_mechanism=options.kafka_sasl_mechanism or "PLAIN",
            sasl_username=options.kafka_sasl_username,
            sasl_password=password.get_secret_value() if password else None,
            ssl_cafile=_path(options.kafka_ssl_ca_file),
            ssl_certfile=_path(options.kafka_ssl_cert_file),
            ssl_keyfile=_path(options.kafka_ssl_key_file),
        )

    def ssl_context(self) -> ssl.SSLContext | None:
        """A verifying TLS context where the protocol asks for TLS, with our own certificate where we have one."""
        if not self.security_protocol.endswith("SSL"):
            return None
        context = ssl.create_default_context(cafile=self.ssl_cafile)
        if self.ssl_certfile is not None:
            context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
        return context


def _path(file: Path | None) -> str | None:
    return None if file is None else str(file)


class Secret(Protocol):
    """A value that does not show itself, such as pydantic's SecretStr."""

    def get_secret_value(self) -> str:
        """The value."""


class KafkaOptions(Protocol):
    """What `KafkaSettings.of` reads of a service's settings; each says there what it is."""

    @property
    def kafka_bootstrap_servers(self) -> str: ...  # noqa: D102
    @property
    def kafka_enable_idempotence(self) -> bool: ...  # noqa: D102
    @property
    def kafka_security_protocol(self) -> SecurityProtocol: ...  # noqa: D102
    @property
    def kafka_sasl_mechanism(self) -> SaslMechanism | None: ...  # noqa: D102
    @property
    def kafka_sasl_username(self) -> str | None: ...  # noqa: D102
    @property
    def kafka_sasl_password(self) -> Secret | None: ...  # noqa: D102
    @property
    def kafka_ssl_ca_file(self) -> Path | None: ...  # noqa: D102
    @property
    def kafka_ssl_cert_file(self) -> Path | None: ...  # noqa: D102
    @property
    def kafka_ssl_key_file(self) -> Path | None: ...  # noqa: D102


def make_broker(kafka: KafkaSettings) -> KafkaBroker:
    """A FastStream broker that only consumes: publishing is the relay's work.

    - `allow_auto_create_topics=False`: FastStream would create a missing topic with one partition.
    - `consumer_only`: no producer inside; FastStream's own would run with acks=1 and reply to `reply_to` headers.
    - `apply_types=False`: its per-message injection costs about ten times our decoding.
    - `lenient_records`: a header name that is not UTF-8 would stop its partition for good.
    - Its line per message goes to DEBUG; what happened is logged by the subscriber.
    """
    lenient_records.install()
    return KafkaBroker(
        [server.strip() for server in kafka.bootstrap_servers.split(",")],
        client_id=kafka.client_id,
        allow_auto_create_topics=False,
        consumer_only=True,
        apply_types=False,
        graceful_timeout=_FINISH_BATCH_SECONDS,
        request_timeout_ms=20_000,
        security=_security(kafka),
        logger=logging.getLogger("pipeline_messaging.faststream"),
        log_level=logging.DEBUG,
    )


def make_producer(kafka: KafkaSettings, **overrides: Any) -> AIOKafkaProducer:
    """A producer that reports success only for what all in-sync replicas have (aiokafka's default is acks=1).

    Must be called inside a running event loop; the caller starts and stops it.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in kafka.bootstrap_servers.split(",")],
        "client_id": kafka.client_id,
        "acks": "all",
        "enable_idempotence": kafka.enable_idempotence,
        "request_timeout_ms": 10_000,
        "max_request_size": MAX_REQUEST_BYTES,
        "max_batch_size": 256 * 1024,
        "security_protocol": kafka.security_protocol,
        "ssl_context": kafka.ssl_context(),
        "sasl_mechanism": kafka.sasl_mechanism,
        "sasl_plain_username": kafka.sasl_username,
        "sasl_plain_password": kafka.sasl_password,
    }
    return AIOKafkaProducer(**(options | overrides))


@asynccontextmanager
async def consuming(
    broker: KafkaBroker,
    *,
    retry_seconds: float = 2.0,
    why: Callable[[], Awaitable[str | None]] | None = None,
) -> AsyncIterator[None]:
    """Start the broker's subscribers in the background, and stop them gracefully at the end.

    Kafka being away must not keep a service from starting: its HTTP side may have to accept what must not be lost.
    At the end intake stops first, the running batches finish and commit, then the consumers leave their groups.
    `why` is asked for a sentence when they cannot start, such as `unreachable.why_unreachable`.
    """
    starter = asyncio.create_task(_start(broker, retry_seconds, why), name="kafka-start")
    try:
        yield
    finally:
        starter.cancel()
        with suppress(asyncio.CancelledError):
            await starter
        await _stop(broker)


async def _stop(broker: KafkaBroker) -> None:
    """Stop intake, let running batches finish, then leave the groups, but do not insist on that.

    aiokafka closes a consumer only after a join in progress, which the group may hold up for its rebalance timeout,
    for example while it waits for a member that was killed. By then nothing is left to lose.
    """
    for subscriber in broker.subscribers:
        subscriber.running = False
    locks = [s.lock for s in broker.subscribers if isinstance(s.lock, MultiLock)]
    await asyncio.gather(*(lock.wait_release(_FINISH_BATCH_SECONDS) for lock in locks))
    try:
        async with asyncio.timeout(_LEAVE_SECONDS):
            await broker.stop()
    except TimeoutError:
        log.warning("consumer_group_not_left")


async def _start(
    broker: KafkaBroker, retry_seconds: float, why: Callable[[], Awaitable[str | None]] | None
) -> None:
    while True:
        try:
            await broker.start()
        except Exception as error:  # noqa: BLE001 - without this task nothing would ever be consumed
            reason = await why() if why is not None else None
            log.warning("kafka_unreachable", retry_in=retry_seconds, why=reason, **told(error))
            for subscriber in broker.subscribers:
                with suppress(KafkaError, OSError):  # a half-started one may fail to stop, too
                    await subscriber.stop()
            await asyncio.sleep(retry_seconds)
        else:
            return


def _security(kafka: KafkaSettings) -> BaseSecurity | None:
    use_ssl = kafka.security_protocol.endswith("SSL")
    if kafka.security_protocol.startswith("SASL"):
        return _SASL[kafka.sasl_mechanism](
            username=kafka.sasl_username or "",
            password=kafka.sasl_password or "",
            use_ssl=use_ssl,
            ssl_context=kafka.ssl_context(),
        )
    return BaseSecurity(use_ssl=True, ssl_context=kafka.ssl_context()) if use_ssl else None
