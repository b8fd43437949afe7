"""Xero's limits per tenant, as arithmetic: five calls at once, sixty in any minute, and what Xero itself asked for.

Values in, values out. Every replica decides on the same stored facts; a decision is only carried out while the facts
it was taken from still hold (`store.budgets.claim_slot`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from connector.domain.lanes import Lane

WINDOW = timedelta(seconds=60)
"""Xero's minute limit is a rolling window of this length."""

SEND_WITHIN_SECONDS = 1.0
"""A slot not used by then is given back: a disconnect waits this long, and then knows that nothing unsent is left."""

SMALLEST_WAIT = timedelta(milliseconds=50)

MINUTE_SHARES: Final[Mapping[Lane, float]] = MappingProxyType(
    {Lane.PEOPLE: 1 / 6, Lane.PAYMENTS: 1 / 6, Lane.INVOICES: 1 / 6, Lane.SWEEPS: 1 / 12}
)
"""The part of the minute each lane is sure of while it waits: 10, 10, 10 and 5 of Xero's 60 calls."""

SPREAD: Final = 0.9
"""The last calls of a minute are spread over this part of the time until the next ones come free. Below one, so that
the last of them is certainly spent by then: a place that is still free at that moment is lost."""

A_MOMENT: Final = timedelta(seconds=3)
"""What a person may be asked to wait: where the next calls come free this soon, nothing needs to be spread."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What Xero allows one tenant: `concurrent` calls at once and `per_minute` in any 60 seconds."""

    concurrent: int = 5
    per_minute: int = 60


Counts = Mapping[Lane, int]


@dataclass(frozen=True, slots=True)
class Usage:
    """A tenant's calls as counted at one moment, by lane; a lane without any may be missing.

    A call is `running` until it finished, or until its lease ran out when nobody said so; it is `recent` for another
    60 s. That covers every moment at which Xero may have counted it, whatever the network's delay.
    `waiting`: callers that were told to wait and are expected back.
    `last_start`: when the newest call was let out. `next_free`: when the oldest recent call is 60 s past.
    """

    running: Counts = field(default_factory=dict)
    recent: Counts = field(default_factory=dict)
    waiting: Counts = field(default_factory=dict)
    last_start: datetime | None = None
    next_free: datetime | None = None

    @property
    def in_minute(self) -> dict[Lane, int]:
        """The calls that count against the minute."""
        return {lane: self.running.get(lane, 0) + self.recent.get(lane, 0) for lane in Lane}


@dataclass(frozen=True, slots=True)
class Block:
    """Xero said stop: no call before `until`; `problem` is its X-Rate-Limit-Problem (minute, day, appminute, ...)."""

    until: datetime
    problem: str


@dataclass(frozen=True, slots=True)
class Granted:
    """The call may start now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """No slot now. `until` is the earliest moment worth trying again, `problem` the limit that stands in the way."""

    until: datetime
    problem: str


@dataclass(frozen=True, slots=True)
class Full:
    """The minute is spent: nobody gets a slot before `leaving` of the oldest recent calls are 60 s past."""

    leaving: int
    problem: str = field(default="minute", init=False)


def room(lane: Lane, limit: int, used: Counts, sure: Counts, waiting: Counts) -> int:
    """How many of `limit` places `lane` may take now, when `used` are taken and each waiting lane is `sure` of some.

    One rule for the minute and for the calls at once. A place is kept for each caller of another lane that waits and
    has not had what it is sure of, and for each caller of a lane that goes before: so the common part goes by strict
    priority. While `lane` has not had what it is sure of itself, only the first kind stands before it, and of that
    only the lanes that go before. Where nobody else waits nothing is kept, and one lane can use everything.
    """
    within = used.get(lane, 0) < sure[lane]
    kept = 0
    for other in Lane:
        callers = waiting.get(other, 0)
        if other is lane or not callers:
            continue
        owed = min(callers, max(0, sure[other] - used.get(other, 0)))
        if other.goes_before(lane):
            kept += owed if within else callers
        elif not within:
            kept += owed
    return limit - sum(used.values()) - kept


def minute_sure(limits: Limits) -> dict[Lane, int]:
    """How many calls of the minute each lane is sure of."""
    return {lane: max(1, int(share * limits.per_minute)) for lane, share in MINUTE_SHARES.items()}


ONE_EACH: Final[Counts] = MappingProxyType(dict.fromkeys(Lane, 1))
"""Of the calls at once, each waiting lane is sure of one."""


def next_slot(
    lane: Lane, usage: Usage, blocks: Sequence[Block], limits: Limits, now: datetime
) -> Granted | Wait | Full:
    """Whether one more call of this tenant may start at `now`, so that no rolling minute at Xero holds too many."""
    standing = [block for block in blocks if block.until > now]
    if standing:
        last = max(standing, key=lambda block: block.until)
        return Wait(last.until, last.problem)
    in_minute, sure = usage.in_minute, minute_sure(limits)
    left = room(lane, limits.per_minute, in_minute, sure, usage.waiting)
    free = limits.per_minute - sum(in_minute.values())
    if left <= 0 and free <= 0:
        return Full(1 - free)
    if left <= 0:
        # There is a place, but somebody who goes before is on the way to it.
        return Wait(now + SMALLEST_WAIT, "minute")
    if room(lane, limits.concurrent, usage.running, ONE_EACH, usage.waiting) <= 0:
        return Wait(now + SMALLEST_WAIT, "concurrent")
    if in_minute[lane] >= sure[lane] and free <= sure[Lane.PEOPLE]:
        at = spread_until(lane, free, usage, now)
        return Wait(at, "minute") if at > now else Granted()
    return Granted()


def spread_until(lane: Lane, free: int, usage: Usage, now: datetime) -> datetime:
    """Before which moment `lane` leaves the minute's last `free` places alone; `now` when it need not.

    Spent in one go, the whole minute would come back in one go as well, and a person would stand before a spent
    minute for most of it. So everybody but people spreads the last places until the next ones come free. All of
    them are used all the same; a flood that goes on ends up evenly spaced. As they are let out one by one, a lane
    also leaves the next of them to whoever goes before it and may be about to take it.
    """
    if any(usage.waiting.get(other) and other.goes_before(lane) for other in Lane):
        return now + SMALLEST_WAIT
    if lane is Lane.PEOPLE or usage.last_start is None or usage.next_free is None:
        return now
    gap = usage.next_free - usage.last_start
    return usage.last_start + gap * SPREAD / free if gap > A_MOMENT else now


def retry_after_seconds(until: datetime, now: datetime, patience: float) -> int:
    """Whole seconds for a Retry-After header, when a caller that is back is kept in line for `patience` seconds.

    The smallest number with which the caller is in line when its place comes free: rounded up from the moment
    itself, up to a second of every minute would be lost. Never zero.
    """
    return max(1, math.ceil((until - now).total_seconds() - patience))


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a reply of Xero taught about the budget; None where it said nothing."""

    day_remaining: int | None
    app_minute_remaining: int | None
    blocked_for: timedelta | None
    problem: str | None


NOTHING_LEARNT: Final = Learnt(None, None, None, None)

SHORTEST_BLOCK = {"concurrent": timedelta(seconds=1)}
UNANNOUNCED_BLOCK = timedelta(seconds=5)
"""Xero documents Retry-After for the minute and day limits only; without it, this long."""


def learn(status: int, headers: Mapping[str, str]) -> Learnt:
    """Read Xero's limit headers (names in lower case) off a reply.

    Source: developer.xero.com, OAuth 2.0 API limits: X-DayLimit-Remaining and X-AppMinLimit-Remaining on every reply;
    Retry-After and X-Rate-Limit-Problem on a 429.
    """
    day = whole_number(headers.get("x-daylimit-remaining"))
    app = whole_number(headers.get("x-appminlimit-remaining"))
    if status != 429:  # noqa: PLR2004 - an HTTP status says more as a number
        return Learnt(day, app, None, None)
    problem = (headers.get("x-rate-limit-problem") or "unknown").strip().lower()[:40]
    seconds = whole_number(headers.get("retry-after"))
    blocked = (
        SHORTEST_BLOCK.get(problem, UNANNOUNCED_BLOCK)
        if seconds is None
        else timedelta(seconds=max(1, min(seconds, 90_000)))
    )
    return Learnt(day, app, blocked, problem)


def whole_number(text: str | None) -> int | None:
    """A header's non-negative number, or None for anything else."""
    if text is None or not text.strip().isascii() or not text.strip().isdigit():
        return None
    return int(text.strip()[:9])
