"""Consents, codes, tokens and connections: the state behind the OAuth pages.

Rules from dev/documentation/guides/oauth2: codes work once within 5 minutes, access tokens 30
minutes, refresh tokens 60 days from each rotation, the previous one 30 minutes more.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from xero_simulator.ids import IdSource

CODE_LIFETIME = timedelta(minutes=5)
ACCESS_LIFETIME = timedelta(minutes=30)
ID_TOKEN_LIFETIME = timedelta(minutes=5)
REFRESH_LIFETIME = timedelta(days=60)
GRACE = timedelta(minutes=30)

_GRANULAR = ("accounting.invoices", "accounting.payments", "accounting.banktransactions",
             "accounting.manualjournals", "accounting.contacts", "accounting.settings",
             "accounting.attachments")  # fmt: skip
SCOPES = frozenset(
    {"openid", "profile", "email", "offline_access", *_GRANULAR, *(f"{s}.read" for s in _GRANULAR)}
)
BROAD_SCOPES = frozenset(
    {"accounting.transactions", "accounting.transactions.read", "accounting.reports.read"}
)


class GrantRefused(Exception):  # noqa: N818 -- the protocol's own word
    """The token endpoint answers 400 with `error`."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


@dataclass(frozen=True, slots=True)
class Code:
    """An authorisation code waiting to be exchanged."""

    user_id: str
    redirect_uri: str
    scopes: frozenset[str]
    challenge: str
    nonce: str
    auth_event_id: str
    issued: datetime


@dataclass(frozen=True, slots=True)
class Refresh:
    """A refresh token; `used` is when it was rotated, `successor` what it was rotated to."""

    user_id: str
    scopes: frozenset[str]
    auth_event_id: str
    issued: datetime
    used: datetime | None = None
    successor: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """What an access token allows until when."""

    user_id: str
    scopes: frozenset[str]
    auth_event_id: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class Connection:
    """A user's link between the app and one tenant."""

    connection_id: str
    user_id: str
    tenant_id: str
    auth_event_id: str
    created: datetime
    updated: datetime


@dataclass(frozen=True, slots=True)
class Issue:
    """What the token endpoint hands out; the caller signs the JWTs."""

    user_id: str
    scopes: frozenset[str]
    auth_event_id: str
    nonce: str
    refresh_token: str


@dataclass(slots=True)
class Grants:
    """All consents of the one registered app."""

    ids: IdSource
    codes: dict[str, Code] = field(default_factory=dict)
    refreshes: dict[str, Refresh] = field(default_factory=dict)
    accesses: dict[str, Access] = field(default_factory=dict)
    connections: dict[str, Connection] = field(default_factory=dict)
    consented: dict[str, frozenset[str]] = field(default_factory=dict)

    def consent(
        self,
        user_id: str,
        tenants: Iterable[str],
        scopes: frozenset[str],
        redirect_uri: str,
        challenge: str,
        nonce: str,
        now: datetime,
    ) -> str:
        """Connects the chosen tenants and returns a code. Grants are additive."""
        event = self.ids.guid()
        for tenant_id in tenants:
            self._connect(user_id, tenant_id, event, now)
        granted = self.consented.get(user_id, frozenset()) | scopes
        self.consented[user_id] = granted
        # Tokens and codes are real secrets even here: programs are tested for leaking them.
        code = secrets.token_urlsafe(32)
        self.codes[code] = Code(user_id, redirect_uri, granted, challenge, nonce, event, now)
        return code

    def exchange(self, code: str, redirect_uri: str, verifier: str, now: datetime) -> Issue:
        """Spends a code.

        Raises:
            GrantRefused: Unknown, used, expired, other redirect URI, or the PKCE check fails.
        """
        row = self.codes.pop(code, None)
        if row is None or now - row.issued > CODE_LIFETIME or row.redirect_uri != redirect_uri:
            raise GrantRefused("invalid_grant")
        if row.challenge and not _proves(verifier, row.challenge):
            raise GrantRefused("invalid_grant")
        return self._issue(row.user_id, row.scopes, row.auth_event_id, row.nonce, now)

    def rotate(self, token: str, now: datetime, *, revoke_lost: bool) -> Issue:
        """Uses a refresh token, or the previous one within its grace period.

        Args:
            token: The refresh token presented.
            now: The moment.
            revoke_lost: Whether a retry inside the grace period kills the pair that got lost.

        Raises:
            GrantRefused: Unknown, revoked, expired, past its grace, or its successor is in use.
        """
        row = self.refreshes.get(token)
        if row is None or now - row.issued > REFRESH_LIFETIME:
            raise GrantRefused("invalid_grant")
        if row.used is not None:
            successor = self.refreshes.get(row.successor)
            if now - row.used > GRACE or successor is None or successor.used is not None:
                raise GrantRefused("invalid_grant")
            if revoke_lost:
                del self.refreshes[row.successor]
        issue = self._issue(row.user_id, row.scopes, row.auth_event_id, "", now)
        # The grace counts from the first use: retries do not prolong it.
        self.refreshes[token] = replace(row, used=row.used or now, successor=issue.refresh_token)
        return issue

    def register_access(self, token: str, issue: Issue, now: datetime) -> None:
        """Remembers a signed access token."""
        expires = now + ACCESS_LIFETIME
        self.accesses[token] = Access(issue.user_id, issue.scopes, issue.auth_event_id, expires)

    def revoke(self, token: str) -> None:
        """Revokes a refresh token: the user's consent ends, all their connections go."""
        row = self.refreshes.get(token)
        if row is not None:
            self.revoke_user(row.user_id)

    def revoke_user(self, user_id: str) -> None:
        """Ends everything a user has granted; access tokens already out stay formally valid."""
        self.refreshes = {t: r for t, r in self.refreshes.items() if r.user_id != user_id}
        self.codes = {c: r for c, r in self.codes.items() if r.user_id != user_id}
        self.connections = {c: r for c, r in self.connections.items() if r.user_id != user_id}
        self.consented.pop(user_id, None)

    def expire_access(self, now: datetime, user_id: str | None = None) -> int:
        """Makes access tokens out of date at once; returns how many."""
        expired = 0
        for token, row in self.accesses.items():
            if user_id in {None, row.user_id} and row.expires > now:
                self.accesses[token] = replace(row, expires=now - timedelta(seconds=1))
                expired += 1
        return expired

    def disconnect_tenant(self, tenant_id: str) -> int:
        """What a person does inside Xero: tokens live on, the tenant is gone. Returns how many."""
        kept = {c: r for c, r in self.connections.items() if r.tenant_id != tenant_id}
        removed = len(self.connections) - len(kept)
        self.connections = kept
        return removed

    def connections_of(self, user_id: str) -> list[Connection]:
        """A user's connections in the order they were made."""
        return [row for row in self.connections.values() if row.user_id == user_id]

    def reaches(self, user_id: str, tenant_id: str) -> bool:
        """Whether the user has the app connected to the tenant."""
        return any(row.tenant_id == tenant_id for row in self.connections_of(user_id))

    def connected(self, tenant_id: str) -> bool:
        """Whether anyone has the app connected to the tenant."""
        return any(row.tenant_id == tenant_id for row in self.connections.values())

    def _connect(self, user_id: str, tenant_id: str, event: str, now: datetime) -> None:
        for row in self.connections_of(user_id):
            if row.tenant_id == tenant_id:
                self.connections[row.connection_id] = replace(row, auth_event_id=event, updated=now)
                return
        row = Connection(self.ids.guid(), user_id, tenant_id, event, now, now)
        self.connections[row.connection_id] = row

    def _issue(
        self, user_id: str, scopes: frozenset[str], event: str, nonce: str, now: datetime
    ) -> Issue:
        refresh = ""
        if "offline_access" in scopes:
            refresh = secrets.token_urlsafe(32)
            self.refreshes[refresh] = Refresh(user_id, scopes, event, now)
        return Issue(user_id, scopes, event, nonce, refresh)


def _proves(verifier: str, challenge: str) -> bool:
    digest = hashlib.sha256(verifier.encode()).digest()
    expected = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return hmac.compare_digest(expected, challenge)
