"""The pages that say why something did not work: what happened, whose move it is, one button."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from connector.domain.connection import never_connected
from connector.domain.failures import PAGES, Failure
from connector.domain.scopes import WORDS_OF_SCOPE
from connector.handlers.browser import (
    PageOf,
    deps_of,
    form_targets,
    form_token,
    new_session,
    remember_session,
    render,
    see_other,
    session_of,
)
from connector.handlers.card import card_path
from connector.handlers.page_route import PageRoute, constant_page, person_or_none
from connector.store import connections, oauth_states
from pipeline_service_defaults.auth import Person, require_person

router = APIRouter(tags=["connect"], route_class=PageRoute)

Viewer = Annotated[Person, Depends(require_person("viewer"))]


@router.get(
    "/accounts/{account_id}/xero/problem/{name}",
    summary="Why something did not work",
    response_class=Response,
)
async def problem(request: Request, account_id: str, name: str, person: Viewer) -> Response:
    """What happened, whose move it is, one button. HTML."""
    deps = deps_of(request)
    failure = Failure(name) if name in {f.value for f in Failure} else Failure.STATE_UNKNOWN
    session = session_of(request, deps.settings) or new_session()
    async with deps.pool.acquire() as conn:
        connection = await connections.find(conn, account_id) or never_connected(account_id)
        named = await oauth_states.last_outcome_name(
            conn, account_id=account_id, session=session, outcome=failure.value
        )
        switch = await oauth_states.open_choice(
            conn,
            account_id=account_id,
            user_id=person.user_id,
            session=session,
            awaited=Failure.WRONG_ORGANISATION.value,
        )
    lacks = failure is Failure.SCOPES_MISSING
    values = {
        "page": PAGES[failure],
        "failure": failure.value,
        "named": None if lacks else named,
        "missing": [WORDS_OF_SCOPE[s] for s in (named or "").split() if s in WORDS_OF_SCOPE]
        if lacks
        else (),
        "bound": connection.tenant_name,
        "is_admin": person.may("admin"),
        "base": card_path(account_id),
        "may_switch": failure is Failure.WRONG_ORGANISATION and switch is not None,
        "csrf": form_token(deps, session, person),
    }
    response = render(
        deps,
        PageOf("problem.html", values, PAGES[failure].status),
        form_targets=form_targets(deps.settings),
    )
    remember_session(response, deps.settings, session)
    return response


@router.get(
    "/oauth/xero/problem/{name}", summary="Why connecting did not work", response_class=Response
)
async def public_problem(request: Request, name: str) -> Response:
    """For a browser nobody is signed in with: constant words, nothing of any account. HTML."""
    known = name in {f.value for f in Failure}
    return constant_page(request, Failure(name) if known else Failure.NOT_SIGNED_IN)


@router.get("/oauth/xero/continue", summary="On to one's own Xero card", response_class=Response)
async def go_on(request: Request) -> Response:
    """Where the button of a page without an account leads: the card of whoever is signed in by now, or sign in first."""
    person = person_or_none(request)
    if person is None:
        return see_other(f"/oauth/xero/problem/{Failure.NOT_SIGNED_IN.value}")
    return see_other(card_path(person.account_id))
