"""What the connector needs to know, from environment variables of the same name."""

from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

from connector.domain.authorization import CALLBACK_PATH
from connector.domain.sealing import KeyRing, parse_keys
from pipeline_service_defaults.keys import UnusableKeyError, load_private_key
from pipeline_service_defaults.settings import PostgresDsn, ReadableFile, ServiceSettings

LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def _inner_address(value: str) -> str:
    parts = urlsplit(value.rstrip("/"))
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or parts.username
        or parts.query
        or parts.fragment
    ):
        raise ValueError("not an address of the form https://host[:port][/path]")
    return value.rstrip("/")


def _origin(value: str) -> str:
    parts = urlsplit(_inner_address(value))
    if parts.scheme == "http" and parts.hostname not in LOCAL_HOSTS:
        raise ValueError("plain http is for this machine only")
    return value.rstrip("/")


def _public_origin(value: str) -> str:
    parts = urlsplit(_origin(value))
    if parts.path:
        raise ValueError("an address without a path is needed")
    if parts.scheme == "http" and parts.hostname != "localhost":
        # developer.xero.com, OAuth 2.0 FAQ: http is taken for `localhost` only, not for 127.0.0.1.
        raise ValueError("Xero accepts plain http redirects for localhost only")
    return value.rstrip("/")


Origin = Annotated[str, AfterValidator(_origin)]
InnerAddress = Annotated[str, AfterValidator(_inner_address)]
"""Of another service of ours, on the inner network, where plain http may be in use."""
PublicOrigin = Annotated[str, AfterValidator(_public_origin)]


class TokenKeys(BaseSettings):
    """The keys that seal tokens, from the environment or a file."""

    model_config = ServiceSettings.model_config

    token_keys: SecretStr | None = Field(
        None,
        description="keys that seal tokens: v2:<32 bytes in base64>,v1:<…>; the first seals, all open",
    )
    token_keys_file: ReadableFile | None = Field(
        None, description="path of a file with the same content as TOKEN_KEYS, one key a line"
    )

    @model_validator(mode="after")
    def _keys_are_usable(self) -> Self:
        if (self.token_keys is None) == (self.token_keys_file is None):
            raise ValueError("TOKEN_KEYS: exactly one of TOKEN_KEYS and TOKEN_KEYS_FILE is needed")
        try:
            self.key_ring()
        except (ValueError, OSError) as error:
            raise ValueError(f"TOKEN_KEYS: {error}") from None
        return self

    def key_ring(self) -> KeyRing:
        """The sealing keys. Raises ValueError or OSError when they cannot be read."""
        if self.token_keys is not None:
            return parse_keys(self.token_keys.get_secret_value())
        return parse_keys(Path(self.token_keys_file or "").read_text(encoding="ascii"))


class UpkeepSettings(TokenKeys):
    """What the commands for operators need: less than the service."""

    database_url: PostgresDsn = Field(
        description="PostgreSQL address such as postgresql://user:password@host:5432/database"
    )


class Settings(TokenKeys, ServiceSettings):
    """The connector's settings."""

    public_url: PublicOrigin = Field(
        description="the address people use, such as https://xero.example.com; Xero's redirect URI is derived from it"
    )
    xero_login_url: Origin = Field(
        "https://login.xero.com", description="where people sign in to Xero"
    )
    xero_identity_url: Origin = Field(
        "https://identity.xero.com", description="Xero's token endpoint and issuer of its id tokens"
    )
    xero_api_url: Origin = Field("https://api.xero.com", description="Xero's API")
    xero_client_id: str = Field(
        min_length=1, max_length=200, description="the app's client id at Xero"
    )
    xero_client_secret: SecretStr = Field(
        min_length=1, description="the app's client secret at Xero"
    )

    invoice_sync_url: InnerAddress | None = Field(
        None,
        description="address of invoice-sync, asked what a disconnect would stop; needs SERVICE_KEY_FILE",
    )

    frame_ancestors: str = Field(
        "'none'",
        pattern=r"^('none'|'self'|https://[A-Za-z0-9.*:-]+( https://[A-Za-z0-9.*:-]+)*)$",
        description="who may embed the card: 'none', 'self' or https origins separated by spaces",
    )
    xero_connection_limit: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="organisations that the app's plan at Xero allows, such as 5, 50, 1000 or 10000; unset: not checked",
    )
    xero_concurrent_limit: int = Field(
        5, ge=1, le=5, description="calls at once per organisation, 1 to 5"
    )
    xero_minute_limit: int = Field(60, ge=1, le=6000, description="calls a minute per organisation")
    xero_app_minute_limit: int = Field(
        10_000, ge=1, le=100_000, description="calls a minute of the app over all organisations"
    )
    gateway_slot_wait_seconds: float = Field(
        2.0,
        ge=0,
        le=30,
        description="how long a call waits for a free slot before 429, 0 to 30 seconds",
    )
    gateway_connect_seconds: float = Field(
        5.0, gt=0, le=30, description="connecting to Xero, up to 30 seconds"
    )
    gateway_read_seconds: float = Field(
        45.0, gt=0, le=120, description="waiting for Xero's next byte, up to 120 seconds"
    )
    gateway_total_seconds: float = Field(
        60.0, gt=0, le=180, description="a whole call to Xero, up to 180 seconds"
    )
    gateway_max_request_bytes: int = Field(
        4 * 1024 * 1024,
        ge=1024,
        le=10 * 1024 * 1024,
        description="largest request body, up to 10 MB",
    )
    gateway_max_response_bytes: int = Field(
        32 * 1024 * 1024,
        ge=1024,
        le=256 * 1024 * 1024,
        description="largest reply of Xero, up to 256 MB",
    )
    identity_seconds: float = Field(
        10.0, gt=0, le=15, description="one call to Xero's token endpoint, up to 15 seconds"
    )
    public_requests_per_minute: int = Field(
        1200,
        ge=60,
        le=1_000_000,
        description="requests a minute that one internet address may send to people's pages, per replica, 60 to 1000000",
    )
    trusted_proxies: int = Field(
        0,
        ge=0,
        le=10,
        description="proxies of yours before the connector that add to X-Forwarded-For, 0 to 10; 0 believes no header",
    )
    background_seconds: float = Field(
        5.0,
        gt=0,
        le=300,
        description="pause between looks for tokens to renew and disconnects to finish",
    )

    @model_validator(mode="after")
    def _can_sign_in_to_invoice_sync(self) -> Self:
        if self.invoice_sync_url is not None and self.service_key_file is None:
            raise ValueError("INVOICE_SYNC_URL: SERVICE_KEY_FILE is needed too")
        if self.invoice_sync_url is not None and self.service_key_file is not None:
            try:
                load_private_key(self.service_key_file.read_bytes())
            except (UnusableKeyError, OSError) as error:
                raise ValueError(f"SERVICE_KEY_FILE: {error}") from None
        return self

    @property
    def redirect_uri(self) -> str:
        """Where Xero sends people back to: a constant, whatever Host header a request carries."""
        return self.public_url + CALLBACK_PATH

    @property
    def secure(self) -> bool:
        """Whether people reach us by https, so that cookies can insist on it."""
        return self.public_url.startswith("https://")
