"""Attacks on connecting: forged tokens, stolen states, and secrets where they do not belong."""

import base64
import hashlib
import hmac
import json
import re
import time
from urllib.parse import parse_qs, quote, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from connector.domain.authorization import digest
from connector.domain.sealing import place, unseal
from xero_simulator import signing

SESSION_COOKIE = "xero_session"


def problem_of(page):
    found = re.search(r'data-problem="([a-z-]+)"', page.text)
    return found[1] if found else None


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def resigned(**changes):
    """The same token with other claims (None removes one), signed by the provider's own key."""

    def forge(claims, header, _):
        changed = {name: v for name, v in (claims | changes).items() if v is not None}
        return jwt.encode(changed, signing._key(), algorithm="RS256", headers=header)

    return forge


def unsigned(algorithm):
    def forge(claims, header, _):
        head = b64(json.dumps(header | {"alg": algorithm}).encode())
        return f"{head}.{b64(json.dumps(claims).encode())}."

    return forge


def hmac_with_public_key(claims, header, _):
    key = signing._key().public_key()
    public = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signed = (
        f"{b64(json.dumps(header | {'alg': 'HS256'}).encode())}.{b64(json.dumps(claims).encode())}"
    )
    return f"{signed}.{b64(hmac.digest(public, signed.encode(), hashlib.sha256))}"


def another_key(**header_changes):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def forge(claims, header, _):
        changed = {name: v for name, v in (header | header_changes).items() if v is not None}
        return jwt.encode(claims, key, algorithm="RS256", headers=changed)

    return forge


def altered(_, __, good):
    head, body, signature = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return f"{head}.{b64(json.dumps(claims | {'sub': 'somebody else'}).encode())}.{signature}"


FORGERIES = {
    "alg none": unsigned("none"),
    "alg None": unsigned("None"),
    "no signature": unsigned("RS256"),
    "hs256 with the public key": hmac_with_public_key,
    "another key under the known id": another_key(),
    "unknown key id": another_key(kid="unknown"),
    "no key id": another_key(kid=None),
    "altered": altered,
    "rubbish": lambda *_: "x.y.z",
    "empty": lambda *_: "",
    "another audience": resigned(aud="another-app"),
    "no audience": resigned(aud=None),
    "several audiences, another azp": resigned(
        aud=["SIMULATED0CLIENT0ID0000000000000", "b"], azp="b"
    ),
    "several audiences, no azp": resigned(aud=["SIMULATED0CLIENT0ID0000000000000", "b"]),
    "another issuer": resigned(iss="https://evil.example"),
    "no issuer": resigned(iss=None),
    "another nonce": resigned(nonce="n" * 43),
    "no nonce": resigned(nonce=None),
    "expired": resigned(exp=int(time.time()) - 3600),
    "no expiry": resigned(exp=None),
    "expiry that is no number": resigned(exp="tomorrow"),
    "another user than the access token": resigned(xero_userid="somebody-else"),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
async def test_a_forged_id_token_connects_nobody(stack, monkeypatch, forge):
    made = signing.id_token

    def tampered(*given):
        good = made(*given)
        claims = jwt.decode(good, options={"verify_signature": False})
        return forge(claims, jwt.get_unverified_header(good), good)

    monkeypatch.setattr(signing, "id_token", tampered)
    assert problem_of(await stack.connect("acc-1")) == "answer-not-trusted"
    assert (await stack.status("acc-1"))["reason"] == "NEVER_CONNECTED"
    # The consent that came with it is given back.
    assert stack.sim.world.grants.connections == {}
    assert await stack.db.fetchval("SELECT count(*) FROM token_sets") == 0
    monkeypatch.undo()


async def test_a_stolen_state_is_of_no_use_to_anybody_else(stack):
    stack.consent()
    async with stack.browser("acc-1") as victim:
        back = await victim.consent(await victim.to_xero())
        session = victim.pipeline.cookies[SESSION_COOKIE]
        for account, sub, cookie in [
            ("acc-1", "user-1", None),
            ("acc-1", "user-2", None),
            ("acc-1", "user-2", session),
            ("acc-2", "user-1", session),
            ("acc-2", "user-2", session),
        ]:
            async with stack.browser(account, sub=sub) as thief:
                await thief._session_form_token()
                if cookie:
                    thief.pipeline.cookies.clear()
                    thief.pipeline.cookies.set(
                        "pipeline_session", stack.keys.person_token(account, sub=sub)
                    )
                    thief.pipeline.cookies.set(SESSION_COOKIE, cookie)
                assert problem_of(await thief.arrive(back)) == "other-browser"
        assert stack.calls("/connect/token") == []
        assert "CONNECTED" in (await victim.arrive(back)).text


async def test_an_attackers_code_with_the_victims_own_state_fails_on_pkce(stack):
    stack.consent()
    async with stack.browser("acc-a") as attacker, stack.browser("acc-v") as victim:
        stolen = parse_qs(urlsplit(await attacker.consent(await attacker.to_xero())).query)["code"][
            0
        ]
        state = parse_qs(urlsplit(await victim.to_xero()).query)["state"][0]
        page = await victim.arrive(
            f"http://localhost:8001/oauth/xero/callback?state={state}&code={stolen}"
        )
    assert problem_of(page) == "code-expired"
    assert (await stack.status("acc-v"))["reason"] == "NEVER_CONNECTED"


async def test_state_code_and_verifier_are_nowhere_to_be_read(stack, caplog, capfd):
    caplog.set_level("DEBUG")
    stack.consent()
    seen = []
    async with stack.browser("acc-1") as browser:
        browser.pipeline.event_hooks["response"].append(lambda answer: keep(seen, answer))
        address = await browser.to_xero()
        asked = {n: v[0] for n, v in parse_qs(urlsplit(address).query).items()}
        row = await stack.db.fetchrow("SELECT * FROM oauth_states")
        assert row["state_hash"] == digest(asked["state"])
        ring = stack.apps[0].state.deps.ring
        where = place("oauth_states", row["state_hash"].hex(), "verifier")
        verifier = unseal(ring, row["verifier"], where)
        back = await browser.consent(address)
        code = parse_qs(urlsplit(back).query)["code"][0]
        callback = await browser.pipeline.get(back)
        assert callback.status_code == 303
        assert callback.content == b""
        await browser.pipeline.get(callback.headers["location"])
        again = await browser.pipeline.get(back)
        await browser.pipeline.get(again.headers["location"])
    stored = [
        str(dict(row))
        for table in ("oauth_states", "connections", "connection_changes", "token_sets", "outbox")
        for row in await stack.db.fetch(f"SELECT * FROM {table}")  # noqa: S608 - constants
    ]
    out, err = capfd.readouterr()
    # The test's own HTTP clients log addresses; what counts is what the service says.
    ours = [
        repr(vars(r))
        for r in caplog.records
        if r.name.partition(".")[0] in {"connector", "pipeline"}
    ]
    written = "\n".join([*ours, out, err, *stored])
    assert ours
    to_xero = [text for text in seen if asked["state"] in text]
    assert len(to_xero) == 1, "only the redirect to Xero carries the state"
    for secret in (code, verifier, asked["state"]):
        for form in (
            secret,
            quote(secret),
            base64.b64encode(secret.encode()).decode(),
            secret.encode().hex(),
        ):
            assert form not in written
    for secret in (code, verifier):
        assert not [text for text in seen if secret in text]


async def keep(seen, answer):
    await answer.aread()
    seen.append(f"{dict(answer.headers)} {answer.text}")
