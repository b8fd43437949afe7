"""Many grants at a time, a sick one among them; looks at /connections shared by replicas; figures and health."""

import asyncio
import time
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from prometheus_client import REGISTRY

from connector import background, for_each, tend_tokens
from connector.background import Chore, check_background, repeat
from connector.connect_tenant import put_consented
from connector.domain.connection import (
    Actor,
    Connected,
    Organisation,
    never_connected,
    next_connection,
)
from connector.domain.refresh import Pair
from connector.domain.scopes import SCOPES
from connector.measure_tokens import measure_tokens
from connector.record_change import record_change
from connector.store import cleanups
from connector.tend_tokens import check_due, refresh_due


def ports(stack, app=0):
    return stack.apps[app].state.deps


async def many_grants(stack, count):
    """Grants of Xero users of their own, each serving an account; returns the users' ids."""
    world = stack.sim.world
    users = []
    someone = next(iter(world.users.values()))
    granted = frozenset(SCOPES) - {"openid", "profile", "email"}
    pool = ports(stack).pool
    for number in range(count):
        userid = f"user-{number}"
        world.users[userid] = replace(someone, user_id=userid, email=f"{userid}@example.com")
        issue = world.grants._issue(userid, granted, "event", "", world.clock.now())
        async with pool.acquire() as conn, conn.transaction():
            now = await conn.fetchval("SELECT clock_timestamp()")
            pair = Pair("access", issue.refresh_token, now - now.replace(hour=0), "")
            await put_consented(conn, ports(stack), userid, pair, now)
            old = never_connected(f"acc-{number}")
            happening = Connected(
                Organisation(f"tenant-{number}", "Org"), userid, Actor("user-1", "Ada")
            )
            new = next_connection(old, happening, now=now, actor=None)
            await record_change(conn, old, new, None)
        users.append(userid)
    return users


async def test_many_are_renewed_together_and_a_sick_one_holds_up_nobody(make_stack, monkeypatch):
    stack = await make_stack(replicas=2)
    users = await many_grants(stack, 60)
    # One cannot be opened, one Xero does not know, and one makes our own code fail.
    await stack.db.execute(
        "UPDATE token_sets SET refresh_token = access_token WHERE xero_userid = 'user-7'"
    )
    stack.sim.world.grants.refreshes = {
        token: row
        for token, row in stack.sim.world.grants.refreshes.items()
        if row.user_id != "user-8"
    }
    renew_one = tend_tokens.renew_one

    running, most = 0, 0

    async def failing(deps, userid):
        nonlocal running, most
        if userid == "user-9":
            raise RuntimeError("a mistake of ours")
        running += 1
        most = max(most, running)
        await renew_one(deps, userid)
        running -= 1

    monkeypatch.setattr(tend_tokens, "renew_one", failing)
    before = {name: outcome(name) for name in ("renewed", "refused", "key_unavailable")}
    await asyncio.gather(refresh_due(ports(stack, 0)), refresh_due(ports(stack, 1)))
    rows = await stack.db.fetch("SELECT xero_userid, version FROM token_sets")
    versions = {row["xero_userid"]: row["version"] for row in rows}
    sick = {"user-7", "user-8", "user-9"}
    assert {user: versions[user] for user in users} == {
        user: 1 if user in sick else 2 for user in users
    }
    assert len(stack.calls("/connect/token")) == len(users) - 2
    counted = {name: outcome(name) - number for name, number in before.items()}
    assert counted == {"renewed": 57, "refused": 1, "key_unavailable": 1}
    assert for_each.AT_ONCE < most <= 2 * for_each.AT_ONCE
    states = await stack.db.fetch(
        "SELECT account_id, reason FROM connections WHERE reason <> 'CONNECTED_BY_USER'"
    )
    assert {tuple(row) for row in states} == {("acc-8", "REFRESH_REJECTED")}


async def test_a_disconnect_inside_xero_is_found_once_by_replicas_together(make_stack):
    stack = await make_stack(replicas=3)
    await stack.connect("acc-1")
    await stack.connect("acc-2", "demo@example.com", ("Demo Company (NZ)",))
    tenant = (await stack.status("acc-1"))["tenant_id"]
    asked = len(stack.calls("/connections"))
    spent = len(stack.calls("/api.xro/"))
    stack.sim.world.grants.disconnect_tenant(tenant)
    # Nobody calls, and the access token ran out long ago.
    await stack.db.execute(
        "UPDATE token_sets SET check_after = now(), last_used_at = now() - interval '1 day', "
        "access_expires_at = now() - interval '1 hour'"
    )
    taken = await asyncio.gather(*(check_due(ports(stack, n)) for n in range(3)))
    assert sum(taken) == 2
    assert len(stack.calls("/connections")) == asked + 2
    assert len(stack.calls("/api.xro/")) == spent
    status = await stack.status("acc-1")
    assert (status["status"], status["reason"]) == ("DISCONNECTED", "REVOKED_IN_XERO")
    assert (await stack.status("acc-2"))["status"] == "CONNECTED"
    assert len(await stack.events("acc-1")) == 2
    minutes = await stack.db.fetchval(
        "SELECT extract(epoch FROM min(check_after) - now()) / 60 FROM token_sets"
    )
    assert 49 < minutes <= 60
    assert await check_due(ports(stack)) == 0


async def test_checks_at_the_same_moment_announce_once(make_stack):
    stack = await make_stack(replicas=2)
    await stack.connect("acc-1")
    userid = await stack.db.fetchval("SELECT xero_userid FROM token_sets")
    stack.sim.world.grants.disconnect_tenant((await stack.status("acc-1"))["tenant_id"])
    await asyncio.gather(
        *(tend_tokens.check_tenants(ports(stack, n % 2), userid) for n in range(8))
    )
    assert [event.reason for event in await stack.events("acc-1")] == [
        "CONNECTED_BY_USER",
        "REVOKED_IN_XERO",
    ]


async def test_a_look_without_an_answer_comes_again_soon(stack):
    await stack.connect("acc-1")
    stack.sim.world.faults.add(kind="unavailable_503", path="/connections", times=0)
    await stack.db.execute("UPDATE token_sets SET check_after = now()")
    assert await check_due(ports(stack)) == 1
    assert (await stack.status("acc-1"))["status"] == "CONNECTED"
    seconds = await stack.db.fetchval(
        "SELECT extract(epoch FROM check_after - now()) FROM token_sets"
    )
    assert 200 < seconds <= 300


def outcome(name):
    return REGISTRY.get_sample_value("xero_token_refreshes_total", {"outcome": name}) or 0


def figure(name, **labels):
    return REGISTRY.get_sample_value(name, labels)


async def test_the_figures_say_what_is_near_its_end(stack):
    await measure_tokens(ports(stack))
    assert figure("xero_access_token_nearest_expiry_seconds") == float("inf")
    await stack.connect("acc-1")
    await stack.connect("acc-2", "demo@example.com", ("Demo Company (NZ)",))
    await stack.db.execute(
        """
        UPDATE token_sets
           SET access_expires_at = now() + interval '100 seconds', refreshed_at = now() - interval '59 days',
               refresh_after = now() - interval '1 hour'
         WHERE xero_userid = (SELECT xero_userid FROM connections WHERE account_id = 'acc-2')
        """
    )
    async with ports(stack).pool.acquire() as conn:
        userid = await conn.fetchval("SELECT xero_userid FROM token_sets LIMIT 1")
        await cleanups.add(conn, kind="connection", xero_userid=userid, tenant_id="t")
    await stack.db.execute("UPDATE cleanups SET created_at = now() - interval '1 hour'")
    await measure_tokens(ports(stack))
    assert 90 < figure("xero_access_token_nearest_expiry_seconds") <= 100
    assert 86_000 < figure("xero_refresh_token_nearest_expiry_seconds") <= 86_400
    assert figure("xero_token_refreshes_overdue") == 1
    # A renewal that fails again and again is tried again soon, each time.
    await stack.db.execute(
        "UPDATE token_sets SET refresh_after = now() + interval '1 minute', refresh_pending = true,"
        " unavailable_since = now() - $1::interval WHERE refresh_after < now()",
        timedelta(minutes=1),
    )
    await measure_tokens(ports(stack))
    assert figure("xero_token_refreshes_overdue") == 0
    await stack.db.execute(
        "UPDATE token_sets SET unavailable_since = now() - interval '3 minutes' WHERE unavailable_since IS NOT NULL"
    )
    await measure_tokens(ports(stack))
    assert figure("xero_token_refreshes_overdue") == 1
    assert figure("xero_cleanups_pending") == 1
    assert 3600 <= figure("xero_cleanups_oldest_seconds") < 3700
    assert figure("xero_connections", status="CONNECTED", reason="CONNECTED_BY_USER") == 2
    # Two tokens each, and a verifier and a nonce for each attempt.
    assert figure("xero_sealed_values", key_version="v1", opens="yes") == 8


async def test_background_chores_go_on_after_a_failure_and_show_when_one_is_stuck(
    stack, monkeypatch
):
    deps = ports(stack)
    object.__setattr__(
        deps, "settings", deps.settings.model_copy(update={"background_seconds": 0.01})
    )
    came = asyncio.Queue()

    async def moody(_):
        came.put_nowait("came")
        raise RuntimeError("not today")

    done = {"name": "connector_background_done_timestamp_seconds", "chore": "moody"}
    task = asyncio.create_task(repeat(deps, Chore(moody)))
    try:
        async with asyncio.timeout(20):
            await came.get()
            begun = figure(**done)
            for _ in range(3):
                await came.get()
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    # Alive, but its figure stands still: a chore that fails for ever has to be seen.
    assert begun is not None
    assert figure(**done) == begun
    await check_background(deps)
    async with stack.caller() as client:
        assert (await client.get("/health/live")).json()["checks"] == {"background": "ok"}
        deps.heartbeats["refresh_due"] = time.monotonic() - background.STUCK_SECONDS - 400
        stuck: httpx.Response = await client.get("/health/live")
        assert (stuck.status_code, stuck.json()["checks"]) == (503, {"background": "failed"})
