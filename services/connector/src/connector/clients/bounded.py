"""One HTTP exchange with Xero, bounded in time and size, with a verdict on whether the request may have arrived."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import httpx


class ExchangeFailed(Exception):  # noqa: N818 - reads as what happened
    """No complete reply.

    ExchangeFailed
    ├── NotSent           nothing arrived at Xero
    │   └── NoConnection  because Xero cannot be reached at all
    ├── TimedOut          sent, perhaps in part, and no complete reply in time: the outcome is unknown
    ├── Lost              sent, perhaps in part, and the connection broke: the outcome is unknown
    └── TooLarge          the reply exceeds what is accepted; the request itself was carried out as its status says
    """


class NotSent(ExchangeFailed):
    """Nothing arrived at Xero."""


class NoConnection(NotSent):
    """Xero cannot be reached: no connection could be made."""


class TimedOut(ExchangeFailed):
    """The outcome is unknown: no complete reply in time."""


class Lost(ExchangeFailed):
    """The outcome is unknown: the connection broke."""


class TooLarge(ExchangeFailed):
    """The reply is larger than accepted."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply; header names in lower case.

    Whole in `body`, or with a `rest` that is still on its way: that can only be read while the exchange is open, and
    raises TimedOut, Lost or TooLarge when it does not end well.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    rest: AsyncIterator[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds to connect, for the next byte, and for the whole exchange; bytes of the reply."""

    connect: float
    read: float
    total: float
    max_bytes: int


_NO_CONNECTION = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)
# httpx's own names for "the request never left": everything else may have arrived.
_NEVER_LEFT = (httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.LocalProtocolError)


async def exchange(http: httpx.AsyncClient, request: httpx.Request, bounds: Bounds) -> Answer:
    """Send, and read the reply to its end. Redirects are not followed. Raises a leaf of ExchangeFailed."""
    async with opened(http, request, bounds, whole_bytes=bounds.max_bytes) as answer:
        return answer


@asynccontextmanager
async def opened(
    http: httpx.AsyncClient,
    request: httpx.Request,
    bounds: Bounds,
    *,
    whole_bytes: int,
    before_sending: Callable[[], Awaitable[None]] | None = None,
) -> AsyncIterator[Answer]:
    """Send, and give the reply: whole if it is not a success or has up to `whole_bytes`, else with a `rest` to read.

    The bounds hold for all that is done inside, so a reader who stops reading cannot keep the connection. Leaving
    early closes it. `before_sending` is awaited when a connection stands and nothing was sent on it yet; what it raises
    comes out here. Raises a leaf of ExchangeFailed.

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
                async with aclosing(response.aiter_bytes()) as parts:  # type: ignore[type-var]  # an async generator
                    whole = whole_bytes if response.is_success else bounds.max_bytes
                    yield await _begun(response, parts, bounds.max_bytes, whole)
            finally:
                await response.aclose()
    except _NO_CONNECTION as error:
        raise NoConnection(type(error).__name__) from None
    except _NEVER_LEFT as error:
        raise NotSent(type(error).__name__) from None
    except (TimeoutError, httpx.TimeoutException) as error:
        raise TimedOut(type(error).__name__) from None
    except httpx.HTTPError as error:
        raise Lost(type(error).__name__) from None


def _tracing(
    before_sending: Callable[[], Awaitable[None]],
) -> Callable[[str, Any], Awaitable[None]]:
    """A tracer in the form httpcore documents (its extension "trace"), which sees one moment only."""

    async def trace(event: str, _: Any) -> None:
        if event.endswith(".send_request_headers.started"):
            await before_sending()

    return trace


async def _begun(
    response: httpx.Response, parts: AsyncIterator[bytes], max_bytes: int, whole_bytes: int
) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > max_bytes:
        # Said before anything was passed on: the caller gets a clean refusal instead of a broken reply.
        raise TooLarge(f"more than {max_bytes} bytes")
    counted = _Counted(parts, max_bytes)
    body = bytearray()
    async for part in counted:
        body += part
        if len(body) > whole_bytes:
            return Answer(response.status_code, headers, bytes(body), counted)
    return Answer(response.status_code, headers, bytes(body))


class _Counted:
    """The parts of a body, up to a number of bytes."""

    def __init__(self, parts: AsyncIterator[bytes], max_bytes: int) -> None:
        self._parts = parts
        self._left = max_bytes
        self._max_bytes = max_bytes

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            part = await anext(self._parts)
        except httpx.TimeoutException as error:
            raise TimedOut(type(error).__name__) from None
        except httpx.HTTPError as error:
            raise Lost(type(error).__name__) from None
        self._left -= len(part)
        if self._left < 0:
            raise TooLarge(f"more than {self._max_bytes} bytes")
        return part
