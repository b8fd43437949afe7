"""One call that gives a service its FastAPI application with everything around it in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from starlette.responses import Response

from pipeline_service_defaults import auth, docs, health, problems
from pipeline_service_defaults.middleware import (
    BodyLimit,
    LastResort,
    Observe,
    RequestId,
    SecurityHeaders,
)

MAX_BODY_BYTES = 1_000_000

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any] | None]]


def create_api(
    *,
    title: str,
    description: str,
    authenticator: auth.Authenticator,
    lifespan: Lifespan | None = None,
    checks: health.Checks | None = None,
    alive: health.Checks | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
    version: str = "1",
) -> FastAPI:
    """A FastAPI application with problem documents, authentication, ``/health``, ``/metrics``, ``/docs``,
    request ids, access log, HTTP metrics, security headers and a body limit.

    Args:
        title: The service's name for people.
        description: What it is for; shown on ``/docs``.
        authenticator: Verifies tokens addressed to this service.
        lifespan: Starts and stops the service's parts.
        checks: Readiness checks (see ``health.router``).
        alive: Liveness checks, likewise.
        max_body_bytes: Largest request body.
        version: Version of the interface.
    """
    app = FastAPI(
        title=title,
        description=description,
        version=version,
        lifespan=lifespan,  # type: ignore[arg-type]  # Starlette's own alias demands one exact type of state
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # Starlette would redirect to the host that the request names, which anybody may choose.
        redirect_slashes=False,
        # FastAPI's own spans hold whole addresses (the code of a consent among them) and follow any stranger's trace.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    auth.install(app, authenticator)
    problems.install(app)
    docs.install(app)
    app.include_router(health.router(checks or {}, alive))
    add_metrics_route(app)
    # The one added last is outermost.
    app.add_middleware(BodyLimit, limit=max_body_bytes)
    app.add_middleware(LastResort)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Observe)
    app.add_middleware(RequestId)
    return app


def add_metrics_route(app: FastAPI, registry: CollectorRegistry = REGISTRY) -> None:
    """Add ``/metrics`` in Prometheus' text form."""

    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    app.add_api_route("/metrics", metrics, include_in_schema=False)
