"""The webhook endpoint as it is usually written first: the baseline that ours is measured against.

A FastAPI route checks the same HMAC over the same bytes and stores the body with one INSERT per request. `/nothing`
is a raw ASGI callable that checks the HMAC and stores nothing: the ceiling of this server in one process.
"""

import base64
import hmac
import os
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import uvicorn
from fastapi import FastAPI, Request, Response

PLAIN_PATH, NOTHING_PATH = "/webhooks/xero", "/nothing"
CONNECTIONS = 16
CREATE_TABLE = """
CREATE TABLE webhooks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now()
)
"""

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]


def create_plain(dsn: str, key: bytes) -> _App:
    """Both routes as one ASGI application."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(dsn, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
            app.state.pool = pool
            yield

    plain = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)

    @plain.post(PLAIN_PATH)
    async def webhook(request: Request) -> Response:
        body = await request.body()
        if not _genuine(key, body, request.headers.get("x-xero-signature", "").encode()):
            return Response(status_code=401)
        await request.app.state.pool.execute("INSERT INTO webhooks (body) VALUES ($1)", body)
        return Response(status_code=200)

    async def app(scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http" or scope["path"] != NOTHING_PATH:
            await plain(scope, receive, send)
            return
        body = (await receive())["body"]
        given = next(
            (value for name, value in scope["headers"] if name == b"x-xero-signature"), b""
        )
        status = 200 if _genuine(key, body, given) else 401
        empty = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": status, "headers": empty})
        await send({"type": "http.response.body", "body": b""})

    return app


def _genuine(key: bytes, body: bytes, given: bytes) -> bool:
    return hmac.compare_digest(base64.b64encode(hmac.digest(key, body, "sha256")), given)


def main() -> None:
    """Serve on the port of BENCH_PORT, with the same server settings as the services."""
    app = create_plain(os.environ["BENCH_DSN"], os.environ["BENCH_WEBHOOK_KEY"].encode())
    uvicorn.run(
        app, host="127.0.0.1", port=int(os.environ["BENCH_PORT"]), loop="uvloop", http="httptools",
        access_log=False, log_level="warning",
    )  # fmt: skip


if __name__ == "__main__":
    main()
