"""A server whose connections cannot be held or filled by a client that never finishes."""

import asyncio
import socket
from contextlib import suppress

import pytest
import uvicorn
from serving import serving

from pipeline_service_defaults.bounded_http import BoundedHttpProtocol


class Impatient(BoundedHttpProtocol):
    head_seconds = 0.3
    message_seconds = 0.3


async def app(scope, receive, send):
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    if scope["path"] == "/slow":
        # Longer than either bound: they are about the request, not about its answer.
        await asyncio.sleep(0.6)
    headers = [(b"content-length", str(len(str(length))).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": str(length).encode()})


@pytest.fixture
async def port():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    config = uvicorn.Config(app, http=Impatient, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    # Not serve(): that would take over this process's signals.
    task = asyncio.create_task(server._serve([listener]))
    yield listener.getsockname()[1]
    server.should_exit = True
    await task
    listener.close()


async def converse(port, *parts, answer_bytes=0):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(10):
            for part in parts:
                writer.write(part)
                await writer.drain()
            return await (reader.readexactly(answer_bytes) if answer_bytes else reader.read())
    except (ConnectionResetError, BrokenPipeError):
        return b""
    finally:
        writer.close()


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_ordinary_requests_on_one_connection(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for path in (b"/", b"/slow", b"/"):
        writer.write(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(1) == b"3"
    writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTT",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow:",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ],
    ids=["silent", "line", "header", "body", "chunks"],
)
async def test_a_request_that_never_ends_is_cut_off(port, sent):
    assert await converse(port, sent) == b""
    assert (await converse(port, GET, answer_bytes=12)) == b"HTTP/1.1 200"


async def test_a_head_without_end_is_cut_off(port):
    flood = [b"X-Fill: " + b"a" * 8000 + b"\r\n"] * 100
    assert await converse(port, b"GET / HTTP/1.1\r\nHost: x\r\n", *flood) == b""
    assert (await converse(port, GET, answer_bytes=12)) == b"HTTP/1.1 200"


class PatientWithBodies(BoundedHttpProtocol):
    head_seconds = 0.3
    message_seconds = 60.0


async def test_a_head_has_its_own_short_time_after_a_body_that_took_long():
    async with serving(app, http=PatientWithBodies) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nab")
        await asyncio.sleep(0.5)  # beyond what a head may take: the bound is the body's now
        writer.write(b"c")
        async with asyncio.timeout(10):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            writer.write(b"GET / HTT")
            with suppress(ConnectionResetError):
                assert await reader.read() == b"3"
        writer.close()
