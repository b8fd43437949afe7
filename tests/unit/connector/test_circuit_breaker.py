"""The circuit breaker's decisions, on a clock of the test's own."""

from hypothesis import given
from hypothesis import strategies as st

from connector.domain import breaker
from connector.domain.breaker import (
    FAILURES_TO_OPEN,
    LONGEST_PAUSE_SECONDS,
    Closed,
    Go,
    Open,
    Probing,
    Refuse,
)


def fail(state, tenant="a", *, go=None, unreachable=False, now=0.0, chance=1.0):
    return breaker.failed(
        state, go or Go(), tenant, unreachable=unreachable, now=now, chance=chance
    )


def failing(state, times, tenants="a", **more):
    for number in range(times):
        state = fail(state, tenants[number % len(tenants)], **more)
    return state


def test_it_opens_after_so_many_failures_in_a_row_and_not_before():
    almost = failing(Closed(), FAILURES_TO_OPEN - 1)
    assert isinstance(almost, Closed)
    assert isinstance(fail(almost), Open)


def test_a_success_between_starts_the_count_anew():
    state = failing(Closed(), FAILURES_TO_OPEN - 1)
    state = breaker.answered(state, "a", 0.0)
    assert isinstance(failing(state, FAILURES_TO_OPEN - 1), Closed)


def test_one_sick_organisation_among_several_does_not_open_it():
    state = breaker.answered(breaker.answered(Closed(), "b", 0.0), "a", 1.0)
    assert isinstance(failing(state, 50, "a", now=2.0), Closed)
    assert isinstance(failing(state, FAILURES_TO_OPEN, "ab", now=2.0), Open)


def test_an_organisation_that_has_been_quiet_for_long_does_not_count():
    state = breaker.answered(breaker.answered(Closed(), "b", 0.0), "a", 1.0)
    later = 1.0 + breaker.SEVERAL_SECONDS
    assert isinstance(failing(state, FAILURES_TO_OPEN, "a", now=later), Open)


def test_no_connection_at_all_is_no_single_organisations_fault():
    state = breaker.answered(breaker.answered(Closed(), "b", 0.0), "a", 1.0)
    opened = failing(state, FAILURES_TO_OPEN, "a", now=2.0, unreachable=True)
    assert isinstance(opened, Open)


def test_open_refuses_until_its_pause_is_over_and_then_lets_one_call_probe():
    state = failing(Closed(), FAILURES_TO_OPEN, now=100.0)
    same, refused = breaker.ask(state, 101.5)
    assert (same, refused) == (state, Refuse(0.5))
    probing, probe = breaker.ask(state, 102.0)
    assert probe == Go(probe=102.0)
    again, refused = breaker.ask(probing, 102.0)
    assert again == probing
    assert isinstance(refused, Refuse)


def test_a_failed_probe_doubles_the_pause_up_to_a_minute():
    state = failing(Closed(), FAILURES_TO_OPEN)
    pauses = []
    for _ in range(8):
        pauses.append(state.pause_seconds)
        probing, probe = breaker.ask(state, state.until)
        state = fail(probing, go=probe, now=state.until)
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def test_the_probes_success_closes_it_at_once():
    probing, _ = breaker.ask(Open(0.0, 60.0), 1.0)
    state = breaker.answered(probing, "a", 2.0)
    assert breaker.ask(state, 2.0) == (state, Go())


def test_a_late_success_closes_it_while_open():
    assert isinstance(breaker.answered(Open(50.0, 60.0), "a", 1.0), Closed)


def test_late_failures_of_calls_from_before_change_nothing():
    state = Open(50.0, 4.0)
    assert failing(state, 10, now=49.0) == state
    probing, _ = breaker.ask(state, 50.0)
    assert failing(probing, 10, now=51.0) == probing


def test_a_probe_that_told_nothing_lets_the_next_call_probe():
    probing, probe = breaker.ask(Open(0.0, 8.0), 1.0)
    state = breaker.given_up(probing, probe, 1.5)
    assert breaker.ask(state, 1.5) == (Probing(8.0, 1.5), Go(1.5))
    assert breaker.given_up(probing, Go(), 1.5) == probing


moves = st.lists(
    st.tuples(
        st.sampled_from(["ask", "answered", "failed", "unreachable", "given_up"]),
        st.sampled_from("abc"),
        st.floats(0, 90),
        st.floats(0, 1),
    ),
    max_size=60,
)


@given(moves)
def test_whatever_happens_at_most_one_call_probes_and_nobody_waits_longer_than_a_minute(
    given_moves,
):
    state, now, out, probing = Closed(), 0.0, [], False
    for kind, tenant, passing, chance in given_moves:
        now += passing
        if kind == "ask":
            state, verdict = breaker.ask(state, now)
            if isinstance(verdict, Refuse):
                assert 0 < verdict.seconds <= LONGEST_PAUSE_SECONDS
            else:
                if verdict.probe is not None:
                    # Only the newest probe counts: one from before a success is a call like any other by now.
                    assert not probing
                    probing = True
                out.append(verdict)
        elif out:
            go = out.pop(0)
            if kind == "answered":
                state = breaker.answered(state, tenant, now)
            elif kind == "given_up":
                state = breaker.given_up(state, go, now)
            else:
                unreachable = kind == "unreachable"
                state = fail(state, tenant, go=go, unreachable=unreachable, now=now, chance=chance)
            probing = isinstance(state, Probing)
