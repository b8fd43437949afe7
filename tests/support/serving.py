"""An ASGI application on a real socket, inside the test's own loop."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import uvicorn


@asynccontextmanager
async def serving(app, lifespan: Literal["on", "off"] = "off") -> AsyncIterator[str]:
    """Serve on a free port of 127.0.0.1; gives the base address."""
    # The protocol is named, or asyncio would not turn Nagle off: 40 ms on every reply of two packets.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http="httptools",
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
        listener.close()
