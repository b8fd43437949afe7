"""Settings every service has, read once at start-up from environment variables of the same name.

A wrong or missing setting stops the program with one line per setting: its name, what was given (never a
secret's value) and what is expected.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self, TextIO, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from pipeline_service_defaults.transport_security import database_mistake, kafka_mistake

_SECRET_NAME = re.compile(r"secret|password|token|database_url|credential|private", re.IGNORECASE)
_USER_INFO = re.compile(r"//[^/@\s]*@")
_FIELD_OF_SETTINGS_ERROR = re.compile(r'field "(\w+)"')
_LONGEST_SHOWN = 80
EXIT_BAD_SETTINGS = 2


def _postgres_dsn(value: SecretStr) -> SecretStr:
    # The text of this error is shown; it must not quote the value, as the parser's own errors do.
    complaint = "not a PostgreSQL address with a database name"
    try:
        parts = urlsplit(value.get_secret_value())
        # Read for its check only: a slash in a password makes a part of the password the port.
        _ = parts.port
    except ValueError:
        raise ValueError(complaint) from None
    if parts.scheme not in {"postgres", "postgresql"} or len(parts.path) < 2:  # noqa: PLR2004 - "/x"
        raise ValueError(complaint)
    if mistake := database_mistake(parts.query, os.environ):
        raise ValueError(mistake)
    return value


def _bootstrap_servers(value: str) -> str:
    for server in value.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:  # noqa: PLR2004 - TCP ports
            raise ValueError("every broker is written host:port")
    return ",".join(server.strip() for server in value.split(","))


def _http_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("not an address that begins with http:// or https://")
    return value


def _readable_file(value: Path) -> Path:
    if not value.is_file():
        raise ValueError("there is no such file")
    return value


PostgresDsn = Annotated[SecretStr, AfterValidator(_postgres_dsn)]
ReadableFile = Annotated[Path, AfterValidator(_readable_file)]


class KafkaAccess(BaseSettings):
    """Where Kafka is, and how it is entered."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, str_strip_whitespace=True
    )

    kafka_bootstrap_servers: Annotated[str, AfterValidator(_bootstrap_servers)] = Field(
        description="comma-separated host:port of Kafka brokers"
    )
    kafka_enable_idempotence: bool = Field(
        True, description="true, or false for a broker without idempotent producers"
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
    )
    kafka_sasl_username: str | None = Field(None, description="the Kafka principal's name")
    kafka_sasl_password: SecretStr | None = Field(
        None, description="the Kafka principal's password"
    )
    kafka_ssl_ca_file: ReadableFile | None = Field(
        None, description="path of the CA certificate that signed the brokers' certificates"
    )
    kafka_ssl_cert_file: ReadableFile | None = Field(
        None, description="path of this client's own certificate (PEM), where brokers ask for one"
    )
    kafka_ssl_key_file: ReadableFile | None = Field(
        None, description="path of the private key (PEM) of KAFKA_SSL_CERT_FILE"
    )

    @model_validator(mode="after")
    def _kafka_is_entered_as_meant(self) -> Self:
        if mistake := kafka_mistake(self):
            raise ValueError(mistake)
        return self


class StorageSettings(KafkaAccess):
    """Where the database and Kafka are, and how they are entered; all that some commands for operators need."""

    database_url: PostgresDsn = Field(
        description="PostgreSQL address such as postgresql://user:password@host:5432/database"
    )
    database_pool_size: int = Field(10, ge=1, le=200, description="connections, 1 to 200")


class ServiceSettings(StorageSettings):
    """What every service needs to know. Services add their own fields; a field's description says what is expected."""

    http_host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    http_port: int = Field(ge=0, le=65535, description="TCP port to listen on, 0 for any free one")
    auth_issuers_file: ReadableFile = Field(
        description='path of a JSON file {"<issuer>": {"kind": "person" or "service", "keys": [public JWK]}}'
    )
    service_key_file: ReadableFile | None = Field(
        None, description="path of this service's Ed25519 private key (PEM)"
    )
    auth_max_service_token_seconds: int = Field(
        600, ge=1, le=3600, description="longest life of a service token, 1 to 3600 seconds"
    )
    shutdown_seconds: int = Field(
        20, ge=1, le=600, description="seconds requests in flight may take after SIGTERM, 1 to 600"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="DEBUG, INFO, WARNING or ERROR"
    )
    otel_exporter_otlp_endpoint: Annotated[str, AfterValidator(_http_address)] | None = Field(
        None, description="where traces go by OTLP over HTTP, such as http://collector:4318"
    )


SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load(settings_class: type[SettingsT], *, stream: TextIO | None = None) -> SettingsT:
    """Read settings from the environment, or stop the program with exit status 2 and a line per mistake.

    Args:
        settings_class: The service's settings.
        stream: Where the lines go; standard error by default.

    Raises:
        SystemExit: With status 2, when a setting is wrong or missing.
    """
    try:
        return settings_class()
    except ValidationError as error:
        lines = [_explain(settings_class.model_fields, item) for item in error.errors()]
        _stop(lines, stream)
    except SettingsError as error:
        # Raised for a list or object given as something that is not JSON; its cause holds the raw value.
        found = _FIELD_OF_SETTINGS_ERROR.search(str(error))
        name = found[1] if found else "?"
        lines = [
            f"{name.upper()}: cannot be read; expected {_expected(settings_class.model_fields, name)}"
        ]
        _stop(lines, stream)


def _stop(lines: list[str], stream: TextIO | None) -> NoReturn:
    out = stream or sys.stderr
    out.write("Cannot start, these settings are wrong:\n")
    out.writelines(f"  {line}\n" for line in lines)
    out.flush()
    raise SystemExit(EXIT_BAD_SETTINGS) from None


def _explain(fields: Mapping[str, FieldInfo], error: Any) -> str:
    location = error["loc"]
    reason = str(error["msg"]).removeprefix("Value error, ")
    if not location:
        return reason
    name = str(location[0])
    if error["type"] == "missing":
        given = "not set"
    else:
        given = f"{_given(fields, name, error['input'])} ({reason})"
    return f"{name.upper()}: {given}; expected {_expected(fields, name)}"


def _expected(fields: Mapping[str, FieldInfo], name: str) -> str:
    field = fields.get(name)
    return (field.description if field else None) or "another value"


def _given(fields: Mapping[str, FieldInfo], name: str, value: Any) -> str:
    if is_secret(name, fields.get(name)):
        return "given, not shown"
    if not isinstance(value, str | int | float | bool | Path):
        return "given"
    shown = _USER_INFO.sub("//***@", str(value))
    return repr(shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…")


def is_secret(name: str, field: FieldInfo | None) -> bool:
    """Whether a setting's value must never be shown, by its type or its name."""
    return bool(_SECRET_NAME.search(name)) or (
        field is not None and _holds_secret(field.annotation)
    )


def _holds_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_holds_secret(inner) for inner in get_args(annotation))
