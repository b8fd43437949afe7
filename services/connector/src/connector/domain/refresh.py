"""When a token pair is to be renewed, and what an answer of the token endpoint means."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from connector.domain.connection import Reason

ACCESS_LIFETIME: Final = timedelta(minutes=30)
RENEW_BEFORE: Final = timedelta(minutes=10)
"""Renewed in the background when less than this of the access token's life is left."""

JITTER: Final = timedelta(minutes=2)
GRACE: Final = timedelta(minutes=30)
"""Xero takes the replaced refresh token this much longer if the reply was lost (developer.xero.com, OAuth 2.0 FAQ)."""

UNUSED_LIFETIME: Final = timedelta(days=60)
"""A refresh token not used for this long is dead (developer.xero.com, token types)."""

CHECK_EVERY: Final = timedelta(hours=1)
CHECK_JITTER: Final = timedelta(minutes=10)
CHECK_RETRY: Final = timedelta(minutes=5)
"""When Xero is asked again about a user's organisations, after an answer (earlier by up to the jitter) and without one."""

RENEWED_WITHIN: Final = CHECK_EVERY + 3 * CHECK_RETRY
"""A grant that serves a connection is renewed this often as long as somebody can open it: each look needs a new token."""

SOONEST_RETRY: Final = timedelta(seconds=5)
LATEST_RETRY: Final = timedelta(minutes=2)
"""Inside the grace window many times over, so that a rotation whose reply was lost is repaired."""


@dataclass(frozen=True, slots=True, repr=False)
class Pair:
    """A token pair as received; `lifetime` is the access token's."""

    access_token: str
    refresh_token: str
    lifetime: timedelta
    scopes: str
    id_token: str | None = None


@dataclass(frozen=True, slots=True)
class GrantRefused:
    """`invalid_grant`: this refresh token (or code) is not accepted."""


@dataclass(frozen=True, slots=True)
class ClientRefused:
    """The app itself is not accepted; says nothing about the grant."""

    error: str


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Unreachable, too slow, 5xx, or nonsense: it may or may not have happened."""

    problem: str


@dataclass(frozen=True, slots=True, repr=False)
class Unrenewable:
    """An access token and no refresh token: `offline_access` was not granted."""

    access_token: str
    scopes: str


RefreshAnswer = Pair | GrantRefused | ClientRefused | NoAnswer
TokenAnswer = RefreshAnswer | Unrenewable

_CLIENT_ERRORS: Final = frozenset(
    {"invalid_client", "unauthorized_client", "unsupported_grant_type"}
)


def read_answer(status: int, body: Any) -> TokenAnswer:
    """What a reply of the token endpoint means; `body` is the decoded JSON or None.

    Only a definite `invalid_grant` says that a grant is dead (RFC 6749 §5.2). Anything not understood counts as no
    answer, because a connection must never be given up over an outage or a proxy's error page.
    """
    if status == 200 and isinstance(body, dict):  # noqa: PLR2004 - an HTTP status says more as a number
        return read_pair(body)
    error = body.get("error") if isinstance(body, dict) else None
    if status in {400, 401} and error == "invalid_grant":
        return GrantRefused()
    if status in {400, 401} and error in _CLIENT_ERRORS:
        return ClientRefused(str(error))
    return NoAnswer(f"status {status}")


def read_pair(body: dict[str, Any]) -> Pair | Unrenewable | NoAnswer:
    """The token pair in a 200 reply; NoAnswer when there is none to be read."""
    access, refresh = body.get("access_token"), body.get("refresh_token")
    if not isinstance(access, str) or not access:
        return NoAnswer("a reply without tokens")
    scopes = str(body.get("scope") or "")
    if refresh is None:
        return Unrenewable(access, scopes)
    if not isinstance(refresh, str) or not refresh:
        return NoAnswer("a reply without tokens")
    seconds = body.get("expires_in")
    known = isinstance(seconds, int) and not isinstance(seconds, bool) and 0 < seconds <= 86_400  # noqa: PLR2004 - a day
    lifetime = timedelta(seconds=seconds) if known and isinstance(seconds, int) else ACCESS_LIFETIME
    id_token = body.get("id_token")
    return Pair(
        access,
        refresh,
        lifetime,
        scopes,
        id_token if isinstance(id_token, str) else None,
    )


def next_renewal(access_expires_at: datetime, lifetime: timedelta, chance: float) -> datetime:
    """When the background renews a pair: ten minutes before its end, earlier by up to two (`chance` in 0..1).

    The jitter keeps accounts that connected together from refreshing together for ever.
    """
    return access_expires_at - min(RENEW_BEFORE, lifetime / 3) - JITTER * chance


def next_check(chance: float) -> timedelta:
    """How long until Xero is asked again which organisations are connected (`chance` in 0..1)."""
    return CHECK_EVERY - CHECK_JITTER * chance


def retry_delay(failures: int, chance: float) -> timedelta:
    """How long to wait after the nth failure in a row to reach the token endpoint."""
    ceiling: timedelta = min(LATEST_RETRY, SOONEST_RETRY * 2 ** min(failures, 10))
    return ceiling * (0.5 + 0.5 * chance)


def refusal_reason(refreshed_at: datetime, now: datetime) -> Reason:
    """Why Xero refuses a grant: unused for too long, or taken back."""
    return (
        Reason.EXPIRED_UNUSED if now - refreshed_at >= UNUSED_LIFETIME else Reason.REFRESH_REJECTED
    )
