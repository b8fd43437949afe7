"""Large replies pass through as they come; whatever ends one early frees the slot, and nobody takes it for whole.

Xero's place is taken by a bare socket that sends what a test writes: the connector and its callers are the real ones.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import httpx
import psutil
import pytest
from serving import serving

from connector.app import xero_client
from connector.clients.bounded import Bounds, ExchangeFailed, exchange
from connector.domain.breaker import Open
from pipeline_xero.client import GatewayClient
from pipeline_xero.errors import OutcomeUnknown, XeroUnavailable

INVOICES = "/v1/accounts/acc-1/xero/Invoices"
KILOBYTE = b"x" * 1024


class Upstream:
    """A server in Xero's place: answers every request through `script(self, reader, writer)`."""

    def __init__(self):
        self.script = None
        self.url = ""
        self.requests = 0
        self.go_on = asyncio.Event()
        self.gone = asyncio.Event()

    async def serve(self, reader, writer):
        try:
            with suppress(asyncio.IncompleteReadError):
                while head := await reader.readuntil(b"\r\n\r\n"):
                    length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
                    await reader.readexactly(int(length or 0))
                    self.requests += 1
                    await self.script(self, reader, writer)
                    await writer.drain()
        except ConnectionError:
            pass
        finally:
            self.gone.set()
            writer.transport.abort()


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    found = Upstream()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        found.go_on.set()
        server.close()


def begin(writer, *extra):
    lines = [
        "HTTP/1.1 200 OK",
        "Content-Type: application/json",
        "X-DayLimit-Remaining: 4000",
        *extra,
    ]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")


def chunk(writer, data):
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


def chunked(writer, kilobytes):
    begin(writer, "Transfer-Encoding: chunked")
    for _ in range(kilobytes):
        chunk(writer, KILOBYTE)


async def whole_in_two_halves(up, reader, writer):
    chunked(writer, 400)
    await writer.drain()
    await up.go_on.wait()
    for _ in range(400):
        chunk(writer, KILOBYTE)
    writer.write(b"0\r\n\r\n")


async def break_in_the_middle(up, reader, writer):
    chunked(writer, 400)
    await writer.drain()
    writer.transport.abort()


async def never_end(up, reader, writer):
    chunked(writer, 400)
    await writer.drain()
    assert await reader.read(1) == b""  # until the other side closes


async def send_too_much(up, reader, writer):
    chunked(writer, 3000)
    writer.write(b"0\r\n\r\n")


async def announce_too_much(up, reader, writer):
    begin(writer, "Content-Length: 99999999")


async def send_little(up, reader, writer):
    begin(writer, "Content-Length: 2")
    writer.write(b"{}")


@pytest.fixture
async def streaming(make_stack):
    """A connected account, the connector on a real socket, and the server it takes for Xero."""
    async with upstream() as up:

        async def start(script, **overrides):
            overrides = {"gateway_max_response_bytes": 2 * 1024 * 1024} | overrides
            stack = await make_stack(**overrides)
            await stack.connect("acc-1")
            up.script = script
            stack.apps[0].state.deps.api._base = up.url
            url = await closing.enter_async_context(serving(stack.apps[0]))
            http = await closing.enter_async_context(
                httpx.AsyncClient(
                    base_url=url,
                    headers={"Authorization": f"Bearer {stack.keys.service_token('invoice-sync')}"},
                )
            )
            return stack, http, up

        async with AsyncExitStack() as closing:
            yield start


async def running(stack):
    return await stack.db.fetchval(
        "SELECT count(*) FROM call_slots WHERE finished_at IS NULL AND lease_until > now()"
    )


async def none_running(stack):
    async with asyncio.timeout(5):
        while await running(stack):  # noqa: ASYNC110 - the database has no event
            await asyncio.sleep(0.01)


async def test_a_large_reply_passes_through_as_it_comes(streaming):
    stack, http, up = await streaming(whole_in_two_halves)
    async with http.stream("GET", INVOICES) as answer:
        assert answer.status_code == 200
        assert answer.headers["x-daylimit-remaining"] == "4000"
        parts = answer.aiter_bytes()
        received = len(await anext(parts))
        assert not up.go_on.is_set()
        assert await running(stack) == 1
        up.go_on.set()
        async for part in parts:
            received += len(part)
    assert received == 800 * 1024
    await none_running(stack)
    assert await stack.db.fetchval("SELECT day_remaining FROM tenant_budgets WHERE tenant_id <> ''")


async def test_a_small_reply_comes_whole_and_its_slot_is_free_by_then(streaming):
    stack, http, _ = await streaming(send_little)
    answer = await http.get(INVOICES)
    assert answer.headers["content-length"] == "2"
    assert answer.json() == {}
    assert await running(stack) == 0


@pytest.mark.parametrize("script", [break_in_the_middle, send_too_much, never_end])
async def test_a_reply_that_does_not_end_well_is_never_taken_for_whole(streaming, script):
    stack, http, up = await streaming(
        script, gateway_total_seconds=1.0 if script is never_end else 20.0
    )
    client = GatewayClient(
        http, str(http.base_url), lambda: stack.keys.service_token("invoice-sync")
    )
    with pytest.raises(httpx.RemoteProtocolError):
        await http.get(INVOICES)
    with pytest.raises(XeroUnavailable):
        await client.get("acc-1", "Invoices")
    with pytest.raises(OutcomeUnknown):
        await client.put("acc-1", "Invoices", body=b"{}", idempotency_key="k")
    await none_running(stack)
    assert up.requests == 3


async def test_a_reply_that_announces_too_much_is_refused_cleanly(streaming):
    stack, http, _ = await streaming(announce_too_much)
    answer = await http.get(INVOICES)
    assert (answer.status_code, answer.headers["x-gateway-error"]) == (502, "XERO_REPLY_TOO_LARGE")
    assert await running(stack) == 0


async def test_a_caller_that_leaves_frees_the_slot_and_xeros_connection(streaming):
    stack, http, up = await streaming(never_end)
    async with http.stream("GET", INVOICES) as answer:
        parts = answer.aiter_bytes()  # held: a forgotten generator would close the reply
        await anext(parts)
        assert await running(stack) == 1
    async with asyncio.timeout(5):
        await up.gone.wait()
    await none_running(stack)


async def test_a_probe_whose_reply_has_begun_lets_others_through_while_it_is_read(streaming):
    stack, http, up = await streaming(whole_in_two_halves)
    stack.apps[0].state.deps.watch._state = Open(
        0.0, 1.0
    )  # its pause is over: the next call is the probe
    async with http.stream("GET", INVOICES) as answer:
        parts = answer.aiter_bytes()  # held: a forgotten generator would close the reply
        await anext(parts)
        up.script = send_little
        assert (await http.get(INVOICES)).status_code == 200
        up.go_on.set()


async def test_a_caller_that_stops_reading_keeps_nothing_beyond_the_total_time(streaming):
    async def endless(up, reader, writer):
        begin(writer, "Transfer-Encoding: chunked")
        for _ in range(30_000):
            chunk(writer, KILOBYTE)
            await writer.drain()

    stack, http, up = await streaming(
        endless, gateway_total_seconds=1.0, gateway_max_response_bytes=100 * 1024 * 1024
    )
    async with http.stream("GET", INVOICES) as answer:
        parts = answer.aiter_bytes()  # held: a forgotten generator would close the reply
        await anext(parts)
        async with asyncio.timeout(10):
            await up.gone.wait()
        await none_running(stack)


async def test_two_hundred_exchanges_that_end_badly_leave_no_descriptor_behind():
    scripts = [never_end, break_in_the_middle, send_too_much]
    bounds = Bounds(connect=5, read=5, total=0.05, max_bytes=500 * 1024)
    process = psutil.Process()

    async def script(up, reader, writer):
        await scripts[up.requests % 3](up, reader, writer)

    async def end_badly(http, url, number):
        call = asyncio.create_task(exchange(http, http.build_request("GET", url), bounds))
        if number % 4 == 0:
            # Wherever this finds it: before the connection, or in the reply.
            await asyncio.sleep(number / 10_000)
            call.cancel()
        with suppress(ExchangeFailed, asyncio.CancelledError):
            await call
            raise AssertionError("an exchange ended well")

    async with upstream() as up:
        up.script = script
        before = process.num_fds()
        async with xero_client(None) as http:
            for first in range(0, 200, 20):
                numbers = range(first, first + 20)
                await asyncio.gather(*(end_badly(http, up.url, number) for number in numbers))
            # Not only when the client is closed, which in a service is never.
            async with asyncio.timeout(20):
                while process.num_fds() > before:  # noqa: ASYNC110 - the server's side closes in its own time
                    await asyncio.sleep(0.01)
