"""Xero's limits per tenant, as arithmetic: five calls at once, sixty in any minute, and what Xero itself asked for.

Values in, values out. The caller holds the tenant's row lock while it loads the calls and stores the decision, so every
replica decides on the same facts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

WINDOW = timedelta(seconds=60)
"""Xero's minute limit is a rolling window of this length."""

SEND_WITHIN_SECONDS = 1.0
"""A slot not used by then is given back: a disconnect waits this long, and then knows that nothing unsent is left."""

SMALLEST_WAIT = timedelta(milliseconds=50)
FULL_LANES = frozenset({"payment-ingest", "connector"})
"""Callers that may use a tenant's last slots; the others leave a reserve while one of these wants in."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What Xero allows one tenant: `concurrent` calls at once and `per_minute` in any 60 seconds."""

    concurrent: int = 5
    per_minute: int = 60


@dataclass(frozen=True, slots=True)
class Usage:
    """A tenant's calls as counted at one moment.

    A call is `running` until it finished, or until its lease ran out when nobody said so; it is `recent` for another
    60 s. That covers every moment at which Xero may have counted it, whatever the network's delay.
    `frees_at`: with the minute full, when enough of the oldest recent calls are 60 s past for one more to fit;
    None when too few are recent, because running ones leave later still.
    """

    running: int
    recent: int
    frees_at: datetime | None = None


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


def limits_for(limits: Limits, caller: str, *, reserve_wanted: bool) -> Limits:
    """The share of `limits` open to `caller`: all of it, or all but a reserve while a preferred caller is waiting.

    Without someone waiting nothing is held back, so that a single caller can use the whole minute.
    """
    if caller in FULL_LANES or not reserve_wanted:
        return limits
    return Limits(max(1, limits.concurrent - 1), max(1, limits.per_minute - 3))


def next_slot(
    usage: Usage, blocks: Sequence[Block], limits: Limits, now: datetime
) -> Granted | Wait:
    """Whether one more call of this tenant may start at `now`, so that no rolling minute at Xero holds too many."""
    standing = [block for block in blocks if block.until > now]
    if standing:
        last = max(standing, key=lambda block: block.until)
        return Wait(last.until, last.problem)
    if usage.running + usage.recent >= limits.per_minute:
        frees_at = usage.frees_at or now + WINDOW
        return Wait(max(frees_at, now + SMALLEST_WAIT), "minute")
    if usage.running >= limits.concurrent:
        return Wait(now + SMALLEST_WAIT, "concurrent")
    return Granted()


def retry_after_seconds(until: datetime, now: datetime) -> int:
    """Whole seconds for a Retry-After header: never zero, never too early."""
    return max(1, -int((now - until).total_seconds() // 1))


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a reply of Xero taught about the budget; None where it said nothing."""

    day_remaining: int | None
    blocked_for: timedelta | None
    problem: str | None


SHORTEST_BLOCK = {"concurrent": timedelta(seconds=1)}
UNANNOUNCED_BLOCK = timedelta(seconds=5)
"""Xero documents Retry-After for the minute and day limits only; without it, this long."""


def learn(status: int, headers: dict[str, str]) -> Learnt:
    """Read Xero's limit headers (names in lower case) off a reply.

    Source: developer.xero.com, OAuth 2.0 API limits: X-DayLimit-Remaining on every reply; Retry-After and
    X-Rate-Limit-Problem on a 429.
    """
    remaining = whole_number(headers.get("x-daylimit-remaining"))
    if status != 429:  # noqa: PLR2004 - an HTTP status says more as a number
        return Learnt(remaining, None, None)
    problem = (headers.get("x-rate-limit-problem") or "unknown").strip().lower()[:40]
    seconds = whole_number(headers.get("retry-after"))
    blocked = (
        SHORTEST_BLOCK.get(problem, UNANNOUNCED_BLOCK)
        if seconds is None
        else timedelta(seconds=max(1, min(seconds, 90_000)))
    )
    return Learnt(remaining, blocked, problem)


def whole_number(text: str | None) -> int | None:
    """A header's non-negative number, or None for anything else."""
    if text is None or not text.strip().isascii() or not text.strip().isdigit():
        return None
    return int(text.strip()[:9])
