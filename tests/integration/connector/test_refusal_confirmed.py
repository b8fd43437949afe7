"""A refusal is believed only after everything else was tried: whoever asks, a call, the background or a person."""

from dataclasses import replace
from uuid import uuid4

import pytest

from connector.domain.refresh import GrantRefused
from connector.refresh_tokens import GrantDead, access_token
from connector.store import token_sets
from connector.tend_tokens import refresh_due


def ports(stack):
    return stack.apps[0].state.deps


async def tokens_of(stack):
    async with ports(stack).pool.acquire() as conn:
        userid = await conn.fetchval("SELECT xero_userid FROM token_sets")
        return await token_sets.find(conn, userid)


async def a_call(stack):
    tokens = await tokens_of(stack)
    await access_token(ports(stack), tokens.xero_userid, stale_version=tokens.version)


async def the_background(stack):
    await stack.db.execute("UPDATE token_sets SET refresh_after = now(), last_used_at = now()")
    assert await refresh_due(ports(stack)) == 1


async def a_person(stack):
    async with stack.browser("acc-1") as browser:
        # Refresh Token is not on the card of a connection that works; a page left open may still send it.
        form = await browser._session_form_token()
        answer = await browser.press("refresh", csrf=form)
        assert answer.headers["location"] == browser.card, answer.headers


everybody = pytest.mark.parametrize("asks", [a_call, the_background, a_person])


async def works_again(stack, version):
    assert (await tokens_of(stack)).version == version
    assert (await stack.status("acc-1"))["status"] == "CONNECTED"
    assert len(await stack.events("acc-1")) == 1
    await a_call(stack)


@everybody
async def test_the_previous_token_is_tried_inside_its_grace(stack, asks):
    await stack.connect("acc-1")
    await a_call(stack)
    refreshes = stack.sim.world.grants.refreshes
    tokens = await tokens_of(stack)
    ring = ports(stack).ring
    # As if Xero had lost the rotation: it knows the token before, and not the one it gave us.
    del refreshes[tokens.refresh_token(ring)]
    previous = tokens.previous_token(ring)
    refreshes[previous] = replace(refreshes[previous], used=None, successor="")
    await asks(stack)
    await works_again(stack, 3)


@everybody
async def test_an_orphan_is_tried(stack, asks):
    await stack.connect("acc-1")
    tokens = await tokens_of(stack)
    ring = ports(stack).ring
    current = tokens.refresh_token(ring)
    row = stack.sim.world.grants.refreshes.pop(current)
    stack.sim.world.grants.refreshes["kept"] = row
    async with ports(stack).pool.acquire() as conn:
        await token_sets.add_orphan(conn, ring, tokens.xero_userid, uuid4(), "kept")
    await asks(stack)
    assert await stack.db.fetchval("SELECT count(*) FROM orphan_tokens") == 0
    await works_again(stack, 2)


@everybody
async def test_a_consent_that_arrived_meanwhile_counts(stack, asks, monkeypatch):
    await stack.connect("acc-1")
    identity = ports(stack).identity
    refresh = type(identity).refresh

    async def refused_while_someone_reconnects(self, token):
        monkeypatch.setattr(type(identity), "refresh", refresh)
        await stack.connect("acc-1")
        return GrantRefused()

    monkeypatch.setattr(type(identity), "refresh", refused_while_someone_reconnects)
    await asks(stack)
    assert (await stack.status("acc-1"))["status"] == "CONNECTED"
    assert {event.reason for event in await stack.events("acc-1")} == {"CONNECTED_BY_USER"}
    assert (await tokens_of(stack)).rejected_at is None


@pytest.mark.parametrize("asks", [a_call, the_background])
async def test_past_its_grace_the_previous_token_is_not_tried(stack, asks):
    await stack.connect("acc-1")
    await a_call(stack)
    await stack.db.execute("UPDATE token_sets SET previous_valid_until = now()")
    stack.sim.world.grants.refreshes.clear()
    asked = len(stack.calls("/connect/token"))
    if asks is a_call:
        with pytest.raises(GrantDead):
            await asks(stack)
    else:
        await asks(stack)
    assert len(stack.calls("/connect/token")) == asked + 1
    assert (await stack.status("acc-1"))["reason"] == "REFRESH_REJECTED"
