"""How far this view itself has read."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ops_dashboard.handlers.access import AnyVisitor, deps_of
from ops_dashboard.handlers.pages import PageRoute, freshness_now, render
from ops_dashboard.store import positions

router = APIRouter(tags=["pages"], route_class=PageRoute)


@router.get("/reading", summary="How fresh this view is", response_class=Response)
async def reading(request: Request, visitor: AnyVisitor) -> Response:
    """Each topic with how many records are still to be read. HTML."""
    deps = deps_of(request)
    async with deps.pool.acquire() as conn:
        freshness = await freshness_now(conn, deps)
        lags, seen_at = await positions.lags(conn)
    values = {"visitor": visitor, "freshness": freshness, "lags": lags, "seen_at": seen_at}
    return render(request, "reading.html", values)


@router.get("/reading/banner", summary="The banner of every page", response_class=Response)
async def banner(request: Request, _: AnyVisitor) -> Response:
    """Whether the picture is fresh, in a sentence. A fragment of HTML."""
    deps = deps_of(request)
    async with deps.pool.acquire() as conn:
        freshness = await freshness_now(conn, deps)
    return render(request, "banner.html", {"freshness": freshness})
