"""A TCP proxy that can be made slow, silent, half-open, short-lived or refusing, while real traffic runs through it.

It knows no protocol. What TCP itself would do is kept: a silent network holds the bytes back and loses none, since
their sender repeats them; a connection that was cut never carries another byte.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

import uvloop

HOST = "127.0.0.1"
_PIECE_BYTES = 64 * 1024
_THREAD_SECONDS = 10


class Trouble(StrEnum):
    """What a link suffers from."""

    NONE = "none"
    LATENCY = "latency"
    """Every piece is late, in both directions."""
    RESET = "reset"
    """Every connection is reset, new ones too."""
    BLACK_HOLE = "black_hole"
    """Nothing comes through in either direction; it flows on afterwards."""
    HALF_OPEN = "half_open"
    """Nothing comes back; what is sent arrives. Afterwards those connections are reset."""
    CUT = "cut"
    """Every connection is reset after so many bytes of the answer, in the middle of whatever they are of."""


@dataclass(eq=False, slots=True)
class _Connection:
    """The two ends of a connection."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    bytes_left: int | None = None
    """Of the answers, until it is cut."""

    def reset(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


@dataclass(eq=False, slots=True)
class FaultProxy:
    """One link: what connects to its port reaches the port that `upstream` names by then."""

    upstream: Callable[[], int]
    port: int = 0
    struck: int = 0
    """How many pieces and connections trouble has met so far."""
    _trouble: Trouble = Trouble.NONE
    _amount: float = 0
    _open: set[_Connection] = field(default_factory=set)
    _calm: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        self._calm.set()
        self._server = await asyncio.start_server(self._handle, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more, and end every connection."""
        if self._server is not None:
            self._server.close()
        self._reset_all()

    def trouble(self, trouble: Trouble, amount: float = 0) -> None:
        """Begin, change or end what the link suffers from.

        Args:
            trouble: of which kind; `NONE` heals the link.
            amount: seconds of latency, or bytes after which a connection is cut.
        """
        was, self._trouble, self._amount = self._trouble, trouble, amount
        if trouble in (Trouble.BLACK_HOLE, Trouble.HALF_OPEN):
            self._calm.clear()
        else:
            self._calm.set()
        if trouble is Trouble.RESET or was is Trouble.HALF_OPEN:
            self._reset_all()
        for connection in self._open:
            connection.bytes_left = self._allowance()

    def _allowance(self) -> int | None:
        return int(self._amount) if self._trouble is Trouble.CUT else None

    def _reset_all(self) -> None:
        for connection in list(self._open):
            self.struck += 1
            connection.reset()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._trouble is Trouble.RESET:
            self.struck += 1
            writer.transport.abort()
            return
        try:
            their_reader, their_writer = await asyncio.open_connection(HOST, self.upstream())
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(writer, their_writer, self._allowance())
        self._open.add(connection)
        there = asyncio.create_task(self._send(reader, their_writer))
        back = asyncio.create_task(self._answer(their_reader, connection))
        try:
            # Services, brokers and databases close whole connections: the first end is the end of both directions.
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open.discard(connection)
            for task in (there, back):
                task.cancel()
            writer.close()
            their_writer.close()

    async def _send(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(_PIECE_BYTES):
                await self._delay(one_way=True)
                server.write(piece)
                await server.drain()

    async def _answer(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(_PIECE_BYTES):
                await self._delay(one_way=False)
                if connection.bytes_left is not None and connection.bytes_left < len(piece):
                    self.struck += 1
                    connection.client.write(piece[: connection.bytes_left])
                    await connection.client.drain()
                    connection.reset()
                    return
                if connection.bytes_left is not None:
                    connection.bytes_left -= len(piece)
                connection.client.write(piece)
                await connection.client.drain()

    async def _delay(self, *, one_way: bool) -> None:
        if self._trouble is Trouble.LATENCY:
            self.struck += 1
            await asyncio.sleep(self._amount)
        if self._trouble is Trouble.BLACK_HOLE or (
            self._trouble is Trouble.HALF_OPEN and not one_way
        ):
            self.struck += 1
            await self._calm.wait()


class Links:
    """The fault proxies of a stack, on a thread and an event loop of their own: whoever uses them may block."""

    def __init__(self, names: Mapping[str, Callable[[], int]]) -> None:
        """Given the links by name, each with what tells the port behind it when a connection comes."""
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
        self._proxies = {name: FaultProxy(upstream) for name, upstream in names.items()}

    def __enter__(self) -> Self:
        self._thread.start()
        for proxy in self._proxies.values():
            self._call(proxy.start())
        return self

    def __exit__(self, *_: object) -> None:
        for proxy in self._proxies.values():
            self._call(proxy.stop())
        self._call(_cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_THREAD_SECONDS)
        self._loop.close()

    def port(self, name: str) -> int:
        """The port on which a link listens."""
        return self._proxies[name].port

    def upstream(self, name: str) -> int:
        """The port behind a link."""
        return self._proxies[name].upstream()

    def struck(self, name: str) -> int:
        """How many pieces and connections of a link trouble has met so far."""
        return self._proxies[name].struck

    def trouble(self, name: str, trouble: Trouble, amount: float = 0) -> None:
        """Begin, change or end what a link suffers from: see `FaultProxy.trouble`."""

        async def change() -> None:
            self._proxies[name].trouble(trouble, amount)

        self._call(change())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_THREAD_SECONDS)


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
