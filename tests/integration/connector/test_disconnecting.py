"""Disconnecting: recorded first, undone at Xero, erased, and resumed when something dies in between."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

from connector import refresh_tokens
from connector.connect_tenant import put_consented
from connector.disconnect_tenant import resume_disconnects
from connector.domain.connection import Actor
from connector.domain.refresh import Pair
from connector.store import cleanups, connections, token_sets


async def press_disconnect(stack, account="acc-1"):
    async with stack.browser(account) as browser:
        answer = await browser.press("disconnect")
        assert answer.headers["location"] == browser.card
        return await browser.pipeline.get(browser.card)


async def counts(stack):
    return {
        table: await stack.db.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - constants
        for table in ("token_sets", "cleanups", "orphan_tokens")
    }


async def test_the_grant_is_revoked_and_the_tokens_are_erased(stack):
    await stack.connect("acc-1")
    page = await press_disconnect(stack)
    assert "DISCONNECTED" in page.text
    assert "Connect to Xero</button>" in page.text
    assert stack.sim.world.grants.connections == {}
    assert stack.sim.world.grants.refreshes == {}
    assert await counts(stack) == {"token_sets": 0, "cleanups": 0, "orphan_tokens": 0}
    status = await stack.status("acc-1")
    assert (status["status"], status["reason"]) == ("DISCONNECTED", "DISCONNECTED_BY_USER")
    assert status["tenant_name"] == "Kiwi Records Ltd"
    last = (await stack.events("acc-1"))[-1]
    assert (last.status, last.changed_by, last.sequence) == ("DISCONNECTED", "user-1", 2)


async def test_pressing_twice_announces_once(stack):
    await stack.connect("acc-1")
    await press_disconnect(stack)
    await press_disconnect(stack)
    assert len(await stack.events("acc-1")) == 2


async def test_a_xero_user_who_serves_two_accounts_loses_only_the_one(stack):
    await stack.connect("acc-1", "demo@example.com", ("Demo Company (NZ)",))
    await stack.connect("acc-2", "demo@example.com", ("Demo Company (US)",))
    await press_disconnect(stack, "acc-1")
    left = [
        stack.sim.world.books[c.tenant_id].organisation.name
        for c in stack.sim.world.grants.connections.values()
    ]
    assert left == ["Demo Company (US)"]
    async with stack.caller() as client:
        assert (await client.get("/v1/accounts/acc-2/xero/Organisation")).status_code == 200
        assert (await client.get("/v1/accounts/acc-1/xero/Organisation")).status_code == 409
    assert (await counts(stack))["token_sets"] == 1


async def test_xero_down_is_recorded_and_undone_later(stack):
    await stack.connect("acc-1")
    good = stack.sim.world.settings
    stack.sim.world.settings = replace(good, client_secret="away")
    await press_disconnect(stack)
    assert (await stack.status("acc-1"))["status"] == "DISCONNECTED"
    assert (await counts(stack))["cleanups"] == 1
    stack.sim.world.settings = good
    await stack.db.execute("UPDATE cleanups SET next_attempt_at = now()")
    await resume_disconnects(stack.apps[0].state.deps)
    assert await counts(stack) == {"token_sets": 0, "cleanups": 0, "orphan_tokens": 0}
    assert stack.sim.world.grants.connections == {}


async def test_a_process_killed_after_the_fence_is_resumed(stack):
    await stack.connect("acc-1")
    await connections.fence(stack.db, "acc-1", Actor("user-9", "Nine"))
    async with stack.caller() as client:
        assert (await client.get("/v1/accounts/acc-1/xero/Organisation")).status_code == 409
    await stack.db.execute("UPDATE connections SET fenced_at = now() - interval '1 minute'")
    await resume_disconnects(stack.apps[0].state.deps)
    status = await stack.status("acc-1")
    assert (status["status"], status["changed_by"]) == ("DISCONNECTED", "user-9")
    assert stack.sim.world.grants.connections == {}
    assert len(await stack.events("acc-1")) == 2


async def test_reconnecting_before_the_cleanup_keeps_the_new_consent(stack):
    await stack.connect("acc-1")
    good = stack.sim.world.settings
    stack.sim.world.settings = replace(good, client_secret="away")
    await press_disconnect(stack)
    stack.sim.world.settings = good
    await stack.connect("acc-1")
    await stack.db.execute("UPDATE cleanups SET next_attempt_at = now()")
    await resume_disconnects(stack.apps[0].state.deps)
    assert (await counts(stack)) == {"token_sets": 1, "cleanups": 0, "orphan_tokens": 0}
    async with stack.caller() as client:
        assert (await client.get("/v1/accounts/acc-1/xero/Organisation")).status_code == 200


async def test_a_refresh_under_way_is_waited_for_and_its_pair_is_the_one_revoked(stack):
    await stack.connect("acc-1")
    ports, lease = stack.apps[0].state.deps, uuid4()
    userid = await stack.db.fetchval("SELECT xero_userid FROM token_sets")
    async with ports.pool.acquire() as conn:
        claimed = await token_sets.claim(conn, userid, 1, lease, timedelta(seconds=30))
    used = claimed.refresh_token(ports.ring)
    received = await ports.identity.refresh(used)
    page = await press_disconnect(stack)
    assert "DISCONNECTED" in page.text
    # What is stored is replaced already at Xero, and nobody could give back what is on its way.
    assert stack.calls("/connect/revocation") == []
    await refresh_tokens.keep(ports, claimed, lease, received, used)
    await stack.db.execute("UPDATE cleanups SET next_attempt_at = now()")
    await resume_disconnects(ports)
    assert len(stack.calls("/connect/revocation")) == 1
    assert stack.sim.world.grants.refreshes == {}
    assert await counts(stack) == {"token_sets": 0, "cleanups": 0, "orphan_tokens": 0}


async def test_a_consent_stored_while_the_old_grant_is_revoked_is_not_erased_with_it(
    stack, monkeypatch
):
    await stack.connect("acc-1")
    ports = stack.apps[0].state.deps
    userid = await stack.db.fetchval("SELECT xero_userid FROM token_sets")
    revoke = ports.identity.revoke

    async def slow(token):
        answer = await revoke(token)
        # The reply is slower than a new consent waits for it.
        async with ports.pool.acquire() as conn, conn.transaction():
            pair = Pair("access", "refresh", timedelta(minutes=30), "")
            now = await conn.fetchval("SELECT clock_timestamp()")
            assert await put_consented(conn, ports, userid, pair, now)
        return answer

    monkeypatch.setattr(ports.identity, "revoke", slow)
    await press_disconnect(stack)
    assert await counts(stack) == {"token_sets": 1, "cleanups": 0, "orphan_tokens": 0}


async def test_an_abandoned_consent_is_revoked_after_a_while(stack):
    await stack.connect("acc-1", tenants=("none of them",))
    assert (await counts(stack))["token_sets"] == 1
    await resume_disconnects(stack.apps[0].state.deps)
    assert (await counts(stack))["token_sets"] == 1
    await stack.db.execute("UPDATE token_sets SET refreshed_at = now() - interval '1 hour'")
    await stack.db.execute("UPDATE oauth_states SET choice_until = now()")
    await resume_disconnects(stack.apps[0].state.deps)
    assert (await counts(stack))["token_sets"] == 0
    assert stack.sim.world.grants.refreshes == {}


async def test_the_audit_chain_holds_and_notices_a_change(stack):
    await stack.connect("acc-1")
    await press_disconnect(stack)
    rows = await stack.db.fetch("SELECT * FROM connection_changes ORDER BY sequence")
    assert [row["sequence"] for row in rows] == [1, 2]
    assert rows[0]["previous_hash"] is None
    assert rows[1]["previous_hash"] == rows[0]["hash"]
    assert [row["actor_name"] for row in rows] == ["Ada <Admin>"] * 2


async def test_a_cleanup_left_by_a_killed_process_spares_a_consent_that_waits_for_its_choice(stack):
    await stack.connect("acc-1", "demo@example.com", ("Demo Company (NZ)", "Demo Company (US)"))
    userid = await stack.db.fetchval("SELECT xero_userid FROM token_sets")
    assert await stack.db.fetchval("SELECT count(*) FROM connections") == 0
    await cleanups.add(stack.db, kind="grant", xero_userid=userid, tenant_id=None)
    await resume_disconnects(stack.apps[0].state.deps)
    assert stack.sim.world.grants.refreshes
    assert (await counts(stack))["token_sets"] == 1
    assert await stack.db.fetchval("SELECT next_attempt_at > now() FROM cleanups")
