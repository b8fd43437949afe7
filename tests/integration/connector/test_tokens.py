"""Tokens: one refresh at a time, nothing lost, an outage is not a dead grant, and nothing legible at rest."""

import asyncio
import base64
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest

from connector import refresh_tokens
from connector.domain.refresh import Pair
from connector.domain.sealing import SealBroken
from connector.refresh_tokens import GrantDead, Unavailable, access_token
from connector.store import budgets, connections, token_sets
from connector.tend_tokens import check_due, refresh_due


async def expire(stack):
    """The access token is out of date, here and at Xero."""
    await stack.db.execute("UPDATE token_sets SET access_expires_at = now() - interval '1 second'")
    stack.sim.world.grants.expire_access(stack.sim.world.clock.now())


async def userid_of(stack):
    return await stack.db.fetchval("SELECT xero_userid FROM token_sets")


def deps(stack, app=0):
    return stack.apps[app].state.deps


async def stored_refresh_token(stack):
    async with deps(stack).pool.acquire() as conn:
        tokens = await token_sets.find(conn, await userid_of(stack))
    return tokens.refresh_token(deps(stack).ring)


def refresh_calls(stack):
    return len(stack.calls("/connect/token")) - 1


async def test_twenty_callers_on_two_replicas_refresh_once(make_stack):
    stack = await make_stack(replicas=2)
    await stack.connect("acc-1")
    await expire(stack)
    userid = await userid_of(stack)
    got = await asyncio.gather(*(access_token(deps(stack, n % 2), userid) for n in range(20)))
    assert refresh_calls(stack) == 1
    assert len({access.token for access in got}) == 1
    newest = [t for t, row in stack.sim.world.grants.refreshes.items() if row.used is None]
    assert [await stored_refresh_token(stack)] == newest


async def test_a_token_refused_by_xero_is_renewed_once_by_all(make_stack):
    stack = await make_stack(replicas=2)
    await stack.connect("acc-1")
    stack.sim.world.grants.expire_access(stack.sim.world.clock.now())
    userid = await userid_of(stack)
    await asyncio.gather(
        *(access_token(deps(stack, n % 2), userid, stale_version=1) for n in range(10))
    )
    assert refresh_calls(stack) == 1


async def test_a_lost_reply_is_repaired_inside_the_grace(stack):
    await stack.connect("acc-1")
    await expire(stack)
    stack.sim.world.faults.add(kind="refresh_reply_lost", path="/connect/token")
    userid = await userid_of(stack)
    with pytest.raises(Unavailable):
        await access_token(deps(stack), userid)
    assert (await stack.status("acc-1"))["status"] == "CONNECTED"
    await stack.db.execute("UPDATE token_sets SET refresh_after = now()")
    assert await refresh_due(deps(stack)) == 1
    access = await access_token(deps(stack), userid)
    assert access.version == 2
    assert len(await stack.events("acc-1")) == 1
    assert (await stack.caller().get("/v1/accounts/acc-1/xero/Organisation")).status_code == 200


async def test_a_killed_refreshers_lease_ends_and_its_rotation_is_repaired(stack):
    await stack.connect("acc-1")
    await expire(stack)
    userid = await userid_of(stack)
    async with deps(stack).pool.acquire() as conn:
        await token_sets.claim(conn, userid, 1, uuid4(), timedelta(seconds=30))
    # The killed process got its answer and died before storing it.
    stack.sim.world.grants.rotate(
        await stored_refresh_token(stack), stack.sim.world.clock.now(), revoke_lost=True
    )
    assert await refresh_due(deps(stack)) == 0
    await stack.db.execute("UPDATE token_sets SET lease_until = now(), refresh_after = now()")
    assert await refresh_due(deps(stack)) == 1
    assert (await access_token(deps(stack), userid)).version == 2


async def test_a_pair_received_too_late_is_kept_and_used_when_nothing_else_works(stack):
    await stack.connect("acc-1")
    userid = await userid_of(stack)
    ports = deps(stack)
    async with ports.pool.acquire() as conn:
        paused = uuid4()
        claimed = await token_sets.claim(conn, userid, 1, paused, timedelta(seconds=30))
    answer = await ports.identity.refresh(claimed.refresh_token(ports.ring))
    assert isinstance(answer, Pair)
    # Meanwhile the lease ended and another replica took the row.
    await stack.db.execute(
        "UPDATE token_sets SET lease_id = gen_random_uuid(), lease_until = now()"
    )
    assert await refresh_tokens.keep(ports, claimed, paused, answer, "used") is None
    assert await stack.db.fetchval("SELECT count(*) FROM orphan_tokens") == 1
    assert await stored_refresh_token(stack) == claimed.refresh_token(ports.ring)
    # Half an hour later the stored token is past its grace: only the orphan is left.
    stack.sim.world.clock.advance(31 * 60)
    await expire(stack)
    assert (await access_token(ports, userid)).version == 2
    assert await stack.db.fetchval("SELECT count(*) FROM orphan_tokens") == 0
    assert (await stack.status("acc-1"))["status"] == "CONNECTED"


async def test_a_refused_grant_expires_the_connection_once_and_says_what_to_do(stack):
    await stack.connect("acc-1")
    await expire(stack)
    stack.sim.world.grants.refreshes.clear()
    userid = await userid_of(stack)
    for _ in range(2):
        with pytest.raises(GrantDead):
            await access_token(deps(stack), userid)
    assert refresh_calls(stack) == 1
    status = await stack.status("acc-1")
    assert (status["status"], status["reason"]) == ("TOKEN_EXPIRED", "REFRESH_REJECTED")
    assert status["can_refresh"] is False
    assert [e.status for e in await stack.events("acc-1")] == ["CONNECTED", "TOKEN_EXPIRED"]
    refused = await stack.caller().get("/v1/accounts/acc-1/xero/Organisation")
    assert (refused.status_code, refused.headers["x-gateway-error"]) == (409, "NOT_CONNECTED")
    assert refused.json()["reason"] == "REFRESH_REJECTED"
    async with stack.browser("acc-1") as browser:
        page = await browser.pipeline.get(browser.card)
        assert "TOKEN_EXPIRED" in page.text
        assert "Refresh Token" not in page.text
        assert "Connect to Xero</button>" in page.text
        answer = await browser.press("refresh")
        assert answer.headers["location"].endswith("/problem/refresh-rejected")
    assert "CONNECTED" in (await stack.connect("acc-1")).text
    assert (await stack.status("acc-1"))["status"] == "CONNECTED"


async def test_unused_for_sixty_days_is_named_so(stack):
    await stack.connect("acc-1")
    await expire(stack)
    await stack.db.execute("UPDATE token_sets SET refreshed_at = now() - interval '61 days'")
    stack.sim.world.clock.advance(61 * 86_400)
    with pytest.raises(GrantDead):
        await access_token(deps(stack), await userid_of(stack))
    assert (await stack.status("acc-1"))["reason"] == "EXPIRED_UNUSED"


async def test_an_outage_is_not_a_dead_grant(stack):
    await stack.connect("acc-1")
    await expire(stack)
    stack.sim.world.faults.add(kind="unavailable_503", path="/connect/token", times=0)
    answer = await stack.caller().get("/v1/accounts/acc-1/xero/Organisation")
    assert (answer.status_code, answer.headers["x-gateway-error"]) == (502, "XERO_UNREACHABLE")
    assert answer.json()["outcome"] == "not_sent"
    assert (await stack.status("acc-1"))["status"] == "CONNECTED"
    async with stack.browser("acc-1") as browser:
        page = await browser.pipeline.get(browser.card)
        assert "not answering" in page.text
        assert "Refresh Token</button>" in page.text
        tried = await browser.press("refresh")
        assert tried.headers["location"].endswith("/problem/refresh-delayed")
        stack.sim.world.faults.faults.clear()
        assert (await browser.press("refresh")).headers["location"] == browser.card
        assert "not answering" not in (await browser.pipeline.get(browser.card)).text
    assert len(await stack.events("acc-1")) == 1


async def test_an_outage_does_not_stop_calls_while_the_access_token_lives(stack):
    await stack.connect("acc-1")
    await stack.db.execute(
        "UPDATE token_sets SET access_expires_at = now() + interval '40 seconds'"
    )
    stack.sim.world.faults.add(kind="unavailable_503", path="/connect/token", times=0)
    answer = await stack.caller().get("/v1/accounts/acc-1/xero/Organisation")
    assert answer.status_code == 200


async def test_wrong_app_credentials_can_be_cured_by_refresh_token(stack):
    await stack.connect("acc-1")
    await expire(stack)
    good = stack.sim.world.settings
    stack.sim.world.settings = replace(good, client_secret="changed at Xero")
    with pytest.raises(Unavailable):
        await access_token(deps(stack), await userid_of(stack))
    status = await stack.status("acc-1")
    assert (status["status"], status["reason"], status["can_refresh"]) == (
        "TOKEN_EXPIRED",
        "CLIENT_REJECTED",
        True,
    )
    stack.sim.world.settings = good
    async with stack.browser("acc-1") as browser:
        assert "Refresh Token</button>" in (await browser.pipeline.get(browser.card)).text
        assert (await browser.press("refresh")).headers["location"] == browser.card
    assert (await stack.status("acc-1"))["status"] == "CONNECTED"
    assert [e.sequence for e in await stack.events("acc-1")] == [1, 2, 3]


async def test_background_renews_what_is_in_use_and_daily_what_is_idle(stack):
    await stack.connect("acc-1")
    assert await refresh_due(deps(stack)) == 0
    await stack.db.execute("UPDATE token_sets SET refresh_after = now(), last_used_at = now()")
    assert await refresh_due(deps(stack)) == 1
    await stack.db.execute(
        "UPDATE token_sets SET refresh_after = now(), last_used_at = now() - interval '2 hours'"
    )
    assert await refresh_due(deps(stack)) == 0
    await stack.db.execute("UPDATE token_sets SET refreshed_at = now() - interval '1 day'")
    assert await refresh_due(deps(stack)) == 1
    left = await stack.db.fetchval(
        "SELECT extract(epoch FROM access_expires_at - refresh_after) FROM token_sets"
    )
    assert 600 <= left <= 721


async def test_background_finds_a_disconnect_inside_xero(stack):
    await stack.connect("acc-1")
    tenant = (await stack.status("acc-1"))["tenant_id"]
    stack.sim.world.grants.disconnect_tenant(tenant)
    assert await check_due(deps(stack)) == 0
    await stack.db.execute("UPDATE token_sets SET check_after = now()")
    await check_due(deps(stack))
    status = await stack.status("acc-1")
    assert (status["status"], status["reason"]) == ("DISCONNECTED", "REVOKED_IN_XERO")
    assert len(await stack.events("acc-1")) == 2


async def test_a_database_dump_holds_no_token_and_no_oauth_secret(stack):
    await stack.connect("acc-1")
    await expire(stack)
    await access_token(deps(stack), await userid_of(stack))
    async with stack.browser("acc-2") as browser:
        address = await browser.to_xero()
    grants = stack.sim.world.grants
    secrets = [
        *grants.refreshes,
        *grants.accesses,
        stack.settings.xero_client_secret.get_secret_value(),
    ]
    secrets.append(parse_qs(urlsplit(address).query)["state"][0])
    dump = await whole_database(stack)
    for secret in secrets:
        for form in (
            secret.encode(),
            base64.b64encode(secret.encode())[:-4],
            secret.encode().hex().encode(),
        ):
            assert form not in dump
        assert not any(
            secret.encode()[i : i + 16] in dump for i in range(0, max(1, len(secret) - 16), 8)
        )


async def whole_database(stack):
    tables = await stack.db.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    values = []
    for table in tables:
        for row in await stack.db.fetch(f'SELECT * FROM "{table["tablename"]}"'):  # noqa: S608 - its own tables
            values.extend(row.values())
    assert len(values) > 50
    return b"\n".join(bytes(v) if isinstance(v, bytes) else str(v).encode() for v in values)


async def test_ciphertext_moved_between_rows_or_columns_does_not_open(stack):
    await stack.connect("acc-1", "single@example.com")
    await stack.connect("acc-2", "demo@example.com", ("Demo Company (NZ)",))
    ring = deps(stack).ring
    rows = await stack.db.fetch("SELECT xero_userid FROM token_sets")
    async with deps(stack).pool.acquire() as conn:
        one, two = [await token_sets.find(conn, row["xero_userid"]) for row in rows]
    assert one.access_token(ring)
    for moved in (
        replace(one, access_sealed=two.access_sealed),
        replace(one, access_sealed=one.refresh_sealed),
        replace(one, version=2),
    ):
        with pytest.raises(SealBroken):
            moved.access_token(ring)


async def test_a_new_consent_beats_a_refresh_under_way(stack):
    await stack.connect("acc-1")
    ports = deps(stack)
    userid = await userid_of(stack)
    async with ports.pool.acquire() as conn:
        lease = uuid4()
        claimed = await token_sets.claim(conn, userid, 1, lease, timedelta(seconds=30))
    answer = await ports.identity.refresh(claimed.refresh_token(ports.ring))
    await stack.connect("acc-1")
    consented = await stored_refresh_token(stack)
    assert await refresh_tokens.keep(ports, claimed, lease, answer, "used") is None
    assert await stored_refresh_token(stack) == consented
    assert await stack.db.fetchval("SELECT count(*) FROM orphan_tokens") == 1


@pytest.mark.parametrize("day_remaining", [None, 4000])
async def test_a_refresh_and_the_end_of_a_call_never_deadlock(stack, day_remaining):
    await stack.connect("acc-1")
    userid = await userid_of(stack)
    tenant = (await stack.status("acc-1"))["tenant_id"]
    await stack.db.execute("UPDATE connections SET last_call_at = NULL")
    await stack.db.execute("UPDATE token_sets SET last_used_at = now() - interval '1 hour'")
    pool = deps(stack).pool
    async with pool.acquire() as refreshing, pool.acquire() as ending:
        pid = await ending.fetchval("SELECT pg_backend_pid()")
        async with refreshing.transaction():
            await token_sets.lock(refreshing, userid)
            end = asyncio.create_task(
                budgets.finish_call(ending, 1, tenant, day_remaining, "acc-1", userid)
            )
            async with asyncio.timeout(20):
                while not await stack.db.fetchval(  # noqa: ASYNC110 - another connection's lock
                    "SELECT count(*) FROM pg_locks WHERE pid = $1 AND NOT granted", pid
                ):
                    await asyncio.sleep(0.01)
            # In the middle: the end of the call waits for the tokens, and must not hold the connection.
            assert len(await connections.lock_of_user(refreshing, userid)) == 1
        await end
    assert await stack.db.fetchval("SELECT last_call_at IS NOT NULL FROM connections")
