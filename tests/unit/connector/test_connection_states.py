from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.connection import (
    WORDS,
    Actor,
    Connected,
    Connection,
    Disconnected,
    FactsLearnt,
    Organisation,
    Reason,
    Refused,
    Renewed,
    Status,
    never_connected,
    next_connection,
)
from connector.domain.failures import PAGES, Failure

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ADA = Actor("user-1", "Ada")
ORG = Organisation("t", "Org", "!abc", "NZD")


def connected():
    found = next_connection(never_connected("acc"), Connected(ORG, "u", ADA), now=NOW, actor=ADA)
    assert found is not None
    return found


def after(connection, happening):
    return next_connection(connection, happening, now=NOW, actor=None)


def test_connecting_binds_the_organisation():
    new = connected()
    assert (new.status, new.sequence, new.tenant_id, new.connected_by) == (
        Status.CONNECTED,
        1,
        "t",
        "user-1",
    )
    assert new.usable
    assert new.can_disconnect
    assert not new.can_connect


def test_a_refused_grant_keeps_the_organisation_and_is_said_once():
    expired = after(connected(), Refused(Reason.REFRESH_REJECTED))
    assert (expired.status, expired.tenant_id, expired.xero_userid) == (
        Status.TOKEN_EXPIRED,
        "t",
        "u",
    )
    assert not expired.can_refresh
    assert expired.can_connect
    assert after(expired, Refused(Reason.REFRESH_REJECTED)) is None


def test_what_a_refresh_can_cure_offers_a_refresh_instead_of_a_reconnect():
    for reason in (Reason.CLIENT_REJECTED, Reason.KEY_UNAVAILABLE):
        expired = after(connected(), Refused(reason))
        assert expired.can_refresh
        assert not expired.can_connect
        renewed = after(expired, Renewed())
        assert (renewed.status, renewed.reason, renewed.sequence) == (
            Status.CONNECTED,
            Reason.REFRESHED,
            3,
        )


def test_a_refresh_of_a_healthy_connection_is_no_news():
    assert after(connected(), Renewed()) is None


def test_disconnecting_forgets_the_tokens_and_not_the_organisation():
    gone = after(connected(), Disconnected(Reason.DISCONNECTED_BY_USER))
    assert (gone.status, gone.xero_userid, gone.tenant_id) == (Status.DISCONNECTED, None, "t")
    assert gone.can_connect
    for happening in (
        Disconnected(Reason.REVOKED_IN_XERO),
        Refused(Reason.REFRESH_REJECTED),
        Renewed(),
    ):
        assert after(gone, happening) is None


def test_facts_of_the_organisation_survive_a_reconnect_that_could_not_ask():
    again = after(connected(), Connected(Organisation("t", "Org"), "u2", ADA))
    assert (again.short_code, again.base_currency, again.xero_userid) == ("!abc", "NZD", "u2")


happenings = st.sampled_from(
    [
        Connected(ORG, "u", ADA),
        Disconnected(Reason.DISCONNECTED_BY_USER),
        Disconnected(Reason.REVOKED_IN_XERO),
        Refused(Reason.REFRESH_REJECTED),
        Refused(Reason.CLIENT_REJECTED),
        Renewed(),
    ]
)


@given(st.lists(happenings, max_size=30))
def test_sequences_have_no_gap_and_states_hold_together(story):
    connection = never_connected("acc")
    for happening in story:
        new = after(connection, happening)
        if new is None:
            continue
        assert new.sequence == connection.sequence + 1
        assert (new.status, new.reason) != (connection.status, connection.reason) or isinstance(
            happening, Connected
        )
        assert (new.xero_userid is None) == (new.status is Status.DISCONNECTED)
        assert not (new.can_connect and new.can_refresh)
        assert new.words.message
        connection = new


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_words(reason):
    assert WORDS[reason].message.endswith(".")
    assert WORDS[reason].hint.endswith(".")


@pytest.mark.parametrize("failure", list(Failure))
def test_every_failure_has_its_page(failure):
    page = PAGES[failure]
    assert page.title
    assert page.happened.endswith(".")
    assert "move:" in page.next_move


def test_a_fenced_connection_is_not_usable():
    fenced = Connection("acc", Status.CONNECTED, Reason.REFRESHED, NOW, fenced_at=NOW)
    assert not fenced.usable
    assert not fenced.can_refresh


def test_binding_another_organisation_is_named_a_switch_and_takes_nothing_over():
    left = after(connected(), Disconnected(Reason.DISCONNECTED_BY_USER))
    other = Organisation("t2", "Other")
    new = after(left, Connected(other, "u2", ADA))
    assert (new.reason, new.tenant_id) == (Reason.ORGANISATION_SWITCHED, "t2")
    assert (new.short_code, new.base_currency) == (None, None)
    back = after(left, Connected(Organisation("t", "Org"), "u", ADA))
    assert (back.reason, back.short_code) == (Reason.CONNECTED_BY_USER, "!abc")


def test_facts_are_news_only_when_something_was_missing():
    bare = next_connection(
        never_connected("acc"),
        Connected(Organisation("t", "Org"), "u", ADA),
        now=NOW,
        actor=ADA,
    )
    learnt = FactsLearnt("t", "!abc", "NZD")
    new = after(bare, learnt)
    assert (new.status, new.reason, new.sequence) == (bare.status, bare.reason, bare.sequence + 1)
    assert (new.short_code, new.base_currency) == ("!abc", "NZD")
    assert after(new, learnt) is None
    assert after(new, FactsLearnt("t", "!other", "USD")) is None
    assert after(bare, FactsLearnt("t", None, None)) is None
    assert after(bare, FactsLearnt("t2", "!abc", "NZD")) is None
    assert after(after(bare, Disconnected(Reason.REVOKED_IN_XERO)), learnt) is None
    half = after(bare, FactsLearnt("t", None, "NZD"))
    assert (half.short_code, half.base_currency) == (None, "NZD")
    assert after(half, learnt).short_code == "!abc"
