"""Which lock dates stop an invoice before it is sent, and which readings let it go on."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from invoice_sync.domain import locks
from invoice_sync.domain.locks import LockDates

NOW = datetime(2026, 5, 10, 12, tzinfo=UTC)
APRIL, MAY, JUNE = date(2026, 4, 30), date(2026, 5, 3), date(2026, 6, 30)


def dates(period=None, year=None, refused_on=None):
    return LockDates(period, year, NOW, NOW, refused_on)


# The organisation's lock dates, and what Xero refused so far; the last day that stops us, and the one that may.
CASES = {
    "none": (dates(), None, None),
    "for all users": (dates(year=APRIL), APRIL, APRIL),
    "for all but advisers, and nobody knows who connected": (dates(period=JUNE), None, JUNE),
    "for all but advisers, and Xero refused a day of it": (dates(JUNE, None, MAY), JUNE, JUNE),
    "both, and what was refused is locked for everybody": (dates(JUNE, APRIL, APRIL), APRIL, JUNE),
    "both, and what was refused is locked for some": (dates(JUNE, APRIL, MAY), JUNE, JUNE),
    "both, the one for everybody later": (dates(APRIL, JUNE, MAY), JUNE, JUNE),
    "refused for what is open by now": (dates(APRIL, None, MAY), None, APRIL),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_proven_and_what_is_only_suspected(name):
    found, proven, shown = CASES[name]
    assert (found.proven, found.shown) == (proven, shown)
    for day in (APRIL, MAY, JUNE, date(2026, 7, 1)):
        # The day itself is locked too; of several days the earliest counts.
        assert (locks.stopped(found, [day, JUNE]) is not None) == (
            proven is not None and min(day, JUNE) <= proven
        )
        assert (locks.suspected(found, [day]) is not None) == (shown is not None and day <= shown)


def test_the_sentence_names_both_days_and_the_wait_its_own():
    why = locks.stopped(dates(year=JUNE), [MAY])
    assert why is not None
    assert "dated 2026-05-03, but the books in Xero are locked up to 2026-06-30" in why.message
    assert why.waits_for == (locks.fix(MAY),)


def test_only_fresh_dates_stop_a_change():
    found = dates(year=JUNE)
    assert locks.stops_now(found, [MAY], NOW) is not None
    assert locks.stops_now(found, [MAY], datetime(2026, 5, 10, 13, tzinfo=UTC)) is None
    assert locks.stops_now(None, [MAY], NOW) is None


@pytest.mark.parametrize(
    ("found", "read_ago", "tried_ago", "day", "doubted"),
    [
        (dates(year=JUNE), 0, 0, MAY, False),
        (dates(year=JUNE), 6, 6, MAY, True),
        (dates(year=JUNE), 6, 0, MAY, False),
        (dates(year=APRIL), 6, 6, MAY, False),
        # People close a month when it is over: looked at once a day for documents of earlier months.
        (dates(), 60 * 25, 60 * 25, APRIL, True),
        (dates(), 60 * 25, 0, APRIL, False),
        (dates(), 60 * 23, 60 * 23, APRIL, False),
        (dates(), 60 * 25, 60 * 25, MAY, False),
    ],
)
def test_dates_are_read_again_where_they_would_stop_or_a_month_may_have_been_closed(
    found, read_ago, tried_ago, day, doubted
):
    read, tried = (NOW - timedelta(minutes=each) for each in (read_ago, tried_ago))
    assert locks.in_doubt(replace(found, read_at=read, tried_at=tried), [day], NOW) == doubted


# What was read before, what is read now, and whether an invoice of May that waits is let go.
READINGS = {
    "moved back": (dates(year=JUNE), dates(year=APRIL), True),
    "taken away": (dates(year=JUNE), dates(), True),
    "still there": (dates(year=JUNE), dates(year=JUNE), False),
    "moved on": (dates(year=MAY), dates(year=JUNE), False),
    "another one instead": (dates(year=JUNE), dates(JUNE, None, MAY), False),
    "refused though open at both": (dates(year=APRIL), dates(year=APRIL), False),
    "never read before": (None, dates(), True),
    "nobody refused since somebody else connected": (dates(JUNE), dates(JUNE), True),
    "not readable": (dates(year=JUNE), None, False),
}


@pytest.mark.parametrize("name", READINGS)
def test_a_reading_lets_go_what_it_opened_and_nothing_else(name):
    before, after, lets_go = READINGS[name]
    names = [locks.fix(MAY), locks.fix(MAY)]
    assert locks.newly_open(names, before, after) == ([locks.fix(MAY)] if lets_go else [])
