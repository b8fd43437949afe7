"""A process that records traces ends when it is to, whatever its collector does."""

import asyncio
import os
import sys
import time

import pytest

PROGRAM = """
import sys
from opentelemetry import trace
from pipeline_service_defaults.tracing import configure_tracing
configure_tracing("test", sys.argv[1])
for _ in range(1500):
    trace.get_tracer("test").start_span("one").end()
print("done", flush=True)
"""


@pytest.mark.parametrize("collector", ["answers", "is silent"])
async def test_what_is_left_is_sent_at_the_end_and_a_silent_collector_holds_up_nobody(collector):
    bodies: list[bytes] = []
    waiting: list[asyncio.StreamWriter] = []

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().splitlines()
            if line.startswith(b"content-length:")
        )
        bodies.append(await reader.readexactly(length))
        if collector == "answers":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()
        else:
            waiting.append(writer)

    async with await asyncio.start_server(receive, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PROGRAM,
            address,
            env={"PATH": os.environ["PATH"], "OTEL_EXPORTER_OTLP_ENDPOINT": address},
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"done\n"
        began = time.monotonic()
        assert await process.wait() == 0
        # Three seconds, where the SDK alone takes thirty.
        assert time.monotonic() - began < 15
        for writer in waiting:
            writer.close()
    if collector == "answers":
        # Batches of 512: the last of them holds what no full batch had taken.
        assert len(bodies) == 3
