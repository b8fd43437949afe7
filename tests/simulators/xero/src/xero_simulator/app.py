"""The ASGI app: one port for Xero's login, identity and API hosts, and for the admin API."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

import httpx

from xero_simulator import gate, pages
from xero_simulator.admin import create_admin
from xero_simulator.config import Settings
from xero_simulator.faults import ReplyLost
from xero_simulator.http import (
    BodyTooLarge,
    Message,
    Receive,
    Scope,
    Send,
    cut,
    read_request,
    send_answer,
)
from xero_simulator.idempotency import Answer
from xero_simulator.routes.request import TEXT
from xero_simulator.world import make_world


class XeroSimulator:
    """A simulated Xero as an ASGI app.

    Served by uvicorn it starts its webhook sender in the lifespan; in process, with
    `httpx.ASGITransport`, enter it as an async context manager to have webhooks.
    """

    def __init__(
        self, settings: Settings, *, webhook_transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.world = make_world(settings, webhook_transport=webhook_transport)
        self._admin = create_admin(self.world)
        self._sender: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Starts the webhook sender."""
        self._sender = asyncio.create_task(self.world.webhooks.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops the webhook sender."""
        if self._sender is not None:
            self._sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sender
        await self.world.webhooks.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection event."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            if scope["path"].startswith("/admin"):
                await self._admin(scope, receive, send)
                return
            try:
                await self._serve(scope, receive, send)
            except ReplyLost as lost:
                await cut(send, receive, lost)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        world = self.world
        try:
            request = await read_request(scope, receive, world.switches.max_body_bytes)
        except BodyTooLarge:
            answer = Answer(413, (TEXT, ("Connection", "close")), b"Request Entity Too Large")
            await send_answer(send, answer, world.clock, {})
            return

        async def deliver(answer: Answer, headers: dict[str, str]) -> None:
            await send_answer(send, answer, world.clock, headers)

        if request.path.startswith(gate.PREFIX):
            await gate.serve(world, request, deliver)
            return
        answer = await pages.answer(world, request)
        await deliver(answer, world.limits.headers(None, world.clock.timestamp()))

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message: Message = await receive()
            if message["type"] == "lifespan.startup":
                await self.__aenter__()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.__aexit__(None, None, None)
                await send({"type": "lifespan.shutdown.complete"})
                return


def create_app(
    settings: Settings | None = None, *, webhook_transport: httpx.AsyncBaseTransport | None = None
) -> XeroSimulator:
    """A simulator; `app.world` is its state, for tests in the same process."""
    return XeroSimulator(settings or Settings(), webhook_transport=webhook_transport)
