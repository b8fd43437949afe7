"""The words of the card for what happened and when."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from connector.domain.connection import Reason, Status
from connector.domain.history import HAPPENED, Change, who
from connector.domain.moments import about, ago, moment

NOW = datetime(2026, 11, 22, 16, 40, 5, tzinfo=UTC)


def test_every_reason_has_words_for_its_history():
    assert set(HAPPENED) == set(Reason)
    assert len(set(HAPPENED.values())) == len(HAPPENED)


@pytest.mark.parametrize(
    ("reason", "actor", "said"),
    [
        (Reason.REFRESHED, "Ada", "Ada"),
        (Reason.REFRESHED, None, "the system"),
        (Reason.REVOKED_IN_XERO, None, "someone in Xero"),
    ],
)
def test_who_brought_it_about(reason, actor, said):
    assert who(Change(NOW, Status.CONNECTED, reason, actor, None)) == said


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        (timedelta(seconds=-90), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(seconds=60), "1 minute ago"),
        (timedelta(minutes=59, seconds=59), "59 minutes ago"),
        (timedelta(hours=1), "1 hour ago"),
        (timedelta(hours=47), "1 day ago"),
        (timedelta(days=29), "29 days ago"),
        (timedelta(days=61), "2 months ago"),
        (timedelta(days=800), "2 years ago"),
    ],
)
def test_relative_words_change_with_the_largest_unit(passed, said):
    assert ago(passed) == said


def test_a_moment_is_told_in_utc_whatever_zone_it_comes_in():
    there = timezone(timedelta(hours=13))
    told = moment(datetime(2026, 11, 3, 4, 5, 6, tzinfo=there), NOW)
    assert told.iso == "2026-11-02T15:05:06Z"
    assert told.full == "2 November 2026, 15:05 UTC"
    assert told.ago == "20 days ago"


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (NOW + timedelta(minutes=24), "17:00 UTC"),
        (NOW + timedelta(minutes=26), "17:10 UTC"),
        (NOW, "16:40 UTC"),
        (NOW + timedelta(hours=9), "23 November, 01:40 UTC"),
    ],
)
def test_a_forecast_is_no_more_exact_than_ten_minutes_and_names_another_day(at, said):
    assert about(at, NOW).full == said
