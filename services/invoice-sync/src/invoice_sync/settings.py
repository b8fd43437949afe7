"""Settings of invoice-sync, read from environment variables of the same names."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline_messaging import inbox
from pipeline_service_defaults.settings import PostgresDsn, ReadableFile, ServiceSettings


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("not a web address")
    return value.rstrip("/")


WebAddress = Annotated[str, AfterValidator(_web_address)]
_XERO_WEB_URL = Field(
    "https://go.xero.com", description="web address of Xero, for links that open an invoice there"
)


class UpkeepSettings(BaseSettings):
    """What the commands for operators need: less than the service."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, str_strip_whitespace=True
    )

    database_url: PostgresDsn = Field(
        description="PostgreSQL address such as postgresql://user:password@host:5432/database"
    )
    xero_web_url: WebAddress = _XERO_WEB_URL


class InvoiceSyncSettings(ServiceSettings):
    """What invoice-sync needs to know beyond what every service does."""

    service_key_file: ReadableFile = Field(
        description="path of this service's Ed25519 private key (PEM), with which it calls the connector"
    )
    connector_url: WebAddress = Field(
        description="web address of the connector, such as http://localhost:8001"
    )
    pipeline_web_url: WebAddress = Field(
        "https://app.pipeline.example",
        description="web address of Pipeline; invoices in Xero link back to it, and are recognised by that link",
    )
    xero_web_url: WebAddress = _XERO_WEB_URL
    default_account_code: str = Field(
        "200",
        min_length=1,
        max_length=10,
        description="revenue account of lines that name none, such as 200",
    )
    consumer_group: str = Field(
        "invoice-sync",
        min_length=1,
        max_length=200,
        description="prefix of this service's Kafka consumer groups, one for each topic",
    )
    worker_concurrency: int = Field(
        8, ge=1, le=100, description="accounts worked on at the same time by one replica, 1 to 100"
    )
    worker_lease_seconds: float = Field(
        30.0,
        ge=1,
        le=600,
        description="seconds after which another replica takes over a dead one's account",
    )
    worker_poll_seconds: float = Field(
        0.5,
        ge=0.05,
        le=60,
        description="seconds between looks for due accounts when nothing wakes the worker",
    )
    batch_size: int = Field(50, ge=1, le=50, description="invoices per call to Xero, 1 to 50")
    reconcile_interval_seconds: int = Field(
        86_400,
        ge=60,
        le=2_592_000,
        description="seconds between two comparisons of an account's whole books with Xero's, 60 to 2592000",
    )
    retention_days: int = Field(
        180,
        ge=inbox.KEEP.days,
        le=3650,
        description="days for which accepted events are remembered, as long as dead letters can be replayed",
    )
