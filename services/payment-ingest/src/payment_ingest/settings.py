"""Settings of payment-ingest, each from the environment variable of the same name."""

from typing import Annotated, Final, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode

from pipeline_service_defaults.settings import PostgresDsn, ReadableFile, ServiceSettings

_LEFT: Final = 2
"""Connections for what is no account's work: the topics, whose links wait for a rebuild too, and everything else."""


class DatabaseSettings(BaseSettings):
    """All that a command needs which only asks something of the running service."""

    model_config = ServiceSettings.model_config

    database_url: PostgresDsn = Field(
        description="PostgreSQL address such as postgresql://user:password@host:5432/database"
    )


class WebhookKeySettings(BaseSettings):
    """The keys under which Xero signs: all that looking after them needs."""

    model_config = ServiceSettings.model_config

    xero_webhook_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        min_length=1,
        description="Xero's webhook keys, comma-separated: the one in use and, while it is replaced, the other",
    )

    @field_validator("xero_webhook_keys", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if not isinstance(value, str):
            return value
        return tuple(key.strip() for key in value.split(",") if key.strip())

    @property
    def webhook_keys(self) -> tuple[bytes, ...]:
        """The keys as Xero uses them: the text of each, not decoded."""
        return tuple(key.get_secret_value().encode() for key in self.xero_webhook_keys)


class Settings(WebhookKeySettings, ServiceSettings):
    """What payment-ingest needs to know beside what every service does."""

    connector_url: str = Field(
        pattern=r"^https?://[^\s/]+",
        description="address of the connector, such as http://localhost:8001",
    )
    service_key_file: ReadableFile = Field(
        description="path of this service's Ed25519 private key (PEM); the connector is called with it"
    )
    account_concurrency: int = Field(
        8, ge=1, le=200, description="accounts worked on at once, 1 to 200"
    )
    worker_lease_seconds: float = Field(
        30.0,
        ge=1,
        le=600,
        description="seconds after which another replica takes over a dead one's account",
    )
    sweep_interval_seconds: int = Field(
        900, ge=1, le=86_400, description="seconds between two sweeps of a tenant, 1 to 86400"
    )
    sweep_overlap_seconds: int = Field(
        600,
        ge=0,
        le=86_400,
        description="seconds each sweep reaches back behind the last, 0 to 86400",
    )
    sweep_pause_seconds: int = Field(
        60, ge=1, le=86_400, description="shortest time between two sweeps of a tenant, 1 to 86400"
    )
    deep_sweep_hour: int = Field(
        0,
        ge=0,
        le=23,
        description="hour (UTC) from which tenants are read whole each night, 0 to 23",
    )
    deep_sweep_spread_seconds: int = Field(
        21_600, ge=0, le=43_200, description="seconds over which those readings spread, 0 to 43200"
    )
    delivery_retention_days: int = Field(
        30,
        ge=2,
        le=400,
        description="whole days for which raw webhook deliveries are kept once they are read, 2 to 400",
    )

    @model_validator(mode="after")
    def _connections_are_left(self) -> Self:
        """While the ledger is rebuilt whoever writes it waits, each with a connection: some must be left for the rest."""
        if self.account_concurrency + _LEFT > self.database_pool_size:
            raise ValueError(
                f"ACCOUNT_CONCURRENCY: {self.account_concurrency} with DATABASE_POOL_SIZE {self.database_pool_size};"
                f" expected at least {_LEFT} connections more than accounts worked on at once"
            )
        return self
