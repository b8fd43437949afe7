"""One HTTP exchange with Xero, bounded in time and size, with a verdict on whether the request may have arrived."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx


class ExchangeFailed(Exception):  # noqa: N818 - reads as what happened
    """No complete reply.

    ExchangeFailed
    ├── NotSent      no connection was made, so nothing arrived at Xero
    ├── TimedOut     sent, perhaps in part, and no complete reply in time: the outcome is unknown
    ├── Lost         sent, perhaps in part, and the connection broke: the outcome is unknown
    └── TooLarge     the reply exceeds what is accepted; the request itself was carried out as its status says
    """


class NotSent(ExchangeFailed):
    """Nothing arrived at Xero."""


class TimedOut(ExchangeFailed):
    """The outcome is unknown: no complete reply in time."""


class Lost(ExchangeFailed):
    """The outcome is unknown: the connection broke."""


class TooLarge(ExchangeFailed):
    """The reply is larger than accepted."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete reply; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds to connect, for the next byte, and for the whole exchange; bytes of the reply."""

    connect: float
    read: float
    total: float
    max_bytes: int


# httpx's own names for "the request never left": everything else may have arrived.
_NEVER_LEFT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.ProxyError,
)


async def exchange(
    http: httpx.AsyncClient,
    request: httpx.Request,
    bounds: Bounds,
    *,
    before_sending: Callable[[], Awaitable[None]] | None = None,
) -> Answer:
    """Send and read to the end. Redirects are not followed. Raises a leaf of ExchangeFailed.

    `before_sending` is awaited when a connection stands and nothing was sent on it yet; what it raises comes out here.
    The messages name the kind of error only: httpx quotes addresses, which may hold a code or a filter.
    """
    request.extensions["timeout"] = httpx.Timeout(
        connect=bounds.connect, read=bounds.read, write=bounds.read, pool=bounds.connect
    ).as_dict()
    if before_sending is not None:
        request.extensions["trace"] = _tracing(before_sending)
    try:
        # httpx's own timeouts start anew with every byte; this one bounds the whole.
        async with asyncio.timeout(bounds.total):
            response = await http.send(request, stream=True, follow_redirects=False)
            try:
                body = await _read(response, bounds.max_bytes)
            finally:
                await response.aclose()
    except _NEVER_LEFT as error:
        raise NotSent(type(error).__name__) from None
    except (TimeoutError, httpx.TimeoutException) as error:
        raise TimedOut(type(error).__name__) from None
    except httpx.HTTPError as error:
        raise Lost(type(error).__name__) from None
    return Answer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, body)


def _tracing(
    before_sending: Callable[[], Awaitable[None]],
) -> Callable[[str, Any], Awaitable[None]]:
    """A tracer in the form httpcore documents (its extension "trace"), which sees one moment only."""

    async def trace(event: str, _: Any) -> None:
        if event.endswith(".send_request_headers.started"):
            await before_sending()

    return trace


async def _read(response: httpx.Response, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > max_bytes:
            raise TooLarge(f"more than {max_bytes} bytes")
        parts.append(part)
    return b"".join(parts)
