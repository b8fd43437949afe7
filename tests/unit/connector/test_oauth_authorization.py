import base64
import hashlib
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from connector.domain.authorization import (
    Choose,
    ConnectOne,
    NoOrganisation,
    TakenElsewhere,
    Tenant,
    UntrustedToken,
    WrongOrganisation,
    challenge,
    check_id_token,
    decide,
    identity,
    new_flow,
    tenants,
    url,
    verified_claims,
)
from connector.domain.scopes import SCOPES

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ISSUER, CLIENT = "https://identity.xero.com", "client"
KEY, OTHER = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
JWK = RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True) | {"kid": "k1", "use": "sig"}
KEYS = {"k1": jwt.PyJWK(JWK, algorithm="RS256")}
GOOD = {
    "iss": ISSUER,
    "aud": CLIENT,
    "nonce": "n",
    "exp": int((NOW + timedelta(minutes=5)).timestamp()),
    "sub": "s",
}


def signed(claims, key=KEY, algorithm="RS256", kid="k1"):
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})


def test_the_address_carries_state_nonce_and_challenge_but_no_verifier():
    flow = new_flow()
    address = url(
        "https://login.xero.com", "client", "https://us.example/oauth/xero/callback", flow
    )
    query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert query["scope"].split() == list(SCOPES)
    assert query["state"] == flow.state
    expected = (
        base64.urlsafe_b64encode(hashlib.sha256(flow.verifier.encode()).digest())
        .rstrip(b"=")
        .decode()
    )
    assert query["code_challenge"] == expected == challenge(flow.verifier)
    assert flow.verifier not in address
    assert 43 <= len(flow.verifier) <= 128
    assert repr(flow).count(flow.state) == 0
    assert new_flow().state != flow.state


def test_a_good_id_token_is_believed():
    claims = verified_claims(signed(GOOD), KEYS, NOW)
    check_id_token(claims, issuer=ISSUER, client_id=CLIENT, nonce="n")
    check_id_token(claims | {"aud": [CLIENT]}, issuer=ISSUER, client_id=CLIENT, nonce="n")
    check_id_token(
        claims | {"aud": [CLIENT, "x"], "azp": CLIENT}, issuer=ISSUER, client_id=CLIENT, nonce="n"
    )


@pytest.mark.parametrize(
    "claims",
    [
        GOOD | {"iss": "https://evil.example"},
        GOOD | {"aud": "another"},
        GOOD | {"aud": []},
        GOOD | {"aud": [CLIENT, "another"]},
        GOOD | {"nonce": "other"},
        {k: v for k, v in GOOD.items() if k != "nonce"},
    ],
)
def test_claims_that_do_not_fit_are_refused(claims):
    with pytest.raises(UntrustedToken):
        check_id_token(
            verified_claims(signed(claims), KEYS, NOW), issuer=ISSUER, client_id=CLIENT, nonce="n"
        )


PUBLIC = KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


@pytest.mark.parametrize(
    "token",
    [
        "rubbish",
        "a.b.c",
        signed(GOOD, OTHER),
        signed(GOOD, kid="unknown"),
        jwt.encode(GOOD, None, algorithm="none", headers={"kid": "k1"}),
        jwt.encode(GOOD, b"x" * 32, algorithm="HS256", headers={"kid": "k1"}),
        signed(GOOD)[:-4] + "AAAA",
        signed(GOOD | {"exp": int((NOW - timedelta(minutes=2)).timestamp())}),
        signed({k: v for k, v in GOOD.items() if k != "exp"}),
        signed(GOOD | {"exp": True}),
    ],
)
def test_tokens_that_prove_nothing_are_refused(token):
    with pytest.raises(UntrustedToken):
        verified_claims(token, KEYS, NOW)


def test_whose_tokens_they_are():
    access = {"iss": ISSUER, "xero_userid": "u", "authentication_event_id": "e"}
    found = identity({}, access, ISSUER)
    assert (found.xero_userid, found.authentication_event_id) == ("u", "e")
    for bad in ({"xero_userid": ""}, {"xero_userid": 7}, {"iss": "x"}):
        with pytest.raises(UntrustedToken):
            identity({}, access | bad, ISSUER)
    with pytest.raises(UntrustedToken):
        identity({"xero_userid": "other"}, access, ISSUER)


def tenant(name, event="now", kind="ORGANISATION"):
    return Tenant(f"c-{name}", f"t-{name}", name, kind, event)


def choose(listed, bound=None, taken=(), event="now"):
    return decide(
        listed,
        authentication_event_id=event,
        bound_tenant_id=bound,
        taken_tenant_ids=frozenset(taken),
    )


def test_who_gets_connected():
    a, b, old = tenant("A"), tenant("B"), tenant("Old", "before")
    assert choose([]) == NoOrganisation()
    assert choose([tenant("P", kind="PRACTICE")]) == NoOrganisation()
    assert choose([a]) == ConnectOne(a)
    assert choose([a, old]) == ConnectOne(a)
    assert choose([b, a]) == Choose((a, b))
    assert choose([old]) == ConnectOne(old)
    assert choose([a], taken=["t-A"]) == TakenElsewhere((a,))
    assert choose([b, a], taken=["t-A"]) == Choose((a, b))
    # A list of which nothing can be chosen is no choice.
    assert choose([b, a], taken=["t-A", "t-B"]) == TakenElsewhere((a, b))


def test_a_bound_account_only_ever_gets_its_own():
    a, b = tenant("A"), tenant("B")
    assert choose([a], bound="t-A") == ConnectOne(a)
    assert choose([a, b], bound="t-A") == ConnectOne(a, unused=(b,))
    assert choose([b], bound="t-A") == WrongOrganisation((b,))
    assert choose([b, tenant("A", "before")], bound="t-A") == WrongOrganisation((b,))
    assert choose([tenant("C"), b], bound="t-A") == WrongOrganisation((b, tenant("C")))
    assert choose([a], bound="t-A", taken=["t-A"]) == TakenElsewhere((a,))


@pytest.mark.parametrize("listed", [None, {}, "x", [1], [None]])
def test_a_list_of_connections_that_is_none_is_refused(listed):
    with pytest.raises(UntrustedToken):
        tenants(listed)


def test_entries_without_ids_are_left_out():
    assert (
        tenants([{"id": "c"}, {"tenantId": "t"}, {"id": "c", "tenantId": "t"}])[0].tenant_name
        == "Unnamed organisation"
    )
    assert len(tenants([{"id": "c"}, {"id": "c", "tenantId": "t", "tenantType": None}])) == 1
