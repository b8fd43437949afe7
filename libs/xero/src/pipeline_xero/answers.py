"""From an HTTP answer (or its absence) to a ``Reply`` or one leaf of the error tree. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from pipeline_xero.errors import (
    PROBLEM_UNKNOWN,
    NotAllowed,
    NotConnected,
    NotFound,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    RequestRejected,
    TenantChanged,
    UnexpectedAnswer,
    XeroError,
    XeroUnavailable,
)
from pipeline_xero.json_forms import loads
from pipeline_xero.outcomes import rejected_elements

GATEWAY_ERROR = "X-Gateway-Error"
_LONGEST_WAIT = timedelta(days=2)
_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,9})?")
_TEXT_LIMIT = 300


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful answer of Xero, as it came through the gateway."""

    status: int
    headers: httpx.Headers
    body: bytes

    def json(self) -> Any:
        """The body with exact numbers; an empty object for an answer without body (204, 304).

        Raises:
            UnexpectedAnswer: The body is not JSON.
        """
        return loads(self.body) if self.body.strip() else {}

    @property
    def date(self) -> datetime | None:
        """When Xero answered by its own clock; what a watermark should be taken from."""
        return parse_http_date(self.headers.get("Date"))

    @property
    def calls_left(self) -> int | None:
        """Calls the tenant has left in this minute (X-MinLimit-Remaining), or None when Xero did not say."""
        stated = self.headers.get("X-MinLimit-Remaining", "")
        return int(stated) if stated.isdecimal() else None

    @property
    def correlation_id(self) -> str | None:
        """Xero's name for this call, for a support request."""
        found: str | None = self.headers.get("Xero-Correlation-Id")
        return found


def parse_http_date(value: str | None) -> datetime | None:
    """Read an HTTP date; None when absent or unreadable."""
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Read Retry-After in seconds or as a date (measured from the answer's own Date); None if unusable.

    Xero documents it for the minute and day limits only; day limits reach many hours.
    """
    value = (headers.get("Retry-After") or "").strip()
    if _SECONDS.fullmatch(value):
        return min(timedelta(seconds=float(value)), _LONGEST_WAIT)
    until, answered = parse_http_date(value), parse_http_date(headers.get("Date"))
    if until is None or answered is None:
        return None
    return min(max(until - answered, timedelta()), _LONGEST_WAIT)


def classify_answer(
    status: int, headers: httpx.Headers, body: bytes, *, is_write: bool, target: str
) -> Reply | XeroError:
    """Decide what an answer means.

    Args:
        status: HTTP status.
        headers: Answer headers; ``X-Gateway-Error`` tells the gateway's own answers from Xero's.
        body: Answer body.
        is_write: Whether the request could change something in Xero.
        target: Method and path, for messages; never holds a query.

    Returns:
        The reply, or the error to raise.
    """
    if 200 <= status < 300 or (status == 304 and not is_write):  # noqa: PLR2004 - HTTP's own figures
        return Reply(status, headers, body)
    problem = _problem(body)
    if is_gateway_answer(headers):
        return _gateway_error(status, headers, problem, is_write=is_write, target=target)
    return _xero_error(status, headers, problem, body, is_write=is_write, target=target)


def is_gateway_answer(headers: Mapping[str, str]) -> bool:
    """Whether the gateway made this answer itself (Xero never sends problem documents)."""
    content_type = headers.get("Content-Type") or ""
    return GATEWAY_ERROR in headers or content_type.startswith("application/problem+json")


def _gateway_error(  # noqa: PLR0911 - one return per leaf of the tree
    status: int, headers: httpx.Headers, problem: Mapping[str, Any], *, is_write: bool, target: str
) -> XeroError:
    code = headers.get(GATEWAY_ERROR) or _word(problem, "code") or str(status)
    detail = _word(problem, "detail") or _word(problem, "title") or code
    match status, code:
        case _, "NOT_CONNECTED":
            return NotConnected(
                _word(problem, "status_name") or "UNKNOWN",
                _word(problem, "reason") or PROBLEM_UNKNOWN,
                _word(problem, "message") or detail,
                _word(problem, "hint") or "Connect to Xero again.",
            )
        case _, "TENANT_CHANGED":
            return TenantChanged(detail)
        case 429, _:
            return _rate_limited(headers)
        case 401 | 403 | 405, _:
            return NotAllowed(f"{target}: {detail}")
        case 404, _:
            return NotFound(f"{target}: {detail}", by_gateway=True)
        case 400 | 411 | 412 | 413 | 414 | 415 | 422 | 431, _:
            return RequestRejected(status, None, detail)
    if _word(problem, "outcome") == "not_sent":
        return NotSent(f"{target}: {detail}", retry_after(headers))
    return _no_clear_answer(f"{target}: the gateway answered {status} {code}", is_write=is_write)


def _xero_error(  # noqa: PLR0911 - one return per leaf of the tree
    status: int,
    headers: httpx.Headers,
    problem: Mapping[str, Any],
    body: bytes,
    *,
    is_write: bool,
    target: str,
) -> XeroError:
    message = _word(problem, "message") or _word(problem, "detail") or _plain_text(headers, body)
    match status:
        case 401 | 403:
            return _refused_token(status, headers, problem)
        case 404:
            return NotFound(f"{target}: {message or 'not found'}")
        case 429:
            return _rate_limited(headers)
        case 501 | 405:
            return NotAllowed(f"{target}: Xero does not offer this method")
        case _ if 400 <= status < 500:  # noqa: PLR2004 - HTTP's own figures
            return _rejected(status, problem, message or f"Xero answered {status}")
        case _ if status < 400:  # noqa: PLR2004 - HTTP's own figures
            # A redirect is never followed: it would carry our token and the write somewhere else.
            return UnexpectedAnswer(f"{target}: unexpected status {status}")
    return _no_clear_answer(f"{target}: {status} {message}".rstrip(), is_write=is_write)


def _no_clear_answer(text: str, *, is_write: bool) -> XeroError:
    return OutcomeUnknown(text) if is_write else XeroUnavailable(text)


def _rate_limited(headers: httpx.Headers) -> RateLimited:
    problem = (headers.get("X-Rate-Limit-Problem") or PROBLEM_UNKNOWN).strip().lower()
    return RateLimited(retry_after(headers), problem)


def _refused_token(status: int, headers: httpx.Headers, problem: Mapping[str, Any]) -> NotConnected:
    """Xero's own 401/403, after the gateway has already refreshed once: this connection is no use."""
    detail = _word(problem, "detail") or ""
    challenge = headers.get("WWW-Authenticate") or ""
    if "insufficient_scope" in challenge or "insufficient_scope" in detail.lower():
        return NotConnected(
            "DISCONNECTED",
            "insufficient_scope",
            "Xero did not grant a permission this needs.",
            "Connect to Xero again and grant all requested permissions.",
        )
    reason = detail.split(":", 1)[0].strip() or f"HTTP {status}"
    if status == 401:  # noqa: PLR2004 - HTTP's own figure
        return NotConnected(
            "TOKEN_EXPIRED",
            reason,
            "Xero no longer accepts the saved sign-in.",
            "Click Refresh Token; if that fails, disconnect and connect to Xero again.",
        )
    return NotConnected(
        "DISCONNECTED",
        reason,
        "Xero refuses access to this organisation.",
        "Connect to Xero again, signed in as a user of that organisation.",
    )


def _rejected(status: int, problem: Mapping[str, Any], message: str) -> RequestRejected:
    try:
        found = rejected_elements(_original(problem))
    except UnexpectedAnswer:
        # The refusal stands whatever its details look like.
        found = ()
    error_number = problem.get("errornumber")
    is_number = isinstance(error_number, int) and not isinstance(error_number, bool)
    return RequestRejected(status, error_number if is_number else None, message, found)


def _problem(body: bytes) -> Mapping[str, Any]:
    """The body as an object with lower-case keys; empty when it is anything else.

    Recorded 401 answers differ in the case of their keys.
    """
    try:
        decoded = loads(body)
    except UnexpectedAnswer:
        return {}
    return {key.lower(): item for key, item in decoded.items()} if isinstance(decoded, dict) else {}


def _original(problem: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"Elements": problem.get("elements")}


def _word(problem: Mapping[str, Any], key: str) -> str | None:
    value = problem.get(key)
    return value[:_TEXT_LIMIT] if isinstance(value, str) and value else None


def _plain_text(headers: httpx.Headers, body: bytes) -> str:
    """A short plain-text body, such as the maintenance notice of a 503; "" for markup or binary."""
    content_type = headers.get("Content-Type") or ""
    if "json" in content_type or len(body) > 10 * _TEXT_LIMIT:
        return ""
    words = " ".join(body.decode("utf-8", "replace").split())
    return words[:_TEXT_LIMIT] if words.isprintable() and not words.startswith(("<", "{")) else ""


# Raised before the first byte of the request left this process.
_BEFORE_SENDING = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
)


def classify_failure(error: Exception, *, is_write: bool, target: str) -> XeroError:
    """Decide what the absence of an answer means.

    Args:
        error: What httpx raised, or a TimeoutError.
        is_write: Whether the request could change something in Xero.
        target: Method and path, for messages.

    Returns:
        ``NotSent`` when no byte can have left; otherwise ``OutcomeUnknown`` for a write (a reset or timeout
        does not tell whether the gateway had passed it on), ``XeroUnavailable`` for a read.
    """
    text = f"{target}: {type(error).__name__} {error}".rstrip()
    if isinstance(error, _BEFORE_SENDING):
        return NotSent(text)
    return _no_clear_answer(text, is_write=is_write)
