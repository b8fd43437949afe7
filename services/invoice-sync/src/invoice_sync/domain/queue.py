"""An invoice's place among its account's due work, and when its turn may come."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from invoice_sync.domain.state import Invoice
from invoice_sync.domain.turns import Kind

MOST_COUNTED = 5_000
"""A person is told "more than" beyond this: counting a backlog of 100,000 would cost as much as it says."""
BATCH = 50
# Xero allows an organisation 60 calls a minute: developer.xero.com, OAuth 2.0 API limits.
_CALL = timedelta(seconds=1)
# What is changed is read before it is written.
_CALLS = {Kind.NEW: 1, Kind.CHANGED: 2, Kind.LOOK: 1}


@dataclass(frozen=True, slots=True)
class Place:
    """How many invoices are due before one, and when it may have its turn."""

    ahead: int
    is_exact: bool
    """False if there are more than were counted."""
    expected_at: datetime | None
    """About when it is in Xero if nothing comes between; None where nobody can say."""


def kind_of(row: Invoice) -> Kind:
    """What an invoice that is due needs."""
    if row.synced_version is None:
        return Kind.NEW
    return Kind.LOOK if row.is_settled else Kind.CHANGED


def place(ahead: int, kind: Kind, due: Collection[Kind], starts_at: datetime) -> Place:
    """Place an invoice that waits for its turn.

    Args:
        ahead: Invoices of its kind that are due before it, counted up to ``MOST_COUNTED`` and one.
        kind: Its kind.
        due: The kinds of which the account has anything due: they take turns.
        starts_at: When the account's next call may leave, or when the invoice is due if that is later.
    """
    if ahead > MOST_COUNTED:
        return Place(MOST_COUNTED, is_exact=False, expected_at=None)
    rounds = ahead // BATCH + 1
    calls = rounds * sum(_CALLS[each] for each in {kind, *due})
    return Place(ahead, is_exact=True, expected_at=starts_at + calls * _CALL)
