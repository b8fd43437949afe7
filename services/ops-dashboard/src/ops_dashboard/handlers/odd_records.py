"""Dead letters and unreadable records. Their content is not to be trusted, nor is the account that it names.

People see those that name their account; those that name another or none are shown to staff only.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from ops_dashboard.clients.api import Answer, Api
from ops_dashboard.deps import Deps
from ops_dashboard.domain import paging
from ops_dashboard.domain.odd_records import (
    MOST_BYTES,
    hex_lines,
    readable,
    taken_up_by,
)
from ops_dashboard.domain.paging import After
from ops_dashboard.handlers.access import AccountId, AccountVisitor, StaffVisitor, deps_of
from ops_dashboard.handlers.pages import PAGE_ROWS, PageRoute, frame_of, freshness_now, render
from ops_dashboard.store import generations, odd_records
from ops_dashboard.store.odd_records import OddRecord
from pipeline_messaging.connection import Connection
from pipeline_service_defaults.problems import Problem

router = APIRouter(tags=["pages"], route_class=PageRoute)

Mark = Annotated[str, Query(max_length=4_000)]
Topic = Annotated[str, Path(max_length=255, pattern=r"^[A-Za-z0-9._-]+$")]
Number = Annotated[int, Path(ge=0, le=2**31 - 1)]
Offset = Annotated[int, Path(ge=0, le=2**63 - 1)]
_PLACE = "/{topic}/{partition}/{offset}"


@router.get("/accounts/{account_id}/dead-letters", summary="Dead letters", response_class=Response)
async def of_account(
    request: Request, account_id: AccountId, visitor: AccountVisitor, after: Mark = ""
) -> Response:
    """Records that name this account and could not be used. HTML."""
    deps = deps_of(request)
    async with deps.pool.acquire() as conn:
        frame = await frame_of(conn, deps, visitor, account_id)
        values = await _page(conn, account_id, after)
    return render(request, "dead_letters.html", values | {"frame": frame})


@router.get("/dead-letters", summary="All dead letters", response_class=Response)
async def of_everybody(request: Request, visitor: StaffVisitor, after: Mark = "") -> Response:
    """Records that could not be used, whatever they name. HTML, for Pipeline's staff."""
    deps = deps_of(request)
    async with deps.pool.acquire() as conn:
        freshness = await freshness_now(conn, deps)
        values = await _page(conn, None, after)
    return render(
        request, "dead_letters.html", values | {"visitor": visitor, "freshness": freshness}
    )


@router.get(
    "/accounts/{account_id}/dead-letters" + _PLACE,
    summary="A dead letter's content",
    response_class=Response,
)
async def one_of_account(
    request: Request,
    account_id: AccountId,
    visitor: AccountVisitor,
    topic: Topic,
    partition: Number,
    offset: Offset,
    done: Mark = "",
) -> Response:
    """Why it was set aside, its headers, and its bytes. HTML."""
    deps = deps_of(request)
    async with deps.pool.acquire() as conn:
        frame = await frame_of(conn, deps, visitor, account_id)
        found = await _find(conn, topic, partition, offset)
    if found.account_id != account_id:
        raise _nothing()
    values = _shown(found) | {
        "frame": frame,
        "done": done,
        "may_act": visitor.may_act_on(account_id),
        "taker": taker.name if (taker := taker_of(deps, found)) else None,
    }
    return render(request, "dead_letter.html", values)


@router.get(
    "/accounts/{account_id}/dead-letters" + _PLACE + "/replay",
    summary="Before a dead letter is taken up",
    response_class=Response,
)
async def before_replay(
    request: Request,
    account_id: AccountId,
    visitor: AccountVisitor,
    topic: Topic,
    partition: Number,
    offset: Offset,
) -> Response:
    """What the service that set it aside says would come of it, and the button. HTML; changes nothing."""
    deps = deps_of(request)
    if not visitor.may_act_on(account_id):
        raise Problem(403, "NOT_ALLOWED", "Not allowed", "This needs the role operator.")
    async with deps.pool.acquire() as conn:
        frame = await frame_of(conn, deps, visitor, account_id)
        found = await _find(conn, topic, partition, offset)
    taker = taker_of(deps, found)
    if found.account_id != account_id or taker is None:
        raise _nothing()
    answer = await taker.dead_letter(visitor.token, account_id, found.place)
    values = {"frame": frame, "record": found, "plan": plan(answer)}
    return render(request, "take_up.html", values)


def taker_of(deps: Deps, found: OddRecord) -> Api | None:
    """The service that can be asked to take it up; None where there is none, or its address is not configured."""
    name = taken_up_by(found.from_topic) if found.is_dead_letter else None
    return {"invoice-sync": deps.invoice_sync, "payment-ingest": deps.payment_ingest}.get(
        name or ""
    )


async def taker_at(deps: Deps, account_id: str, place: tuple[str, int, int]) -> Api:
    """The service to ask about the account's dead letter at a place. Raises Problem 404 where there is none."""
    async with deps.pool.acquire() as conn:
        found = await _find(conn, *place)
    taker = taker_of(deps, found)
    if found.account_id != account_id or taker is None:
        raise _nothing()
    return taker


def plan(answer: Answer) -> dict[str, Any]:
    """What a service said of taking a letter up; where it said nothing usable, why it is not offered."""
    told = answer.body.get("objections")
    if not answer.is_done or not isinstance(told, list):
        unasked = answer.text("detail") or "It does not say what would come of it."
        return {"follows": "", "objections": [unasked], "hint": answer.text("hint")}
    against = [str(each.get("sentence")) for each in told if isinstance(each, dict)]
    return {"follows": answer.text("follows"), "objections": against, "hint": ""}


@router.get("/dead-letters" + _PLACE, summary="Any dead letter's content", response_class=Response)
async def one_of_everybody(
    request: Request, visitor: StaffVisitor, topic: Topic, partition: Number, offset: Offset
) -> Response:
    """Why it was set aside, its headers, and its bytes. HTML, for Pipeline's staff."""
    deps = deps_of(request)
    async with deps.pool.acquire() as conn:
        freshness = await freshness_now(conn, deps)
        found = await _find(conn, topic, partition, offset)
    values = _shown(found) | {"visitor": visitor, "freshness": freshness, "may_act": False}
    return render(request, "dead_letter.html", values)


async def _page(conn: Connection, account_id: str | None, mark: str) -> dict[str, Any]:
    generation = await generations.current(conn)
    after = paging.read(mark)
    rows = await odd_records.page(conn, generation, account_id, after=after, limit=PAGE_ROWS + 1)
    more = rows[PAGE_ROWS - 1] if len(rows) > PAGE_ROWS else None
    return {
        "rows": rows[:PAGE_ROWS],
        "next_after": paging.written(After(more.written_at, more.place)) if more else None,
    }


async def _find(conn: Connection, topic: str, partition: int, offset: int) -> OddRecord:
    generation = await generations.current(conn)
    found = await odd_records.find(conn, generation, topic, partition, offset)
    if found is None:
        raise _nothing()
    return found


def _shown(found: OddRecord) -> dict[str, Any]:
    value = found.value or b""
    return {
        "record": found,
        "done": "",
        "taker": None,
        "key": None if found.key is None else readable(found.key) or found.key.hex(" "),
        "text": readable(value),
        "hex": hex_lines(value),
        "is_cut": found.value_size > MOST_BYTES,
    }


def _nothing() -> Problem:
    return Problem(404, "NOT_FOUND", "Not found", "There is no such record.")
