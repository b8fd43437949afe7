"""The thin HTTP layer under everything but the admin pages: raw ASGI, so connections can be cut."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl

import httpx

from xero_simulator.clock import Clock
from xero_simulator.faults import ReplyLost
from xero_simulator.idempotency import Answer

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class BodyTooLarge(Exception):  # noqa: N818 -- the condition; answered with 413
    """The request body is larger than the switch allows."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request, its body read."""

    method: str
    path: str
    query_string: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    base_url: str
    receive: Receive

    def form(self) -> dict[str, str]:
        """The body as a form."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    def form_list(self, name: str) -> list[str]:
        """Every value of one form field."""
        pairs = parse_qsl(self.body.decode("utf-8", "replace"))
        return [value for key, value in pairs if key == name]

    async def hang(self, seconds: float) -> None:
        """Waits in real time, but not for a client that has hung up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (await self.receive())["type"] != "http.disconnect":
                    pass


async def read_request(scope: Scope, receive: Receive, limit: int) -> HttpRequest:
    """Reads a whole request.

    Raises:
        BodyTooLarge: The body is over `limit` bytes.
    """
    headers = {
        key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]
    }
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        body += message.get("body", b"")
        if len(body) > limit:
            raise BodyTooLarge
        more = message.get("more_body", False)
    query_string = scope["query_string"].decode("latin-1")
    return HttpRequest(
        method=scope["method"],
        path=scope["path"],
        query_string=query_string,
        query=dict(parse_qsl(query_string, keep_blank_values=True)),
        headers=headers,
        body=bytes(body),
        base_url=f"{scope.get('scheme', 'http')}://{headers.get('host', 'localhost')}",
        receive=receive,
    )


async def send_answer(send: Send, answer: Answer, clock: Clock, extra: Mapping[str, str]) -> None:
    """Sends a reply; `Date` is the simulator's, because clients take watermarks from it."""
    headers = dict(answer.headers) | dict(extra)
    headers["Date"] = format_datetime(clock.now(), usegmt=True)
    if answer.status != 204:
        headers["Content-Length"] = str(len(answer.body))
    raw = [
        (name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in headers.items()
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": answer.body})


async def cut(send: Send, receive: Receive, lost: ReplyLost) -> None:
    """Ends the connection without an answer.

    Under uvicorn the socket is aborted. In process, through an ASGI transport, there is no socket:
    the client gets the exception it would have got from one.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        if lost.delay:
            raise httpx.ReadTimeout("the simulator never answered")
        raise httpx.RemoteProtocolError("the simulator cut the connection")
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


def answer_json(status: int, body: object, *headers: tuple[str, str]) -> Answer:
    """A JSON answer outside the Accounting API."""
    content = ("Content-Type", "application/json; charset=utf-8")
    return Answer(status, (content, *headers), json.dumps(body).encode())


def answer_html(status: int, text: str) -> Answer:
    """A page."""
    headers = (("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store"))
    return Answer(status, headers, text.encode())


def redirect(location: str) -> Answer:
    """302 to `location`."""
    return Answer(302, (("Location", location), ("Cache-Control", "no-store")), b"")
