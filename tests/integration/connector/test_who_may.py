"""Who may do what: one line for every route. A route without a line fails here, and so does a line without a route."""

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route

PEOPLE = frozenset({"viewer", "operator", "admin"})
SERVICES = frozenset({"invoice-sync", "payment-ingest", "pipeline-backend"})
ADMIN = frozenset({"admin"})
SYNC = frozenset({"invoice-sync"})
NOBODY: frozenset[str] = frozenset()
EVERYBODY = None
CARD = "/accounts/{account_id}/xero"
GATEWAY = "/v1/accounts/{account_id}/xero/{path:path}"

MAY = {
    ("GET", "/health/live"): EVERYBODY,
    ("GET", "/health/ready"): EVERYBODY,
    ("GET", "/metrics"): EVERYBODY,
    ("GET", "/docs"): EVERYBODY,
    ("GET", "/openapi.json"): EVERYBODY,
    ("GET", "/static/{name}"): EVERYBODY,
    # They explain themselves with a page; neither shows or changes anything without a session.
    ("GET", "/oauth/xero/callback"): EVERYBODY,
    ("GET", "/oauth/xero/continue"): EVERYBODY,
    ("GET", "/oauth/xero/problem/{name}"): EVERYBODY,
    ("GET", CARD): PEOPLE,
    ("GET", f"{CARD}/card"): PEOPLE,
    ("GET", f"{CARD}/problem/{{name}}"): PEOPLE,
    ("POST", f"{CARD}/connect"): ADMIN,
    ("POST", f"{CARD}/refresh"): ADMIN,
    ("GET", f"{CARD}/disconnect"): ADMIN,
    ("POST", f"{CARD}/disconnect"): ADMIN,
    ("GET", f"{CARD}/organisation"): ADMIN,
    ("POST", f"{CARD}/organisation"): ADMIN,
    ("GET", f"{CARD}/switch"): ADMIN,
    ("POST", f"{CARD}/switch"): ADMIN,
    ("GET", "/v1/accounts/{account_id}/connection"): PEOPLE | SERVICES,
    ("GET", GATEWAY): frozenset({"invoice-sync", "payment-ingest"}),
    ("PUT", GATEWAY): SYNC,
    ("POST", GATEWAY): SYNC,
    ("DELETE", GATEWAY): NOBODY,
    ("PATCH", GATEWAY): NOBODY,
}
KINDS = ("anonymous", "stranger", *sorted(PEOPLE), *sorted(SERVICES))


def routes_of(app) -> set[tuple[str, str]]:
    return {
        (method, inner.path)
        for route in app.routes
        for inner in getattr(getattr(route, "original_router", None), "routes", [route])
        if isinstance(inner, Route | APIRoute)
        for method in inner.methods or ()
        if method != "HEAD"
    }


def token_of(keys, kind: str) -> str | None:
    if kind == "anonymous":
        return None
    if kind == "stranger":
        return keys.person_token("acc-2", "admin")
    if kind in PEOPLE:
        return keys.person_token("acc-1", kind)
    return keys.service_token(kind)


def refusals(kind: str, path: str) -> set[int]:
    """How somebody is told no: the stranger not even that there is something."""
    if kind == "anonymous":
        return {401}
    if kind == "stranger":
        return {403} if path == GATEWAY else {404}
    return {403}


async def test_every_route_has_a_line(stack):
    assert routes_of(stack.apps[0]) == set(MAY)


@pytest.mark.parametrize("as_browser", [False, True], ids=["bearer", "cookie"])
async def test_each_kind_of_caller_may_do_exactly_what_its_line_says(stack, as_browser):
    await stack.connect("acc-1")
    for (method, path), may in MAY.items():
        for kind in KINDS:
            token = token_of(stack.keys, kind)
            allowed = may is EVERYBODY or kind in may
            if allowed and method != "GET":
                continue  # its own tests say what it then does
            if as_browser and (token is None or kind in SERVICES):
                continue  # a browser holds no service's token; test_defaults_auth.py refuses one
            before = await everything(stack)
            answer = await ask(stack, method, path, token, as_browser=as_browser)
            what = (kind, method, path, answer.status_code)
            if allowed:
                assert answer.status_code not in {401, 403, 500}, what
            else:
                assert answer.status_code in refusals(kind, path), what
                assert answer.headers["content-type"] == "application/problem+json", what
                assert await everything(stack) == before, what


async def ask(stack, method, path, token, *, as_browser) -> httpx.Response:
    address = (
        path.replace("{account_id}", "acc-1")
        .replace("{path:path}", "Invoices")
        .replace("{name}", "pages.css" if path.startswith("/static") else "code-expired")
    )
    assert "{" not in address, f"say here what stands for the parameter in {path}"
    bearer = {"Authorization": f"Bearer {token}"} if token and not as_browser else {}
    cookie = {"pipeline_session": token} if token and as_browser else {}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(stack.apps[0]),
        base_url="http://localhost:8001",
        headers=bearer,
        cookies=cookie,
    ) as client:
        return await client.request(method, address)


async def everything(stack) -> tuple[list[str], int]:
    """Every row of the database, and how often Xero was called."""
    names = await stack.db.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    rows = [
        await stack.db.fetchval(
            f"SELECT '{name}' || coalesce(string_agg(t::text, ';' ORDER BY t::text), '') FROM {name} t"  # noqa: S608 - the catalogue's own names
        )
        for (name,) in names
    ]
    return rows, len(stack.sim.world.calls.calls)
