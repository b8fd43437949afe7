"""The changes of a connection as a person reads them afterwards: who, when, what."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from connector.domain.connection import Reason, Status


@dataclass(frozen=True, slots=True)
class Change:
    """One recorded change. `actor_name` is None when no person brought it about."""

    at: datetime
    status: Status
    reason: Reason
    actor_name: str | None
    tenant_name: str | None


HAPPENED: Final[dict[Reason, str]] = {
    Reason.NEVER_CONNECTED: "Not connected yet",
    Reason.CONNECTED_BY_USER: "Connected",
    Reason.REFRESHED: "Authorisation renewed, syncing continued",
    Reason.EXPIRED_UNUSED: "Authorisation expired after 60 days without use",
    Reason.REFRESH_REJECTED: "Xero refused the authorisation",
    Reason.CLIENT_REJECTED: "Xero refused Pipeline's own credentials",
    Reason.KEY_UNAVAILABLE: "The encryption key was not available",
    Reason.KEY_LOST: "The encryption key was lost",
    Reason.REVOKED_IN_XERO: "Disconnected from inside Xero",
    Reason.DISCONNECTED_BY_USER: "Disconnected",
    Reason.XERO_UNAVAILABLE: "Xero did not answer",
    Reason.SCOPES_MISSING: "Permissions were missing",
    Reason.ORGANISATION_SWITCHED: "Switched to another organisation",
    Reason.DAY_BUDGET_LOW: "Most of the day's calls were spent",
    Reason.DAY_BUDGET_RESTORED: "Xero allowed calls again",
}
"""What a change of each reason was, in the past tense."""

NAMES_ORGANISATION: Final = frozenset({Reason.CONNECTED_BY_USER, Reason.ORGANISATION_SWITCHED})
"""The changes of which it matters which organisation they led to."""


def who(change: Change) -> str:
    """Who brought it about. Someone inside Xero stays unnamed: Xero does not say who it was."""
    if change.actor_name is not None:
        return change.actor_name
    return "someone in Xero" if change.reason is Reason.REVOKED_IN_XERO else "the system"
