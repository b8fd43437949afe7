"""Settings of TLS and SASL that contradict each other, found before anything connects.

Each function gives the mistake in one sentence that names the setting, or None. Values never appear, but for the paths of
files and the names of modes.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from pipeline_service_defaults.settings import KafkaAccess

_POSTGRES_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_VERIFYING = frozenset({"verify-ca", "verify-full"})
# With an authority at hand, "require" checks it, too (PostgreSQL, "SSL Support": for backwards compatibility).
_CHECKING = _VERIFYING | {"require"}
# libpq's own variables (PostgreSQL, "Environment Variables"), which asyncpg and dbmate's driver read too.
POSTGRES_VARIABLES: Mapping[str, str] = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
}


def kafka_mistake(given: KafkaAccess) -> str | None:
    """What of Kafka's settings cannot be meant; a password that is silently not used is no protection."""
    protocol = given.kafka_security_protocol
    sasl = {
        "KAFKA_SASL_MECHANISM": given.kafka_sasl_mechanism,
        "KAFKA_SASL_USERNAME": given.kafka_sasl_username,
        "KAFKA_SASL_PASSWORD": given.kafka_sasl_password,
    }
    files = {
        "KAFKA_SSL_CA_FILE": given.kafka_ssl_ca_file,
        "KAFKA_SSL_CERT_FILE": given.kafka_ssl_cert_file,
        "KAFKA_SSL_KEY_FILE": given.kafka_ssl_key_file,
    }
    missing = [name for name, value in sasl.items() if value is None]
    if protocol.startswith("SASL_") and missing:
        return f"KAFKA_SECURITY_PROTOCOL asks for SASL: {_listed(missing)} needed too"
    idle = [name for name in sasl if name not in missing]
    if not protocol.startswith("SASL_") and idle:
        return (
            f"{idle[0]}: is set, but KAFKA_SECURITY_PROTOCOL is {protocol}, which would not use it;"
            " expected SASL_SSL there"
        )
    named = [name for name, value in files.items() if value is not None]
    if not protocol.endswith("SSL") and named:
        return (
            f"{named[0]}: is set, but KAFKA_SECURITY_PROTOCOL is {protocol}, which speaks no TLS;"
            " expected SSL or SASL_SSL there"
        )
    if (given.kafka_ssl_cert_file is None) != (given.kafka_ssl_key_file is None):
        return "KAFKA_SSL_CERT_FILE and KAFKA_SSL_KEY_FILE belong together: set both or neither"
    return _unusable_kafka_files(given)


def database_mistake(  # noqa: PLR0911 - one return per mistake
    query: str, environment: Mapping[str, str]
) -> str | None:
    """What of the TLS part of a PostgreSQL address cannot be meant.

    Args:
        query: The address's query; its parameters go before the variables.
        environment: Where `POSTGRES_VARIABLES` are looked up.
    """
    stated = parse_qs(query)
    values = {
        name: stated[name][-1] if name in stated else environment.get(variable, "")
        for name, variable in POSTGRES_VARIABLES.items()
    }
    mode = values.pop("sslmode") or "prefer"
    if mode not in _POSTGRES_MODES:
        return f"sslmode is {mode!r}, but must be one of {', '.join(_POSTGRES_MODES)}"
    if mode in _VERIFYING and not values["sslrootcert"]:
        return f"sslmode={mode} needs sslrootcert (or PGSSLROOTCERT), the path of the authority's certificate"
    if mode not in _CHECKING and values["sslrootcert"]:
        return (
            f"sslrootcert (or PGSSLROOTCERT) is set, but sslmode is {mode}, which would not use it;"
            " expected sslmode=verify-full"
        )
    for name, path in values.items():
        if path and not Path(path).is_file():
            return f"{name} names {path}: there is no such file"
    if bool(values["sslcert"]) != bool(values["sslkey"]):
        return "sslcert and sslkey belong together: set both or neither"
    if values["sslrootcert"] and not _holds_certificates(Path(values["sslrootcert"])):
        return f"sslrootcert names {values['sslrootcert']}: it holds no certificate (PEM)"
    return None


def _unusable_kafka_files(given: KafkaAccess) -> str | None:
    authority, certificate = given.kafka_ssl_ca_file, given.kafka_ssl_cert_file
    if authority is not None and not _holds_certificates(authority):
        return f"KAFKA_SSL_CA_FILE: {authority} holds no certificate (PEM)"
    if certificate is None:
        return None
    try:
        # Without an answer for the password, OpenSSL would ask for one at the terminal.
        ssl.create_default_context().load_cert_chain(
            certificate, given.kafka_ssl_key_file, password=lambda: b""
        )
    except (ssl.SSLError, OSError) as error:
        return (
            "KAFKA_SSL_CERT_FILE: not a certificate (PEM) with the unencrypted key in KAFKA_SSL_KEY_FILE"
            f" ({error.strerror or type(error).__name__})"
        )
    return None


def _holds_certificates(file: Path) -> bool:
    try:
        return bool(ssl.create_default_context(cafile=str(file)).get_ca_certs())
    except (ssl.SSLError, OSError):
        return False


def _listed(names: list[str]) -> str:
    if len(names) == 1:
        return f"{names[0]} is"
    return f"{', '.join(names[:-1])} and {names[-1]} are"
