"""Xero's identity provider: token endpoint, revocation, and the keys its tokens are signed with."""

import asyncio
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import jwt
import structlog

from connector.clients.bounded import Bounds, ExchangeFailed, exchange
from connector.domain.authorization import (
    Identity,
    UntrustedToken,
    check_id_token,
    identity,
    key_id,
    verified_claims,
)
from connector.domain.refresh import (
    ClientRefused,
    NoAnswer,
    Pair,
    RefreshAnswer,
    TokenAnswer,
    Unrenewable,
    read_answer,
)
from connector.settings import Settings

log = structlog.get_logger(__name__)

LARGEST_REPLY = 256 * 1024
KEYS_KEPT_SECONDS = 3600.0
KEYS_ASKED_AT_MOST_EVERY = 10.0
"""A token with an unknown key id makes us look for new keys, but a flood of them must not make us a flooder."""


class XeroIdentity:
    """One app's dealings with the identity provider at `settings.xero_identity_url`."""

    def __init__(self, http: httpx.AsyncClient, settings: Settings) -> None:
        self._http = http
        self._base = settings.xero_identity_url
        self._client_id = settings.xero_client_id
        self._redirect_uri = settings.redirect_uri
        secret = settings.xero_client_secret.get_secret_value()
        # RFC 6749 §2.3.1: both are form-encoded before they go into the header, or a `+`, `%` or `:` would change them.
        self._auth = httpx.BasicAuth(
            quote(settings.xero_client_id, safe=""), quote(secret, safe="")
        )
        seconds = settings.identity_seconds
        self._bounds = Bounds(min(5.0, seconds), seconds, seconds, LARGEST_REPLY)
        self._keys: dict[str, jwt.PyJWK] = {}
        self._keys_at = float("-inf")
        self._keys_lock = asyncio.Lock()

    async def exchange_code(self, code: str, verifier: str) -> TokenAnswer:
        """Trade an authorisation code for a token pair. Source: developer.xero.com, auth flow, step 3."""
        return await self._token(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": self._redirect_uri,
                "code_verifier": verifier,
            }
        )

    async def refresh(self, refresh_token: str) -> RefreshAnswer:
        """Trade a refresh token for the next pair; the old one is used up (but for Xero's grace).

        Xero rotates on every use, so a reply without a refresh token is not one to rely on.
        """
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        answer = await self._token(form)
        if isinstance(answer, Unrenewable):
            return NoAnswer("a reply without a refresh token")
        return answer

    async def revoke(self, refresh_token: str) -> NoAnswer | None:
        """Revoke a grant: this removes every connection of that Xero user to the app. None means done.

        Source: developer.xero.com, auth flow, revoking tokens: 200 with an empty body.
        """
        request = self._form("/connect/revocation", {"token": refresh_token})
        try:
            answer = await exchange(self._http, request, self._bounds)
        except ExchangeFailed as error:
            return NoAnswer(str(error))
        return None if answer.status == 200 else NoAnswer(f"status {answer.status}")  # noqa: PLR2004 - HTTP

    async def who(self, pair: Pair, nonce: str) -> Identity:
        """Validate a new pair's id token and say whose it is. Raises UntrustedToken, ExchangeFailed."""
        if pair.id_token is None:
            raise UntrustedToken("no id token")
        now = datetime.now(UTC)
        keys = await self._keys_for(pair.id_token, pair.access_token)
        id_claims = verified_claims(pair.id_token, keys, now)
        check_id_token(id_claims, issuer=self._base, client_id=self._client_id, nonce=nonce)
        return identity(id_claims, verified_claims(pair.access_token, keys, now), self._base)

    async def _token(self, form: dict[str, str]) -> TokenAnswer:
        try:
            answer = await exchange(self._http, self._form("/connect/token", form), self._bounds)
        except ExchangeFailed as error:
            return NoAnswer(f"{type(error).__name__}: {error}")
        result = read_answer(answer.status, _json(answer.body))
        if isinstance(result, ClientRefused):
            log.error("xero_refuses_the_app", error=result.error)
        return result

    def _form(self, path: str, form: Mapping[str, str]) -> httpx.Request:
        request = self._http.build_request("POST", self._base + path, data=dict(form))
        return next(self._auth.sync_auth_flow(request))

    async def _keys_for(self, *tokens: str) -> Mapping[str, jwt.PyJWK]:
        wanted = {kid for kid in map(key_id, tokens) if kid is not None}
        async with self._keys_lock:
            age = time.monotonic() - self._keys_at
            unknown = not wanted <= self._keys.keys()
            if age > KEYS_KEPT_SECONDS or (unknown and age > KEYS_ASKED_AT_MOST_EVERY):
                self._keys = await self._fetch_keys()
                self._keys_at = time.monotonic()
            return self._keys

    async def _fetch_keys(self) -> dict[str, jwt.PyJWK]:
        discovery = await self._get_json(self._base + "/.well-known/openid-configuration")
        if discovery.get("issuer") != self._base:
            raise UntrustedToken("the provider names another issuer than configured")
        address = str(discovery.get("jwks_uri") or "")
        # Keys come from the configured host only, whatever the document says.
        if urlsplit(address)[:2] != urlsplit(self._base)[:2]:
            raise UntrustedToken("the provider's keys are on another host")
        listed = await self._get_json(address)
        keys: dict[str, jwt.PyJWK] = {}
        for entry in listed.get("keys") or []:
            usable = (
                isinstance(entry, dict)
                and entry.get("kty") == "RSA"
                and entry.get("use", "sig") == "sig"
            )
            if usable and isinstance(entry.get("kid"), str):
                try:
                    keys[entry["kid"]] = jwt.PyJWK(entry, algorithm="RS256")
                except jwt.PyJWTError:
                    log.warning("xero_key_unusable")
        return keys

    async def _get_json(self, address: str) -> dict[str, Any]:
        answer = await exchange(self._http, self._http.build_request("GET", address), self._bounds)
        if answer.status != 200:  # noqa: PLR2004 - HTTP
            # An outage, and so nothing said about any token.
            raise ExchangeFailed(f"status {answer.status}")
        decoded = _json(answer.body)
        if not isinstance(decoded, dict):
            raise UntrustedToken("the provider's description is not readable")
        return decoded


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
