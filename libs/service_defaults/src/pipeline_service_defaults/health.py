"""Liveness and readiness."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse

Check = Callable[[], Awaitable[object]]
_CHECK_SECONDS = 3.0
_REPORT: Mapping[str, Any] = {"content": {"application/json": {}}}
_LOG = logging.getLogger(__name__)


Checks = Mapping[str, Check] | Callable[[], Mapping[str, Check]]


def router(checks: Checks, alive: Checks | None = None) -> APIRouter:
    """Routes ``/health/live`` (the process does its work) and ``/health/ready`` (what it needs answers too).

    Args:
        checks: Name -> coroutine function that raises when its part is not usable; or a function giving them, for
            parts that exist only once the application has started. What they raise is logged, not shown.
        alive: In the same form, what only a restart would cure. Nothing beside this process may make these fail:
            an orchestrator would restart replica after replica over it.
    """
    routes = APIRouter(tags=["health"])

    @routes.get(
        "/health/live",
        summary="The process answers and moves on",
        responses={503: {"description": "A part of it is stuck; the body names it.", **_REPORT}},
    )
    async def live() -> JSONResponse:
        return await _report(alive) if alive else JSONResponse({"status": "ok"})

    @routes.get(
        "/health/ready",
        summary="The service can do its work",
        responses={
            503: {"description": "A part it needs is not usable; the body names it.", **_REPORT}
        },
    )
    async def ready() -> JSONResponse:
        return await _report(checks)

    return routes


async def _report(checks: Checks) -> JSONResponse:
    current = checks() if callable(checks) else checks
    outcomes = await asyncio.gather(*(_passes(name, check) for name, check in current.items()))
    results = dict(zip(current, outcomes, strict=True))
    is_well = all(results.values())
    return JSONResponse(
        {
            "status": "ok" if is_well else "unavailable",
            "checks": {name: "ok" if passed else "failed" for name, passed in results.items()},
        },
        status_code=200 if is_well else 503,
    )


async def _passes(name: str, check: Check) -> bool:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await check()
    except Exception as error:  # noqa: BLE001 - whatever a check raises means "not ready"
        _LOG.warning(
            "health check failed", extra={"check": name, "error_type": type(error).__name__}
        )
        return False
    return True
