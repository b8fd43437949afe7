"""How far what was read of an organisation may be believed: only what is fresh may stop an invoice."""

from datetime import datetime, timedelta
from enum import Enum

# What was read within this is believed; what was tried in vain within this is not asked for again.
FRESH = timedelta(minutes=5)
# While invoices wait for something to change in Xero, which does not tell.
LOOK_AGAIN = timedelta(hours=1)


class Standing(Enum):
    """How far a reading may be believed."""

    FRESH = "fresh"
    OLD = "old"
    """To be read again before anything is stopped by it."""
    UNREADABLE = "unreadable"
    """Just tried in vain: Xero decides."""


def standing(read_at: datetime, tried_at: datetime, now: datetime) -> Standing:
    """How far something may be believed that was last read and last asked for then."""
    if now - read_at < FRESH:
        return Standing.FRESH
    return Standing.UNREADABLE if now - tried_at < FRESH else Standing.OLD
