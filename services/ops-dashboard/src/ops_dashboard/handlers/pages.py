"""What the pages share: rendering, the frame around each, security headers, and readable refusals."""

import json
import pathlib
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote, urlencode

import asyncpg
import structlog
from fastapi.exceptions import RequestValidationError
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ops_dashboard.deps import Deps
from ops_dashboard.domain.connections import TONES
from ops_dashboard.domain.freshness import Freshness, freshness, span
from ops_dashboard.domain.invoices import STATES
from ops_dashboard.domain.telling import safe_link, title_of
from ops_dashboard.handlers.access import Visitor, deps_of
from ops_dashboard.handlers.assets import asset
from ops_dashboard.store import positions, versions
from pipeline_messaging.connection import Connection
from pipeline_messaging.faults import told
from pipeline_service_defaults import page_routes
from pipeline_service_defaults.problems import Problem

log = structlog.get_logger(__name__)

PAGE_ROWS: Final = 50
HTMX_CONFIG: Final = json.dumps(
    {
        "extensions": "sse",
        # Styles inside the page are what our content policy forbids.
        "includeIndicatorCSS": False,
        "history": False,
        "mode": "same-origin",
        "defaultTimeout": 10_000,
        # A page that cannot be had leaves the one that is there; pages.js says so.
        "noSwap": [204, 304, "4xx", "5xx"],
    }
)
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_FOLDER: Final = pathlib.Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around a page of one account.

    Attributes:
        version: of the account when the page was read: the stream tells of every later one.
    """

    visitor: Visitor
    account_id: str
    freshness: Freshness
    version: int


async def frame_of(conn: Connection, deps: Deps, visitor: Visitor, account_id: str) -> Frame:
    """Read what stands around a page. Before the page itself: what changes between the two is then told."""
    version = (await versions.of(conn, [account_id]))[account_id]
    return Frame(visitor, account_id, await freshness_now(conn, deps), version)


async def freshness_now(conn: Connection, deps: Deps) -> Freshness:
    """How old the picture is."""
    lags, seen_at = await positions.lags(conn)
    behind = sum(lag.behind for lag in lags) if lags else None
    known = [lag.complete_until for lag in lags if lag.complete_until is not None]
    return freshness(
        behind, seen_at, min(known, default=None), await positions.samples(conn), deps.clock()
    )


def render(
    request: Request, template: str, values: dict[str, Any], *, status: int = 200
) -> HTMLResponse:
    """A page under a policy without anything inline; nothing is loaded from elsewhere."""
    deps = deps_of(request)
    # Not `request.url.path`, which is not as the browser sent it: an id may hold `%`, `?` or `#`.
    here = quote(request.scope["path"]) + (f"?{request.url.query}" if request.url.query else "")
    known = {"here": here, "now": deps.clock(), "settings": deps.settings, "frame": None}
    body = _TEMPLATES.get_template(template).render(**(known | values))
    headers = {
        "Content-Security-Policy": _POLICY,
        # Not `no-referrer`: under it browsers send `Origin: null` with our own forms.
        "Referrer-Policy": "same-origin",
    }
    if deps.settings.secure:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return HTMLResponse(body, status_code=status, headers=headers)


def account_path(account_id: str, rest: str = "", **query: str | None) -> str:
    """An address of an account's pages; what is None is left out of the query."""
    asked = urlencode({name: value for name, value in query.items() if value})
    return f"/accounts/{quote(account_id, safe='')}{rest}" + (f"?{asked}" if asked else "")


def money(amount: Decimal | str | None, currency: str | None) -> str:
    """An amount as people read it, with its currency in front: `NZD 1,234.50`."""
    if amount is None:
        return "–"  # noqa: RUF001 - the sign for "nothing is known"
    return f"{currency or '?'} {Decimal(amount):,.2f}"


def full(at: datetime) -> str:
    """A time in full. A page does not know its reader's zone, so it names its own."""
    utc = at.astimezone(UTC)
    return f"{utc.day} {utc:%b %Y, %H:%M:%S} UTC"


def ago(at: datetime, now: datetime) -> str:
    """How long ago; what two clocks make a future is just now."""
    passed = now - at
    return f"{span(passed)} ago" if passed.total_seconds() >= 1 else "just now"


def moment(text: str | None) -> datetime | None:
    """A time that was kept as text."""
    return datetime.fromisoformat(text) if text else None


_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(_FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.globals.update(
    asset=asset,
    at_account=account_path,
    htmx_config=HTMX_CONFIG,
    state_words=STATES,
    tone_words=TONES,
    title_of=title_of,
)
_TEMPLATES.filters.update(
    money=money, full=full, ago=ago, moment=moment, span=span, safe_link=safe_link
)

_WORDS: Final = {
    401: ("Sign in first", "You are signed out of Pipeline.", "Sign in to Pipeline, then open this page again."),
    403: ("Not allowed", "Your sign-in does not allow this.", "Ask an administrator of your account."),
    404: ("Not found", "There is nothing at this address.", "Go back to the overview."),
    422: ("Not understood", "The address or form is not complete.", "Go back and try again."),
    503: ("Not at the moment", "The dashboard cannot reach its database.", "It is tried again by itself; reload in a minute."),
}  # fmt: skip
FORM_EXPIRED: Final = "FORM_EXPIRED"
"""The code of a form that an earlier session made: people sign in again while a page lies open."""
_EXPIRED: Final = (
    "The page was too old",
    "It was opened before you last signed in, so nothing was done.",
    "Go back. Reload the page, and try again.",
)
_FAULT: Final = (
    "Something went wrong",
    "The dashboard met a fault of its own. Nothing was changed by it.",
    "Reload the page; if it stays, tell whoever looks after the dashboard.",
)


def _status_of(error: Exception) -> int:
    match error:
        case Problem():
            return error.status
        case HTTPException():
            return error.status_code
        case RequestValidationError():
            return 422
        case OSError() | asyncpg.PostgresConnectionError() | asyncpg.InterfaceError():
            log.warning("page_without_database", **told(error))
            return 503
        case _:
            log.error("page_failed", exc_info=error)
            return 500


class PageRoute(page_routes.PageRoute):
    """A route whose refusals are a page of constant words."""

    def refusal(self, request: Request, error: Exception) -> Response:
        """Nothing of any account is on it, and nothing of what was asked."""
        status = _status_of(error)
        is_expired = isinstance(error, Problem) and error.code == FORM_EXPIRED
        title, message, hint = _EXPIRED if is_expired else _WORDS.get(status, _FAULT)
        values = {"title": title, "message": message, "hint": hint, "status": status}
        return render(request, "refusal.html", values, status=status)
