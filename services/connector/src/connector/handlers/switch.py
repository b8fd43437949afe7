"""Switching to another organisation: a page that says what it does, and a form that must be meant."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form
from starlette.requests import Request
from starlette.responses import Response

from connector.domain.failures import Failure
from connector.handlers.browser import (
    PageOf,
    deps_of,
    form_is_ours,
    form_token,
    render,
    session_of,
)
from connector.handlers.card import card_path, failure_page
from connector.handlers.oauth import asked_by, nothing_to_choose, page_after
from connector.handlers.page_route import PageRoute
from connector.switch_organisation import switch_organisation, switchable
from pipeline_service_defaults.auth import Person, require_person

router = APIRouter(tags=["connect"], route_class=PageRoute)

Admin = Annotated[Person, Depends(require_person("admin"))]

CONFIRMED = "yes"


@router.get(
    "/accounts/{account_id}/xero/switch",
    summary="What switching to another organisation does",
    response_class=Response,
)
async def explain(request: Request, account_id: str, person: Admin) -> Response:
    """Both organisations by name, what happens to invoices and mappings, and the form. HTML."""
    return await switch_page(request, account_id, person, status=200)


@router.post(
    "/accounts/{account_id}/xero/switch",
    summary="Switch to this organisation",
    response_class=Response,
)
async def switch(
    request: Request,
    account_id: str,
    person: Admin,
    tenant_id: Annotated[str, Form(max_length=100)] = "",
    confirmed: Annotated[str, Form(max_length=10)] = "",
    csrf: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Leave the former organisation for the chosen one; back to the card."""
    deps = deps_of(request)
    if not form_is_ours(request, deps, person, csrf):
        return failure_page(account_id, Failure.FORM_EXPIRED)
    if confirmed != CONFIRMED:
        return await switch_page(request, account_id, person, status=400)
    asked = asked_by(account_id, person, session_of(request, deps.settings))
    return page_after(account_id, await switch_organisation(deps, asked, tenant_id))


async def switch_page(
    request: Request, account_id: str, person: Person, *, status: int
) -> Response:
    """The page; 400 says that the confirmation was missing."""
    deps = deps_of(request)
    session = session_of(request, deps.settings)
    asked = asked_by(account_id, person, session)
    choice = await switchable(deps, asked)
    if choice is None or session is None:
        return await nothing_to_choose(request, asked)
    values = {
        "offers": choice.offers,
        "former": choice.bound_tenant_name,
        "unconfirmed": status != 200,  # noqa: PLR2004 - HTTP
        "confirmed": CONFIRMED,
        "base": card_path(account_id),
        "csrf": form_token(deps, session, person),
    }
    return render(deps, PageOf("switch.html", values, status))
