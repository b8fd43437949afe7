"""Every route, against every kind of caller: a new route cannot escape this."""

import time

import httpx
import jwt
import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route

from connector.handlers.assets import asset
from pipeline_service_defaults.keys import new_private_key, sign

PUBLIC = {
    "/health/live",
    "/health/ready",
    "/metrics",
    "/docs",
    "/openapi.json",
    "/static/{name}",
    # Explain themselves with a page; neither shows nor changes anything without a session.
    "/oauth/xero/callback",
    "/oauth/xero/problem/{name}",
    "/oauth/xero/continue",
}
GATEWAY = "/v1/accounts/{account_id}/xero/{path:path}"


def routes_of(app):
    found = []
    for route in app.routes:
        for inner in getattr(getattr(route, "original_router", None), "routes", [route]):
            if isinstance(inner, Route | APIRoute):
                found.extend((inner.path, method) for method in sorted(inner.methods or ()))
    return found


def address(path, account):
    return (
        path.replace("{account_id}", account)
        .replace("{path:path}", "Invoices")
        .replace("{name}", "code-expired")
    )


@pytest.fixture
async def probe(stack):
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(stack.apps[0]), base_url="http://localhost:8001"
    ) as client:
        yield stack, client


def protected(stack):
    routes = [(p, m) for p, m in routes_of(stack.apps[0]) if p not in PUBLIC and m != "HEAD"]
    assert len(routes) >= 12, routes
    return routes


async def test_every_route_denies_whoever_proves_nothing(probe):
    stack, client = probe
    now = int(time.time())
    good = {
        "iss": "pipeline",
        "aud": "pipeline-xero",
        "sub": "u",
        "name": "n",
        "account_id": "acc-1",
        "role": "admin",
    }
    times = {"iat": now, "exp": now + 300}
    none = jwt.encode(good | times, None, algorithm="none")
    bad = {
        "no token": None,
        "rubbish": "x.y.z",
        "alg none": none,
        "another key": sign(new_private_key(), good | times),
        "expired": stack.keys.person_token("acc-1", exp=now - 60, iat=now - 120),
        "wrong audience": stack.keys.person_token("acc-1", aud="somewhere-else"),
        "unknown role": stack.keys.person_token("acc-1", role="owner"),
        "service for another audience": stack.keys.service_token(
            "invoice-sync", aud="invoice-sync"
        ),
        "service living too long": stack.keys.service_token("invoice-sync", exp=now + 90_000),
        "service speaking for another": stack.keys.service_token(
            "invoice-sync", sub="payment-ingest"
        ),
        "hmac": jwt.encode(good | times, "secret-secret-secret-secret-secret", algorithm="HS256"),
    }
    for path, method in protected(stack):
        for why, token in bad.items():
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answer = await client.request(method, address(path, "acc-1"), headers=headers)
            assert answer.status_code == 401, (path, method, why, answer.status_code)
            assert answer.headers["content-type"] == "application/problem+json"


async def test_another_accounts_people_get_404_and_services_only_their_routes(probe):
    stack, client = probe
    foreign = {"Authorization": f"Bearer {stack.keys.person_token('acc-2')}"}
    service = {"Authorization": f"Bearer {stack.keys.service_token('invoice-sync')}"}
    backend = {"Authorization": f"Bearer {stack.keys.service_token('pipeline-backend')}"}
    for path, method in protected(stack):
        answer = await client.request(method, address(path, "acc-1"), headers=foreign)
        assert answer.status_code == (403 if path == GATEWAY else 404), (path, method)
        if path == GATEWAY:
            refused = await client.request(method, address(path, "acc-1"), headers=backend)
            assert refused.status_code == 403
        elif not path.startswith("/v1/"):
            refused = await client.request(method, address(path, "acc-1"), headers=service)
            assert refused.status_code == 403, (path, method)


async def test_roles_below_admin_cannot_act(probe):
    stack, client = probe
    for role in ("viewer", "operator"):
        headers = {"Authorization": f"Bearer {stack.keys.person_token('acc-1', role)}"}
        for path, method in protected(stack):
            if method == "POST" and path != GATEWAY:
                answer = await client.request(method, address(path, "acc-1"), headers=headers)
                assert answer.status_code == 403, (path, role)


async def test_public_routes_are_exactly_these(probe):
    stack, _ = probe
    assert {path for path, _ in routes_of(stack.apps[0])} >= PUBLIC


async def test_health_and_documents_answer(probe):
    _, client = probe
    assert (await client.get("/health/live")).status_code == 200
    ready = await client.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json()["checks"] == {"database": "ok", "schema": "ok"}
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert "/v1/accounts/{account_id}/connection" in paths
    assert "xero_token_refreshes_total" in (await client.get("/metrics")).text
    style = await client.get(asset("pages.css"))
    assert style.headers["content-type"].startswith("text/css")
