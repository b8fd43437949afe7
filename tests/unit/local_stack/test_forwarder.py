import asyncio
import contextlib

import pytest

from pipeline_local_stack.forwarder import HOST, Forwarder


@contextlib.asynccontextmanager
async def listening(handle):
    server = await asyncio.start_server(handle, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def replica(name: bytes):
    """Answers every line with its name; hangs up after `bye`."""

    async def handle(reader, writer):
        while line := await reader.readline():
            writer.write(name + b":" + line)
            if line == b"bye\n":
                break
        writer.close()

    async with listening(handle) as port:
        yield port


async def say(port: int, *lines: bytes) -> list[bytes]:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        answers = []
        for line in lines:
            writer.write(line)
            answers.append(await reader.readline())
        return answers
    finally:
        writer.close()


async def test_connections_take_turns_and_each_stays_with_its_replica():
    async with (
        replica(b"a") as a,
        replica(b"b") as b,
        listening(Forwarder([a, b]).handle) as front,
    ):
        said = [await say(front, b"1\n", b"2\n") for _ in range(4)]
    assert said == [[b"a:1\n", b"a:2\n"], [b"b:1\n", b"b:2\n"]] * 2


async def test_a_replica_that_does_not_accept_is_passed_over_until_it_does():
    async with replica(b"gone") as gone:
        pass
    async with replica(b"a") as a, listening(Forwarder([gone, a]).handle) as front:
        said = [await say(front, b"1\n") for _ in range(3)]
    assert said == [[b"a:1\n"]] * 3


async def test_with_no_replica_at_all_the_connection_is_cut_without_an_answer():
    async with replica(b"gone") as gone:
        pass
    async with listening(Forwarder([gone]).handle) as front:
        reader, writer = await asyncio.open_connection(HOST, front)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()


async def test_the_end_of_either_side_is_the_end_of_both():
    ended = asyncio.Event()

    async def handle(reader, writer):
        await reader.read()
        ended.set()
        writer.close()

    async with replica(b"a") as a, listening(Forwarder([a]).handle) as front:
        reader, writer = await asyncio.open_connection(HOST, front)
        writer.write(b"bye\n")
        assert await reader.read() == b"a:bye\n"
        writer.close()
    async with listening(handle) as there, listening(Forwarder([there]).handle) as front:
        _, writer = await asyncio.open_connection(HOST, front)
        writer.close()
        async with asyncio.timeout(5):
            await ended.wait()


async def test_more_than_fits_into_any_buffer_arrives_whole():
    sent = bytes(range(256)) * 20_000

    async def handle(reader, writer):
        writer.write(await reader.readexactly(len(sent)))
        await writer.drain()
        writer.close()

    async with listening(handle) as there, listening(Forwarder([there]).handle) as front:
        reader, writer = await asyncio.open_connection(HOST, front)
        writer.write(sent)
        assert await reader.read() == sent
        writer.close()


def test_without_replicas_there_is_nothing_to_forward_to():
    with pytest.raises(ValueError, match="at least one"):
        Forwarder([])
