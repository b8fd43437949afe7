"""Settings of ops-dashboard, each from the environment variable of the same name."""

from pydantic import Field

from pipeline_service_defaults.settings import ServiceSettings

_ADDRESS = r"^https?://[^\s/]+[^\s]*$"


class Settings(ServiceSettings):
    """What ops-dashboard needs to know beside what every service does."""

    invoice_sync_url: str = Field(
        pattern=_ADDRESS,
        description="address of invoice-sync, such as http://localhost:8002; asked with the person's own token",
    )
    payment_ingest_url: str | None = Field(
        None,
        pattern=_ADDRESS,
        description="address of payment-ingest, such as http://localhost:8003; asked with the person's own token; "
        "without it what payment-ingest set aside is taken up by a command only",
    )
    pipeline_web_url: str = Field(
        pattern=_ADDRESS,
        description="address of Pipeline's web application, where people sign in",
    )
    card_url: str | None = Field(
        None,
        pattern=_ADDRESS,
        description="address people use of the connector, such as https://xero.example.com; without it pages do not "
        "lead to the Xero card",
    )
    staff_account_id: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        description="the account of Pipeline's own staff, whose people see every account; without it nobody does",
    )
    secure: bool = Field(
        True, description="true where people use https; false for this machine only"
    )
    most_streams: int = Field(
        500, ge=1, le=10_000, description="open pages with live updates per process, 1 to 10000"
    )
    # Not less: dead letters can be sent back for 90 days.
    history_days: int = Field(
        180,
        ge=90,
        le=3650,
        description="days for which timelines, dead letters and unreadable records are kept, 90 to 3650",
    )
    # Streams never end by themselves: a stop waits for them in vain.
    shutdown_seconds: int = Field(
        5, ge=1, le=600, description="seconds requests in flight may take after SIGTERM, 1 to 600"
    )
