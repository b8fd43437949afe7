"""Settings from the environment, and the switches for what is not established about Xero."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

DEFAULT_CLIENT_ID = "SIMULATED0CLIENT0ID0000000000000"
DEFAULT_CLIENT_SECRET = "simulated-client-secret"
DEFAULT_WEBHOOK_KEY = "simulated-webhook-key"


class SettingInvalid(ValueError):  # noqa: N818 -- says what is wrong, not that it is an error
    """A setting cannot be used; the message names it, what was given and what is expected."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How one simulator runs.

    Attributes:
        client_id: The one registered app.
        redirect_uris: Exact matches only, as in Xero: https, or http on localhost.
        webhook_url: Where events go; empty for no subscription.
        issuer: The `iss` of tokens; empty means the address the token was asked at.
        seed: Ids, faults and webhook disturbance are drawn from it.
    """

    host: str = "127.0.0.1"
    port: int = 5100
    client_id: str = DEFAULT_CLIENT_ID
    client_secret: str = field(default=DEFAULT_CLIENT_SECRET, repr=False)
    redirect_uris: tuple[str, ...] = ()
    webhook_url: str = ""
    webhook_key: str = field(default=DEFAULT_WEBHOOK_KEY, repr=False)
    issuer: str = ""
    provider: str = "Pipeline"
    seed: int = 1

    def __post_init__(self) -> None:
        for uri in self.redirect_uris:
            check_redirect_uri(uri)


def check_redirect_uri(uri: str) -> None:
    """Applies Xero's rule for redirect URIs.

    Raises:
        SettingInvalid: Neither https nor http://localhost, or with a wildcard or fragment.
    """
    parts = urlsplit(uri)
    local = parts.scheme == "http" and parts.hostname == "localhost"
    if not (local or parts.scheme == "https") or "*" in uri or parts.fragment:
        raise SettingInvalid(
            f"SIM_REDIRECT_URIS has {uri!r}: Xero takes https, or http on the name localhost "
            "(not 127.0.0.1), without wildcards"
        )


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Reads the SIM_* variables.

    Raises:
        SettingInvalid: One of them cannot be used.
    """
    get = environment.get
    return Settings(
        host=get("SIM_HOST", "127.0.0.1"),
        port=_integer(environment, "SIM_PORT", 5100),
        client_id=get("SIM_CLIENT_ID", DEFAULT_CLIENT_ID),
        client_secret=get("SIM_CLIENT_SECRET", DEFAULT_CLIENT_SECRET),
        redirect_uris=tuple(
            uri.strip() for uri in get("SIM_REDIRECT_URIS", "").split(",") if uri.strip()
        ),
        webhook_url=get("SIM_WEBHOOK_URL", ""),
        webhook_key=get("SIM_WEBHOOK_KEY", DEFAULT_WEBHOOK_KEY),
        issuer=get("SIM_ISSUER", ""),
        provider=get("SIM_PROVIDER", "Pipeline"),
        seed=_integer(environment, "SIM_SEED", 1),
    )


def _integer(environment: Mapping[str, str], name: str, default: int) -> int:
    given = environment.get(name, "")
    if not given:
        return default
    try:
        return int(given)
    except ValueError as error:
        raise SettingInvalid(f"{name} is {given!r}: a whole number is expected") from error


@dataclass(slots=True)
class Switches:
    """Behaviour that is not established about Xero; every one can be set through the admin API.

    Attributes:
        atomic_without_summarize: A multi-element write that gets 400 saves nothing.
        if_modified_since_inclusive: A change exactly at the given second is listed.
        deleted_payments_listed: Payment lists contain deleted payments.
        settlements_move_invoice: Payments and allocations, made or removed, move their invoice's UpdatedDateUTC.
        reconciled_payment_deletable: Deleting a reconciled payment is accepted.
        disconnected_status: What a call for a disconnected tenant gets, 403 or 401.
        grace_revokes_lost_pair: Retrying the previous refresh token kills the pair that was lost.
        retry_after_on_concurrent: Whether a concurrent 429 carries Retry-After.
        retry_after_on_app: Whether an app 429 carries Retry-After.
        app_limit_problem: The header text of an app 429.
        connected_by_adviser: Apps are connected by advisers, for whom the period lock date does not hold.
        lock_date_format: How lock dates are written in messages (strftime).
        whole_object_void_fails: Voiding by posting more than id and status is refused.
        allow_broad_scopes: Scopes of apps older than March 2026 are accepted.
        nested_contact_shift_hours: Shift of UpdatedDateUTC of contacts nested in write replies.
        base_latency_seconds: Real time every API call takes at least.
        max_body_bytes: Larger bodies get 413.
        connection_limit: Organisations the app's plan allows (0: any number). Xero answers on a page of its own.
    """

    atomic_without_summarize: bool = True
    if_modified_since_inclusive: bool = False
    deleted_payments_listed: bool = True
    settlements_move_invoice: bool = True
    reconciled_payment_deletable: bool = False
    disconnected_status: int = 403
    grace_revokes_lost_pair: bool = True
    retry_after_on_concurrent: bool = False
    retry_after_on_app: bool = False
    app_limit_problem: str = "appminute"
    connected_by_adviser: bool = False
    lock_date_format: str = "%d %B %Y"
    whole_object_void_fails: bool = True
    allow_broad_scopes: bool = False
    nested_contact_shift_hours: float = 0.0
    base_latency_seconds: float = 0.0
    max_body_bytes: int = 3_500_000
    connection_limit: int = 0
