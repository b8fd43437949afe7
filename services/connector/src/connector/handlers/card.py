"""The Xero card: what people see and press. Viewers see, administrators act."""

from datetime import datetime
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form
from starlette.requests import Request
from starlette.responses import Response

from connector.disconnect_tenant import disconnect
from connector.domain.connection import (
    REFRESHABLE,
    WORDS,
    Actor,
    Connection,
    Reason,
    Status,
    Words,
    never_connected,
)
from connector.domain.failures import Failure
from connector.handlers.browser import (
    STYLE,
    PageOf,
    deps_of,
    form_is_ours,
    form_targets,
    form_token,
    new_session,
    remember_session,
    render,
    see_other,
    session_of,
)
from connector.handlers.page_route import PageRoute
from connector.refresh_tokens import GrantDead, Unavailable, refresh_now
from connector.store import budgets, connections, token_sets
from connector.store.token_sets import TokenSet
from pipeline_service_defaults.auth import Person, require_person

router = APIRouter(tags=["card"], route_class=PageRoute)

Viewer = Annotated[Person, Depends(require_person("viewer"))]
Admin = Annotated[Person, Depends(require_person("admin"))]
Token = Annotated[str, Form(alias="csrf", max_length=200)]

CHANGES_SHOWN = 8
STATUS_WORDS = {
    Status.CONNECTED: "Connected",
    Status.TOKEN_EXPIRED: "Authorisation expired",
    Status.DISCONNECTED: "Not connected",
}


def card_path(account_id: str) -> str:
    """The card's address."""
    return f"/accounts/{quote(account_id, safe='')}/xero"


def failure_page(account_id: str, failure: Failure) -> Response:
    """Go to the page that explains a failure."""
    return see_other(f"{card_path(account_id)}/problem/{failure.value}")


def when(moment: datetime | None) -> str:
    """A time as people read it; the zone is named, because the page does not know the reader's."""
    return moment.strftime("%-d %B %Y, %H:%M UTC") if moment else "never"


@router.get("/accounts/{account_id}/xero", summary="The Xero card", response_class=Response)
async def card(request: Request, account_id: str, person: Viewer) -> Response:
    """Status, organisation, and the buttons that can work. HTML."""
    deps = deps_of(request)
    session = session_of(request, deps.settings) or new_session()
    async with deps.pool.acquire() as conn:
        connection = await connections.find(conn, account_id) or never_connected(account_id)
        tokens = (
            await token_sets.find(conn, connection.xero_userid) if connection.xero_userid else None
        )
        left = (
            await budgets.day_remaining(conn, connection.tenant_id)
            if connection.tenant_id
            else None
        )
        changes = await connections.changes(conn, account_id, CHANGES_SHOWN)
    waiting = tokens is not None and tokens.unavailable_since is not None
    troubled = waiting and connection.status is Status.CONNECTED
    words = words_of_trouble(tokens) if tokens and troubled else connection.words
    values = {
        "connection": connection,
        "status_words": STATUS_WORDS[connection.status],
        "message": "Being disconnected." if connection.fenced_at else words.message,
        "hint": words.hint,
        "since": when(connection.since),
        "connected_at": when(connection.connected_at),
        "last_call": when(connection.last_call_at),
        "calls_left": left,
        "is_admin": person.may("admin"),
        "show_refresh": shows_refresh(connection, troubled=troubled),
        "changes": [
            {
                "at": when(row["at"]),
                "status": row["to_status"],
                "message": WORDS[Reason(row["reason"])].message,
                "actor": row["actor_name"] or "Xero or the system",
            }
            for row in changes
        ],
        "base": card_path(account_id),
        "csrf": form_token(deps, session, person),
    }
    response = render(deps, PageOf("card.html", values), form_targets=form_targets(deps.settings))
    remember_session(response, deps.settings, session)
    return response


def words_of_trouble(tokens: TokenSet) -> Words:
    """What a connected account reads while renewing its tokens does not work: our own trouble is not called Xero's."""
    own = next((r for r in REFRESHABLE if r.value == tokens.last_problem), None)
    return WORDS[own or Reason.XERO_UNAVAILABLE]


def shows_refresh(connection: Connection, *, troubled: bool) -> bool:
    """Refresh Token is offered where it can change something: an expired token it can cure, or a silent Xero."""
    return connection.can_refresh and (troubled or connection.status is Status.TOKEN_EXPIRED)


@router.post(
    "/accounts/{account_id}/xero/refresh", summary="Refresh Token", response_class=Response
)
async def refresh(request: Request, account_id: str, person: Admin, csrf: Token = "") -> Response:
    """Renew the authorisation now; back to the card, which says what stands in the way, or to a page that does."""
    deps = deps_of(request)
    if not form_is_ours(request, deps, person, csrf):
        return failure_page(account_id, Failure.FORM_EXPIRED)
    async with deps.pool.acquire() as conn:
        connection = await connections.find(conn, account_id)
    if connection is None or connection.status is Status.DISCONNECTED:
        return failure_page(account_id, Failure.NOTHING_TO_REFRESH)
    try:
        await refresh_now(deps, account_id, Actor(person.user_id, person.name))
    except GrantDead:
        return failure_page(account_id, Failure.REFRESH_REJECTED)
    except Unavailable as error:
        if error.reason is Reason.XERO_UNAVAILABLE:
            return failure_page(account_id, Failure.REFRESH_UNAVAILABLE)
    return see_other(card_path(account_id))


@router.post(
    "/accounts/{account_id}/xero/disconnect", summary="Disconnect", response_class=Response
)
async def disconnect_account(
    request: Request, account_id: str, person: Admin, csrf: Token = ""
) -> Response:
    """Stop all calls, record it, and undo the grant at Xero; back to the card."""
    deps = deps_of(request)
    if not form_is_ours(request, deps, person, csrf):
        return failure_page(account_id, Failure.FORM_EXPIRED)
    await disconnect(deps, account_id, Actor(person.user_id, person.name))
    return see_other(card_path(account_id))


@router.get("/static/pages.css", include_in_schema=False)
async def style() -> Response:
    """The one style sheet."""
    return Response(STYLE, media_type="text/css", headers={"Cache-Control": "public, max-age=300"})
