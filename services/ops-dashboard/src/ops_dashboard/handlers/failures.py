"""What keeps invoices from Xero, by cause, with the money in it."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ops_dashboard.handlers.access import AccountId, AccountVisitor, deps_of
from ops_dashboard.handlers.causes import causes
from ops_dashboard.handlers.pages import PageRoute, frame_of, render
from ops_dashboard.store import generations, invoices

router = APIRouter(tags=["pages"], route_class=PageRoute)


@router.get("/accounts/{account_id}/failures", summary="Failures by cause", response_class=Response)
async def failures(
    request: Request, account_id: AccountId, visitor: AccountVisitor, done: str = ""
) -> Response:
    """Each cause with the number of invoices, the money per currency, and whose move it is. HTML."""
    deps = deps_of(request)
    async with deps.pool.acquire() as conn:
        frame = await frame_of(conn, deps, visitor, account_id)
        generation = await generations.current(conn)
        tallies = await invoices.by_cause(conn, generation, account_id)
    values = {
        "frame": frame,
        "causes": causes(tallies),
        "done": done,
        "may_act": visitor.may_act_on(account_id),
    }
    return render(request, "failures.html", values)
