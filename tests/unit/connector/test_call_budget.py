"""The budget's arithmetic, and the promise behind it: whatever happens, Xero never sees a sixth or a sixty-first call."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.budget import (
    Block,
    Full,
    Granted,
    Limits,
    Usage,
    Wait,
    learn,
    next_slot,
    retry_after_seconds,
    whole_number,
)
from connector.domain.lanes import Lane

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = 60.0


@dataclass
class Slot:
    """One call in the model; times in seconds. `finished` None: its process was killed, only the lease ends it."""

    started: float
    lease_until: float
    finished: float | None
    arrives: float

    def over_at(self):
        return self.lease_until if self.finished is None else self.finished


def at(seconds):
    return NOW + timedelta(seconds=seconds)


def usage_at(slots, now, lane=Lane.PEOPLE):
    """What the database counts, said in another way."""
    running = [s for s in slots if s.over_at() > now]
    ends = [s.over_at() for s in slots if now - MINUTE < s.over_at() <= now]
    return Usage(
        running={lane: len(running)},
        recent={lane: len(ends)},
        last_start=at(max((s.started for s in slots), default=0)),
        next_free=at(min(ends) + MINUTE) if ends else None,
    )


def when(decision, slots, now):
    """The moment a decision names, as the store fills it in."""
    if isinstance(decision, Wait):
        return (decision.until - NOW).total_seconds()
    ends = sorted(s.over_at() for s in slots if now - MINUTE < s.over_at() <= now)
    return ends[decision.leaving - 1] + MINUTE if decision.leaving <= len(ends) else now + MINUTE


steps = st.lists(
    st.tuples(
        st.floats(0, 3),  # pause before the next attempt
        st.floats(0.01, 8),  # how long the call takes
        st.floats(0, 1),  # when in that time Xero counts it
        st.booleans(),  # killed: nobody reports the end
        st.sampled_from(Lane),
    ),
    min_size=1,
    max_size=300,
)


@given(steps=steps, per_minute=st.integers(1, 60), concurrent=st.integers(1, 5))
def test_no_rolling_minute_and_no_moment_holds_too_many(steps, per_minute, concurrent):
    limits = Limits(concurrent, per_minute)
    slots, now = [], 0.0
    for pause, takes, fraction, killed, lane in steps:
        now += pause
        decision = next_slot(lane, usage_at(slots, now), [], limits, at(now))
        if not isinstance(decision, Granted):
            assert when(decision, slots, now) > now
            continue
        slots.append(Slot(now, now + 10, None if killed else now + takes, now + takes * fraction))
        in_flight = [s for s in slots if s.started <= now < s.over_at()]
        assert len(in_flight) <= concurrent
    arrivals = sorted(s.arrives for s in slots)
    for first in arrivals:
        assert sum(first <= other < first + MINUTE for other in arrivals) <= per_minute


@given(steps=steps)
def test_a_caller_who_waits_as_told_gets_its_slot(steps):
    limits, slots, now = Limits(5, 60), [], 0.0
    for _, takes, fraction, _, lane in steps[:120]:
        for _ in range(400):
            decision = next_slot(lane, usage_at(slots, now, lane), [], limits, at(now))
            if isinstance(decision, Granted):
                break
            now = max(when(decision, slots, now), now + 0.001)
        assert isinstance(decision, Granted)
        slots.append(Slot(now, now + 10, now + takes, now + takes * fraction))


def test_what_xero_asked_for_comes_first():
    block = Block(at(40), "minute")
    longer = Block(NOW + timedelta(hours=3), "day")
    over = Block(at(-1), "minute")
    people = Lane.PEOPLE
    assert next_slot(people, Usage(), [over], Limits(), NOW) == Granted()
    assert next_slot(people, Usage(), [block, longer], Limits(), NOW) == Wait(longer.until, "day")


def test_a_spent_minute_names_how_many_calls_must_leave_it():
    spent = Usage(recent={Lane.INVOICES: 58, Lane.PEOPLE: 4})
    assert next_slot(Lane.PEOPLE, spent, [], Limits(), NOW) == Full(3)
    busy = Usage(running={Lane.SWEEPS: 5})
    assert next_slot(Lane.PEOPLE, busy, [], Limits(), NOW).problem == "concurrent"


@pytest.mark.parametrize(
    ("status", "headers", "remaining", "seconds", "problem"),
    [
        (200, {"x-daylimit-remaining": "4999"}, 4999, None, None),
        (200, {"retry-after": "9"}, None, None, None),
        (429, {"retry-after": "26", "x-rate-limit-problem": "minute"}, None, 26, "minute"),
        (429, {"retry-after": "66975", "x-rate-limit-problem": "Day"}, None, 66975, "day"),
        (429, {"retry-after": "0", "x-rate-limit-problem": "minute"}, None, 1, "minute"),
        (429, {"x-rate-limit-problem": "concurrent"}, None, 1, "concurrent"),
        (429, {}, None, 5, "unknown"),
        (429, {"retry-after": "soon"}, None, 5, "unknown"),
        (429, {"retry-after": "9" * 30}, None, 90_000, "unknown"),
    ],
)
def test_what_a_reply_teaches(status, headers, remaining, seconds, problem):
    learnt = learn(status, headers)
    assert learnt.day_remaining == remaining
    assert learnt.blocked_for == (timedelta(seconds=seconds) if seconds is not None else None)
    assert learnt.problem == problem


def test_the_apps_minute_is_learnt_too():
    assert learn(200, {"x-appminlimit-remaining": "9876"}).app_minute_remaining == 9876
    assert learn(200, {"x-appminlimit-remaining": "-1"}).app_minute_remaining is None


@given(st.text(max_size=20))
def test_header_numbers_never_raise(text):
    found = whole_number(text)
    assert found is None or found >= 0


@pytest.mark.parametrize(
    ("left", "patience", "seconds"),
    [
        (0.0, 0, 1),
        (0.2, 0, 1),
        (1.001, 0, 2),
        (59.5, 0, 60),
        (-5, 0, 1),
        (59.5, 2, 58),
        (60.0, 2, 58),
        (2.1, 2, 1),
    ],
)
def test_a_caller_is_back_just_before_its_place_is_free(left, patience, seconds):
    assert retry_after_seconds(at(left), NOW, patience) == seconds


@given(st.floats(2, 90), st.floats(1, 5))
def test_a_caller_back_in_line_sees_its_place_come_free(left, patience):
    back = retry_after_seconds(at(left), NOW, patience)
    assert left - back <= patience + 1e-6
    assert back <= max(1, left)
