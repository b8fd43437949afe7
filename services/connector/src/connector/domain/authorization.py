"""The authorisation-code dance with Xero as pure functions: what is asked, what is believed, and who gets connected."""

import base64
import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import jwt

from connector.domain.scopes import SCOPES

STATE_LIFETIME: Final = timedelta(minutes=15)
"""From the click to the return: time to sign in and find a phone for the second factor."""

CHOICE_LIFETIME: Final = timedelta(minutes=15)
CLOCK_LEEWAY: Final = timedelta(seconds=60)
CALLBACK_PATH: Final = "/oauth/xero/callback"


@dataclass(frozen=True, slots=True, repr=False)
class FlowSecrets:
    """What one attempt to connect must not lose and not show: `state` 256 bit, PKCE `verifier`, `nonce`."""

    state: str
    verifier: str
    nonce: str


def new_flow() -> FlowSecrets:
    """Fresh random secrets for one attempt."""
    return FlowSecrets(
        secrets.token_urlsafe(32), secrets.token_urlsafe(64), secrets.token_urlsafe(32)
    )


def digest(secret: str) -> bytes:
    """How a random secret is stored when it only has to be recognised."""
    return hashlib.sha256(secret.encode()).digest()


def challenge(verifier: str) -> str:
    """The S256 PKCE challenge of a verifier (RFC 7636 §4.2)."""
    return base64.urlsafe_b64encode(digest(verifier)).rstrip(b"=").decode()


def url(login_url: str, client_id: str, redirect_uri: str, flow: FlowSecrets) -> str:
    """The address at Xero that asks for consent. Source: developer.xero.com, the standard authorization code flow."""
    query = urlencode(
        {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(SCOPES),
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": challenge(flow.verifier),
            "code_challenge_method": "S256",
        }
    )
    return f"{login_url}/identity/connect/authorize?{query}"


class UntrustedToken(Exception):  # noqa: N818 - says what it is, as the page does
    """A token of the identity provider that must not be believed; the message says which check failed."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who consented in Xero, and in which authentication event."""

    xero_userid: str
    authentication_event_id: str | None


def key_id(token: str) -> str | None:
    """The `kid` a token names, None when it names none. Raises UntrustedToken."""
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except jwt.PyJWTError as error:
        raise UntrustedToken("not a JWT") from error
    return kid if isinstance(kid, str) else None


def verified_claims(token: str, keys: Mapping[str, jwt.PyJWK], now: datetime) -> dict[str, Any]:
    """Claims of an RS256 token signed by one of `keys` and not expired. Raises UntrustedToken.

    RS256 is pinned, so that neither `none` nor an HMAC under the public key can pass.
    """
    key = keys.get(key_id(token) or "")
    if key is None:
        raise UntrustedToken("signed with an unknown key")
    options: Any = {
        "verify_aud": False,
        "verify_iss": False,
        "verify_exp": False,
        "verify_iat": False,
        "verify_nbf": False,
    }
    try:
        claims: dict[str, Any] = jwt.decode(token, key.key, algorithms=["RS256"], options=options)
    except jwt.PyJWTError as error:
        raise UntrustedToken("the signature is wrong") from error
    expires = claims.get("exp")
    if isinstance(expires, bool) or not isinstance(expires, int | float):
        raise UntrustedToken("no expiry")
    if expires + CLOCK_LEEWAY.total_seconds() < now.timestamp():
        raise UntrustedToken("expired")
    return claims


def check_id_token(claims: Mapping[str, Any], *, issuer: str, client_id: str, nonce: str) -> None:
    """The remaining checks of OpenID Connect Core §3.1.3.7. Raises UntrustedToken."""
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if claims.get("iss") != issuer:
        raise UntrustedToken("from another issuer")
    if client_id not in audiences:
        raise UntrustedToken("meant for another application")
    if len(audiences) > 1 and claims.get("azp") != client_id:
        raise UntrustedToken("meant for several applications and not authorised for this one")
    if not secrets.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
        raise UntrustedToken("not the answer to this attempt")


def identity(
    id_claims: Mapping[str, Any], access_claims: Mapping[str, Any], issuer: str
) -> Identity:
    """Who the verified token pair belongs to. Raises UntrustedToken.

    Xero names its user in the access token (`xero_userid`, `authentication_event_id`); the id token's copy, when there
    is one, must agree.
    """
    if access_claims.get("iss") != issuer:
        raise UntrustedToken("the access token is from another issuer")
    userid = access_claims.get("xero_userid")
    if not isinstance(userid, str) or not 1 <= len(userid) <= 100:  # noqa: PLR2004 - a GUID, with room
        raise UntrustedToken("the access token names no Xero user")
    if id_claims.get("xero_userid", userid) != userid:
        raise UntrustedToken("the two tokens name different users")
    event = access_claims.get("authentication_event_id")
    return Identity(userid, event if isinstance(event, str) else None)


def named_owner(access_token: str) -> Identity | None:
    """Whom an access token names, unverified: good enough to give the token back to the endpoint it came from by TLS."""
    try:
        claims = jwt.decode(access_token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return None
    userid, event = claims.get("xero_userid"), claims.get("authentication_event_id")
    if not isinstance(userid, str) or not 1 <= len(userid) <= 100:  # noqa: PLR2004 - a GUID, with room
        return None
    return Identity(userid, event if isinstance(event, str) else None)


@dataclass(frozen=True, slots=True)
class Tenant:
    """One entry of Xero's /connections; `connection_id` is what DELETE needs, and is not the tenant's id."""

    connection_id: str
    tenant_id: str
    tenant_name: str
    tenant_type: str
    auth_event_id: str | None


def tenants(listed: Any) -> tuple[Tenant, ...]:
    """Read the bare array of /connections. Raises UntrustedToken when it is not one."""
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise UntrustedToken("the list of connections is not a list")
    found = [
        Tenant(
            str(entry.get("id") or ""),
            str(entry.get("tenantId") or ""),
            str(entry.get("tenantName") or "Unnamed organisation"),
            str(entry.get("tenantType") or ""),
            entry.get("authEventId") if isinstance(entry.get("authEventId"), str) else None,
        )
        for entry in listed
    ]
    return tuple(tenant for tenant in found if tenant.connection_id and tenant.tenant_id)


@dataclass(frozen=True, slots=True)
class ConnectOne:
    """This organisation, without a question; `unused` were granted beside it."""

    tenant: Tenant
    unused: tuple[Tenant, ...] = ()


@dataclass(frozen=True, slots=True)
class Choose:
    """Several are possible: a person chooses."""

    tenants: tuple[Tenant, ...]


@dataclass(frozen=True, slots=True)
class NoOrganisation:
    """Nobody ticked an organisation (or only a practice)."""


@dataclass(frozen=True, slots=True)
class WrongOrganisation:
    """The account's work belongs to another organisation than those granted now."""

    tenants: tuple[Tenant, ...]


@dataclass(frozen=True, slots=True)
class TakenElsewhere:
    """Every organisation that would do feeds another account already."""

    tenants: tuple[Tenant, ...]


Decision = ConnectOne | Choose | NoOrganisation | WrongOrganisation | TakenElsewhere


def decide(
    listed: Iterable[Tenant],
    *,
    authentication_event_id: str | None,
    bound_tenant_id: str | None,
    taken_tenant_ids: frozenset[str],
) -> Decision:
    """Which organisation an account gets after consent.

    An account once bound to an organisation only ever gets that one without being asked: its mappings and waiting
    invoices belong there. Otherwise the organisations of this authentication event count; consent to one that was
    already granted may not be listed under the new event, so without any, all that Xero lists count.
    """
    organisations = tuple(
        sorted(
            (t for t in listed if t.tenant_type.upper() == "ORGANISATION"),
            key=lambda t: (t.tenant_name.casefold(), t.tenant_id),
        )
    )
    candidates = granted_by(organisations, authentication_event_id) or organisations
    if not candidates:
        return NoOrganisation()
    if bound_tenant_id is not None:
        return decide_bound(candidates, bound_tenant_id, taken_tenant_ids)
    return decide_free(candidates, taken_tenant_ids)


def granted_by(listed: Iterable[Tenant], authentication_event_id: str | None) -> tuple[Tenant, ...]:
    """Those that this authentication event connected."""
    return tuple(
        t
        for t in listed
        if authentication_event_id is not None and t.auth_event_id == authentication_event_id
    )


def decide_bound(candidates: Sequence[Tenant], bound: str, taken: frozenset[str]) -> Decision:
    """The decision for an account that has an organisation already."""
    for tenant in candidates:
        if tenant.tenant_id == bound:
            if bound in taken:
                return TakenElsewhere((tenant,))
            return ConnectOne(tenant, tuple(t for t in candidates if t is not tenant))
    return WrongOrganisation(tuple(candidates))


def decide_free(candidates: Sequence[Tenant], taken: frozenset[str]) -> Decision:
    """The decision for an account that never had an organisation."""
    if all(tenant.tenant_id in taken for tenant in candidates):
        return TakenElsewhere(tuple(candidates))
    return Choose(tuple(candidates)) if len(candidates) > 1 else ConnectOne(candidates[0])
