import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_local_stack.call_log import (
    Call,
    Limits,
    broken_limits,
    most_at_once,
    most_in_a_minute,
    shares_of_minutes,
    unconnected_calls,
)

START = 1_795_000_000.0


def call(
    at: float, seconds: float = 0.01, *, tenant: str = "t", status: int = 200, limited: str = ""
) -> Call:
    return Call(tenant, START + at, seconds, status, limited)


def spread(count: int, first: float, last: float, tenant: str = "t") -> list[Call]:
    """So many calls, evenly from the first moment to the last."""
    return [
        call(first + (last - first) * number / (count - 1), tenant=tenant)
        for number in range(count)
    ]


def test_the_full_use_of_every_limit_is_no_complaint():
    bursts = [call(minute * 60.0 + n * 0.02) for minute in range(4) for n in range(60)]
    five = [call(300 + n * 0.001, 2.0, tenant="other") for n in range(5)]
    assert broken_limits(bursts + five, Limits(app_per_minute=65)) == []


@pytest.mark.parametrize("phase", [0.0, 0.4, 17.3, 30.0, 59.9])
def test_sixty_one_calls_in_a_minute_are_found_at_any_phase(phase):
    assert broken_limits(spread(60, phase, phase + 59.99), Limits()) == []
    (complaint,) = broken_limits(spread(61, phase, phase + 59.99), Limits())
    assert "61 calls in a minute, 60 are allowed" in complaint


def test_two_halves_around_a_full_minute_are_one_minute_too():
    late, early = spread(31, 55.0, 59.5), spread(30, 60.5, 65.0)
    assert broken_limits([*late, *early], Limits()) != []


def test_the_call_exactly_a_minute_later_is_of_another_minute():
    assert most_in_a_minute([0.0, 60.0]) == 1
    assert most_in_a_minute([0.0, 59.999]) == 2


@given(st.lists(st.integers(0, 2_000), max_size=60))
def test_the_fullest_minute_is_that_of_counting_from_every_call(tenths):
    times = [tenth / 8 for tenth in tenths]
    expected = max((sum(1 for t in times if s <= t < s + 60) for s in times), default=0)
    assert most_in_a_minute(times) == expected


def test_six_calls_that_overlap_for_a_moment_are_found():
    assert broken_limits([call(n * 0.1, 0.6) for n in range(5)], Limits()) == []
    six = [call(n * 0.1, 0.51) for n in range(6)]
    (complaint,) = broken_limits(six, Limits())
    assert "6 calls at once, 5 are allowed" in complaint


def test_a_call_that_begins_as_another_ends_does_not_overlap_it():
    assert most_at_once([call(0, 1.0), call(1.0, 1.0)]) == 1
    assert most_at_once([call(0, 1.5), call(1.0, 1.0)]) == 2


def test_tenants_do_not_share_their_limits_but_the_apps():
    tenants = [
        each
        for name in ("a", "b", "c")
        for each in [
            *spread(57, 0, 59, tenant=name),
            *(call(100 + n * 0.01, 5, tenant=name) for n in range(5)),
        ]
    ]
    assert broken_limits(tenants, Limits()) == []
    (complaint,) = broken_limits(tenants, Limits(app_per_minute=170))
    assert complaint.startswith("the app: 171 calls in a minute")


@pytest.mark.parametrize("limit", ["minute", "concurrent", "day", "appminute", ""])
def test_a_refusal_is_a_complaint_of_its_own(limit):
    assert broken_limits([call(0, status=429, limited=limit)], Limits()) == [
        f"t: refused for the limit {limit or 'without a name'}"
    ]


def test_a_call_before_or_after_or_without_the_connection_is_found():
    connected = {"t": [(START + 10, START + 20), (START + 30, START + 40)]}
    assert unconnected_calls([call(10), call(20), call(35)], connected) == []
    for at in (9.99, 20.01, 29.0, 40.01):
        assert len(unconnected_calls([call(at)], connected)) == 1
    assert len(unconnected_calls([call(15, tenant="never connected")], connected)) == 1
    assert len(unconnected_calls([call(15, tenant="")], connected)) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_call_that_xero_refused_for_the_connection_is_found(status):
    connected = {"t": [(START, START + 100)]}
    assert len(unconnected_calls([call(15, status=status)], connected)) == 1
    assert unconnected_calls([call(15, status=404)], connected) == []


def test_the_share_of_a_minute_falls_by_what_each_turn_is_late():
    in_time = [minute * 60.0 + n * 0.02 for minute in range(4) for n in range(60)]
    late = [minute * 61.2 + n * 0.02 for minute in range(4) for n in range(60)]
    assert shares_of_minutes(in_time, 60, 3) == pytest.approx([1.0] * 60)
    assert shares_of_minutes(late, 60, 3) == pytest.approx([60 / 61.2] * 60)
    assert shares_of_minutes([n * 2.0 for n in range(400)], 60, 3)[0] == pytest.approx(0.5)
    assert shares_of_minutes(in_time[:180], 60, 3) == []


def test_more_than_the_limit_is_a_share_above_one():
    times = [n * 60 / 61 for n in range(300)]
    assert shares_of_minutes(times, 60, 3)[0] == pytest.approx(61 / 60)
