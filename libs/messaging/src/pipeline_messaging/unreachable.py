"""Why Kafka cannot be entered, in a sentence that names the setting: aiokafka says only that it could not bootstrap."""

import asyncio
import ssl

import structlog
from aiokafka.conn import create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from pipeline_messaging.broker import KafkaSettings

log = structlog.get_logger(__name__)

_TRY_SECONDS = 5


async def why_unreachable(kafka: KafkaSettings) -> str | None:
    """Try the bootstrap servers one after the other, as a client enters; None when one of them lets us in."""
    sentences = []
    for server in kafka.bootstrap_servers.split(","):
        try:
            await _enter(server.strip(), kafka)
        except Exception as error:  # noqa: BLE001 - whoever asks is recovering, and must not be ended by the answer
            sentences.append(f"{server.strip()} {_reason(error, kafka)}")
        else:
            return None
    return "; ".join(sentences)


async def warn_until_reachable(kafka: KafkaSettings, *, every_seconds: float = 30.0) -> None:
    """Log why Kafka cannot be entered, until it can: for whoever only publishes, and would find out by its first event."""
    while (why := await why_unreachable(kafka)) is not None:
        log.warning("kafka_unreachable", why=why, retry_in=every_seconds)
        await asyncio.sleep(every_seconds)


async def _enter(server: str, kafka: KafkaSettings) -> None:
    host, _, port = server.rpartition(":")
    connection = await create_conn(
        host,
        int(port),
        client_id=kafka.client_id,
        request_timeout_ms=_TRY_SECONDS * 1000,
        security_protocol=kafka.security_protocol,
        ssl_context=kafka.ssl_context(),
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_plain_username=kafka.sasl_username,
        sasl_plain_password=kafka.sasl_password,
    )
    try:
        # A listener that wants SASL takes whom it does not know, and hangs up at the first question.
        await connection.send(MetadataRequest([]))
    finally:
        connection.close()


def _reason(error: Exception, kafka: KafkaSettings) -> str:  # noqa: PLR0911 - a table of reasons
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"shows a certificate that cannot be trusted ({error.verify_message}): KAFKA_SSL_CA_FILE must hold the"
                " authority that signed it, and KAFKA_BOOTSTRAP_SERVERS a name that is in it"
            )
        case ssl.SSLError():
            return (
                f"does not agree on TLS ({error.reason}): see that this port speaks TLS, and whether it asks for"
                " KAFKA_SSL_CERT_FILE and KAFKA_SSL_KEY_FILE"
            )
        case SaslAuthenticationFailed():
            return (
                f"refuses KAFKA_SASL_USERNAME {kafka.sasl_username!r} with its KAFKA_SASL_PASSWORD:"
                " see that the user exists there and the password is its own"
            )
        case UnsupportedSaslMechanismError() | IllegalSaslStateError():
            return f"does not take KAFKA_SASL_MECHANISM {kafka.sasl_mechanism} on this port"
        case ConnectionRefusedError():
            return "refuses connections: nothing listens there"
        case ValueError() | OverflowError():
            return "is no address: every broker is written host:port"
        case OSError() if error.errno is not None:
            return f"cannot be connected to ({error.strerror})"
        case _:
            return (
                f"took the connection and then said nothing or hung up: see that KAFKA_SECURITY_PROTOCOL"
                f" {kafka.security_protocol} is what this port speaks{_or_certificate(kafka)}"
            )


def _or_certificate(kafka: KafkaSettings) -> str:
    """With TLS 1.3 a broker that misses or mistrusts our certificate says so by hanging up."""
    if not kafka.security_protocol.endswith("SSL"):
        return ""
    if kafka.ssl_certfile is None:
        return ", and whether it asks for KAFKA_SSL_CERT_FILE and KAFKA_SSL_KEY_FILE"
    return ", and that it trusts the authority that signed KAFKA_SSL_CERT_FILE"
