"""The gateway client over real sockets that die at each step of an exchange."""

import asyncio
import socket
import struct
from contextlib import asynccontextmanager

import httpx
import pytest

from pipeline_xero.client import CallLimits, GatewayClient
from pipeline_xero.errors import NotSent, OutcomeUnknown, UnexpectedAnswer, XeroUnavailable

BODY = b'{"Invoices":[]}'
COMPLETE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@asynccontextmanager
async def gateway(behave):
    """A server running `behave` once a whole write request has arrived."""
    received = []
    serving = set()

    async def serve(reader, writer):
        serving.add(asyncio.current_task())
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"GET"):
                received.append(await reader.readexactly(len(BODY)))
            await behave(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    limits = CallLimits(read=0.3, total=5, response_bytes=1000)
    async with httpx.AsyncClient() as http:
        yield GatewayClient(http, f"http://127.0.0.1:{port}", lambda: "t", limits=limits), received
    server.close()
    # Closing the client above has ended every connection, so these end too.
    async with asyncio.timeout(10):
        await asyncio.gather(*serving)


async def write(client):
    return await client.put("acc", "Invoices", body=BODY, idempotency_key="k")


async def closes(reader, writer):
    writer.close()


async def resets(reader, writer):
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def stays_silent(reader, writer):
    await reader.read()


async def stops_in_the_head(reader, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-")


async def stops_in_the_body(reader, writer):
    writer.write(COMPLETE[:-1])


async def answers_nonsense(reader, writer):
    writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")


async def claims_a_wrong_encoding(reader, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}")


@pytest.mark.parametrize(
    "behave",
    [
        closes,
        resets,
        stays_silent,
        stops_in_the_head,
        stops_in_the_body,
        answers_nonsense,
        claims_a_wrong_encoding,
    ],
)
async def test_a_write_whose_answer_is_lost_is_never_called_not_sent(behave):
    async with gateway(behave) as (client, received):
        with pytest.raises(OutcomeUnknown):
            await write(client)
        assert received == [BODY]
        with pytest.raises(XeroUnavailable):
            await client.get("acc", "Invoices")


async def test_nobody_listening_means_not_sent():
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        async with httpx.AsyncClient() as http:
            client = GatewayClient(
                http, f"http://127.0.0.1:{reserved.getsockname()[1]}", lambda: "t"
            )
            with pytest.raises(NotSent):
                await write(client)
            with pytest.raises(NotSent):
                await client.get("acc", "Invoices")


async def test_a_compressed_bomb_is_cut_off():
    import gzip

    bomb = gzip.compress(b"0" * 50_000_000)

    async def behave(reader, writer):
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
        writer.write(head.encode() + bomb)
        await writer.drain()

    async with gateway(behave) as (client, _):
        with pytest.raises(UnexpectedAnswer, match="larger than 1000 bytes"):
            await client.get("acc", "Invoices")
        with pytest.raises(OutcomeUnknown):
            await write(client)


async def test_the_exact_bytes_arrive_and_the_answer_is_read():
    async def behave(reader, writer):
        writer.write(COMPLETE)
        await writer.drain()

    async with gateway(behave) as (client, received):
        assert (await write(client)).json() == {}
        assert received == [BODY]
