"""A tenant's calls of the day: who stops when few are left, when people are told, and when they will be spent.

Xero allows a tenant 5,000 calls a day, or 1,000 on its smallest plan (developer.xero.com, OAuth 2.0 API limits). Which
of them is never said, only what is left, on every reply; and the day does not begin at midnight. So the limit is the
most that was ever left within the last days, and a figure nobody has refreshed for a while is only a guess.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from connector.domain.budget import Block
from connector.domain.connection import DayRestored, DayRunsLow, Reason
from connector.domain.lanes import Lane

LARGEST_DAY: Final = 5_000
"""No day is taken for larger: where Xero lifts its limits for a while, what it says then is not the day to come."""

KEPT: Final[Mapping[Lane, float]] = MappingProxyType({Lane.INVOICES: 0.20, Lane.SWEEPS: 0.30})
"""The share of the day at which a lane stops, so that the lanes before it can go on."""

LOW_BELOW: Final = 0.35
"""People are told before the first lane stops."""

RESTORED_ABOVE: Final = 0.50
"""Well above, so that a figure that wavers is not told again and again."""

ASK_AGAIN: Final = timedelta(minutes=5)
"""How old the figure may grow while a lane is stopped by it. Then one call goes through to learn it anew."""

DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class DayBudget:
    """What is known of a tenant's day: `remaining` calls of `limit`, by a reply at `seen_at`.

    `asked_at`: when a call was last let through only to learn the figure anew.
    """

    remaining: int | None = None
    limit: int | None = None
    seen_at: datetime | None = None
    asked_at: datetime | None = None

    @property
    def left(self) -> float | None:
        """The share of the day that is left, 0 to 1; None while it is unknown."""
        if self.remaining is None or not self.limit:
            return None
        return min(1.0, self.remaining / self.limit)


@dataclass(frozen=True, slots=True)
class Ask:
    """The lane would be stopped, but the figure is old: one call may go through to learn it anew."""


def day_stop(lane: Lane, day: DayBudget, now: datetime) -> Block | Ask | None:
    """Whether the day's reserve stops `lane` at `now`; None when it does not."""
    kept, left = KEPT.get(lane), day.left
    if kept is None or left is None or left >= kept:
        return None
    known_at = max((at for at in (day.seen_at, day.asked_at) if at is not None), default=None)
    if known_at is None or now - known_at >= ASK_AGAIN:
        return Ask()
    return Block(known_at + ASK_AGAIN, "day")


def runs_low(day: DayBudget) -> bool:
    """Whether people should know that few calls are left."""
    return day.left is not None and day.left < LOW_BELOW


def crossing(reason: Reason, day: DayBudget) -> DayRunsLow | DayRestored | None:
    """What has to be told about the day of a connection that has `reason` now; None when all is told.

    A comparison of what is stored, not an event: it finds the same whoever asks, and after any crash.
    """
    if reason is Reason.DAY_BUDGET_LOW:
        return DayRestored() if day.left is not None and day.left > RESTORED_ABOVE else None
    return DayRunsLow() if runs_low(day) else None


@dataclass(frozen=True, slots=True)
class Outlook:
    """What people see of the day: calls left of how many, how many the last hour took, and when none will be left.

    `empty_at` is None when that is unknown, or not before Xero's day has passed.
    """

    day_remaining: int | None
    day_limit: int | None
    spent_last_hour: int
    empty_at: datetime | None


def outlook_of(day: DayBudget, spent_last_hour: int, now: datetime) -> Outlook:
    """The forecast: at the rate of the last hour, when are the day's calls spent."""
    if day.remaining is None or day.seen_at is None or now - day.seen_at > DAY:
        return Outlook(None, None, spent_last_hour, None)
    return Outlook(
        day.remaining, day.limit, spent_last_hour, empty_at(day.remaining, spent_last_hour, now)
    )


def empty_at(remaining: int, spent_last_hour: int, now: datetime) -> datetime | None:
    """When `remaining` calls are spent at this hourly rate; None if they last for a day."""
    if remaining == 0:
        return now
    if spent_last_hour <= 0 or remaining > spent_last_hour * 24:
        return None
    return now + timedelta(hours=remaining / spent_last_hour)
