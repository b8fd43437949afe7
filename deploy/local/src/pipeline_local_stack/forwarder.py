"""One address for several replicas: what a Service does on a cluster, for connections to loopback ports.

Each new connection goes to the next replica in turn; one that does not accept it is passed over. Like kube-proxy, it
neither reads nor repeats anything: what was under way with a replica that dies is lost with its connection.
"""

import asyncio
import contextlib
import os
from collections.abc import Sequence

import uvloop

HOST = "127.0.0.1"
_PIECE_BYTES = 64 * 1024


class Forwarder:
    """Hands connections to replicas in turn."""

    def __init__(self, ports: Sequence[int]) -> None:
        """Given the ports on which the replicas listen.

        Raises:
            ValueError: there are none.
        """
        if not ports:
            raise ValueError("a forwarder needs at least one replica")
        self._ports = list(ports)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection to its end; it is cut at once if no replica accepts it."""
        replica = await self._next_replica()
        if replica is None:
            writer.transport.abort()
            return
        their_reader, their_writer = replica
        there = asyncio.create_task(_carry(reader, their_writer))
        back = asyncio.create_task(_carry(their_reader, writer))
        try:
            # Both services and clients close whole connections: the first end is the end of both directions.
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (there, back):
                task.cancel()
            writer.close()
            their_writer.close()

    async def _next_replica(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in self._ports:
            port = self._ports.pop(0)
            self._ports.append(port)
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(HOST, port)
        return None


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()


async def serve(port: int, replicas: Sequence[int]) -> None:
    """Listen until cancelled.

    Raises:
        OSError: the port is taken.
    """
    server = await asyncio.start_server(Forwarder(replicas).handle, HOST, port)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Listen on FORWARD_PORT for the replicas on FORWARD_TO (ports, comma-separated)."""
    replicas = [int(port) for port in os.environ["FORWARD_TO"].split(",")]
    uvloop.run(serve(int(os.environ["FORWARD_PORT"]), replicas))


if __name__ == "__main__":
    main()
