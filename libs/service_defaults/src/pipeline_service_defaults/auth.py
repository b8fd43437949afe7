"""Who is calling: people by Pipeline's session token, programs by short-lived service tokens.

Both are JWTs signed with Ed25519. The algorithm is pinned, the issuer decides the key and the kind of caller, and
everything not proven is refused. Why a token was refused goes to the log, never to the caller.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import jwt
from fastapi import Depends, FastAPI, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from jwt.algorithms import OKPAlgorithm

from pipeline_service_defaults.keys import ALGORITHM, TokenMinter
from pipeline_service_defaults.origin import comes_from_elsewhere
from pipeline_service_defaults.problems import Problem

__all__ = [
    "PERSON_AUDIENCE",
    "SESSION_COOKIE",
    "Authenticator",
    "IssuersFileError",
    "Person",
    "Principal",
    "Role",
    "Service",
    "TokenMinter",
    "TokenRefusedError",
    "authenticate",
    "install",
    "require_access",
    "require_person",
    "require_service",
]

PERSON_AUDIENCE = "pipeline-xero"
SESSION_COOKIE = "pipeline_session"
# Clocks of two machines differ a little; more than this is a fault to be seen.
_LEEWAY_SECONDS = 5
_LONGEST_TOKEN = 8192
_MOST_REMEMBERED = 1000
_LONGEST_TEXT = 255
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_LOG = logging.getLogger(__name__)

RoleName = Literal["viewer", "operator", "admin"]


class Role(IntEnum):
    """What a person may do; each includes the ones before."""

    viewer = 1
    operator = 2
    admin = 3


@dataclass(frozen=True, slots=True)
class Person:
    """A signed-in user of Pipeline, acting for one account."""

    user_id: str
    name: str
    account_id: str
    role: RoleName

    def may(self, min_role: RoleName) -> bool:
        """Whether the role includes ``min_role``."""
        return Role[self.role] >= Role[min_role]


@dataclass(frozen=True, slots=True)
class Service:
    """A program of Pipeline."""

    name: str


Principal = Person | Service


class IssuersFileError(Exception):
    """The issuers file cannot be used. The message says where and why."""


class TokenRefusedError(Exception):
    """A token does not prove who is calling. The message is for the log."""


@dataclass(frozen=True, slots=True)
class _Issuer:
    kind: str
    keys: tuple[Any, ...]


class Authenticator:
    """Verifies tokens addressed to one service.

    Args:
        issuers: The decoded issuers file: issuer -> ``{"kind": "person" | "service", "keys": [public JWK]}``.
        service_name: Our name, the audience of service tokens.
        max_service_token_seconds: The longest life a service token may have.

    Raises:
        IssuersFileError: ``issuers`` is not such a document.
    """

    def __init__(
        self, issuers: Any, *, service_name: str, max_service_token_seconds: int = 600
    ) -> None:
        if not isinstance(issuers, dict) or not issuers:
            raise IssuersFileError("expected an object with at least one issuer")
        self._issuers = {name: _read_issuer(name, entry) for name, entry in issuers.items()}
        self._service_name = service_name
        self._max_seconds = max_service_token_seconds
        self._remembered: dict[bytes, tuple[Principal, float]] = {}

    @classmethod
    def from_file(
        cls, path: Path, *, service_name: str, max_service_token_seconds: int = 600
    ) -> Authenticator:
        """Read the issuers file.

        Raises:
            IssuersFileError: It cannot be read or used.
        """
        try:
            issuers = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise IssuersFileError(
                f"{path}: cannot be read as JSON ({type(error).__name__})"
            ) from None
        try:
            return cls(
                issuers,
                service_name=service_name,
                max_service_token_seconds=max_service_token_seconds,
            )
        except IssuersFileError as error:
            raise IssuersFileError(f"{path}: {error}") from None

    def verify(self, token: str) -> Principal:
        """The caller a token proves.

        A token proven once is remembered, by its hash, until it expires: the keys do not change while the process
        lives, so nothing but time can take its proof away, and callers send the same one many times a second.

        Raises:
            TokenRefusedError: It proves nothing, for whatever reason.
        """
        if len(token) > _LONGEST_TOKEN:
            raise TokenRefusedError("too long")
        try:
            name = hashlib.sha256(token.encode()).digest()
            principal, until = self._remembered.get(name, (None, 0.0))
            if principal is not None and time.time() < until:
                return principal
            principal, until = self._verify(token)
        except TokenRefusedError:
            raise
        except Exception as error:  # noqa: BLE001 - see below
            # Whatever a crafted token makes a parser raise, the answer is no.
            raise TokenRefusedError(f"{type(error).__name__}: {error}"[:200]) from None
        while len(self._remembered) >= _MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[name] = (principal, until)
        return principal

    def _verify(self, token: str) -> tuple[Principal, float]:
        """The caller, and until when the token says so."""
        header = jwt.get_unverified_header(token)
        if header.get("alg") != ALGORITHM:
            raise TokenRefusedError("algorithm is not EdDSA")
        if "crit" in header:
            raise TokenRefusedError("critical extensions are not understood")
        issuer_name = jwt.decode(token, options={"verify_signature": False}).get("iss")
        if not isinstance(issuer_name, str) or issuer_name not in self._issuers:
            raise TokenRefusedError("unknown issuer")
        issuer = self._issuers[issuer_name]
        audience = PERSON_AUDIENCE if issuer.kind == "person" else self._service_name
        claims = _verified_claims(token, issuer, issuer_name, audience)
        principal = self._person(claims) if issuer.kind == "person" else self._service(claims)
        return principal, float(claims["exp"])

    @staticmethod
    def _person(claims: Mapping[str, Any]) -> Person:
        role = _text(claims, "role")
        if role not in Role.__members__:
            raise TokenRefusedError("unknown role")
        return Person(
            user_id=_text(claims, "sub"),
            name=_text(claims, "name"),
            account_id=_text(claims, "account_id"),
            role=cast("RoleName", role),
        )

    def _service(self, claims: Mapping[str, Any]) -> Service:
        if claims["sub"] != claims["iss"]:
            raise TokenRefusedError("a service speaks only for itself")
        if int(claims["exp"]) - int(claims["iat"]) > self._max_seconds:
            raise TokenRefusedError(f"lives longer than {self._max_seconds} seconds")
        return Service(_text(claims, "sub"))


def _read_issuer(name: str, entry: Any) -> _Issuer:
    kind = entry.get("kind") if isinstance(entry, dict) else None
    if kind not in {"person", "service"}:
        raise IssuersFileError(f'issuer {name}: "kind" must be "person" or "service"')
    keys = entry.get("keys")
    if not isinstance(keys, list) or not keys:
        raise IssuersFileError(f'issuer {name}: "keys" must list at least one public key')
    return _Issuer(kind, tuple(_read_key(name, position, key) for position, key in enumerate(keys)))


def _read_key(issuer: str, position: int, jwk: Any) -> Any:
    where = f"issuer {issuer}, key {position}"
    if not isinstance(jwk, dict) or jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
        raise IssuersFileError(f"{where}: expected an Ed25519 JWK (kty OKP, crv Ed25519)")
    if "d" in jwk:
        raise IssuersFileError(f"{where}: holds a private key; only public keys belong here")
    try:
        return OKPAlgorithm.from_jwk(jwk)
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise IssuersFileError(f"{where}: not a usable key ({type(error).__name__})") from None


def _verified_claims(
    token: str, issuer: _Issuer, issuer_name: str, audience: str
) -> Mapping[str, Any]:
    # Two keys of one issuer are valid together while it rotates them.
    for key in issuer.keys:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=audience,
                issuer=issuer_name,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["iss", "sub", "aud", "iat", "exp"], "strict_aud": True},
            )
        except jwt.InvalidSignatureError:
            continue
    raise TokenRefusedError("signature does not match any key of its issuer")


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value.strip():
        raise TokenRefusedError(f"{name} is missing")
    # A database takes neither NUL nor half a surrogate pair, and a log line no control characters.
    if len(value) > _LONGEST_TEXT or _UNFIT.search(value):
        raise TokenRefusedError(f"{name} is not text that can be kept")
    return value


def install(app: FastAPI, authenticator: Authenticator) -> None:
    """Give an application the authenticator its routes' dependencies use."""
    app.state.authenticator = authenticator


_BEARER = HTTPBearer(
    auto_error=False, description="A session token of Pipeline or a service token (EdDSA JWT)."
)
# Asked for only so that the OpenAPI document shows which routes need a token.
_Documented = Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]


def authenticate(request: Request) -> Principal:
    """The caller of a request, by ``Authorization: Bearer`` or, for people, by the session cookie.

    A cookie is sent by a browser on anybody's behalf, so one on a request that changes something is only believed
    when the browser does not say the request comes from another site.

    Raises:
        Problem: 401 when nothing valid was presented, 403 for a request forged from another site.
    """
    authenticator: Authenticator = request.app.state.authenticator
    header = request.headers.get("authorization")
    cookie = request.cookies.get(SESSION_COOKIE)
    if header is not None:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise _unauthenticated("the Authorization header is not a bearer token")
        return _verified(authenticator, token.strip())
    if not cookie:
        raise _unauthenticated("no token")
    principal = _verified(authenticator, cookie)
    if not isinstance(principal, Person):
        raise _unauthenticated("a service token in a cookie")
    if comes_from_elsewhere(request):
        raise Problem(
            403,
            "CROSS_SITE_REQUEST",
            detail="This request was sent by another site's page.",
            hint="Open the page in Pipeline and try again.",
        )
    return principal


def _verified(authenticator: Authenticator, token: str) -> Principal:
    try:
        return authenticator.verify(token)
    except TokenRefusedError as error:
        raise _unauthenticated(str(error)) from None


def _unauthenticated(reason: str) -> Problem:
    _LOG.info("request refused", extra={"reason": reason})
    return Problem(
        401,
        "UNAUTHENTICATED",
        "Sign-in required",
        "A valid token for this service is needed.",
        hint="Sign in to Pipeline again, or send a fresh service token.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _forbidden(detail: str, hint: str) -> Problem:
    return Problem(403, "NOT_ALLOWED", "Not allowed", detail, hint=hint)


def require_service(*names: str) -> Callable[..., Coroutine[Any, Any, Service]]:
    """A dependency that admits only the named services.

    It raises ``Problem`` 401 without a valid token and 403 for any other caller.
    """

    async def dependency(request: Request, _: _Documented = None) -> Service:
        principal = authenticate(request)
        if not isinstance(principal, Service) or principal.name not in names:
            raise _forbidden("This is for certain services only.", "Call it from one of them.")
        return principal

    return dependency


def require_person(min_role: RoleName = "viewer") -> Callable[..., Coroutine[Any, Any, Person]]:
    """A dependency that admits people with at least ``min_role``.

    On a route with ``{account_id}``, people of another account get 404: they may not learn that it exists.
    It raises ``Problem`` 401, 403 or 404.
    """

    async def dependency(request: Request, _: _Documented = None) -> Person:
        principal = authenticate(request)
        if not isinstance(principal, Person):
            raise _forbidden("This is for people only.", "Sign in to Pipeline.")
        _check_person(request, principal, min_role)
        return principal

    return dependency


def require_access(
    min_role: RoleName, *services: str
) -> Callable[..., Coroutine[Any, Any, Principal]]:
    """A dependency that admits people with at least ``min_role``, and the named services.

    Raises ``Problem`` as ``require_person`` and ``require_service`` do.
    """

    async def dependency(request: Request, _: _Documented = None) -> Principal:
        principal = authenticate(request)
        if isinstance(principal, Person):
            _check_person(request, principal, min_role)
        elif principal.name not in services:
            raise _forbidden("This service may not call this.", "Ask for access to be granted.")
        return principal

    return dependency


def _check_person(request: Request, person: Person, min_role: RoleName) -> None:
    account_id = request.path_params.get("account_id")
    # The account before the role: a 403 would already say that the other account exists.
    if account_id is not None and account_id != person.account_id:
        raise Problem(404, "NOT_FOUND", "Not found", "There is no such account.")
    if not person.may(min_role):
        raise _forbidden(
            f"This needs the role {min_role} or higher.",
            "Ask an administrator of your account.",
        )
