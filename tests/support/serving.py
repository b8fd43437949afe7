"""An ASGI application on a real socket, inside the test's own loop."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import uvicorn


def listen() -> socket.socket:
    """A free port of 127.0.0.1, for an application that must know its address before it is made."""
    # The protocol is named, or asyncio would not turn Nagle off: 40 ms on every reply of two packets.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    return listener


@asynccontextmanager
async def serving(
    app,
    lifespan: Literal["on", "off"] = "off",
    listener: socket.socket | None = None,
    http: str | type[asyncio.Protocol] = "httptools",
) -> AsyncIterator[str]:
    """Serve on the listener, or on a free port of 127.0.0.1; gives the base address. `http` is uvicorn's protocol."""
    listener = listener or listen()
    config = uvicorn.Config(
        app,
        http=http,
        ws="none",
        lifespan=lifespan,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    # Not `serve()`: it would take over the signal handlers of the test run.
    task = asyncio.create_task(server._serve(sockets=[listener]))
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn offers nothing to wait on
            await asyncio.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        # What still runs after the grace, or connected during the shutdown as browsers like to do, would be left to
        # the garbage collector, which complains in some other test.
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        listener.close()
