"""Every route of every running service refuses whoever has no business there, with a problem document."""

import time

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from every_route import filled, routes


def forged(claims: dict, algorithm: str = "EdDSA") -> str:
    now = int(time.time())
    base = {"iat": now, "exp": now + 300}
    key = None if algorithm == "none" else Ed25519PrivateKey.generate()
    return jwt.encode({**base, **claims}, key, algorithm=algorithm)


PERSON = {
    "iss": "pipeline",
    "aud": "pipeline-xero",
    "sub": "u",
    "name": "U",
    "account_id": "demo",
    "role": "admin",
}


@pytest.fixture(scope="module")
def bad_tokens(stack):
    expired = jwt.encode(
        {**PERSON, "iat": 1, "exp": 2}, stack.identities.keys["pipeline"], algorithm="EdDSA"
    )
    return {
        "none": None,
        "rubbish": "rubbish",
        "signed by a stranger": forged(PERSON),
        "alg none": forged(PERSON, "none"),
        "expired": expired,
        "for another audience": stack.identities.service_token("pipeline-backend", "somebody-else"),
    }


def test_no_route_lets_a_bad_token_in(stack, bad_tokens):
    tried = 0
    for service, method, path in routes(stack):
        for name, token in bad_tokens.items():
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            reply = httpx.request(
                method, stack.urls[service] + filled(path), headers=headers, follow_redirects=False
            )
            assert reply.status_code == 401, (
                f"{name}: {method} {service}{path} answered {reply.status_code}"
            )
            # A browser gets a page; everything else, and every program, a problem document.
            page = path.startswith(("/accounts/", "/oauth/")) and "<html" in reply.text
            assert page or reply.headers["content-type"] == "application/problem+json", path
            assert token is None or token not in reply.text
            tried += 1
    assert tried > 50


def test_another_accounts_id_is_not_found(stack, as_admin):
    tried = 0
    for service, method, path in routes(stack):
        if "{account_id}" in path and "/xero/{" not in path:
            reply = as_admin.request(method, stack.urls[service] + filled(path, "somebody-else"))
            assert reply.status_code == 404, (
                f"{method} {service}{path} answered {reply.status_code}"
            )
            tried += 1
    assert tried > 5


def test_a_viewer_cannot_change_anything(stack):
    token = stack.identities.person_token("demo", "viewer", name="Vera", user_id="user-vera")
    tried = 0
    for service, method, path in routes(stack):
        if method in ("POST", "PUT", "DELETE") and "/xero/{" not in path:
            reply = httpx.request(
                method,
                stack.urls[service] + filled(path),
                headers={"Authorization": f"Bearer {token}"},
            )
            assert reply.status_code == 403, (
                f"{method} {service}{path} answered {reply.status_code}"
            )
            tried += 1
    assert tried > 5


def test_payment_ingest_may_only_read_xero(stack):
    token = stack.identities.service_token("payment-ingest", "connector")
    reply = httpx.put(
        f"{stack.urls['connector']}/v1/accounts/demo/xero/Invoices",
        headers={"Authorization": f"Bearer {token}"},
        content=b"{}",
    )
    assert reply.status_code == 403
