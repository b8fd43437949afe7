"""Connecting by full-page redirects: the click, Xero's answer, and the choice of organisation."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form
from starlette.requests import Request
from starlette.responses import Response

from connector.choose_organisation import choose_organisation, has_connected
from connector.connect_tenant import (
    Asker,
    Bound,
    Callback,
    Ending,
    Failed,
    MustChoose,
    begin_connect,
    finish_connect,
)
from connector.domain.authorization import CALLBACK_PATH
from connector.domain.connection import Actor
from connector.domain.failures import Failure
from connector.handlers.browser import (
    PageOf,
    deps_of,
    form_is_ours,
    form_token,
    new_session,
    remember_session,
    render,
    see_other,
    session_of,
)
from connector.handlers.card import card_path, failure_page
from connector.handlers.page_route import PageRoute, person_or_none
from connector.store import oauth_states
from pipeline_service_defaults.auth import Person, require_person

router = APIRouter(tags=["connect"], route_class=PageRoute)

Admin = Annotated[Person, Depends(require_person("admin"))]
Token = Annotated[str, Form(alias="csrf", max_length=200)]

LONGEST_PARAMETER = 2_000


@router.post(
    "/accounts/{account_id}/xero/connect", summary="Connect to Xero", response_class=Response
)
async def connect(request: Request, account_id: str, person: Admin, csrf: Token = "") -> Response:
    """Send the browser to Xero to sign in and consent (303)."""
    deps = deps_of(request)
    if not form_is_ours(request, deps, person, csrf):
        return failure_page(account_id, Failure.FORM_EXPIRED)
    session = session_of(request, deps.settings) or new_session()
    begun = await begin_connect(deps, account_id, Actor(person.user_id, person.name), session)
    if isinstance(begun, Failed):
        return failure_page(account_id, begun.failure)
    response = see_other(begun)
    remember_session(response, deps.settings, session)
    return response


@router.get(CALLBACK_PATH, summary="Where Xero sends people back to", response_class=Response)
async def callback(request: Request) -> Response:
    """Take the answer and leave this address at once: its code must not stay in a history, a log or a Referer."""
    deps = deps_of(request)
    person = person_or_none(request)
    if person is None:
        return see_other(f"/oauth/xero/problem/{Failure.NOT_SIGNED_IN.value}")
    session = session_of(request, deps.settings)
    if session is None:
        return failure_page(person.account_id, Failure.OTHER_BROWSER)
    if not person.may("admin"):
        return failure_page(person.account_id, Failure.NOT_ALLOWED)
    answer = Callback(
        state=parameter(request, "state"),
        code=parameter(request, "code"),
        error=parameter(request, "error"),
        session=session,
        account_id=person.account_id,
        by=Actor(person.user_id, person.name),
    )
    return page_after(person.account_id, await finish_connect(deps, answer))


def parameter(request: Request, name: str) -> str:
    """A query parameter, empty when it is missing, repeated or absurd."""
    values = request.query_params.getlist(name)
    return values[0] if len(values) == 1 and len(values[0]) <= LONGEST_PARAMETER else ""


def page_after(account_id: str, ending: Ending) -> Response:
    """Where a finished attempt continues."""
    match ending:
        case Bound():
            return see_other(card_path(account_id))
        case MustChoose():
            return see_other(f"{card_path(account_id)}/organisation")
        case Failed(failure):
            return failure_page(account_id, failure)


@router.get(
    "/accounts/{account_id}/xero/organisation",
    summary="Choose an organisation",
    response_class=Response,
)
async def offer(request: Request, account_id: str, person: Admin) -> Response:
    """The organisations that were granted, to choose one of. HTML."""
    deps = deps_of(request)
    session = session_of(request, deps.settings)
    choice = None
    if session is not None:
        async with deps.pool.acquire() as conn:
            choice = await oauth_states.open_choice(
                conn, account_id=account_id, user_id=person.user_id, session=session
            )
    if choice is None or session is None:
        return await nothing_to_choose(request, asked_by(account_id, person, session))
    values = {
        "offers": choice.offers,
        "base": card_path(account_id),
        "csrf": form_token(deps, session, person),
    }
    return render(deps, PageOf("organisation.html", values))


@router.post(
    "/accounts/{account_id}/xero/organisation",
    summary="Use this organisation",
    response_class=Response,
)
async def choose(
    request: Request,
    account_id: str,
    person: Admin,
    tenant_id: Annotated[str, Form(max_length=100)] = "",
    csrf: Token = "",
) -> Response:
    """Connect the chosen organisation; back to the card."""
    deps = deps_of(request)
    if not form_is_ours(request, deps, person, csrf):
        return failure_page(account_id, Failure.FORM_EXPIRED)
    asked = asked_by(account_id, person, session_of(request, deps.settings))
    return page_after(account_id, await choose_organisation(deps, asked, tenant_id))


def asked_by(account_id: str, person: Person, session: str | None) -> Asker:
    """Who asks, and in which browser session; one without a cookie has nothing to choose."""
    return Asker(account_id, Actor(person.user_id, person.name), session or "")


async def nothing_to_choose(request: Request, asked: Asker) -> Response:
    """Where a page of choices leads that has none (any more): the card, when one was made, else why not."""
    if await has_connected(deps_of(request), asked):
        return see_other(card_path(asked.account_id))
    return failure_page(asked.account_id, Failure.CHOICE_EXPIRED)
