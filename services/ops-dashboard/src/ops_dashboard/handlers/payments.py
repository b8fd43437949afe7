"""Payments, and those of which no webhook told."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from ops_dashboard.domain import paging
from ops_dashboard.domain.paging import After
from ops_dashboard.handlers.access import AccountId, AccountVisitor, deps_of
from ops_dashboard.handlers.pages import PAGE_ROWS, PageRoute, frame_of, render
from ops_dashboard.store import generations, payments

router = APIRouter(tags=["pages"], route_class=PageRoute)


@router.get("/accounts/{account_id}/payments", summary="Payments", response_class=Response)
async def payment_list(
    request: Request,
    account_id: AccountId,
    visitor: AccountVisitor,
    missed: Annotated[bool, Query(description="only those of which no webhook told")] = False,  # noqa: FBT002 - a flag of the address
    after: Annotated[str, Query(max_length=4_000)] = "",
) -> Response:
    """Payments, newest first. HTML."""
    deps = deps_of(request)
    async with deps.pool.acquire() as conn:
        frame = await frame_of(conn, deps, visitor, account_id)
        generation = await generations.current(conn)
        rows = await payments.page(
            conn,
            generation,
            account_id,
            missed=missed,
            after=paging.read(after),
            limit=PAGE_ROWS + 1,
        )
        count = await payments.count_missed(conn, generation, account_id)
    more = rows[PAGE_ROWS - 1] if len(rows) > PAGE_ROWS else None
    values = {
        "frame": frame,
        "rows": rows[:PAGE_ROWS],
        "missed": missed,
        "missed_count": count,
        "next_after": paging.written(After(more.changed_at, more.payment_id)) if more else None,
    }
    return render(request, "payments.html", values)
