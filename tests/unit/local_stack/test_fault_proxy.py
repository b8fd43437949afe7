"""What a troubled link does to the bytes on it."""

import asyncio
import contextlib
from dataclasses import dataclass, field

import pytest

from pipeline_local_stack.chaos.fault_proxy import HOST, FaultProxy, Links, Trouble

MESSAGE = b"x" * 1000
BROKEN_OFF = (ConnectionError, asyncio.IncompleteReadError)
NOT_YET_SECONDS = 0.2
"""How long nothing must come before we say that nothing comes."""


@dataclass(eq=False)
class Echo:
    """A server that answers with what it is sent, and a link to it."""

    link: FaultProxy = field(init=False)
    heard: bytes = b""
    heard_all: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader, writer):
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                self.heard += piece
                if len(self.heard) >= len(MESSAGE):
                    self.heard_all.set()
                writer.write(piece)
        writer.close()


@pytest.fixture
async def echo():
    made = Echo()
    server = await asyncio.start_server(made.answer, HOST, 0)
    made.link = FaultProxy(lambda: server.sockets[0].getsockname()[1])
    await made.link.start()
    async with server:
        yield made
        await made.link.stop()


@contextlib.asynccontextmanager
async def connected(port):
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def read(reader):
    async with asyncio.timeout(10):
        return await reader.readexactly(len(MESSAGE))


async def ask(port):
    """The answer to one message over a connection of its own."""
    async with connected(port) as (reader, writer):
        writer.write(MESSAGE)
        return await read(reader)


async def nothing_comes(reader):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(NOT_YET_SECONDS):
            await reader.read(1)


async def test_a_calm_link_carries_both_ways(echo):
    assert await ask(echo.link.port) == MESSAGE
    assert echo.link.struck == 0


async def test_a_silent_network_holds_bytes_back_and_loses_none(echo):
    async with connected(echo.link.port) as (reader, writer):
        echo.link.trouble(Trouble.BLACK_HOLE)
        writer.write(MESSAGE)
        await nothing_comes(reader)
        assert echo.heard == b""
        echo.link.trouble(Trouble.NONE)
        assert await read(reader) == MESSAGE
    assert echo.link.struck > 0


async def test_a_half_open_connection_delivers_and_never_answers(echo):
    async with connected(echo.link.port) as (reader, writer):
        echo.link.trouble(Trouble.HALF_OPEN)
        writer.write(MESSAGE)
        await asyncio.wait_for(echo.heard_all.wait(), 10)
        await nothing_comes(reader)
        echo.link.trouble(Trouble.NONE)
        with pytest.raises(BROKEN_OFF):
            await read(reader)


async def test_an_answer_is_cut_in_its_middle_after_so_many_bytes(echo):
    echo.link.trouble(Trouble.CUT, 300)
    async with connected(echo.link.port) as (reader, writer):
        writer.write(MESSAGE)
        with pytest.raises(BROKEN_OFF) as cut:
            await read(reader)
    assert len(getattr(cut.value, "partial", b"")) <= 300
    assert echo.heard == MESSAGE


async def test_a_reset_ends_what_is_open_and_lets_nothing_new_in(echo):
    async with connected(echo.link.port) as (reader, writer):
        writer.write(MESSAGE)
        await read(reader)
        echo.link.trouble(Trouble.RESET)
        with pytest.raises(BROKEN_OFF):
            await read(reader)
    with pytest.raises(BROKEN_OFF):
        await ask(echo.link.port)
    echo.link.trouble(Trouble.NONE)
    assert await ask(echo.link.port) == MESSAGE


async def test_latency_delays_every_piece(echo):
    echo.link.trouble(Trouble.LATENCY, 0.3)
    started = asyncio.get_running_loop().time()
    assert await ask(echo.link.port) == MESSAGE
    assert asyncio.get_running_loop().time() - started >= 0.6


async def test_links_run_beside_whoever_uses_them_and_end_with_the_block(echo):
    port = echo.link.upstream()
    with Links({"one": lambda: port}) as links:
        assert await ask(links.port("one")) == MESSAGE
        links.trouble("one", Trouble.RESET)
        with pytest.raises(BROKEN_OFF):
            await ask(links.port("one"))
        assert links.struck("one") > 0
        left = links.port("one")
    with pytest.raises(ConnectionError):
        await asyncio.open_connection(HOST, left)
