"""ASGI middleware around every service: request id, access log, metrics, security headers, body limit.

Plain ASGI: Starlette's BaseHTTPMiddleware would run each request in a second task and buffer streams.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline_service_defaults.problems import from_http_error, unexpected

_LOG = logging.getLogger("pipeline.access")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Asked every few seconds by machines; logging them would bury everything else.
_UNLOGGED = frozenset({"/health/live", "/health/ready", "/metrics"})
_SERVER_ERROR = 500

DEFAULT_POLICY = "default-src 'none'; frame-ancestors 'none'"
# As ASGI has them, names in lower case: they are added to every answer.
_SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", DEFAULT_POLICY.encode()),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_ONLY_HTTPS = (b"strict-transport-security", b"max-age=31536000")


class SecurityHeaders:
    """Adds the headers that keep answers out of caches, frames and sniffing; a route's own value wins."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                names = {name for name, _ in given}
                added = _SECURITY_HEADERS
                if scope.get("scheme") == "https":
                    added = (*added, _ONLY_HTTPS)
                message["headers"] = [*given, *(pair for pair in added if pair[0] not in names)]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class RequestId:
    """Takes over the caller's X-Request-Id or makes one; puts it into every log line and the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._app(scope, receive, send_with_id)


class HttpMetrics:
    """The figures of the HTTP side, registered once per registry."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.requests = Counter(
            "http_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "http_request_duration_seconds",
            "Time from request to the end of its answer.",
            ["method", "route"],
            buckets=(
                0.001,
                0.0025,
                0.005,
                0.01,
                0.025,
                0.05,
                0.1,
                0.25,
                0.5,
                1,
                2.5,
                5,
                10,
                30,
                60,
            ),
            registry=registry,
        )
        self.in_progress = Gauge(
            "http_requests_in_progress", "Requests being answered.", registry=registry
        )


_default_metrics: list[HttpMetrics] = []


def default_metrics() -> HttpMetrics:
    """The metrics on the process-wide registry, made on first use."""
    if not _default_metrics:
        _default_metrics.append(HttpMetrics())
    return _default_metrics[0]


class Observe:
    """Counts and times requests by route template, and writes one log line each, without the query string."""

    def __init__(self, app: ASGIApp, metrics: Callable[[], HttpMetrics] = default_metrics) -> None:
        self._app = app
        self._metrics = metrics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = _SERVER_ERROR

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.in_progress.inc()
        try:
            await self._app(scope, receive, send_and_note)
        finally:
            self._metrics.in_progress.dec()
            self._note(scope, status, time.perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = route_of(scope)
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.seconds.labels(method, route).observe(seconds)
        if scope["path"] in _UNLOGGED and status < _SERVER_ERROR:
            return
        level = logging.ERROR if status >= _SERVER_ERROR else logging.INFO
        fields = {
            "method": method,
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1000, 1),
        }
        _LOG.log(level, "request", extra=fields)


def route_of(scope: Scope) -> str:
    """The template of the route that answered, such as ``/v1/accounts/{account_id}``; ids would be endless labels."""
    path: Any = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "unmatched"


class LastResort:
    """Answers a fault of ours with a problem that says nothing about its cause, and logs the cause once.

    Stands inside the other middleware, so that this answer too has its headers, its id and its place in the figures.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        noting_send = _NotingSend(send)
        try:
            await self._app(scope, receive, noting_send)
        except Exception as error:
            # A half-sent answer cannot be taken back: the server then breaks the connection off.
            if noting_send.answered:
                raise
            _LOG.exception("unexpected error", extra={"error_type": type(error).__name__})
            await unexpected().response()(scope, receive, send)


class _NotingSend:
    """Passes messages on and remembers whether an answer has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.answered = False

    async def __call__(self, message: Message) -> None:
        self.answered = True
        await self._send(message)


class BodyLimit:
    """Refuses bodies above a size, announced or streamed, before they fill the memory."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced[:20]) > self._limit:
            await from_http_error(_too_large()).response()(scope, receive, send)
            return
        seen = 0

        async def limited_receive() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limit:
                # FastAPI turns anything but its own HTTPException, raised while it reads a body, into a 400.
                raise _too_large()
            return message

        noting_send = _NotingSend(send)
        try:
            await self._app(scope, limited_receive, noting_send)
        except HTTPException as error:
            if noting_send.answered:
                raise
            await from_http_error(error).response()(scope, receive, send)


def _too_large() -> HTTPException:
    # The rest of the body is not read, so the connection cannot carry another request.
    return HTTPException(413, headers={"Connection": "close"})
