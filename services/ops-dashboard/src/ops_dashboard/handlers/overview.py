"""One account at a glance."""

import asyncio
from collections.abc import Sequence

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ops_dashboard.domain.backlog import Queue, queue_of
from ops_dashboard.domain.calls import Calls, calls_of
from ops_dashboard.domain.invoices import STATES
from ops_dashboard.handlers.access import (
    AccountId,
    AccountVisitor,
    AnyVisitor,
    Visitor,
    deps_of,
)
from ops_dashboard.handlers.causes import causes
from ops_dashboard.handlers.pages import PageRoute, account_path, frame_of, render
from ops_dashboard.store import accounts, facts, generations, invoices, odd_records, payments
from ops_dashboard.store.invoices import Tally, Wanted

router = APIRouter(tags=["pages"], route_class=PageRoute)

_LATEST = 5
_MOST_COUNTED = 1_000


@router.get("/", summary="To one's own overview", response_class=Response)
async def home(visitor: AnyVisitor) -> Response:
    """Staff to all accounts, everybody else to their own."""
    to = "/accounts" if visitor.is_staff else account_path(visitor.person.account_id)
    return RedirectResponse(to, status_code=303)


@router.get("/accounts/{account_id}", summary="An account at a glance", response_class=Response)
async def overview(request: Request, account_id: AccountId, visitor: AccountVisitor) -> Response:
    """Connection, invoices by state, what needs somebody, the newest payments. HTML."""
    deps = deps_of(request)
    async with deps.pool.acquire() as conn:
        frame = await frame_of(conn, deps, visitor, account_id)
        generation = await generations.current(conn)
        account = await accounts.find(conn, generation, account_id)
        tallies = await invoices.by_state(conn, generation, account_id)
        reconciled = await facts.timeline(
            conn, generation, account_id, [("account", account_id)], 1
        )
        values = {
            "frame": frame,
            "account": account,
            "tiles": tiles(tallies),
            "causes": causes(await invoices.by_cause(conn, generation, account_id))[:_LATEST],
            "payments": await payments.page(
                conn, generation, account_id, missed=False, after=None, limit=_LATEST
            ),
            "missed": await payments.count_missed(conn, generation, account_id),
            "waiting": (
                await invoices.waiting(conn, generation, [account_id], most=_MOST_COUNTED)
            ).get(account_id),
            "most_counted": _MOST_COUNTED,
            "odd": odd_words(
                await odd_records.count(conn, generation, account_id, most=_MOST_COUNTED)
            ),
            "reconciled": reconciled[0] if reconciled else None,
        }
        last = await invoices.page(
            conn, generation, account_id, Wanted(state="waiting"), after=None, limit=1
        )
    newest = last[0].invoice_id if last else None
    queue, calls = await asyncio.gather(
        _queue(request, visitor, account_id, newest), _calls(request, visitor, account_id)
    )
    return render(request, "overview.html", values | {"queue": queue, "calls": calls})


def tiles(tallies: Sequence[Tally]) -> list[dict[str, object]]:
    """Each state with its number of invoices and its money, also those without any."""
    return [
        {
            "state": state,
            "words": words,
            "invoices": sum(one.invoices for one in tallies if one.name == state),
            "money": [
                (one.total, one.currency) for one in tallies if one.name == state and one.currency
            ],
        }
        for state, words in STATES.items()
    ]


def odd_words(count: int) -> str:
    """How many records could not be used, as far as they were counted; dead letters are some of them."""
    if count <= 1:
        return "1 record could not be used" if count else ""
    more = " or more" if count >= _MOST_COUNTED else ""
    return f"{count:,}{more} records could not be used"


async def _queue(
    request: Request, visitor: Visitor, account_id: str, invoice_id: str | None
) -> Queue | None:
    """What invoice-sync says of the queue, asked about the newest invoice in it; None where it says nothing."""
    if visitor.person.account_id != account_id or invoice_id is None:
        return None
    answer = await deps_of(request).invoice_sync.status(visitor.token, account_id, invoice_id)
    return queue_of(answer.body) if answer.is_done else None


async def _calls(request: Request, visitor: Visitor, account_id: str) -> Calls | None:
    """What invoice-sync says of the calls left today; None where it says nothing."""
    if visitor.person.account_id != account_id:
        return None
    answer = await deps_of(request).invoice_sync.budget(visitor.token, account_id)
    return calls_of(answer.body) if answer.is_done else None
