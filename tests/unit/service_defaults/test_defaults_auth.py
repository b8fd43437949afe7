"""Tokens: what is admitted, and everything that is not."""

import base64
import hashlib
import hmac
import json
import time
from typing import Annotated

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import Depends, FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_service_defaults import auth, problems
from pipeline_service_defaults.auth import (
    Authenticator,
    IssuersFileError,
    Person,
    Service,
    TokenRefusedError,
)
from pipeline_service_defaults.keys import (
    TokenMinter,
    load_private_key,
    new_private_key,
    public_jwk,
    sign,
)

PEOPLE = new_private_key()
SYNC = new_private_key()
SYNC_NEXT = new_private_key()
INGEST = new_private_key()
STRANGER = new_private_key()
ISSUERS = {
    "pipeline": {"kind": "person", "keys": [public_jwk(PEOPLE)]},
    "invoice-sync": {"kind": "service", "keys": [public_jwk(SYNC), public_jwk(SYNC_NEXT)]},
    "payment-ingest": {"kind": "service", "keys": [public_jwk(INGEST)]},
}
CONNECTOR = Authenticator(ISSUERS, service_name="connector")


def person(**changes):
    now = int(time.time())
    claims = {
        "iss": "pipeline",
        "aud": "pipeline-xero",
        "sub": "u-1",
        "name": "Ada",
        "account_id": "acc-1",
        "role": "operator",
        "iat": now,
        "exp": now + 3600,
    }
    return {key: value for key, value in (claims | changes).items() if value is not None}


def service(**changes):
    now = int(time.time())
    claims = {
        "iss": "invoice-sync",
        "sub": "invoice-sync",
        "aud": "connector",
        "iat": now,
        "exp": now + 300,
    }
    return {key: value for key, value in (claims | changes).items() if value is not None}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(header, claims, secret=None):
    signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    mac = b"" if secret is None else hmac.digest(secret, signed.encode(), hashlib.sha256)
    return f"{signed}.{b64(mac)}"


def test_a_person_is_admitted():
    assert CONNECTOR.verify(sign(PEOPLE, person())) == Person("u-1", "Ada", "acc-1", "operator")


def test_a_service_is_admitted_with_either_key_of_a_rotation():
    for key in (SYNC, SYNC_NEXT):
        assert CONNECTOR.verify(sign(key, service())) == Service("invoice-sync")


def refused(token):
    with pytest.raises(TokenRefusedError) as caught:
        CONNECTOR.verify(token)
    return str(caught.value)


def test_alg_none_is_refused():
    for name in ("none", "None", "NONE", ""):
        assert "algorithm" in refused(forged({"alg": name, "typ": "JWT"}, person()))


def test_the_public_key_is_no_hmac_secret():
    raw = load_private_key(PEOPLE).public_key()
    pem = raw.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    raw_bytes = base64.urlsafe_b64decode(public_jwk(PEOPLE)["x"] + "=")
    for secret in (pem, raw_bytes, public_jwk(PEOPLE)["x"].encode(), b""):
        assert "algorithm" in refused(forged({"alg": "HS256"}, person(), secret))
        # The header lies about the algorithm: the signature then fails as Ed25519.
        assert "signature" in refused(forged({"alg": "EdDSA"}, person(), secret))


def test_another_asymmetric_algorithm_is_refused():
    key = ec.generate_private_key(ec.SECP256R1())
    assert "algorithm" in refused(jwt.encode(person(), key, algorithm="ES256"))


def test_a_key_sent_along_is_ignored():
    token = jwt.encode(
        person(),
        load_private_key(STRANGER),
        algorithm="EdDSA",
        headers={"jwk": public_jwk(STRANGER), "jku": "http://evil/", "kid": "../../etc/passwd"},
    )
    assert "signature" in refused(token)


def test_another_issuers_key_does_not_sign_for_it():
    assert "signature" in refused(sign(SYNC, person()))
    assert "signature" in refused(sign(PEOPLE, service()))
    assert "signature" in refused(sign(INGEST, service()))


def test_unknown_and_missing_issuers():
    assert refused(sign(STRANGER, person(iss="somebody"))) == "unknown issuer"
    assert refused(sign(PEOPLE, person(iss=None))) == "unknown issuer"
    # Built by hand: the library refuses to encode an issuer that is not text.
    header, _, signature = sign(PEOPLE, person()).split(".")
    refused(f"{header}.{b64(json.dumps(person(iss=['pipeline'])).encode())}.{signature}")


def test_the_audience_must_be_us_alone():
    for audience in ("payment-ingest", "", None, ["connector"], ["connector", "invoice-sync"]):
        refused(sign(SYNC, service(aud=audience)))
    for audience in ("connector", "pipeline", None, ["pipeline-xero"]):
        refused(sign(PEOPLE, person(aud=audience)))


def test_time():
    now = int(time.time())
    assert "ExpiredSignatureError" in refused(sign(PEOPLE, person(iat=now - 100, exp=now - 60)))
    assert "ImmatureSignatureError" in refused(sign(PEOPLE, person(iat=now + 60, exp=now + 90)))
    assert "ImmatureSignatureError" in refused(sign(PEOPLE, person(nbf=now + 60)))
    for missing in ("iat", "exp"):
        assert "MissingRequiredClaim" in refused(sign(PEOPLE, person(**{missing: None})))


def test_a_service_token_is_short_lived():
    now = int(time.time())
    assert "lives longer" in refused(sign(SYNC, service(iat=now, exp=now + 601)))
    assert CONNECTOR.verify(sign(SYNC, service(iat=now, exp=now + 600)))


def test_a_service_speaks_only_for_itself():
    assert "only for itself" in refused(sign(SYNC, service(sub="payment-ingest")))


def test_the_kinds_cannot_be_mixed():
    # A service claiming to be a person, and a person's issuer naming a service audience.
    claims = person(iss="invoice-sync", sub="invoice-sync")
    assert "aud" in refused(sign(SYNC, claims)).lower()
    assert "aud" in refused(sign(PEOPLE, person(aud="connector", sub="pipeline"))).lower()


@pytest.mark.parametrize("claim", ["sub", "name", "account_id"])
@pytest.mark.parametrize("value", ["a\x00", "\ud800", "a\r\nb", "\x9b", "x" * 256])
def test_text_that_no_database_or_log_can_keep_is_refused(claim, value):
    assert refused(sign(PEOPLE, person(**{claim: value}))).startswith(claim)


@pytest.mark.parametrize("name", ["Zoë Ní Bhraonáin", "علی‌رضا", "👩🏽‍💻", "x" * 255])
def test_names_of_the_world_are_admitted(name):
    assert CONNECTOR.verify(sign(PEOPLE, person(name=name))).name == name


@pytest.mark.parametrize("claim", ["sub", "name", "account_id", "role"])
@pytest.mark.parametrize("value", [None, "", "  ", 7, ["x"]])
def test_a_person_needs_every_claim(claim, value):
    claims = person()
    claims[claim] = value
    body = b64(json.dumps({key: item for key, item in claims.items() if item is not None}).encode())
    header = b64(b'{"alg":"EdDSA","typ":"JWT"}')
    signature = b64(load_private_key(PEOPLE).sign(f"{header}.{body}".encode()))
    refused(f"{header}.{body}.{signature}")


def test_an_unknown_role_is_refused():
    assert refused(sign(PEOPLE, person(role="owner"))) == "unknown role"


def test_critical_extensions_are_refused():
    token = jwt.encode(
        person(), load_private_key(PEOPLE), algorithm="EdDSA", headers={"crit": ["x"], "x": 1}
    )
    refused(token)


def test_one_changed_bit_is_refused():
    token = sign(SYNC, service())
    head, body, signature = token.split(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    for position in range(len(raw)):
        changed = bytearray(raw)
        changed[position] ^= 1
        refused(f"{head}.{body}.{b64(bytes(changed))}")
    refused(f"{head}.{b64(json.dumps(service(sub='x')).encode())}.{signature}")


@settings(deadline=None)
@given(
    st.text(max_size=60) | st.binary(max_size=60).map(b64).map(lambda part: f"{part}.{part}.{part}")
)
def test_rubbish_is_refused_by_name(token):
    refused(token)


@pytest.mark.parametrize("claims", ["[]", "null", '{"iss": {}}', '{"iss":"pipeline","exp":1e400}'])
def test_claims_that_are_no_claims(claims):
    header, body = b64(b'{"alg":"EdDSA"}'), b64(claims.encode())
    signature = b64(load_private_key(PEOPLE).sign(f"{header}.{body}".encode()))
    refused(f"{header}.{body}.{signature}")


def test_an_endless_token_is_refused_before_it_is_parsed():
    assert refused("a" * 10_000) == "too long"


# The issuers file.


@pytest.mark.parametrize(
    ("issuers", "words"),
    [
        ({}, "at least one issuer"),
        ([], "at least one issuer"),
        ({"x": {}}, '"kind"'),
        ({"x": "service"}, '"kind"'),
        ({"x": {"kind": "robot", "keys": []}}, '"kind"'),
        ({"x": {"kind": "service"}}, '"keys"'),
        ({"x": {"kind": "service", "keys": []}}, '"keys"'),
        ({"x": {"kind": "service", "keys": [{"kty": "RSA"}]}}, "Ed25519"),
        ({"x": {"kind": "service", "keys": ["pem"]}}, "Ed25519"),
        (
            {"x": {"kind": "service", "keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA"}]}},
            "not a usable key",
        ),
        (
            {"x": {"kind": "service", "keys": [public_jwk(SYNC) | {"d": "AA"}]}},
            "only public keys",
        ),
    ],
)
def test_an_unusable_issuers_file_is_explained(tmp_path, issuers, words):
    path = tmp_path / "issuers.json"
    path.write_text(json.dumps(issuers))
    with pytest.raises(IssuersFileError, match=words) as caught:
        Authenticator.from_file(path, service_name="connector")
    assert str(path) in str(caught.value)


def test_an_issuers_file_that_is_not_json(tmp_path):
    path = tmp_path / "issuers.json"
    path.write_text("{")
    for wrong in (path, tmp_path / "missing.json"):
        with pytest.raises(IssuersFileError, match="cannot be read"):
            Authenticator.from_file(wrong, service_name="connector")
    path.write_text(json.dumps(ISSUERS))
    found = Authenticator.from_file(path, service_name="connector")
    assert found.verify(sign(SYNC, service())) == Service("invoice-sync")


# Minting.


def test_a_minted_token_is_admitted_and_reused_until_near_its_end():
    now = [time.time()]
    minter = TokenMinter("invoice-sync", SYNC, clock=lambda: now[0])
    first = minter.token("connector")
    assert CONNECTOR.verify(first) == Service("invoice-sync")
    now[0] += 239
    assert minter.token("connector") == first
    now[0] += 2
    assert minter.token("connector") != first
    assert minter.for_audience("payment-ingest")() != minter.token("connector")


@pytest.mark.parametrize("pem", ["", "nonsense", b"\x00"])
def test_a_wrong_private_key_is_refused_without_quoting_it(pem):
    with pytest.raises(ValueError, match="Ed25519 private key") as caught:
        TokenMinter("x", pem)
    assert caught.value.__cause__ is None


def test_a_key_of_another_kind_is_refused():
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with pytest.raises(ValueError, match="Ed25519 private key"):
        load_private_key(pem)


# Routes.


def api() -> httpx.AsyncClient:
    app = FastAPI()
    problems.install(app)
    auth.install(app, CONNECTOR)

    @app.get("/services")
    async def services(who: Annotated[Service, Depends(auth.require_service("invoice-sync"))]):
        return who.name

    @app.post("/accounts/{account_id}/xero")
    @app.get("/accounts/{account_id}/xero")
    async def card(
        account_id: str, who: Annotated[Person, Depends(auth.require_person("operator"))]
    ):
        return who.user_id

    @app.get("/v1/accounts/{account_id}/connection")
    async def connection(
        account_id: str,
        who: Annotated[auth.Principal, Depends(auth.require_access("admin", "invoice-sync"))],
    ):
        return type(who).__name__

    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8001")


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


async def answer(path, headers, method="GET"):
    async with api() as client:
        response = await client.request(method, path, headers=headers)
    if response.status_code != 200:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["status"] == response.status_code
    return response


@pytest.mark.parametrize(
    "path", ["/services", "/accounts/acc-1/xero", "/v1/accounts/acc-1/connection"]
)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer  "},
        {"Authorization": "Basic dTpw"},
        {"Authorization": "Bearer nonsense"},
        {"Cookie": "pipeline_session=nonsense"},
        # A service token has no business in a browser's cookie.
        {"Cookie": f"pipeline_session={sign(SYNC, service())}"},
        bearer(sign(STRANGER, person())),
    ],
)
async def test_nobody_comes_in_unproven(path, headers):
    response = await answer(path, headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert "signature" not in response.text


async def test_a_bad_header_is_not_saved_by_a_good_cookie():
    headers = {"Authorization": "Bearer x", "Cookie": f"pipeline_session={sign(PEOPLE, person())}"}
    assert (await answer("/accounts/acc-1/xero", headers)).status_code == 401


async def test_services_by_name():
    assert (await answer("/services", bearer(sign(SYNC, service())))).json() == "invoice-sync"
    other = service(iss="payment-ingest", sub="payment-ingest")
    assert (await answer("/services", bearer(sign(INGEST, other)))).status_code == 403
    assert (await answer("/services", bearer(sign(PEOPLE, person())))).status_code == 403


async def test_people_by_account_and_role():
    path = "/accounts/acc-1/xero"
    for headers in (
        bearer(sign(PEOPLE, person())),
        bearer(sign(PEOPLE, person(role="admin"))),
        {"Cookie": f"pipeline_session={sign(PEOPLE, person())}"},
    ):
        assert (await answer(path, headers)).json() == "u-1"
    assert (await answer(path, bearer(sign(PEOPLE, person(role="viewer"))))).status_code == 403
    assert (await answer(path, bearer(sign(SYNC, service())))).status_code == 403
    # The account is checked before the role, so a 403 never betrays another account.
    for role in ("viewer", "admin"):
        stranger = bearer(sign(PEOPLE, person(account_id="acc-2", role=role)))
        assert (await answer(path, stranger)).status_code == 404


async def test_access_for_both():
    path = "/v1/accounts/acc-1/connection"
    assert (await answer(path, bearer(sign(SYNC, service())))).json() == "Service"
    assert (await answer(path, bearer(sign(PEOPLE, person(role="admin"))))).json() == "Person"
    assert (await answer(path, bearer(sign(PEOPLE, person())))).status_code == 403
    other = service(iss="payment-ingest", sub="payment-ingest")
    assert (await answer(path, bearer(sign(INGEST, other)))).status_code == 403
    stranger = person(account_id="acc-2", role="admin")
    assert (await answer(path, bearer(sign(PEOPLE, stranger)))).status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://localhost:8001"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:9999"}, 403),
    ],
)
async def test_a_cookie_is_not_believed_from_another_site(headers, status):
    cookie = {"Cookie": f"pipeline_session={sign(PEOPLE, person())}"}
    response = await answer("/accounts/acc-1/xero", headers | cookie, "POST")
    assert response.status_code == status
    # Reading by a link from elsewhere stays possible, and a bearer token proves itself.
    assert (await answer("/accounts/acc-1/xero", headers | cookie)).status_code == 200
    token = bearer(sign(PEOPLE, person()))
    assert (await answer("/accounts/acc-1/xero", headers | token, "POST")).status_code == 200


async def test_the_interface_document_says_which_routes_need_a_token():
    async with api() as client:
        document = (await client.get("/openapi.json")).json()
    assert document["paths"]["/services"]["get"]["security"] == [{"HTTPBearer": []}]


def test_a_proven_token_is_remembered_until_it_expires_and_no_longer(monkeypatch):
    ours = Authenticator(ISSUERS, service_name="connector")
    token = sign(SYNC, service(exp=int(time.time()) + 60))
    proven = []
    verify = Authenticator._verify
    monkeypatch.setattr(
        Authenticator, "_verify", lambda self, each: proven.append(each) or verify(self, each)
    )
    assert ours.verify(token) == ours.verify(token)
    assert len(proven) == 1
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    ours.verify(token)
    assert len(proven) == 2
    ours.verify(token)
    assert len(proven) == 3


def test_a_refused_token_is_never_remembered_and_memory_is_bounded(monkeypatch):
    ours = Authenticator(ISSUERS, service_name="connector")
    for _ in range(2):
        with pytest.raises(TokenRefusedError):
            ours.verify(sign(SYNC, service(aud="another")))
    assert not ours._remembered
    monkeypatch.setattr("pipeline_service_defaults.auth._MOST_REMEMBERED", 3)
    for number in range(5):
        ours.verify(sign(SYNC, service(iat=int(time.time()) - number)))
    assert len(ours._remembered) == 3
