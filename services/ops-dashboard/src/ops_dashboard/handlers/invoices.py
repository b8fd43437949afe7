"""Invoices: found by state, number, customer or id; and the story of one across all services."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from ops_dashboard.domain import paging
from ops_dashboard.domain.invoices import STATES
from ops_dashboard.domain.paging import After
from ops_dashboard.domain.telling import by_line
from ops_dashboard.handlers.access import AccountId, AccountVisitor, Visitor, deps_of
from ops_dashboard.handlers.pages import PAGE_ROWS, PageRoute, frame_of, render
from ops_dashboard.store import facts, generations, invoices
from ops_dashboard.store.invoices import Invoice, Wanted
from pipeline_service_defaults.problems import Problem

router = APIRouter(tags=["pages"], route_class=PageRoute)

Text = Annotated[str, Query(max_length=1_000, pattern=r"^[^\x00]*$")]
Mark = Annotated[str, Query(max_length=4_000)]
InvoiceId = Annotated[str, Query(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]

_LINES = 200
_SIDE_BY_SIDE = 10


@router.get("/accounts/{account_id}/invoices", summary="Invoices", response_class=Response)
async def invoice_list(
    request: Request,
    account_id: AccountId,
    visitor: AccountVisitor,
    state: Text = "",
    code: Text = "",
    q: Text = "",
    after: Mark = "",
) -> Response:
    """Invoices of one state or cause, or those that a search finds; the last that changed first. HTML."""
    wanted = Wanted(state if state in STATES else None, code or None, q.strip())
    values = await _page(request, visitor, account_id, wanted, after, PAGE_ROWS)
    return render(request, "invoices.html", values)


@router.get("/accounts/{account_id}/out-of-sync", summary="Out of sync", response_class=Response)
async def out_of_sync(
    request: Request, account_id: AccountId, visitor: AccountVisitor, after: Mark = ""
) -> Response:
    """Invoices that were changed in both systems, side by side. HTML."""
    wanted = Wanted(state="out_of_sync")
    values = await _page(request, visitor, account_id, wanted, after, _SIDE_BY_SIDE)
    groups = {one.invoice_id: by_line(one.told.get("differences") or []) for one in values["rows"]}
    return render(request, "out_of_sync.html", values | {"groups": groups})


@router.get(
    "/accounts/{account_id}/invoice", summary="One invoice's story", response_class=Response
)
async def invoice(
    request: Request,
    account_id: AccountId,
    visitor: AccountVisitor,
    id: InvoiceId,  # noqa: A002 - the address's word; an id may hold a slash, so it is no part of the path
    done: Text = "",
) -> Response:
    """Where it stands and why, what can be decided, and all that every service told of it. HTML."""
    deps = deps_of(request)
    async with deps.pool.acquire() as conn:
        frame = await frame_of(conn, deps, visitor, account_id)
        generation = await generations.current(conn)
        found = await invoices.find(conn, generation, account_id, id)
        if found is None:
            raise Problem(404, "NOT_FOUND", "Not found", "No event named this invoice yet.")
        subjects = [("invoice", id)]
        if found.xero_invoice_id:
            subjects.append(("xero_invoice", found.xero_invoice_id))
        if found.customer_id:
            subjects.append(("customer", found.customer_id))
        lines = await facts.timeline(conn, generation, account_id, subjects, _LINES)
    values = {
        "frame": frame,
        "invoice": found,
        "lines": lines,
        "most": _LINES,
        "done": done,
        "may_act": visitor.may_act_on(account_id),
        **await _decision(request, visitor, found),
    }
    return render(request, "invoice.html", values)


async def _page(
    request: Request,
    visitor: Visitor,
    account_id: str,
    wanted: Wanted,
    mark: str,
    size: int,
) -> dict[str, Any]:
    deps = deps_of(request)
    async with deps.pool.acquire() as conn:
        frame = await frame_of(conn, deps, visitor, account_id)
        generation = await generations.current(conn)
        after = paging.read(mark)
        rows = await invoices.page(conn, generation, account_id, wanted, after, size + 1)
    more = rows[size - 1] if len(rows) > size else None
    return {
        "frame": frame,
        "rows": rows[:size],
        "next_after": paging.written(After(more.changed_at, more.invoice_id)) if more else None,
        "asked": wanted,
    }


async def _decision(request: Request, visitor: Visitor, found: Invoice) -> dict[str, Any]:
    """What a person can decide on an invoice out of sync, as invoice-sync says it to them at this moment."""
    told = found.told.get("differences") or []
    nothing = {"groups": by_line(told), "choices": [], "fingerprint": "", "unasked": ""}
    if found.state not in {"out_of_sync", "failed"}:
        return nothing
    if visitor.person.account_id != found.account_id:
        return nothing | {"unasked": "Only people of this account can decide."}
    deps = deps_of(request)
    answer = await deps.invoice_sync.conflict(visitor.token, found.account_id, found.invoice_id)
    if not answer.is_done:
        unasked = answer.text("detail") if found.state == "out_of_sync" else ""
        return nothing | {"unasked": unasked}
    if not answer.body:
        return nothing
    try:
        return nothing | {
            "groups": by_line(answer.body["differences"]),
            "choices": [
                {name: each[name] for name in ("keep", "allowed", "why_not", "follows")}
                for each in answer.body["choices"]
            ],
            "fingerprint": str(answer.body["fingerprint"]),
        }
    except (KeyError, TypeError, AttributeError):
        return nothing | {"unasked": "invoice-sync's answer could not be read."}
