"""RS256 tokens, their public key, and the discovery document."""

import base64
import hashlib
from datetime import datetime
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from xero_simulator.grants import ACCESS_LIFETIME, ID_TOKEN_LIFETIME, Issue
from xero_simulator.seed import User
from xero_simulator.wire import Json

KEY_ID = "SIMULATEDKEY1"


@cache
def _key() -> rsa.RSAPrivateKey:
    """One key per process: making one takes a moment, and nobody keeps simulated tokens."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def access_token(
    issue: Issue, user: User, issuer: str, client_id: str, now: datetime, jti: str
) -> str:
    """A signed access JWT of 30 minutes with Xero's own claims."""
    return _sign(
        {
            "nbf": _seconds(now),
            "exp": _seconds(now + ACCESS_LIFETIME),
            "iat": _seconds(now),
            "iss": issuer,
            "aud": f"{issuer}/resources",
            "client_id": client_id,
            "sub": _subject(user),
            "auth_time": _seconds(now),
            "xero_userid": user.user_id,
            "global_session_id": jti,
            "jti": jti.replace("-", ""),
            "authentication_event_id": issue.auth_event_id,
            "scope": sorted(issue.scopes),
        }
    )


def id_token(
    issue: Issue, user: User, issuer: str, client_id: str, now: datetime, access: str
) -> str:
    """A signed id_token of 5 minutes, bound to the access token and the nonce."""
    claims: Json = {
        "nbf": _seconds(now),
        "exp": _seconds(now + ID_TOKEN_LIFETIME),
        "iat": _seconds(now),
        "iss": issuer,
        "aud": client_id,
        "at_hash": _half_hash(access),
        "sub": _subject(user),
        "auth_time": _seconds(now),
        "xero_userid": user.user_id,
        "preferred_username": user.email,
        "email": user.email,
        "given_name": user.given_name,
        "family_name": user.family_name,
        "name": f"{user.given_name} {user.family_name}",
    }
    if issue.nonce:
        claims["nonce"] = issue.nonce
    return _sign(claims)


def jwks() -> Json:
    """The public key set."""
    public: dict[str, Any] = RSAAlgorithm.to_jwk(_key().public_key(), as_dict=True)
    return {"keys": [public | {"kid": KEY_ID, "use": "sig", "alg": "RS256"}]}


def discovery(issuer: str, scopes: list[str]) -> Json:
    """The OpenID configuration document."""
    return {
        "issuer": issuer,
        "jwks_uri": f"{issuer}/.well-known/openid-configuration/jwks",
        "authorization_endpoint": f"{issuer}/identity/connect/authorize",
        "token_endpoint": f"{issuer}/connect/token",
        "revocation_endpoint": f"{issuer}/connect/revocation",
        "scopes_supported": scopes,
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "subject_types_supported": ["public"],
        "code_challenge_methods_supported": ["S256"],
    }


def _sign(claims: Json) -> str:
    return jwt.encode(claims, _key(), algorithm="RS256", headers={"kid": KEY_ID})


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _subject(user: User) -> str:
    return hashlib.sha256(user.user_id.encode()).hexdigest()[:32]


def _half_hash(token: str) -> str:
    digest = hashlib.sha256(token.encode()).digest()[:16]
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
