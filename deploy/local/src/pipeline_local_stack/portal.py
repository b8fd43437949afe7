"""A stand-in for Pipeline's own web application: signs people in and shows them the Xero card.

It exists in the local stack only. Cookies know hosts, not ports, so the session that it sets on `localhost`
reaches the connector as Pipeline's real session would on a shared domain.
"""

import html
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import HTMLResponse, RedirectResponse

from pipeline_local_stack.identities import ACCOUNT, STAFF_ACCOUNT, Identities, read_identities

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Pipeline (local)</title>
<h1>Pipeline</h1><p>Sign in to the demo account and open its Xero card:</p><ul>{links}</ul>{dashboard}</html>"""
_DASHBOARD = """<p>Open the ops dashboard:</p><ul>{links}</ul>"""


ROLES = ("admin", "operator", "viewer", "staff")
_NAMES = {"admin": "Ada Admin", "operator": "Otto Operator", "viewer": "Vera Viewer"}


def session_of(role: str, identities: Identities) -> str:
    """A session that begins now, for one of `ROLES`; staff may look at every account."""
    if role == "staff":
        return identities.person_token(
            STAFF_ACCOUNT, "viewer", name="Sam Staff", user_id="user-staff"
        )
    return identities.person_token(ACCOUNT, role, name=_NAMES[role], user_id=f"user-{role}")


def create_portal(start: Callable[[str], str], card_url: str, dashboard_url: str) -> FastAPI:
    """The portal; `start` gives a role's session. Staff, who have no card, see the dashboard only."""
    portal = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @portal.get("/", response_class=HTMLResponse)
    async def home() -> str:
        card = _links("/sign-in", "as", [role for role in ROLES if role != "staff"])
        board = _links("/dashboard", "dashboard as", ROLES) if dashboard_url else ""
        return _PAGE.format(links=card, dashboard=board and _DASHBOARD.format(links=board))

    @portal.get("/sign-in/{role}")
    async def sign_in(role: str) -> RedirectResponse:
        return enter(role, card_url)

    @portal.get("/dashboard/{role}")
    async def dashboard(role: str) -> RedirectResponse:
        return enter(role, dashboard_url)

    def enter(role: str, address: str) -> RedirectResponse:
        if role not in ROLES or not address:
            raise HTTPException(404, "no such role")
        redirect = RedirectResponse(address, status_code=303)
        # Not `secure`: the local stack speaks plain HTTP on loopback only.
        redirect.set_cookie(
            "pipeline_session", start(role), httponly=True, samesite="lax", path="/"
        )
        return redirect

    @portal.get("/invoices/{invoice_id}", response_class=HTMLResponse)
    async def invoice(invoice_id: str) -> str:
        return f"<!doctype html><title>Invoice</title><h1>Invoice {html.escape(invoice_id)}</h1>"

    return portal


def _links(path: str, words: str, roles: Iterable[str]) -> str:
    named = [html.escape(role) for role in roles]
    return "".join(f'<li><a href="{path}/{role}">{words} {role}</a></li>' for role in named)


def main() -> None:
    """Serve on the port of PORTAL_PORT, with the key of Pipeline's sign-in in the folder PORTAL_KEYS."""
    identities = read_identities(Path(os.environ["PORTAL_KEYS"]))
    app = create_portal(
        lambda role: session_of(role, identities),
        os.environ["PORTAL_CARD_URL"],
        os.environ["PORTAL_DASHBOARD_URL"],
    )
    host, port = os.environ.get("PORTAL_HOST", "127.0.0.1"), int(os.environ["PORTAL_PORT"])
    uvicorn.run(app, host=host, port=port, log_level="warning")


if __name__ == "__main__":
    main()
