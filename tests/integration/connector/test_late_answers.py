"""An answer that arrives when the row has moved on: kept if it is a token, and otherwise without any consequence."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from connector import refresh_tokens
from connector.domain.connection import Actor, Reason
from connector.refresh_tokens import GrantDead, Unavailable, access_token, refresh_now
from connector.rotate_keys import give_up_grant
from connector.store import token_sets
from connector.tend_tokens import refresh_due


def ports(stack):
    return stack.apps[0].state.deps


@pytest.fixture
async def claimed(stack):
    """A refresh of an access token that ran out, in the middle of its call; with its lease."""
    await stack.connect("acc-1")
    await stack.db.execute("UPDATE token_sets SET access_expires_at = now() - interval '1 second'")
    userid = await stack.db.fetchval("SELECT xero_userid FROM token_sets")
    lease_id = uuid4()
    found = await token_sets.claim(stack.db, userid, 1, lease_id, timedelta(seconds=30))
    assert found is not None
    return found, lease_id


async def reasons(stack):
    return [event.reason for event in await stack.events("acc-1")]


async def test_a_problem_is_no_news_once_somebody_connected_anew(stack, claimed):
    await stack.connect("acc-1")
    await refresh_tokens.give_back(ports(stack), *claimed, "invalid_client", Reason.CLIENT_REJECTED)
    assert (await stack.status("acc-1"))["status"] == "CONNECTED"
    assert await reasons(stack) == ["CONNECTED_BY_USER", "CONNECTED_BY_USER"]


async def test_a_grant_that_was_given_up_meanwhile_stays_given_up(stack, claimed):
    await give_up_grant(stack.db, "v1", claimed[0].xero_userid)
    await refresh_tokens.give_back(ports(stack), *claimed, "KeyMissing", Reason.KEY_UNAVAILABLE)
    status = await stack.status("acc-1")
    # Else nobody could press Connect to Xero, and Refresh Token would never work.
    assert (status["reason"], status["can_refresh"]) == ("KEY_LOST", False)
    assert await reasons(stack) == ["CONNECTED_BY_USER", "KEY_LOST"]


async def test_a_pair_does_not_heal_scopes_found_missing_meanwhile(stack, claimed):
    tokens, lease_id = claimed
    await refresh_tokens.scopes_missing(ports(stack), tokens.xero_userid, tokens.version)
    used = tokens.refresh_token(ports(stack).ring)
    pair = await ports(stack).identity.refresh(used)
    kept = await refresh_tokens.keep(ports(stack), tokens, lease_id, pair, used)
    assert kept is not None
    assert (await stack.status("acc-1"))["reason"] == "SCOPES_MISSING"
    assert await reasons(stack) == ["CONNECTED_BY_USER", "SCOPES_MISSING"]


async def a_call(stack, userid):
    await access_token(ports(stack), userid)


async def a_person(stack, _):
    await refresh_now(ports(stack), "acc-1", Actor("user-1", "Ada"))


@pytest.mark.parametrize("asks", [a_call, a_person])
async def test_a_grant_found_dead_at_the_last_moment_is_not_asked_for(stack, asks, monkeypatch):
    await stack.connect("acc-1")
    await stack.db.execute("UPDATE token_sets SET access_expires_at = now() - interval '1 second'")
    userid = await stack.db.fetchval("SELECT xero_userid FROM token_sets")
    asked = len(stack.calls("/connect/token"))
    claim = token_sets.claim

    async def after_it_was_given_up(*arguments):
        await give_up_grant(stack.db, "v1", userid)
        return await claim(*arguments)

    monkeypatch.setattr(token_sets, "claim", after_it_was_given_up)
    with pytest.raises(GrantDead):
        await asks(stack, userid)
    assert (await stack.status("acc-1"))["reason"] == "KEY_LOST"
    assert len(stack.calls("/connect/token")) == asked


async def test_a_pair_is_stored_however_long_the_database_is_away(stack, monkeypatch):
    await stack.connect("acc-1")
    await stack.db.execute("UPDATE token_sets SET access_expires_at = now() - interval '1 second'")
    userid = await stack.db.fetchval("SELECT xero_userid FROM token_sets")
    store = token_sets.store_rotated
    is_back = asyncio.Event()

    async def away(*arguments, **more):
        if not is_back.is_set():
            raise ConnectionRefusedError
        return await store(*arguments, **more)

    monkeypatch.setattr(token_sets, "store_rotated", away)
    monkeypatch.setattr(refresh_tokens, "lease", lambda _: timedelta(seconds=0.5))
    with pytest.raises(Unavailable):
        await refresh_tokens.refresh(ports(stack), await token_sets.find(stack.db, userid))
    # Long after the lease, nobody waits for the answer any more; it is kept all the same.
    assert len(ports(stack).tasks) == 1
    is_back.set()
    await asyncio.wait_for(asyncio.wait(set(ports(stack).tasks)), 20)
    monkeypatch.undo()
    assert (await access_token(ports(stack), userid)).version == 2
    assert len(stack.calls("/connect/token")) == 2


async def test_a_pair_that_comes_after_the_grant_was_given_up_revives_it(stack, claimed):
    tokens, lease_id = claimed
    used = tokens.refresh_token(ports(stack).ring)
    pair = await ports(stack).identity.refresh(used)
    # Its holder was stopped for longer than Xero takes the replaced token; another replica found that refused.
    stack.sim.world.clock.advance(31 * 60)
    await stack.db.execute("UPDATE token_sets SET lease_until = now(), refresh_after = now()")
    assert await refresh_due(ports(stack)) == 1
    assert (await stack.status("acc-1"))["reason"] == "REFRESH_REJECTED"
    assert await refresh_tokens.keep(ports(stack), tokens, lease_id, pair, used) is None
    assert await refresh_due(ports(stack)) == 1
    assert (await stack.status("acc-1"))["status"] == "CONNECTED"
    assert await reasons(stack) == ["CONNECTED_BY_USER", "REFRESH_REJECTED", "REFRESHED"]
