"""What the pages share: the browser session they are bound to, form tokens, rendering, and security headers."""

import pathlib
import re
import secrets
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Path
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from connector.deps import Deps
from connector.handlers.assets import asset
from connector.settings import Settings
from pipeline_service_defaults.auth import Person

_FOLDER: Final = pathlib.Path(__file__).parent.parent
_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(_FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.globals["asset"] = asset
_SESSION: Final = re.compile(r"[A-Za-z0-9_-]{43}")


AccountId = Annotated[str, Path(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""An account's id in an address: opaque, but text that a database can hold."""


def deps_of(request: Request) -> Deps:
    """The connector's ports, put there when the application started."""
    deps: Deps = request.app.state.deps
    return deps


def session_cookie(settings: Settings) -> str:
    """The cookie's name; browsers accept the prefix only from https, for the whole host, without a Domain."""
    return "__Host-xero_session" if settings.secure else "xero_session"


def session_of(request: Request, settings: Settings) -> str | None:
    """The browser session of a request: a random secret that only says "the same browser"."""
    value = request.cookies.get(session_cookie(settings), "")
    return value if _SESSION.fullmatch(value) else None


def new_session() -> str:
    """A fresh browser session."""
    return secrets.token_urlsafe(32)


def remember_session(response: Response, settings: Settings, session: str) -> None:
    """Set the cookie. SameSite=Lax, because Xero's redirect back is a navigation from another site."""
    response.set_cookie(
        session_cookie(settings),
        session,
        max_age=12 * 3600,
        path="/",
        secure=settings.secure,
        httponly=True,
        samesite="lax",
    )


def form_token(deps: Deps, session: str, person: Person) -> str:
    """What proves that a form came from our page, in this browser session, for this person and account."""
    return deps.form_keys.stamp("form", f"{session}|{person.user_id}|{person.account_id}")


def form_is_ours(request: Request, deps: Deps, person: Person, given: str) -> bool:
    """Whether a POST may act: by a form token, or because its caller proved itself with a bearer header.

    A browser never sends an Authorization header on its own, so nobody can forge such a request with a page.
    """
    if request.headers.get("authorization") is not None:
        return True
    session = session_of(request, deps.settings)
    if session is None or not given:
        return False
    return deps.form_keys.stamped("form", f"{session}|{person.user_id}|{person.account_id}", given)


@dataclass(frozen=True, slots=True)
class PageOf:
    """A rendered page's template, values and status."""

    template: str
    values: dict[str, Any]
    status: int = 200


def part(template: str, values: dict[str, Any]) -> Markup:
    """A template with its values, escaped, and so fit to stand inside another."""
    return Markup(_TEMPLATES.get_template(template).render(**values))  # noqa: S704 - autoescape has been at work


def render(deps: Deps, page: PageOf, *, form_targets: str = "'self'") -> HTMLResponse:
    """A page under a policy without anything inline; nothing is loaded from elsewhere."""
    body = part(page.template, page.values)
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
        f"form-action {form_targets}; frame-ancestors {deps.settings.frame_ancestors}"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        # Not `no-referrer`: under it browsers send `Origin: null` with our own forms, and those that send no
        # Sec-Fetch-Site (Safari before 16.4, any on plain http) could not be told from a stranger's page.
        "Referrer-Policy": "same-origin",
    }
    if deps.settings.secure:
        # A proxy ends TLS in front of us, so the request itself cannot tell.
        headers["Strict-Transport-Security"] = "max-age=31536000"
    if deps.settings.frame_ancestors == "'self'":
        headers["X-Frame-Options"] = "SAMEORIGIN"
    return HTMLResponse(body, status_code=page.status, headers=headers)


def form_targets(settings: Settings) -> str:
    """Where forms may lead: browsers apply form-action to every redirect after a POST as well, so Xero's login counts.

    That login may hand over to another host of Xero's before it comes back, so all of them are open to our forms.
    """
    scheme, _, rest = settings.xero_login_url.partition("://")
    host = rest.split("/")[0]
    others = " https://*.xero.com" if host.endswith(".xero.com") else ""
    return f"'self' {scheme}://{host}{others}"


def see_other(path: str) -> RedirectResponse:
    """Go there with GET. The path is made of our own constants and a quoted account id, never of a request's words."""
    return RedirectResponse(path, status_code=303)
