"""The Xero card: what people see and press. Viewers see, administrators act."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Query
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from connector.deps import Deps
from connector.describe_connection import Description, describe_connection
from connector.domain.connection import Actor, Reason, Status
from connector.domain.day_budget import DayBudget, Outlook, runs_low
from connector.domain.failures import Failure
from connector.domain.history import HAPPENED, NAMES_ORGANISATION, who
from connector.domain.moments import Moment, about, moment
from connector.domain.scopes import WORDS_OF_SCOPE
from connector.handlers.browser import (
    PageOf,
    deps_of,
    form_is_ours,
    form_targets,
    form_token,
    new_session,
    part,
    remember_session,
    render,
    see_other,
    session_of,
)
from connector.handlers.page_route import PageRoute
from connector.refresh_tokens import GrantDead, Unavailable, refresh_now
from pipeline_service_defaults.auth import Person, require_person

router = APIRouter(tags=["card"], route_class=PageRoute)

Viewer = Annotated[Person, Depends(require_person("viewer"))]
Admin = Annotated[Person, Depends(require_person("admin"))]
Token = Annotated[str, Form(alias="csrf", max_length=200)]

LOOK_SECONDS: Final = 4
"""How often an open card looks whether anything changed."""

STATUS_WORDS: Final = {
    Status.CONNECTED: "Connected",
    Status.TOKEN_EXPIRED: "Authorisation expired",
    Status.DISCONNECTED: "Not connected",
}
IN_ORDER: Final = frozenset(
    {
        Reason.CONNECTED_BY_USER,
        Reason.REFRESHED,
        Reason.ORGANISATION_SWITCHED,
        Reason.DAY_BUDGET_RESTORED,
    }
)
HTMX_CONFIG: Final = json.dumps(
    {
        # Both would need what our content policy forbids: styles inside the page, and eval.
        "includeIndicatorStyles": False,
        "allowEval": False,
        "allowScriptTags": False,
        "historyEnabled": False,
        "selfRequestsOnly": True,
        "timeout": 8000,
        # Only a changed card is swapped in; what any other answer means, pages.js says.
        "responseHandling": [{"code": "200", "swap": True}, {"code": "...", "swap": False}],
    }
)


def card_path(account_id: str) -> str:
    """The card's address."""
    return f"/accounts/{quote(account_id, safe='')}/xero"


def failure_page(account_id: str, failure: Failure) -> Response:
    """Go to the page that explains a failure."""
    return see_other(f"{card_path(account_id)}/problem/{failure.value}")


@dataclass(frozen=True, slots=True)
class Face:
    """The two parts of a card that may change while it is open; `seen` names exactly these."""

    base: str
    status_html: Markup
    facts_html: Markup

    @property
    def seen(self) -> str:
        """A fingerprint of each part, so that a browser that has both is not given them again."""
        return f"{fingerprint(self.status_html)}-{fingerprint(self.facts_html)}"

    def values(self) -> dict[str, Any]:
        """What the templates around the parts need."""
        return {
            "base": self.base,
            "status_html": self.status_html,
            "facts_html": self.facts_html,
            "seen": self.seen,
            "look_seconds": LOOK_SECONDS,
        }


def fingerprint(text: str) -> str:
    """A short name for a text as it is."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@router.get("/accounts/{account_id}/xero", summary="The Xero card", response_class=Response)
async def card(request: Request, account_id: str, person: Viewer) -> Response:
    """Status, organisation, and the buttons that can work. HTML."""
    deps = deps_of(request)
    session = session_of(request, deps.settings) or new_session()
    face = face_of(deps, await describe_connection(deps, account_id), person, session)
    values = face.values() | {"htmx_config": HTMX_CONFIG}
    response = render(deps, PageOf("card.html", values), form_targets=form_targets(deps.settings))
    remember_session(response, deps.settings, session)
    return response


@router.get(
    "/accounts/{account_id}/xero/card",
    summary="What changed on an open card",
    response_class=Response,
    responses={204: {"description": "Nothing: it shows what there is."}},
)
async def look_again(
    request: Request,
    account_id: str,
    person: Viewer,
    seen: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """The card's changed parts as HTML, 204 when the one that shows `seen` is up to date.

    The status is sent only when it is another one: it is announced to people who cannot see it.
    """
    deps = deps_of(request)
    session = session_of(request, deps.settings) or new_session()
    face = face_of(deps, await describe_connection(deps, account_id), person, session)
    if seen == face.seen:
        return Response(status_code=204)
    changed = not seen.startswith(fingerprint(face.status_html))
    values = face.values() | {"status_changed": changed}
    response = render(deps, PageOf("card_update.html", values))
    remember_session(response, deps.settings, session)
    return response


def face_of(deps: Deps, told: Description, person: Person, session: str) -> Face:
    """The card's parts as this person sees them."""
    base = card_path(told.connection.account_id)
    status = {
        "connection": told.connection,
        "standing": told.standing,
        "status_words": STATUS_WORDS[told.connection.status],
        "tone": tone(told),
    }
    facts = facts_of(told) | {
        "base": base,
        "is_admin": person.may("admin"),
        "csrf": form_token(deps, session, person),
    }
    return Face(base, part("card_status.html", status), part("card_facts.html", facts))


def tone(told: Description) -> str:
    """The name of the status's colour and mark: all is well, somebody should look, or off."""
    if told.connection.status is Status.DISCONNECTED:
        return "off"
    return "good" if told.connection.usable and told.standing.reason in IN_ORDER else "warn"


def facts_of(told: Description) -> dict[str, Any]:
    """What the card shows below the status, in words."""
    connection, now = told.connection, told.now
    granted = frozenset(told.scopes.split())
    return {
        "connection": connection,
        "standing": told.standing,
        "since": connection.since and moment(connection.since, now),
        "connected_at": connection.connected_at and moment(connection.connected_at, now),
        "last_call": connection.last_call_at and moment(connection.last_call_at, now),
        "day": told.day,
        "spent_at": spent_at(told.day, now) if told.day and connection.usable else None,
        "permissions": [words for scope, words in WORDS_OF_SCOPE.items() if scope in granted],
        "changes": [
            {
                "what": HAPPENED[change.reason],
                "organisation": change.tenant_name if change.reason in NAMES_ORGANISATION else None,
                "who": who(change),
                "at": moment(change.at, now),
            }
            for change in told.changes
        ],
    }


def spent_at(day: Outlook, now: datetime) -> Moment | None:
    """When the day's calls will be spent, once they run low; a forecast of plenty would only worry people."""
    low = runs_low(DayBudget(day.day_remaining, day.day_limit))
    return about(day.empty_at, now) if low and day.empty_at else None


@router.post(
    "/accounts/{account_id}/xero/refresh", summary="Refresh Token", response_class=Response
)
async def refresh(request: Request, account_id: str, person: Admin, csrf: Token = "") -> Response:
    """Renew the authorisation now; back to the card, which says what stands in the way, or to a page that does."""
    deps = deps_of(request)
    if not form_is_ours(request, deps, person, csrf):
        return failure_page(account_id, Failure.FORM_EXPIRED)
    told = await describe_connection(deps, account_id)
    if told.connection.status is Status.DISCONNECTED:
        return failure_page(account_id, Failure.NOTHING_TO_REFRESH)
    try:
        await refresh_now(deps, account_id, Actor(person.user_id, person.name))
    except GrantDead:
        return failure_page(account_id, Failure.REFRESH_REJECTED)
    except Unavailable as error:
        if error.reason is Reason.XERO_UNAVAILABLE:
            return failure_page(account_id, Failure.REFRESH_UNAVAILABLE)
    return see_other(card_path(account_id))
