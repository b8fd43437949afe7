"""The OAuth client against a certified OpenID provider that is not ours, and knows nothing of our simulator."""

import re
from contextlib import AsyncExitStack
from dataclasses import dataclass
from html import unescape
from urllib.parse import parse_qs, parse_qsl, urlencode, urljoin, urlsplit

import httpx
import jwt
import pytest
from independent_provider import running
from serving import serving
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import connector.clients.identity
from connector.clients.identity import XeroIdentity
from connector.domain.authorization import FlowSecrets, UntrustedToken, new_flow, url
from connector.domain.failures import Failure
from connector.domain.refresh import ClientRefused, GrantRefused, Pair
from connector.domain.scopes import API_SCOPES
from connector.store import token_sets

PUBLIC_URL = "http://localhost:8001"
REDIRECT_URI = f"{PUBLIC_URL}/oauth/xero/callback"
CLIENT_ID = "PIPELINE0CLIENT"
# Characters that RFC 6749 §2.3.1 wants encoded before they go into a Basic header.
CLIENT_SECRET = "secret with+plus/slash%25:colon="
TENANT = {
    "id": "5d8d0aa4-a0c1-4a0b-8f0a-2b6b2f4f9a11",
    "tenantId": "0f3f8b6e-6a11-4f0e-9d1c-1f0c9a4f1c22",
    "tenantType": "ORGANISATION",
    "tenantName": "Foreign Books Ltd",
}
USER = "7f0c2e0e-2a53-4d9f-8a0e-0d6c8c1f7b33"


@pytest.fixture(scope="module")
def issuer(npm):
    with running(
        npm, client_id=CLIENT_ID, client_secret=CLIENT_SECRET, redirect_uri=REDIRECT_URI
    ) as address:
        yield address


def xero_api(issuer: str) -> Starlette:
    """The two questions that are not OpenID: answered for whoever holds an access token of the provider's."""

    async def claims_of(request) -> dict | None:
        async with httpx.AsyncClient() as client:
            listed = (await client.get(f"{issuer}/.well-known/openid-configuration/jwks")).json()
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            key = jwt.PyJWKSet.from_dict(listed)[jwt.get_unverified_header(token)["kid"]]
            return jwt.decode(
                token, key.key, ["RS256"], audience="https://api.xero.com", issuer=issuer
            )
        except (jwt.PyJWTError, KeyError):
            return None

    async def connections(request) -> Response:
        claims = await claims_of(request)
        if claims is None:
            return Response(status_code=401)
        return JSONResponse([TENANT | {"authEventId": claims["authentication_event_id"]}])

    async def organisation(request) -> Response:
        if await claims_of(request) is None:
            return Response(status_code=401)
        return JSONResponse({"Organisations": [{"ShortCode": "!f00", "BaseCurrency": "NZD"}]})

    return Starlette(
        routes=[
            Route("/connections", connections),
            Route("/api.xro/2.0/Organisation", organisation),
        ]
    )


@dataclass
class Foreign:
    """The connector, in front of the foreign provider."""

    stack: object
    issuer: str

    @property
    def deps(self):
        return self.stack.apps[0].state.deps

    async def connect(self, account_id: str = "acc-1", *, user: str = USER) -> httpx.Response:
        """A person connects; the page they end on."""
        async with self.stack.browser(account_id) as browser:
            return await browser.arrive(await sign_in(await browser.to_xero(), user))

    async def press(self, action: str, account_id: str = "acc-1") -> httpx.Response:
        async with self.stack.browser(account_id) as browser:
            await browser.press(action)
            return await browser.pipeline.get(browser.card)

    async def refresh_token(self, user: str = USER) -> str:
        async with self.deps.pool.acquire() as conn:
            tokens = await token_sets.find(conn, user)
        return tokens.refresh_token(self.deps.ring)


@pytest.fixture
async def foreign(issuer, make_stack):
    async with AsyncExitStack() as closing:
        api = await closing.enter_async_context(serving(xero_api(issuer)))
        stack = await make_stack(
            xero_login_url=issuer,
            xero_identity_url=issuer,
            xero_api_url=api,
            xero_client_id=CLIENT_ID,
            xero_client_secret=CLIENT_SECRET,
        )
        yield Foreign(stack, issuer)


async def sign_in(address: str, user: str = USER, *, cancel: bool = False) -> str:
    """What a person does on the provider's pages, from the authorisation request to the redirect back."""
    async with httpx.AsyncClient() as browser:
        answer = await browser.get(address)
        while True:
            if answer.status_code in {302, 303}:
                address = urljoin(str(answer.url), answer.headers["location"])
                if address.startswith(REDIRECT_URI):
                    return address
                answer = await browser.get(address)
                continue
            assert answer.status_code == 200, answer.text
            page = answer.text
            if cancel and (abort := re.search(r'href="([^"]*/abort)"', page)):
                answer = await browser.get(urljoin(str(answer.url), unescape(abort[1])))
                continue
            target = re.search(r'<form[^>]* action="([^"]+)" method="post"', page)
            asked = re.search(r'name="prompt" value="(\w+)"', page)
            assert target, page
            assert asked, page
            form = {"prompt": asked[1], "login": user, "password": "anything"}
            answer = await browser.post(urljoin(str(answer.url), unescape(target[1])), data=form)


def parameters(address: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(address).query))


async def code_for(foreign: Foreign) -> tuple[str, FlowSecrets]:
    """A code from the provider, asked for exactly as the connector asks."""
    flow = new_flow()
    back = await sign_in(url(foreign.issuer, CLIENT_ID, REDIRECT_URI, flow))
    answer = parameters(back)
    assert answer["state"] == flow.state
    return answer["code"], flow


async def test_a_person_connects_by_discovery_consent_pkce_and_a_checked_id_token(foreign):
    page = await foreign.connect()
    assert page.status_code == 200
    status = await foreign.stack.status("acc-1")
    assert (status["status"], status["tenant_name"]) == ("CONNECTED", "Foreign Books Ltd")
    assert (status["short_code"], status["base_currency"]) == ("!f00", "NZD")
    assert await foreign.stack.db.fetchval("SELECT xero_userid FROM connections") == USER


async def test_the_provider_insists_on_pkce(foreign):
    """Or the other tests here would prove nothing about it."""
    parts = urlsplit(url(foreign.issuer, CLIENT_ID, REDIRECT_URI, new_flow()))
    query = [(k, v) for k, v in parse_qsl(parts.query) if not k.startswith("code_challenge")]
    back = await sign_in(parts._replace(query=urlencode(query)).geturl())
    assert parameters(back)["error"] == "invalid_request"


async def test_a_code_is_worth_nothing_without_its_verifier_and_only_once(foreign):
    code, flow = await code_for(foreign)
    assert isinstance(
        await foreign.deps.identity.exchange_code(code, new_flow().verifier), GrantRefused
    )
    code, flow = await code_for(foreign)
    assert isinstance(await foreign.deps.identity.exchange_code(code, flow.verifier), Pair)
    assert isinstance(await foreign.deps.identity.exchange_code(code, flow.verifier), GrantRefused)


async def test_cancelled_consent_ends_on_its_page(foreign):
    async with foreign.stack.browser("acc-1") as browser:
        back = await sign_in(await browser.to_xero(), cancel=True)
        assert parse_qs(urlsplit(back).query)["error"] == ["access_denied"]
        page = await browser.arrive(back)
    assert page.url.path.endswith(f"/problem/{Failure.CANCELLED.value}")
    assert (await foreign.stack.status("acc-1"))["status"] == "DISCONNECTED"


async def test_its_id_token_is_believed_for_this_attempt_and_this_app_only(foreign):
    code, flow = await code_for(foreign)
    pair = await foreign.deps.identity.exchange_code(code, flow.verifier)
    # Its reply lists the access token's scopes alone, as RFC 6749 §5.1 has it; Xero's lists all that were asked for.
    assert set(pair.scopes.split()) == set(API_SCOPES)
    who = await foreign.deps.identity.who(pair, flow.nonce)
    assert who.xero_userid == USER
    with pytest.raises(UntrustedToken, match="attempt"):
        await foreign.deps.identity.who(pair, new_flow().nonce)
    other_app = XeroIdentity(
        foreign.deps.http,
        foreign.stack.settings.model_copy(update={"xero_client_id": "SOMEBODY0ELSE"}),
    )
    with pytest.raises(UntrustedToken, match="another application"):
        await other_app.who(pair, flow.nonce)
    head, body, signature = pair.id_token.split(".")
    forged = f"{head}.{body}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
    with pytest.raises(UntrustedToken, match="signature"):
        await foreign.deps.identity.who(
            Pair(pair.access_token, pair.refresh_token, pair.lifetime, pair.scopes, forged),
            flow.nonce,
        )


async def test_a_wrong_client_secret_is_the_apps_trouble_not_the_grants(issuer, foreign):
    wrong = XeroIdentity(
        foreign.deps.http,
        foreign.stack.settings.model_copy(
            update={"xero_client_secret": type(foreign.stack.settings.xero_client_secret)("wrong")}
        ),
    )
    assert await wrong.refresh("anything") == ClientRefused("invalid_client")


async def test_refreshing_rotates_and_the_next_refresh_uses_the_new_token(foreign):
    await foreign.connect()
    seen = {await foreign.refresh_token()}
    for _ in range(2):
        await foreign.press("refresh")
        seen.add(await foreign.refresh_token())
    assert len(seen) == 3
    assert (await foreign.stack.status("acc-1"))["status"] == "CONNECTED"


async def test_a_stolen_token_used_again_ends_the_grant_and_a_person_connects_anew(foreign):
    """The provider revokes the whole grant when a replaced token comes back (RFC 9700 §4.14.2)."""
    await foreign.connect()
    stolen = await foreign.refresh_token()
    await foreign.press("refresh")
    assert isinstance(await foreign.deps.identity.refresh(stolen), GrantRefused)
    await foreign.press("refresh")
    status = await foreign.stack.status("acc-1")
    assert (status["status"], status["reason"]) == ("TOKEN_EXPIRED", "REFRESH_REJECTED")
    await foreign.connect()
    assert (await foreign.stack.status("acc-1"))["status"] == "CONNECTED"
    await foreign.press("refresh")
    assert (await foreign.stack.status("acc-1"))["status"] == "CONNECTED"


async def test_disconnecting_revokes_the_grant_at_the_provider(foreign):
    await foreign.connect()
    token = await foreign.refresh_token()
    async with foreign.stack.browser("acc-1") as browser:
        await browser.press("disconnect")
    assert (await foreign.stack.status("acc-1"))["status"] == "DISCONNECTED"
    assert await foreign.stack.db.fetchval("SELECT count(*) FROM token_sets") == 0
    assert isinstance(await foreign.deps.identity.refresh(token), GrantRefused)


async def test_new_signing_keys_of_the_provider_are_followed(foreign, monkeypatch):
    await foreign.connect()
    known = set(foreign.deps.identity._keys)
    async with httpx.AsyncClient() as client:
        rotated = await client.post(f"{foreign.issuer}/control/rotate-keys")
        assert rotated.status_code == 204
    # A moment must pass between two looks for keys; how long is not what this is about.
    monkeypatch.setattr(connector.clients.identity, "KEYS_ASKED_AT_MOST_EVERY", 0.0)
    page = await foreign.connect()
    assert page.status_code == 200
    assert (await foreign.stack.status("acc-1"))["status"] == "CONNECTED"
    assert known.isdisjoint(foreign.deps.identity._keys)
