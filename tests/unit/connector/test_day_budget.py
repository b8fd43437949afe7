"""A tenant's calls of the day: who stops, when one call learns the figure anew, what is told, and the forecast."""

from datetime import UTC, datetime, timedelta

import pytest

from connector.domain.budget import Block
from connector.domain.connection import (
    Connection,
    DayRestored,
    DayRunsLow,
    Reason,
    Refused,
    Renewed,
    Status,
    next_connection,
)
from connector.domain.day_budget import (
    ASK_AGAIN,
    Ask,
    DayBudget,
    Outlook,
    crossing,
    day_stop,
    empty_at,
    outlook_of,
)
from connector.domain.lanes import Lane

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SEEN = NOW - timedelta(minutes=1)


def day(remaining, limit=5000, seen_at=SEEN, asked_at=None):
    return DayBudget(remaining, limit, seen_at, asked_at)


@pytest.mark.parametrize(
    ("remaining", "limit", "stopped"),
    [
        (5000, 5000, []),
        (1500, 5000, []),
        (1499, 5000, ["sweeps"]),
        (1000, 5000, ["sweeps"]),
        (999, 5000, ["invoices", "sweeps"]),
        (299, 1000, ["sweeps"]),
        (0, 1000, ["invoices", "sweeps"]),
        (None, None, []),
        (900, None, []),
        (0, 0, []),
    ],
)
def test_sweeps_stop_first_then_invoices_and_the_rest_is_kept(remaining, limit, stopped):
    known = day(remaining, limit)
    assert [lane for lane in Lane if day_stop(lane, known, NOW)] == stopped


def test_a_stopped_lane_is_told_when_to_come_back():
    assert day_stop(Lane.INVOICES, day(1), NOW) == Block(SEEN + ASK_AGAIN, "day")


def test_an_old_figure_lets_one_call_learn_it_anew():
    old = day(1, seen_at=NOW - ASK_AGAIN)
    assert day_stop(Lane.INVOICES, old, NOW) == Ask()
    asked = day(1, seen_at=NOW - timedelta(hours=20), asked_at=NOW)
    assert day_stop(Lane.INVOICES, asked, NOW) == Block(NOW + ASK_AGAIN, "day")
    assert day_stop(Lane.INVOICES, day(1, seen_at=None), NOW) == Ask()


CONNECTED = Connection(
    "acc-1", Status.CONNECTED, Reason.CONNECTED_BY_USER, NOW, sequence=1, tenant_id="t"
)


def after(old, happening):
    return next_connection(old, happening, now=NOW, actor=None)


def test_a_low_day_is_told_once_and_its_end_once():
    low = after(CONNECTED, DayRunsLow())
    assert (low.status, low.reason, low.sequence) == (
        Status.CONNECTED,
        Reason.DAY_BUDGET_LOW,
        2,
    )
    assert low.tenant_id == "t"
    assert after(low, DayRunsLow()) is None
    restored = after(low, DayRestored())
    assert (restored.reason, restored.sequence) == (Reason.DAY_BUDGET_RESTORED, 3)
    assert after(restored, DayRestored()) is None
    assert after(CONNECTED, DayRestored()) is None
    assert after(restored, DayRunsLow()).reason is Reason.DAY_BUDGET_LOW


def test_everything_else_goes_on_from_a_low_day():
    low = after(CONNECTED, DayRunsLow())
    assert after(low, Renewed()) is None
    expired = after(low, Refused(Reason.REFRESH_REJECTED))
    assert expired.status is Status.TOKEN_EXPIRED
    assert after(expired, DayRunsLow()) is None
    renewed = after(expired, Renewed())
    assert (renewed.status, renewed.reason) == (Status.CONNECTED, Reason.REFRESHED)
    assert low.usable
    assert low.can_disconnect


@pytest.mark.parametrize(
    ("reason", "remaining", "told"),
    [
        (Reason.CONNECTED_BY_USER, 1750, None),
        (Reason.CONNECTED_BY_USER, 1749, DayRunsLow()),
        (Reason.DAY_BUDGET_LOW, 1, None),
        (Reason.DAY_BUDGET_LOW, 2500, None),
        (Reason.DAY_BUDGET_LOW, 2501, DayRestored()),
        (Reason.DAY_BUDGET_RESTORED, 4000, None),
        (Reason.DAY_BUDGET_RESTORED, 1000, DayRunsLow()),
        (Reason.REFRESHED, None, None),
        (Reason.DAY_BUDGET_LOW, None, None),
    ],
)
def test_a_figure_that_wavers_is_not_told_twice(reason, remaining, told):
    assert crossing(reason, day(remaining)) == told


@pytest.mark.parametrize(
    ("remaining", "spent", "hours"),
    [(100, 50, 2), (100, 0, None), (0, 0, 0), (2400, 100, 24), (2401, 100, None), (1, -1, None)],
)
def test_the_forecast_follows_the_last_hour(remaining, spent, hours):
    expected = None if hours is None else NOW + timedelta(hours=hours)
    assert empty_at(remaining, spent, NOW) == expected


def test_a_figure_older_than_a_day_says_nothing():
    assert outlook_of(day(100, seen_at=NOW - timedelta(hours=25)), 7, NOW) == Outlook(
        None, None, 7, None
    )
    assert outlook_of(day(None, None, None), 0, NOW) == Outlook(None, None, 0, None)
    assert outlook_of(day(100), 50, NOW) == Outlook(100, 5000, 50, NOW + timedelta(hours=2))
