"""What is said of a connection: as recorded, or what keeps it from working at this moment."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from connector.domain.connection import (
    REFRESHABLE,
    WORDS,
    Connection,
    Reason,
    Status,
    never_connected,
)
from connector.domain.standing import DISCONNECTING, standing

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CONNECTED = Connection("a", Status.CONNECTED, Reason.CONNECTED_BY_USER, NOW, tenant_id="t")


def expired(reason):
    return replace(CONNECTED, status=Status.TOKEN_EXPIRED, reason=reason)


def test_a_connection_in_order_offers_no_refresh_though_one_would_work():
    found = standing(CONNECTED, None)
    assert (found.reason, found.words) == (CONNECTED.reason, WORDS[CONNECTED.reason])
    assert (found.can_refresh, found.offers_refresh) == (True, False)


@pytest.mark.parametrize("problem", ["TimedOut", "status 503", "", "REFRESH_REJECTED"])
def test_no_answer_is_an_outage_of_xero_and_not_a_change(problem):
    found = standing(CONNECTED, problem)
    assert found.reason is Reason.XERO_UNAVAILABLE
    assert (found.can_refresh, found.offers_refresh) == (True, True)


@pytest.mark.parametrize("reason", sorted(REFRESHABLE))
def test_our_own_trouble_is_not_called_xeros(reason):
    assert standing(CONNECTED, reason.value).reason is reason


@pytest.mark.parametrize("reason", list(Reason))
def test_an_expired_token_offers_refresh_only_where_it_can_cure(reason):
    found = standing(expired(reason), "TimedOut")
    assert found.reason is reason
    assert found.offers_refresh == found.can_refresh == (reason in REFRESHABLE)


def test_what_is_not_connected_is_said_as_recorded():
    found = standing(never_connected("a"), None)
    assert found.reason is Reason.NEVER_CONNECTED
    assert not found.can_refresh
    assert not found.offers_refresh


@pytest.mark.parametrize("problem", [None, "TimedOut"])
@pytest.mark.parametrize("status", [Status.CONNECTED, Status.TOKEN_EXPIRED])
def test_a_disconnect_under_way_is_said_before_anything_else(problem, status):
    found = standing(replace(CONNECTED, status=status, fenced_at=NOW), problem)
    assert found.words == DISCONNECTING
    assert not found.can_refresh
    assert not found.offers_refresh
