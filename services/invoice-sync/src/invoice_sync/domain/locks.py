"""Lock dates: up to which day an organisation's books are closed, and which of the two hold for us.

Xero has one lock date for all users (``EndOfYearLockDate``) and one for all but advisers (``PeriodLockDate``). The day
itself is locked too, and drafts are free (help.xero.com, "Set and work with lock dates"). What an app sends counts as
sent by the person who connected it: an adviser's goes through before the period lock date (help.wise-sync.com, "Setting
and working with lock dates"), and nothing in the API tells who is one. So the first stops an invoice before it is sent,
the second only once Xero has refused one that nothing else explains.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from invoice_sync.domain import freshness
from invoice_sync.domain.blocks import block
from invoice_sync.domain.freshness import Standing
from invoice_sync.domain.state import Block
from pipeline_contracts.problems import ProblemCode

# Before it is approved a document is in nobody's books yet.
UNISSUED = frozenset({"DRAFT", "SUBMITTED"})
_WORD = "lock:"
_CLOSING = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class LockDates:
    """An organisation's lock dates as last read."""

    period: date | None
    year: date | None
    read_at: datetime
    tried_at: datetime
    refused_on: date | None = None
    """The latest day of a document that Xero refused for a lock date since the account was connected."""

    @property
    def shown(self) -> date | None:
        """The last day that is locked for anybody."""
        return max((each for each in (self.period, self.year) if each is not None), default=None)

    @property
    def proven(self) -> date | None:
        """The last day that is certainly locked for us."""
        year = self.year or date.min
        holds = self.period and self.refused_on and year < self.refused_on <= self.period
        return self.shown if holds else self.year

    def standing(self, now: datetime) -> Standing:
        """How far the dates may be believed at ``now``."""
        return freshness.standing(self.read_at, self.tried_at, now)


def stopped(locks: LockDates | None, days: Iterable[date]) -> Block | None:
    """Why a document of these days is certainly refused; None where it may go."""
    return None if locks is None else _block(locks.proven, days)


def suspected(locks: LockDates, days: Iterable[date]) -> Block | None:
    """Why a document of these days is refused, unless an adviser connected the account; None where it may go."""
    return _block(locks.shown, days)


def _block(until: date | None, days: Iterable[date]) -> Block | None:
    day = min(days, default=None)
    if until is None or day is None or day > until:
        return None
    why = block(ProblemCode.PERIOD_LOCKED, issue_date=day, lock_date=until)
    return replace(why, waits_for=(fix(day),))


def stops_now(locks: LockDates | None, days: Sequence[date], now: datetime) -> Block | None:
    """As ``stopped``, by dates that are fresh."""
    if locks is None or locks.standing(now) is not Standing.FRESH:
        return None
    return stopped(locks, days)


def in_doubt(locks: LockDates | None, days: Sequence[date], now: datetime) -> bool:
    """Whether the dates are to be read again before a document of these days is sent.

    They are when they would stop it and are too old to do so, and once a day for documents of earlier months: people
    close a month when it is over.
    """
    if locks is None or not days or locks.standing(now) is not Standing.OLD:
        return False
    is_closing = min(days) < now.date().replace(day=1) and now - locks.read_at > _CLOSING
    return is_closing or stopped(locks, days) is not None


def days_of(issue_dates: Iterable[str | None]) -> list[date]:
    """The days among dates of snapshots."""
    return [date.fromisoformat(each) for each in issue_dates if each]


def fix(day: date) -> str:
    """The name under which an invoice waits for its day to be unlocked."""
    return f"{_WORD}{day.isoformat()}"


def newly_open(
    waited_for: Iterable[str], before: LockDates | None, after: LockDates | None
) -> list[str]:
    """Which of these waits a reading ended: the day stops nothing now, and was locked at the reading before.

    What Xero refused although the day was open is not sent again and again on the same reading.
    """
    if after is None:
        return []
    opened: list[str] = []
    for name in sorted(set(waited_for)):
        day = date.fromisoformat(name.removeprefix(_WORD))
        was_locked = before is None or suspected(before, [day]) is not None
        if was_locked and stopped(after, [day]) is None:
            opened.append(name)
    return opened
