"""What waits on its way to Xero, and until when: as far as anybody can say."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Waiting:
    """An account's invoices on their way: how many, counted up to a limit, and since when the oldest waits."""

    invoices: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class Queue:
    """The newest invoice's place in its account's queue, as invoice-sync tells it.

    Attributes:
        is_exact: False: there are more than `ahead` before it.
        expected_at: about when it is in Xero; None if nobody can say.
    """

    ahead: int
    is_exact: bool
    expected_at: datetime | None


def queue_of(status: Mapping[str, Any]) -> Queue | None:
    """The place in what invoice-sync answered; None where it names none, or nothing that could be one."""
    place = status.get("queue")
    if not isinstance(place, Mapping) or type(place.get("ahead")) is not int:
        return None
    return Queue(place["ahead"], place.get("is_exact") is True, _moment(place.get("expected_at")))


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
