"""Connections: all of them for staff, one with its history for its people."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from ops_dashboard.domain.connections import TONES
from ops_dashboard.handlers.access import AccountId, AccountVisitor, StaffVisitor, deps_of
from ops_dashboard.handlers.pages import (
    PAGE_ROWS,
    PageRoute,
    frame_of,
    freshness_now,
    render,
)
from ops_dashboard.store import accounts, facts, generations, invoices

router = APIRouter(tags=["pages"], route_class=PageRoute)

Text = Annotated[str, Query(max_length=255, pattern=r"^[^\x00]*$")]
_HISTORY = 100
_MOST_COUNTED = 1_000


@router.get("/accounts", summary="All accounts' connections", response_class=Response)
async def all_connections(
    request: Request, visitor: StaffVisitor, tone: Text = "", q: Text = "", after: Text = ""
) -> Response:
    """Every account with the state of its connection and the reason. HTML, for Pipeline's staff."""
    deps = deps_of(request)
    async with deps.pool.acquire() as conn:
        generation = await generations.current(conn)
        rows = await accounts.page(
            conn,
            generation,
            tone=tone if tone in TONES else None,
            starting_with=q,
            after=after,
            limit=PAGE_ROWS + 1,
        )
        shown = [row.account_id for row in rows[:PAGE_ROWS]]
        values = {
            "visitor": visitor,
            "freshness": await freshness_now(conn, deps),
            "waiting": await invoices.waiting(conn, generation, shown, most=_MOST_COUNTED),
            "most_counted": _MOST_COUNTED,
            "tones": await accounts.tones(conn, generation),
            "rows": rows[:PAGE_ROWS],
            "next_after": rows[PAGE_ROWS - 1].account_id if len(rows) > PAGE_ROWS else None,
            "asked": {"tone": tone, "q": q},
        }
    return render(request, "accounts.html", values)


@router.get(
    "/accounts/{account_id}/connection", summary="An account's connection", response_class=Response
)
async def connection(request: Request, account_id: AccountId, visitor: AccountVisitor) -> Response:
    """The connection's state, the next step, and what happened to it. HTML."""
    deps = deps_of(request)
    async with deps.pool.acquire() as conn:
        frame = await frame_of(conn, deps, visitor, account_id)
        generation = await generations.current(conn)
        subject = [("connection", account_id)]
        values = {
            "frame": frame,
            "account": await accounts.find(conn, generation, account_id),
            "lines": await facts.timeline(conn, generation, account_id, subject, _HISTORY),
        }
    return render(request, "connection.html", values)
