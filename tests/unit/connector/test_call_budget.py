"""The budget's arithmetic, and the promise behind it: whatever happens, Xero never sees a sixth or a sixty-first call."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.budget import (
    Block,
    Granted,
    Limits,
    Usage,
    Wait,
    learn,
    limits_for,
    next_slot,
    retry_after_seconds,
    whole_number,
)

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


def usage_at(slots, now, per_minute):
    """What the database counts, said in another way."""
    running = [s for s in slots if s.over_at() > now]
    ends = sorted(s.over_at() for s in slots if now - MINUTE < s.over_at() <= now)
    over = len(running) + len(ends) - per_minute
    frees = NOW + timedelta(seconds=ends[over] + MINUTE) if 0 <= over < len(ends) else None
    return Usage(len(running), len(ends), frees)


steps = st.lists(
    st.tuples(
        st.floats(0, 3),  # pause before the next attempt
        st.floats(0.01, 8),  # how long the call takes
        st.floats(0, 1),  # when in that time Xero counts it
        st.booleans(),  # killed: nobody reports the end
    ),
    min_size=1,
    max_size=300,
)


@given(steps=steps, per_minute=st.integers(1, 60), concurrent=st.integers(1, 5))
def test_no_rolling_minute_and_no_moment_holds_too_many(steps, per_minute, concurrent):
    limits = Limits(concurrent, per_minute)
    slots, now = [], 0.0
    for pause, takes, fraction, killed in steps:
        now += pause
        moment = NOW + timedelta(seconds=now)
        decision = next_slot(usage_at(slots, now, per_minute), [], limits, moment)
        if isinstance(decision, Wait):
            assert decision.until > moment
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
    for _, takes, fraction, _ in steps[:120]:
        for _ in range(400):
            moment = NOW + timedelta(seconds=now)
            decision = next_slot(usage_at(slots, now, 60), [], limits, moment)
            if isinstance(decision, Granted):
                break
            now += max((decision.until - moment).total_seconds(), 0.001)
        assert isinstance(decision, Granted)
        slots.append(Slot(now, now + 10, now + takes, now + takes * fraction))


def test_what_xero_asked_for_comes_first():
    block = Block(NOW + timedelta(seconds=40), "minute")
    longer = Block(NOW + timedelta(hours=3), "day")
    over = Block(NOW - timedelta(seconds=1), "minute")
    assert next_slot(Usage(0, 0), [over], Limits(), NOW) == Granted()
    assert next_slot(Usage(0, 0), [block, longer], Limits(), NOW) == Wait(longer.until, "day")


def test_a_full_minute_names_the_moment_a_call_leaves_it():
    free = NOW + timedelta(seconds=7)
    assert next_slot(Usage(0, 60, free), [], Limits(), NOW) == Wait(free, "minute")
    assert next_slot(Usage(60, 0), [], Limits(60, 60), NOW) == Wait(
        NOW + timedelta(seconds=60), "minute"
    )
    assert next_slot(Usage(5, 0), [], Limits(), NOW).problem == "concurrent"


def test_the_reserve_exists_only_while_somebody_wants_it():
    assert limits_for(Limits(), "invoice-sync", reserve_wanted=False) == Limits(5, 60)
    assert limits_for(Limits(), "invoice-sync", reserve_wanted=True) == Limits(4, 57)
    assert limits_for(Limits(), "payment-ingest", reserve_wanted=True) == Limits(5, 60)
    assert limits_for(Limits(1, 2), "invoice-sync", reserve_wanted=True) == Limits(1, 1)


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


@given(st.text(max_size=20))
def test_header_numbers_never_raise(text):
    found = whole_number(text)
    assert found is None or found >= 0


@pytest.mark.parametrize(
    ("left", "seconds"), [(0.0, 1), (0.2, 1), (1.0, 1), (1.001, 2), (59.5, 60), (-5, 1)]
)
def test_retry_after_is_never_early_and_never_zero(left, seconds):
    assert retry_after_seconds(NOW + timedelta(seconds=left), NOW) == seconds
