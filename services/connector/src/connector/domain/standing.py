"""How a connection stands at this moment, in words: what is recorded, and what keeps it from working meanwhile.

An outage of Xero, or a trouble of our own that may pass, is not a change of the connection: nothing is recorded and
nothing announced. People and programs still have to read of it, and both read it from here.
"""

from dataclasses import dataclass
from typing import Final

from connector.domain.connection import REFRESHABLE, WORDS, Connection, Reason, Status, Words

DISCONNECTING: Final = Words(
    "Being disconnected: no call to Xero starts any more.", "It takes a few seconds."
)


@dataclass(frozen=True, slots=True)
class Standing:
    """What is said of a connection now. `offers_refresh`: pressing Refresh Token can change something."""

    reason: Reason
    words: Words
    can_refresh: bool
    offers_refresh: bool


def standing(connection: Connection, renewal_problem: str | None) -> Standing:
    """How it stands.

    Args:
        connection: As recorded.
        renewal_problem: What was noted when its tokens could not be renewed the last time; None when they could.
    """
    if connection.fenced_at is not None:
        return Standing(connection.reason, DISCONNECTING, can_refresh=False, offers_refresh=False)
    if connection.status is Status.CONNECTED and renewal_problem is not None:
        reason = reason_of(renewal_problem)
        return Standing(reason, WORDS[reason], can_refresh=True, offers_refresh=True)
    can = connection.can_refresh
    expired = connection.status is Status.TOKEN_EXPIRED
    return Standing(
        connection.reason, connection.words, can_refresh=can, offers_refresh=can and expired
    )


def reason_of(renewal_problem: str) -> Reason:
    """Our own trouble is noted by its reason and is not called Xero's; anything else is an answer that did not come."""
    return next((r for r in REFRESHABLE if r.value == renewal_problem), Reason.XERO_UNAVAILABLE)
