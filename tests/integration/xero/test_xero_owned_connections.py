"""Whatever ends a call, and wherever, its connection is free again or closed: over real sockets."""

import asyncio
import random
import socket
from collections import Counter
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress

import httpx
import psutil
import pytest

from pipeline_xero.connections import OwnedConnections

MOST = 3
BRIEF = httpx.Timeout(5, pool=0.2)


class Server:
    """Answers every request of every connection with two bytes, as `answer` says."""

    def __init__(self):
        self.url = ""
        self.connections = 0
        self.under_way = set()
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

    async def serve(self, reader, writer):
        self.connections += 1
        self.under_way.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(self.answer)
                await writer.drain()
        self.under_way.discard(writer)
        writer.transport.abort()


@pytest.fixture
async def server():
    found = Server()
    listening = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield found
    listening.close()
    for writer in found.under_way:
        writer.transport.abort()
    await asyncio.sleep(0)


@pytest.fixture
def black_hole():
    """An address where nobody ever accepts: its queue is full, and further connections wait."""
    with ExitStack() as closing:
        listening = closing.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(2):
            waiting = closing.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@asynccontextmanager
async def client(most=MOST):
    async with httpx.AsyncClient(
        transport=OwnedConnections(most=most), timeout=BRIEF, trust_env=False
    ) as http:
        yield http


async def cancelled_after(call, steps):
    """Cancel a call after so many turns of the event loop; whether it had ended before."""
    task = asyncio.ensure_future(call)
    for _ in range(steps):
        await asyncio.sleep(0)
    ended = task.done()
    task.cancel()
    with suppress(asyncio.CancelledError, httpx.TransportError):
        await task
    return ended


async def all_usable(http, url):
    """As many replies open at once as there may be: each finds room, so none of it was lost."""
    async with AsyncExitStack() as opened:
        for _ in range(MOST):
            await opened.enter_async_context(http.stream("GET", url))


@pytest.mark.parametrize("expired", [False, True])
async def test_a_call_may_be_cancelled_at_every_single_step(server, monkeypatch, expired):
    if expired:
        # The connection found is closed and another one made, which has steps of its own.
        monkeypatch.setattr("pipeline_xero.connections.KEEPALIVE_SECONDS", 0.0)
    async with client() as http:
        steps, ended = 0, False
        while not ended:
            await http.get(server.url)
            ended = await cancelled_after(http.get(server.url), steps)
            steps += 1
        assert steps > 5
        await all_usable(http, server.url)


async def test_a_thousand_calls_cancelled_or_timed_out_leave_everything_usable(server, black_hole):
    before = psutil.Process().num_fds()
    chance = random.Random(7)
    async with client() as http:

        async def call(number):
            url = black_hole if number % 2 else server.url
            with suppress(TimeoutError, httpx.TransportError):
                async with asyncio.timeout(chance.uniform(0, 0.02)):
                    await http.get(url)

        for _ in range(100):
            await asyncio.gather(*(call(number) for number in range(10)))
        await all_usable(http, server.url)
    async with asyncio.timeout(5):
        # The server's side of each closes when it finds ours closed.
        while psutil.Process().num_fds() > before:  # noqa: ASYNC110 - descriptors have no event
            await asyncio.sleep(0.01)


async def test_those_in_line_may_leave_at_the_moment_their_turn_comes(server, black_hole):
    async with client() as http:
        for steps in range(60):
            holding = [asyncio.ensure_future(http.get(black_hole)) for _ in range(MOST)]
            in_line = [asyncio.ensure_future(http.get(black_hole)) for _ in range(MOST)]
            for _ in range(20):
                await asyncio.sleep(0)
            for task in holding:
                task.cancel()
            for _ in range(steps % 10):
                await asyncio.sleep(0)
            for task in in_line:
                task.cancel()
            ends = await asyncio.gather(*holding, *in_line, return_exceptions=True)
            assert Counter(map(type, ends)) == {asyncio.CancelledError: 2 * MOST}
        await all_usable(http, server.url)


async def test_one_more_than_there_is_room_for_is_turned_away_in_time(black_hole):
    async with client() as http:
        holding = [asyncio.ensure_future(http.get(black_hole)) for _ in range(MOST)]
        for _ in range(20):
            await asyncio.sleep(0)
        with pytest.raises(httpx.PoolTimeout):
            await http.get(black_hole)
        for task in holding:
            task.cancel()
        await asyncio.gather(*holding, return_exceptions=True)


async def test_a_connection_is_used_again_and_one_that_went_away_is_not(server):
    async with client() as http:
        for _ in range(3):
            await http.get(server.url)
        assert server.connections == 1
        for writer in server.under_way:
            writer.transport.abort()
        await asyncio.sleep(0.05)  # until the end of it has arrived here
        assert (await http.get(server.url)).status_code == 200
        assert server.connections == 2


async def test_a_reply_left_half_read_closes_its_connection(server):
    server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{}"
    async with client() as http:
        for _ in range(2 * MOST):
            async with http.stream("GET", server.url) as answer:
                assert answer.status_code == 200
    assert server.connections == 2 * MOST


@pytest.mark.parametrize(
    ("answer", "error"),
    [(b"nonsense\r\n\r\n", httpx.RemoteProtocolError), (b"", httpx.ReadTimeout)],
)
async def test_errors_are_httpxs_own(server, answer, error):
    server.answer = answer
    async with client() as http:
        for _ in range(MOST + 1):
            with pytest.raises(error):
                await http.get(server.url, timeout=0.1)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with client() as http:
            with pytest.raises(httpx.ConnectError):
                await http.get(f"http://127.0.0.1:{nobody.getsockname()[1]}")
