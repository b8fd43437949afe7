import base64
import hashlib
import re
from html import unescape

import jwt
import pytest

from xero_simulator.config import SettingInvalid, check_redirect_uri, from_environment

REDIRECT = "http://localhost:8001/cb"
MINUTES, DAYS = 60, 86_400


async def test_consent_page_works_as_a_plain_form(raw_sim):
    page = await raw_sim.http.get(
        "/identity/connect/authorize", params=raw_sim.authorize_query(state='a"b&c', nonce="n")
    )
    assert page.status_code == 200
    assert "<script" not in page.text
    names = ("Demo Company (NZ)", "Demo Company (US)")
    assert all(name in page.text for name in names)
    hidden = re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', page.text)
    form = {name: unescape(value) for name, value in hidden}
    tenants = re.findall(r'type="checkbox" name="tenant" value="([^"]*)"', page.text)
    assert len(tenants) == 2
    reply = await raw_sim.http.post(
        "/identity/connect/authorize", data=form | {"tenant": tenants, "action": "allow"}
    )
    assert reply.status_code == 302
    assert "code=" in reply.headers["location"]
    assert "state=a%22b%26c" in reply.headers["location"]
    cancelled = await raw_sim.http.post(
        "/identity/connect/authorize", data=form | {"action": "cancel"}
    )
    assert cancelled.headers["location"] == f"{REDIRECT}?error=access_denied&state=a%22b%26c"
    empty = await raw_sim.http.post("/identity/connect/authorize", data=form | {"action": "allow"})
    assert empty.status_code == 200
    assert "Choose at least one organisation" in empty.text


async def test_the_page_for_another_person_and_without_bulk_connect(raw_sim):
    query = raw_sim.authorize_query(acr_values="bulk_connect:false", sim_user="single@example.com")
    page = await raw_sim.http.get("/identity/connect/authorize", params=query)
    assert "Kiwi Records Ltd" in page.text
    assert "Demo Company" not in page.text
    assert 'type="radio"' in page.text


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"client_id": "other"}, "unauthorized_client"),
        ({"redirect_uri": "http://localhost:8001/cb/"}, "invalid_request"),
        ({"redirect_uri": "http://localhost:8001/cb?x=1"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "accounting.everything"}, "invalid_scope"),
        ({"scope": "openid accounting.transactions"}, "invalid_scope"),
        ({"scope": ""}, "invalid_scope"),
        ({"code_challenge": "x", "code_challenge_method": "plain"}, "invalid_request"),
    ],
)
async def test_wrong_requests_are_shown_and_never_redirected(raw_sim, change, error):
    query = raw_sim.authorize_query(**change)
    reply = await raw_sim.http.get("/identity/connect/authorize", params=query)
    assert reply.status_code == 400
    assert error in reply.text
    assert "location" not in reply.headers


async def test_invalid_scope_has_xeros_words(raw_sim):
    query = raw_sim.authorize_query(scope="nope")
    reply = await raw_sim.http.get("/identity/connect/authorize", params=query)
    assert "Invalid scope for client" in reply.text


async def test_arranged_cancellation(raw_sim):
    await raw_sim.admin("PUT", "/consent", {"user": "demo@example.com", "action": "cancel"})
    reply = await raw_sim.http.get(
        "/identity/connect/authorize", params=raw_sim.authorize_query(state="s")
    )
    assert reply.headers["location"] == f"{REDIRECT}?error=access_denied&state=s"


async def test_tokens_verify_against_the_published_keys(raw_sim):
    callback = await raw_sim.consent(nonce="nonce-1")
    body = (await raw_sim.exchange(callback["code"])).json()
    assert set(body) == {
        "id_token", "access_token", "expires_in", "token_type", "refresh_token", "scope"
    }  # fmt: skip
    assert (body["expires_in"], body["token_type"]) == (1800, "Bearer")
    discovery = (await raw_sim.http.get("/.well-known/openid-configuration")).json()
    assert discovery["issuer"] == "http://xero.test"
    keys = (await raw_sim.http.get(discovery["jwks_uri"])).json()
    key = jwt.PyJWK(keys["keys"][0]).key
    claims = jwt.decode(
        body["id_token"], key, ["RS256"], audience=raw_sim.client[0], issuer="http://xero.test"
    )
    assert claims["nonce"] == "nonce-1"
    assert claims["exp"] - claims["iat"] == 5 * MINUTES
    access = jwt.decode(body["access_token"], key, ["RS256"], audience="http://xero.test/resources")
    assert access["exp"] - access["iat"] == 30 * MINUTES
    assert {"xero_userid", "authentication_event_id", "scope"} <= set(access)
    assert access["xero_userid"] == claims["xero_userid"]


async def test_a_code_works_once_within_five_minutes(raw_sim):
    callback = await raw_sim.consent()
    assert (await raw_sim.exchange(callback["code"])).status_code == 200
    again = await raw_sim.exchange(callback["code"])
    assert (again.status_code, again.json()) == (400, {"error": "invalid_grant"})
    late = await raw_sim.consent()
    raw_sim.world.clock.advance(5 * MINUTES + 1)
    assert (await raw_sim.exchange(late["code"])).json() == {"error": "invalid_grant"}


async def test_pkce_is_checked_when_a_challenge_was_sent(raw_sim):
    verifier = "v" * 43
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    sent = {"code_challenge": challenge, "code_challenge_method": "S256"}
    for given, status in ((verifier, 200), ("w" * 43, 400), ("", 400)):
        callback = await raw_sim.consent(**sent)
        reply = await raw_sim.exchange(callback["code"], code_verifier=given)
        assert reply.status_code == status


async def test_client_authentication(raw_sim):
    client_id, secret = raw_sim.client
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    url = "/connect/token"

    async def error(**arguments):
        reply = await raw_sim.http.post(url, **arguments)
        assert reply.status_code == 400
        return reply.json()["error"]

    assert await error(data=form, auth=(client_id, "wrong")) == "invalid_client"
    assert await error(data=form) == "invalid_client"
    body = form | {"client_id": client_id, "client_secret": secret}
    assert await error(data=body) == "invalid_grant"
    assert await error(json=form, auth=(client_id, secret)) == "invalid_request"
    other = {"grant_type": "password"}
    assert await error(data=other, auth=(client_id, secret)) == "unsupported_grant_type"
    other = {"grant_type": "client_credentials"}
    assert await error(data=other, auth=(client_id, secret)) == "unauthorized_client"


async def test_refresh_rotates_and_restarts_sixty_days(raw_sim):
    await raw_sim.connect()
    first = raw_sim.tokens["refresh_token"]
    second = (await raw_sim.refresh(first)).json()["refresh_token"]
    assert second != first
    raw_sim.world.clock.advance(59 * DAYS)
    third = (await raw_sim.refresh(second)).json()["refresh_token"]
    raw_sim.world.clock.advance(59 * DAYS)
    assert (await raw_sim.refresh(third)).status_code == 200
    fourth = (await raw_sim.refresh(third)).json()["refresh_token"]
    raw_sim.world.clock.advance(61 * DAYS)
    assert (await raw_sim.refresh(fourth)).json() == {"error": "invalid_grant"}


@pytest.mark.parametrize(("minutes", "status"), [(0, 200), (29, 200), (31, 400)])
async def test_the_previous_token_has_thirty_minutes_of_grace(raw_sim, minutes, status):
    await raw_sim.connect()
    first = raw_sim.tokens["refresh_token"]
    await raw_sim.refresh(first)
    raw_sim.world.clock.advance(minutes * MINUTES)
    assert (await raw_sim.refresh(first)).status_code == status


@pytest.mark.parametrize(("kills", "status"), [(True, 400), (False, 200)])
async def test_what_a_grace_retry_does_to_the_lost_pair_is_a_switch(raw_sim, kills, status):
    await raw_sim.admin("PATCH", "/switches", {"grace_revokes_lost_pair": kills})
    await raw_sim.connect()
    first = raw_sim.tokens["refresh_token"]
    lost = (await raw_sim.refresh(first)).json()["refresh_token"]
    assert (await raw_sim.refresh(first)).status_code == 200
    assert (await raw_sim.refresh(lost)).status_code == status


async def test_no_grace_once_the_successor_is_in_use(raw_sim):
    await raw_sim.connect()
    first = raw_sim.tokens["refresh_token"]
    second = (await raw_sim.refresh(first)).json()["refresh_token"]
    await raw_sim.refresh(second)
    assert (await raw_sim.refresh(first)).json() == {"error": "invalid_grant"}


async def test_retries_do_not_prolong_the_grace(raw_sim):
    await raw_sim.connect()
    first = raw_sim.tokens["refresh_token"]
    for _ in range(2):
        assert (await raw_sim.refresh(first)).status_code == 200
        raw_sim.world.clock.advance(20 * MINUTES)
    assert (await raw_sim.refresh(first)).status_code == 400


async def test_refresh_only_with_offline_access(raw_sim):
    callback = await raw_sim.consent(scope="openid accounting.invoices")
    body = (await raw_sim.exchange(callback["code"])).json()
    assert "refresh_token" not in body
    assert "id_token" in body


async def test_grants_are_additive(raw_sim):
    callback = await raw_sim.consent(scope="openid offline_access accounting.invoices")
    await raw_sim.exchange(callback["code"])
    callback = await raw_sim.consent(scope="accounting.contacts")
    body = (await raw_sim.exchange(callback["code"])).json()
    wanted = "accounting.contacts accounting.invoices offline_access openid"
    assert body["scope"] == wanted


async def test_revocation_removes_all_connections_of_the_user(raw_sim):
    await raw_sim.connect()
    reply = await raw_sim.http.post(
        "/connect/revocation", data={"token": raw_sim.tokens["refresh_token"]}, auth=raw_sim.client
    )
    assert (reply.status_code, reply.content) == (200, b"")
    assert (await raw_sim.refresh(raw_sim.tokens["refresh_token"])).status_code == 400
    rows = await raw_sim.http.get("/connections", headers=raw_sim.headers)
    assert rows.json() == []
    assert (await raw_sim.call("GET", "Organisation")).status_code == 403


async def test_connections_have_ticks_no_zone_and_filter_by_event(raw_sim):
    await raw_sim.connect()
    rows = (await raw_sim.http.get("/connections", headers=raw_sim.headers)).json()
    assert [row["tenantName"] for row in rows] == ["Demo Company (NZ)", "Demo Company (US)"]
    assert set(rows[0]) == {
        "id", "authEventId", "tenantId", "tenantType", "tenantName", "createdDateUtc",
        "updatedDateUtc",
    }  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}", rows[0]["createdDateUtc"])
    event = rows[0]["authEventId"]
    for wanted, count in ((event, 2), ("11111111-1111-4111-8111-111111111111", 0)):
        found = await raw_sim.http.get(
            "/connections", headers=raw_sim.headers, params={"authEventId": wanted}
        )
        assert len(found.json()) == count


async def test_connections_are_deleted_by_their_own_id(raw_sim):
    await raw_sim.connect()
    rows = (await raw_sim.http.get("/connections", headers=raw_sim.headers)).json()

    async def delete(key):
        return (
            await raw_sim.http.delete(f"/connections/{key}", headers=raw_sim.headers)
        ).status_code

    assert await delete(rows[0]["tenantId"]) == 403
    assert await delete("11111111-1111-4111-8111-111111111111") == 404
    assert await delete(rows[0]["id"]) == 204
    assert (await raw_sim.call("GET", "Organisation")).status_code == 403
    # The tokens stay valid for what is left.
    raw_sim.headers["xero-tenant-id"] = rows[1]["tenantId"]
    assert (await raw_sim.call("GET", "Organisation")).status_code == 200


@pytest.mark.parametrize(
    "uri",
    ["http://127.0.0.1/cb", "http://example.com/cb", "https://*.example.com/cb", "https://a/cb#x"],
)
def test_redirect_uris_xero_would_not_register(uri):
    with pytest.raises(SettingInvalid, match="SIM_REDIRECT_URIS"):
        check_redirect_uri(uri)


def test_settings_from_the_environment():
    found = from_environment(
        {
            "SIM_PORT": "7",
            "SIM_REDIRECT_URIS": "http://localhost:1/cb, https://a.example/cb",
            "SIM_CLIENT_SECRET": "shh",
        }
    )
    assert found.port == 7
    assert found.redirect_uris == ("http://localhost:1/cb", "https://a.example/cb")
    assert "shh" not in repr(found)
    with pytest.raises(SettingInvalid, match="SIM_PORT is 'x'"):
        from_environment({"SIM_PORT": "x"})


async def test_the_cap_of_the_app_ends_on_a_page_of_xeros_own(raw_sim):
    query = raw_sim.authorize_query()
    await raw_sim.admin("PATCH", "/switches", {"connection_limit": 1})
    await raw_sim.admin("PUT", "/consent", {"user": "demo@example.com"})
    too_many = await raw_sim.http.get("/identity/connect/authorize", params=query)
    assert too_many.headers["location"] == "/connectionLimit"
    assert raw_sim.world.grants.connections == {}
    await raw_sim.consent("single@example.com")
    assert len(raw_sim.world.grants.connections) == 1
    full = await raw_sim.http.get("/identity/connect/authorize", params=query)
    assert full.headers["location"] == "/connectionLimit"
    page = await raw_sim.http.get("/connectionLimit")
    assert (page.status_code, "href" in page.text) == (200, False)
