"""Live updates: a stream that says "something is new", never what; the page then asks for itself again.

The id of an event is the account's number. A browser that comes back with the last one it saw, to whichever replica, is
told at once if the number has moved on: nothing is kept for it meanwhile, and nothing can be lost.
"""

import asyncio
import time
from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ops_dashboard import metrics
from ops_dashboard.handlers.access import AccountId, AccountVisitor, deps_of
from ops_dashboard.watch_accounts import AccountWatch, TooManyStreams
from pipeline_service_defaults.problems import Problem

log = structlog.get_logger(__name__)

router = APIRouter(tags=["streams"])

HEARTBEAT_SECONDS: Final = 15.0
"""Well below what proxies wait for."""
LIFETIME_SECONDS: Final = 300.0
"""After which the browser asks again: its right to listen is looked at anew."""
SEND_SECONDS: Final = 10.0
"""How long a reader may take nothing before it is dropped."""
_MOST: Final = 2**63 - 1


@router.get(
    "/accounts/{account_id}/events",
    summary="Live updates of an account",
    response_class=Response,
    responses={
        200: {
            "description": "Events named `news`, each with the account's number as its id.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        503: {"description": "As many streams are open as may be."},
    },
)
async def events(
    request: Request,
    account_id: AccountId,
    _: AccountVisitor,
    seen: Annotated[int, Query(ge=0, le=_MOST, description="the number the page shows")] = 0,
    last_event_id: Annotated[str, Header(max_length=100)] = "",
) -> Response:
    """A stream of server-sent events; resumed from `Last-Event-ID`."""
    watch = deps_of(request).watch
    if watch.is_full:
        raise Problem(
            503,
            "TOO_MANY_STREAMS",
            "Not at the moment",
            "As many pages are open as this process serves live.",
            hint="The page works without live updates: reload it to see what is new.",
            headers={"Retry-After": "60"},
        )
    told = int(last_event_id[:18]) if last_event_id.isdecimal() else seen
    return EventStream(watch, account_id, told)


class EventStream(Response):
    """The answer that does not end until its time is up, or its reader is gone or takes nothing."""

    media_type = "text/event-stream"

    def __init__(self, watch: AccountWatch, account_id: str, seen: int) -> None:
        # Proxies such as nginx would gather a stream until their buffer is full.
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._watch = watch
        self._account_id = account_id
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream."""
        try:
            with self._watch.open(self._account_id):
                await self._stream(receive, send)
        except TooManyStreams:
            # Between the look and now others came in; the browser asks again by itself.
            await Response(status_code=503)(scope, receive, send)

    async def _stream(self, receive: Receive, send: Send) -> None:
        telling = asyncio.ensure_future(self._tell(send))
        leaving = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({telling, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if telling.done():
                telling.result()
        except TimeoutError:
            metrics.STREAMS_DROPPED.inc()
            log.info("slow_stream_dropped")
            raise
        finally:
            telling.cancel()
            leaving.cancel()
            await asyncio.gather(telling, leaving, return_exceptions=True)

    async def _tell(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        await _write(send, "retry: 2000\n\n")
        ends = time.monotonic() + LIFETIME_SECONDS
        while (left := ends - time.monotonic()) > 0:
            wait = min(HEARTBEAT_SECONDS, left)
            news = await self._watch.other_than(self._account_id, self._seen, wait)
            if news is None:
                await _write(send, ": still here\n\n")
            else:
                self._seen = news
                await _write(send, f"id: {news}\nevent: news\ndata: {news}\n\n")
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _write(send: Send, text: str) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
