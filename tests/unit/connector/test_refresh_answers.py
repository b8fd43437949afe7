from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.connection import Reason
from connector.domain.refresh import (
    LATEST_RETRY,
    ClientRefused,
    GrantRefused,
    NoAnswer,
    Pair,
    Unrenewable,
    next_renewal,
    read_answer,
    refusal_reason,
    retry_delay,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOOD = {
    "access_token": "a",
    "refresh_token": "r",
    "expires_in": 1800,
    "scope": "openid",
    "id_token": "i",
}


def test_a_pair_is_read():
    assert read_answer(200, GOOD) == Pair("a", "r", timedelta(minutes=30), "openid", "i")
    assert "access_token=" not in repr(read_answer(200, GOOD))


def test_a_grant_without_offline_access_is_no_outage():
    lone = {"access_token": "a", "scope": "openid"}
    answer = read_answer(200, lone)
    assert answer == Unrenewable("a", "openid")
    assert "'a'" not in repr(answer)


@pytest.mark.parametrize("expires", [None, "1800", True, 0, -5, 10**9])
def test_an_absurd_lifetime_becomes_xeros_thirty_minutes(expires):
    answer = read_answer(200, GOOD | {"expires_in": expires})
    assert isinstance(answer, Pair)
    assert answer.lifetime == timedelta(minutes=30)


@pytest.mark.parametrize("status", [400, 401])
def test_only_a_definite_refusal_is_one(status):
    assert read_answer(status, {"error": "invalid_grant"}) == GrantRefused()
    assert read_answer(status, {"error": "invalid_client"}) == ClientRefused("invalid_client")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, None),
        (503, {"error": "invalid_grant"}),
        (403, {"error": "invalid_grant"}),
        (400, None),
        (400, {"error": "something_new"}),
        (400, ["invalid_grant"]),
        (302, {}),
        (200, None),
        (200, {"refresh_token": "r"}),
        (200, {"access_token": "a", "refresh_token": ""}),
        (200, {"access_token": 1, "refresh_token": 2}),
        (429, {}),
    ],
)
def test_everything_else_leaves_the_grant_alone(status, body):
    assert isinstance(read_answer(status, body), NoAnswer)


@given(st.floats(0, 1))
def test_renewal_comes_ten_to_twelve_minutes_early(chance):
    at = next_renewal(NOW + timedelta(minutes=30), timedelta(minutes=30), chance)
    assert timedelta(minutes=18) <= at - NOW <= timedelta(minutes=20)


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_retries_stay_well_inside_the_grace(failures, chance):
    assert timedelta(seconds=2) < retry_delay(failures, chance) <= LATEST_RETRY


def test_sixty_days_unused_has_its_own_name():
    assert refusal_reason(NOW - timedelta(days=60), NOW) is Reason.EXPIRED_UNUSED
    assert refusal_reason(NOW - timedelta(days=59), NOW) is Reason.REFRESH_REJECTED
