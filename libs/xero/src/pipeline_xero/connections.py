"""HTTP connections for httpx that each belong to one call at a time, and outlive no call that broke them.

httpcore's own pool tells by a connection's state what may be used again and what may be forgotten. A task that is
cancelled at a bad moment (between connecting and sending, while a reply is being closed, in line behind a full pool)
leaves an entry whose state never changes any more: it stays for ever, and enough of them fill the pool (httpcore 1.0.9).
Here the call owns its connection, so nothing has to be guessed: what it does not leave idle is closed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import httpcore
import httpx

__all__ = ["OwnedConnections"]

KEEPALIVE_SECONDS: Final = 5.0
"""As httpx by default: well below what servers wait before they close, possibly in the middle of our next request."""

_HTTPX_OF: Final = {
    getattr(httpcore, kind.__name__): kind
    for kind in (
        httpx.ConnectError, httpx.ReadError, httpx.WriteError,
        httpx.ConnectTimeout, httpx.ReadTimeout, httpx.WriteTimeout,
        httpx.LocalProtocolError, httpx.RemoteProtocolError, httpx.UnsupportedProtocol,
    )
}  # fmt: skip
_HTTPCORES: Final = tuple(_HTTPX_OF)

_Key = tuple[bytes, bytes, int | None]


class OwnedConnections(httpx.AsyncBaseTransport):
    """A transport without proxies or HTTP/2.

    Args:
        most: Calls at once; one more waits for the request's pool timeout, and raises PoolTimeout then.
        tls: Which certificates to believe; as httpx by default.
        backend: The network; another one for tests.
    """

    def __init__(
        self,
        *,
        most: int,
        tls: ssl.SSLContext | None = None,
        backend: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._room = asyncio.Semaphore(most)
        self._backend = backend or httpcore.AnyIOBackend()
        self._tls = tls or httpx.create_ssl_context()
        self._idle: dict[_Key, deque[httpcore.AsyncHTTPConnection]] = defaultdict(deque)
        self._closing: set[asyncio.Task[None]] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; its connection is free again when the response is closed. Raises httpx.TransportError."""
        await self._wait_for_room(request)
        url = request.url
        key = (url.raw_scheme, url.raw_host, url.port)
        target = httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        )
        connection = self._idle_one(key) or self._new(target.origin)
        try:
            with _httpx_errors():
                answer = await connection.handle_async_request(
                    httpcore.Request(
                        request.method,
                        target,
                        headers=request.headers.raw,
                        content=request.stream,
                        extensions=request.extensions,
                    )
                )
        except BaseException:
            self._take_back(key, connection)
            raise
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer, lambda: self._take_back(key, connection)),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        """Close what is idle. A call under way closes its own connection when it ends."""
        for idle in self._idle.values():
            while idle:
                self._close(idle.pop())
        if self._closing:
            await asyncio.wait(set(self._closing))

    async def _wait_for_room(self, request: httpx.Request) -> None:
        try:
            async with asyncio.timeout(request.extensions.get("timeout", {}).get("pool")):
                await self._room.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("too many calls at once", request=request) from None

    def _idle_one(self, key: _Key) -> httpcore.AsyncHTTPConnection | None:
        """The connection used last; the others may grow old and go."""
        idle = self._idle[key]
        while idle:
            connection = idle.pop()
            if not connection.has_expired():
                return connection
            self._close(connection)
        return None

    def _new(self, origin: httpcore.Origin) -> httpcore.AsyncHTTPConnection:
        return httpcore.AsyncHTTPConnection(
            origin,
            ssl_context=self._tls,
            keepalive_expiry=KEEPALIVE_SECONDS,
            network_backend=self._backend,
        )

    def _take_back(self, key: _Key, connection: httpcore.AsyncHTTPConnection) -> None:
        """The call is over, however it ended. Awaits nothing, so that nothing can come between."""
        self._room.release()
        idle = self._idle[key]
        if connection.is_available():
            idle.append(connection)
        else:
            self._close(connection)
        while idle and idle[0].has_expired():
            self._close(idle.popleft())

    def _close(self, connection: httpcore.AsyncHTTPConnection) -> None:
        """Close in a task of its own: the call's may be cancelled meanwhile."""
        task = asyncio.create_task(_closed(connection))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _closed(connection: httpcore.AsyncHTTPConnection) -> None:
    with suppress(Exception):
        await connection.aclose()


class _Body(httpx.AsyncByteStream):
    """A reply's body; closing it, which httpx does once, ends the call."""

    def __init__(self, answer: httpcore.Response, take_back: Callable[[], None]) -> None:
        self._stream: Any = answer.stream
        self._take_back = take_back

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors():
            async for part in self._stream:
                yield part

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._take_back()


@contextmanager
def _httpx_errors() -> Iterator[None]:
    try:
        yield
    except _HTTPCORES as error:
        raise _HTTPX_OF[type(error)](str(error)) from error
