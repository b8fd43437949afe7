"""When to try again, when to look, and what each failed call means."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoice_sync.domain import retry, trouble
from invoice_sync.domain.retry import LookUp, SendAgain
from invoice_sync.domain.state import State
from invoice_sync.domain.trouble import Effect
from pipeline_contracts.problems import ProblemCode
from pipeline_xero import errors

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_waits_grow_to_the_cap_and_never_vanish(attempt, chance):
    wait = retry.backoff(attempt, chance)
    assert timedelta(seconds=0.5) <= wait <= retry.CAP
    assert retry.backoff(attempt + 1, chance) >= wait


@pytest.mark.parametrize(
    ("age", "attempts", "must_look_up", "expected"),
    [
        (0, 0, False, SendAgain),
        (299, 1, False, SendAgain),
        (300, 0, False, LookUp),
        (3600, 0, False, LookUp),
        (10, 2, False, LookUp),
        (10, 0, True, LookUp),
    ],
)
def test_the_same_bytes_within_five_minutes_otherwise_look(age, attempts, must_look_up, expected):
    plan = retry.after_unknown(
        first_sent_at=NOW - timedelta(seconds=age),
        attempts=attempts,
        must_look_up=must_look_up,
        now=NOW,
    )
    assert isinstance(plan, expected)


def test_a_rest_is_never_shorter_than_xero_asked():
    asked = timedelta(seconds=26)
    assert retry.limit_pause(asked, 0.0) >= asked
    assert retry.limit_pause(None, 0.5) > timedelta(0)


CASES = [
    (
        errors.RateLimited(timedelta(seconds=26), "minute"),
        Effect.NOTHING,
        "RATE_LIMITED",
        State.WAITING_FOR_BUDGET,
    ),
    (
        errors.RateLimited(None, "concurrent"),
        Effect.NOTHING,
        "RATE_LIMITED",
        State.WAITING_FOR_BUDGET,
    ),
    (
        errors.NotConnected("DISCONNECTED", "REVOKED", "Access was revoked.", "Connect."),
        Effect.NOTHING,
        "NOT_CONNECTED",
        State.WAITING_FOR_CONNECTION,
    ),
    (
        errors.NotFound("x", by_gateway=True),
        Effect.NOTHING,
        "NOT_CONNECTED",
        State.WAITING_FOR_CONNECTION,
    ),
    (errors.TenantChanged("x"), Effect.NOTHING, "TENANT_CHANGED", State.WAITING_FOR_CONNECTION),
    (errors.NotAllowed("x"), Effect.NOTHING, "INTERNAL_ERROR", State.PENDING),
    (errors.NotSent("x"), Effect.NOTHING, "XERO_UNAVAILABLE", State.PENDING),
    (errors.XeroUnavailable("x"), Effect.NOTHING, "XERO_UNAVAILABLE", State.PENDING),
    (errors.RequestRejected(400, 10, "No."), Effect.REFUSED, "XERO_VALIDATION", State.FAILED),
    (errors.NotFound("x"), Effect.REFUSED, "XERO_VALIDATION", State.FAILED),
    (errors.OutcomeUnknown("x"), Effect.UNKNOWN, "OUTCOME_UNKNOWN", State.SYNCING),
    (errors.UnexpectedAnswer("x"), Effect.UNKNOWN, "OUTCOME_UNKNOWN", State.SYNCING),
    (
        errors.RequestRejected(400, None, "Idempotency Key: k is used with a different request."),
        Effect.UNKNOWN,
        "OUTCOME_UNKNOWN",
        State.SYNCING,
    ),
]


@pytest.mark.parametrize(
    ("error", "effect", "code", "state"), CASES, ids=lambda each: str(each)[:40]
)
def test_each_failed_call_has_one_meaning(error, effect, code, state):
    found = trouble.of(error, count=1, chance=0.5)
    assert (found.effect, found.block.code, found.state) == (effect, ProblemCode(code), state)
    assert found.block.message
    assert found.block.hint
    assert "{" not in found.block.message + found.block.hint


def test_the_gateways_word_on_when_to_come_back_takes_the_place_of_growing_pauses():
    error = errors.NotSent("x", timedelta(seconds=40))
    for count in (1, 12):
        found = trouble.of(error, count=count, chance=0.5)
        assert found.pause == timedelta(seconds=40.5)


def test_every_leaf_of_the_error_tree_is_judged():
    judged = {type(error) for error, *_ in CASES}
    assert judged == set(errors.XeroError.__subclasses__())


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "within a minute"), (600, "10 minutes"), (60_000, "17 hours")]
)
def test_a_wait_is_spoken_in_words_that_stay_true(seconds, words):
    limited = errors.RateLimited(timedelta(seconds=seconds), "day")
    assert words in trouble.of(limited, count=1, chance=0).block.hint
