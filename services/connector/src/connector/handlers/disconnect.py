"""Disconnect: a page that says what will stop and wait, and the button that does it."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form
from starlette.requests import Request
from starlette.responses import Response

from connector.disconnect_tenant import disconnect
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
from connector.handlers.page_route import PageRoute
from connector.preview_disconnect import NotAnswered, Preview, preview_disconnect
from pipeline_service_defaults.auth import Person, require_person

router = APIRouter(tags=["card"], route_class=PageRoute)

Admin = Annotated[Person, Depends(require_person("admin"))]

NOT_COUNTED: Final = {
    None: "",
    NotAnswered.NOT_CONFIGURED: "this installation is not set up to count them.",
    NotAnswered.NO_ANSWER: "the service that counts them did not answer in time.",
}


@router.get(
    "/accounts/{account_id}/xero/disconnect",
    summary="What disconnecting does",
    response_class=Response,
)
async def explain(request: Request, account_id: str, person: Admin) -> Response:
    """What stops, what waits, what is kept, and the button. Without a connection, back to the card. HTML."""
    deps = deps_of(request)
    preview = await preview_disconnect(deps, account_id)
    if preview is None:
        return see_other(card_path(account_id))
    return page(request, person, preview, changed=False)


@router.post(
    "/accounts/{account_id}/xero/disconnect", summary="Disconnect", response_class=Response
)
async def disconnect_account(
    request: Request,
    account_id: str,
    person: Admin,
    organisation: Annotated[str, Form(max_length=100, pattern=r"^[A-Za-z0-9-]*$")] = "",
    csrf: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Stop all calls, record it, and undo the grant at Xero; back to the card.

    `organisation` is the one the person read about. Where the account keeps its books in another one by now, nothing is
    done and the page is shown anew: nobody asked to disconnect that one.
    """
    deps = deps_of(request)
    if not form_is_ours(request, deps, person, csrf):
        return failure_page(account_id, Failure.FORM_EXPIRED)
    done = await disconnect(
        deps, account_id, Actor(person.user_id, person.name), only=organisation or None
    )
    if not done:
        preview = await preview_disconnect(deps, account_id)
        if preview is not None:
            return page(request, person, preview, changed=True)
    return see_other(card_path(account_id))


def page(request: Request, person: Person, preview: Preview, *, changed: bool) -> Response:
    """The page before a disconnect."""
    deps = deps_of(request)
    session = session_of(request, deps.settings) or new_session()
    values = {
        "connection": preview.connection,
        "shared": preview.shared,
        "counts": preview.counts,
        "counts_missing": NOT_COUNTED[preview.not_counted],
        "changed": changed,
        "base": card_path(person.account_id),
        "csrf": form_token(deps, session, person),
    }
    response = render(deps, PageOf("disconnect.html", values, 409 if changed else 200))
    remember_session(response, deps.settings, session)
    return response
