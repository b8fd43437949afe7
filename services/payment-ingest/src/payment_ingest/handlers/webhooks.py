"""`POST /webhooks/xero`, as a raw ASGI callable in front of the framework.

Every answer has an empty body and sets no cookie, as Xero demands; the framework would cost half the throughput
(and its body reading has no cap and no deadline). What is asked of a request, in this order: method, headers, size,
time, signature. Only then is anything stored.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from opentelemetry.trace import SpanKind

from payment_ingest import metrics
from payment_ingest.accept_delivery import NotStoredError
from payment_ingest.domain.intent_to_receive import PATH
from payment_ingest.domain.signature import genuine
from payment_ingest.store.deliveries import Delivery
from pipeline_messaging import traces
from pipeline_messaging.failpoints import failpoint

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Accept = Callable[[Delivery], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a request may send and how long it may take to."""

    body_bytes: int = 256 * 1024
    read_seconds: float = 2.0
    drain_bytes: int = 2 * 1024 * 1024
    """How much of a too large body is read and thrown away, so that a sender still writing it sees the 413."""


class _RefusedError(Exception):
    def __init__(self, status: int, outcome: str, *, more_body: bool = True) -> None:
        self.status = status
        self.outcome = outcome
        self.more_body = more_body


class WebhookGate:
    """Answers the webhook path itself and passes everything else on to `app`.

    Args:
        app: The rest of the service.
        keys: Xero's webhook keys; two during a rotation.
        accept: Makes a delivery durable, or raises NotStoredError.
        bounds: Size and time limits.
    """

    def __init__(
        self, app: AsgiApp, keys: Sequence[bytes], accept: Accept, bounds: Bounds | None = None
    ) -> None:
        if not keys or not all(keys):
            raise ValueError(
                "a webhook key is needed: an empty one would accept anybody's signature"
            )
        self._app = app
        self._keys = tuple(keys)
        self._accept = accept
        self._bounds = bounds or Bounds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        if scope["method"] != "POST":
            await _answer(send, 405, (b"allow", b"POST"), _CLOSE)
            return
        try:
            await self._take(scope["headers"], receive)
        except _RefusedError as refused:
            metrics.DELIVERIES.labels(refused.outcome).inc()
            if refused.status == _TOO_LARGE:
                await self._refuse_large(scope["headers"], receive, send, refused.more_body)
            elif refused.status == _UNAUTHORISED:
                await _answer(send, 401)
            else:
                # The rest of the body may never come: this connection serves no further request.
                await _answer(send, refused.status, _CLOSE)
        except NotStoredError:
            metrics.DELIVERIES.labels("unavailable").inc()
            await _answer(send, 503, (b"retry-after", b"5"))
        except _SenderGoneError:
            metrics.DELIVERIES.labels("gone").inc()
        else:
            _ACCEPTED.inc()
            await _answer(send, 200)
            failpoint("delivery:after_answer")

    async def _take(self, headers: Iterable[tuple[bytes, bytes]], receive: Receive) -> None:
        signature = _signature_and_size(headers, self._bounds.body_bytes)
        try:
            async with asyncio.timeout(self._bounds.read_seconds):
                body = await _read(receive, self._bounds.body_bytes)
        except TimeoutError:
            raise _RefusedError(408, "too_slow") from None
        key_position = genuine(self._keys, body, signature) if body else None
        if key_position is None:
            raise _RefusedError(_UNAUTHORISED, "refused")
        failpoint("delivery:after_verify")
        # Xero sends no trace, and what anybody else sends is none to continue.
        with traces.doing("receive webhook", kind=SpanKind.SERVER, attributes={}) as traceparent:
            hashed = hashlib.sha256(body).digest()
            await self._accept(Delivery(hashed, body, key_position, traceparent))

    async def _refuse_large(
        self,
        headers: Iterable[tuple[bytes, bytes]],
        receive: Receive,
        send: Send,
        more_body: bool,  # noqa: FBT001 - as ASGI calls it
    ) -> None:
        await send(_start(413, (_CLOSE,)))
        # A sender that asked first ("Expect: 100-continue") holds its body back, and asking for it would send 100.
        if more_body and not any(name == b"expect" for name, _ in headers):
            await self._drain(receive)
        await send({"type": "http.response.body", "body": b""})

    async def _drain(self, receive: Receive) -> None:
        left = self._bounds.drain_bytes
        try:
            async with asyncio.timeout(self._bounds.read_seconds):
                while left > 0:
                    message = await receive()
                    if message["type"] != "http.request" or not message.get("more_body"):
                        return
                    left -= len(message.get("body", b""))
        except TimeoutError:
            return


def describe(api: FastAPI) -> None:
    """Put the webhook, which never reaches FastAPI, into its OpenAPI document."""
    generate = api.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        document["paths"].setdefault(PATH, {"post": _OPERATION})
        return document

    api.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


_NOTHING: dict[str, Any] = {}
_OPERATION: dict[str, Any] = {
    "tags": ["webhooks"],
    "summary": "Receive a webhook of Xero",
    "description": "The body's HMAC-SHA256 under the webhook key is expected in x-xero-signature, in base64."
    " Every answer is empty.",
    "parameters": [
        {
            "name": "x-xero-signature",
            "in": "header",
            "required": True,
            "schema": {"type": "string"},
            "description": "base64(HMAC-SHA256(raw body, webhook key))",
        }
    ],
    "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
    "responses": {
        "200": {"description": "Genuine, and durable."},
        "401": {
            "description": "Not genuine: no body, no signature, or not ours.",
            "content": _NOTHING,
        },
        "408": {"description": "The body did not arrive in time.", "content": _NOTHING},
        "413": {"description": "The body is larger than 256 KiB.", "content": _NOTHING},
        "503": {"description": "Could not be made durable; send it again.", "content": _NOTHING},
    },
}


class _SenderGoneError(Exception):
    """The connection closed before the body was whole; there is nobody to answer."""


_ACCEPTED = metrics.DELIVERIES.labels("accepted")
_TOO_LARGE = 413
_UNAUTHORISED = 401
_CLOSE = (b"connection", b"close")
_EMPTY = (b"content-length", b"0")
_MAX_SIZE_DIGITS = 18


def _signature_and_size(headers: Iterable[tuple[bytes, bytes]], limit: int) -> bytes:
    """The signature header's value (b"" when absent); refuses what the headers alone forbid."""
    signatures: list[bytes] = []
    sizes: list[bytes] = []
    for name, value in headers:
        if name == b"x-xero-signature":
            signatures.append(value)
        elif name == b"content-length":
            sizes.append(value)
    if len(sizes) > 1 or any(not size.isdigit() for size in sizes):
        raise _RefusedError(400, "bad_request")
    if sizes and (len(sizes[0]) > _MAX_SIZE_DIGITS or int(sizes[0]) > limit):
        raise _RefusedError(_TOO_LARGE, "too_large")
    # Two signatures: one of them would be checked by us and the other, perhaps, by something before us.
    return signatures[0] if len(signatures) == 1 else b""


async def _read(receive: Receive, limit: int) -> bytes:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise _RefusedError(_TOO_LARGE, "too_large", more_body=False)
        return body
    whole = bytearray()
    while True:
        if message["type"] != "http.request":
            raise _SenderGoneError
        whole += message.get("body", b"")
        if len(whole) > limit:
            raise _RefusedError(_TOO_LARGE, "too_large", more_body=bool(message.get("more_body")))
        if not message.get("more_body"):
            return bytes(whole)
        message = await receive()


def _start(status: int, more: tuple[tuple[bytes, bytes], ...]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": [_EMPTY, *more]}


async def _answer(send: Send, status: int, *more: tuple[bytes, bytes]) -> None:
    await send(_start(status, more))
    await send({"type": "http.response.body", "body": b""})
