"""When a tenant is looked over, in which steps, and what such a look reveals."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from payment_ingest.domain.ledger import Kind, LedgerPayment

PAGE = 1_000
"""The largest page Xero gives (developer.xero.com/documentation/api/accounting/invoices): fewest calls."""

_SHRINK = 10
_SMALLEST_PAGE = 10
_ON_ITS_WAY = timedelta(minutes=1)
_BETWEEN_DEEP = timedelta(hours=12)
_AFTER_A_MISS = 5


class SweepKind(StrEnum):
    """The two ways to look over a tenant."""

    RECENT = "recent"
    """What changed since the last time."""
    DEEP = "deep"
    """Everything: not all that Xero changes moves the time of change it shows."""


class Part(StrEnum):
    """The lists a sweep reads, one after the other."""

    INVOICES = "invoices"
    PAYMENTS = "payments"


_PARTS: Mapping[SweepKind, Sequence[Part]] = {
    # A payment that was made or deleted without moving its invoice's time of change is in the list of payments.
    SweepKind.RECENT: (Part.INVOICES, Part.PAYMENTS),
    # Every invoice shows every payment of its own: nothing is left for the second list to tell.
    SweepKind.DEEP: (Part.INVOICES,),
}


@dataclass(frozen=True, slots=True)
class Place:
    """The next page of a sweep."""

    part: Part
    page: int
    size: int


FIRST = Place(Part.INVOICES, 1, PAGE)


@dataclass(frozen=True, slots=True)
class SweepTimes:
    """How often a tenant is swept.

    `interval` lies between two recent sweeps, each of which reaches back `overlap` behind the last; `pause` is the
    shortest time between two. Deep sweeps begin within `night_lasts` after `night_begins`, an hour of the day in UTC.
    """

    interval: timedelta
    overlap: timedelta
    pause: timedelta
    night_begins: int = 0
    night_lasts: timedelta = timedelta(hours=6)

    def since(self, watermark: datetime | None) -> datetime | None:
        """From when a sweep looks: behind the watermark, because Xero stamps a change before it shows it."""
        return None if watermark is None else watermark - self.overlap

    def after_a_miss(self) -> timedelta:
        """How soon to look again when webhooks of the tenant fail: often, until a sweep finds nothing."""
        return max(self.pause, self.interval / _AFTER_A_MISS)

    def next_deep(self, tenant_id: str, now: datetime) -> datetime:
        """The tenant's moment of a coming night: its own, so that not all tenants are read at once."""
        digest = hashlib.sha256(tenant_id.encode()).digest()
        within = self.night_lasts * (int.from_bytes(digest[:4]) / 2**32)
        earliest = now.astimezone(UTC) + _BETWEEN_DEEP
        midnight = earliest.replace(hour=0, minute=0, second=0, microsecond=0)
        moment = midnight - timedelta(days=1) + timedelta(hours=self.night_begins) + within
        while moment < earliest:
            moment += timedelta(days=1)
        return moment


def after(kind: SweepKind, place: Place, *, is_last_page: bool) -> Place | None:
    """Where a sweep goes on after a page; None when that was the last of its last list."""
    if not is_last_page:
        return Place(place.part, place.page + 1, place.size)
    parts = _PARTS[kind]
    following = parts[parts.index(place.part) + 1 :]
    return Place(following[0], 1, place.size) if following else None


def is_last_page(pagination: object, page: int, listed: int) -> bool:
    """Whether nothing follows a page of `listed` elements.

    Xero says so in the answer's `pagination` (pageCount; Xero-OpenAPI, schema Pagination). Where it is left out only an
    empty page is the end: a page may be shorter than was asked for, and moving on too early would lose the rest. So it is
    where pages beyond the last one that Xero counts still list something.
    """
    match pagination:
        case {"pageCount": int(count)}:
            return listed == 0 or page == count
        case _:
            return listed == 0


def smaller(place: Place) -> Place | None:
    """The same place among smaller pages, for an answer too large to take; None when they are small already."""
    size = place.size // _SHRINK
    if size < _SMALLEST_PAGE:
        return None
    return Place(place.part, (place.page - 1) * _SHRINK + 1, size)


@dataclass(frozen=True, slots=True)
class ListedPayment:
    """A payment on a sales invoice, as Xero's list of payments shows it."""

    xero_payment_id: str
    xero_invoice_id: str
    amount: Decimal
    is_deleted: bool


def unlike_ledger(
    listed: Sequence[ListedPayment], ledger: Mapping[str, Sequence[LedgerPayment]]
) -> set[str]:
    """The invoices whose ledger does not show what the list of payments says; they are worth a look."""
    live = {
        (invoice_id, one.xero_id): one.amount
        for invoice_id, payments in ledger.items()
        for one in payments
        if one.kind is Kind.PAYMENT and not one.reversed
    }
    return {
        one.xero_invoice_id
        for one in listed
        if live.get((one.xero_invoice_id, one.xero_payment_id))
        != (None if one.is_deleted else one.amount)
    }


def was_missed(
    updated_at: datetime | None, observed_at: datetime, connected_since: datetime | None
) -> bool:
    """Whether a webhook should have told of a change that a sweep found.

    Not of what happened before the account was connected, and not yet of what happened a moment ago.
    """
    if updated_at is None:
        return True
    is_ours_to_hear = connected_since is None or updated_at >= connected_since
    return is_ours_to_hear and observed_at - updated_at >= _ON_ITS_WAY
