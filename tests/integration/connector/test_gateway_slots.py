"""Slots at their edges: the lock order of starting and ending a call, replies that end one oddly, and late connections."""

import asyncio
import time
from datetime import timedelta

import pytest

from connector.clients.bounded import NotSent, TooLarge
from connector.domain.lanes import Lane
from connector.store import budgets
from connector.take_slot import Slot, still_allowed

ORGANISATION = "/v1/accounts/acc-1/xero/Organisation"


async def waits_for_a_lock(db, pid):
    while not await db.fetchval(  # noqa: ASYNC110 - another session's state has no event
        "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1", pid
    ):
        await asyncio.sleep(0.01)


async def claimed(conn, tenant):
    budget = await budgets.look(conn, tenant)
    claim = await budgets.claim_slot(
        conn,
        budget.version,
        tenant_id=tenant,
        account_id="acc-1",
        caller="x",
        lane=Lane.INVOICES,
        lease=timedelta(minutes=1),
        asks_for_day=False,
    )
    assert claim.slot_id is not None
    return claim


async def test_the_end_of_a_call_and_the_start_of_the_next_never_deadlock(stack):
    await stack.connect("acc-1")
    tenant = (await stack.status("acc-1"))["tenant_id"]
    userid = await stack.db.fetchval("SELECT xero_userid FROM connections")
    # Due again, as they are once a minute.
    await stack.db.execute("UPDATE connections SET last_call_at = NULL")
    await stack.db.execute("UPDATE token_sets SET last_used_at = now() - interval '1 hour'")
    pool = stack.apps[0].state.deps.pool
    async with pool.acquire() as ending, pool.acquire() as starting:
        claim = await claimed(ending, tenant)
        pid = await ending.fetchval("SELECT pg_backend_pid()")
        async with starting.transaction():
            await claimed(starting, tenant)
            end = asyncio.create_task(
                budgets.finish_call(ending, claim.slot_id, tenant, 4000, "acc-1", userid)
            )
            await asyncio.wait_for(waits_for_a_lock(stack.db, pid), 5)
            assert await budgets.usable(starting, "acc-1", tenant)
        await asyncio.wait_for(end, 5)
    row = await stack.db.fetchrow("SELECT * FROM connections")
    assert row["last_call_at"] is not None
    assert await stack.db.fetchval(
        "SELECT finished_at FROM call_slots WHERE id = $1", claim.slot_id
    )
    assert await stack.db.fetchval(
        "SELECT last_used_at > now() - interval '1 minute' FROM token_sets"
    )


async def test_only_the_end_of_a_call_does_not_wait_for_the_disk(stack):
    await stack.connect("acc-1")
    tenant = (await stack.status("acc-1"))["tenant_id"]
    async with stack.apps[0].state.deps.pool.acquire() as conn:
        claim = await claimed(conn, tenant)
        async with conn.transaction():
            await budgets.finish_call(conn, claim.slot_id, tenant, 4000, "acc-1", None)
            assert await conn.fetchval("SHOW synchronous_commit") == "off"
        assert await conn.fetchval("SHOW synchronous_commit") == "on"
    assert await stack.db.fetchval(
        "SELECT finished_at FROM call_slots WHERE id = $1", claim.slot_id
    )


async def test_a_reply_too_large_ends_its_call(make_stack):
    stack = await make_stack(gateway_max_response_bytes=1024)
    await stack.connect("acc-1")
    async with stack.caller() as client:
        answer = await client.get("/v1/accounts/acc-1/xero/Accounts")
    assert answer.headers["x-gateway-error"] == "XERO_REPLY_TOO_LARGE"
    assert await stack.db.fetchval("SELECT count(*) FROM call_slots WHERE finished_at IS NULL") == 0


async def test_an_unreadable_organisation_does_not_stop_connecting(stack, monkeypatch):
    async def too_large(*_):
        raise TooLarge("more than wanted")

    monkeypatch.setattr(stack.apps[0].state.deps.api, "organisation", too_large)
    await stack.connect("acc-1")
    assert (await stack.status("acc-1"))["status"] == "CONNECTED"


async def test_a_key_is_never_dropped_from_a_write(stack):
    await stack.connect("acc-1")
    async with stack.caller() as client:
        answer = await client.put(
            "/v1/accounts/acc-1/xero/Contacts",
            content=b'{"Contacts":[{"Name":"A"}]}',
            headers={"Idempotency-Key": "k" * 501},
        )
    assert answer.status_code == 400
    assert answer.headers["x-gateway-error"] == "HEADER_TOO_LONG"
    assert stack.calls("/Contacts") == []


@pytest.mark.parametrize("disconnected", [True, False])
async def test_a_slow_connection_to_xero_sends_nothing_after_a_disconnect(
    stack, monkeypatch, disconnected
):
    await stack.connect("acc-1")
    before = len(stack.calls("/Organisation"))
    reached, go_on = asyncio.Event(), asyncio.Event()
    transport = stack.apps[0].state.deps.http._transport
    await transport.aclose()  # the next call connects anew
    backend = transport._backend
    connect_at_once = backend.connect_tcp

    async def connect_slowly(*given, **named):
        if not reached.is_set():
            reached.set()
            await go_on.wait()
        return await connect_at_once(*given, **named)

    monkeypatch.setattr(backend, "connect_tcp", connect_slowly)
    async with stack.caller() as client, stack.browser("acc-1") as browser:
        call = asyncio.create_task(client.get(ORGANISATION))
        await reached.wait()
        if disconnected:
            await browser.press("disconnect")
            assert (await stack.status("acc-1"))["status"] == "DISCONNECTED"
        else:
            await asyncio.sleep(1.2)  # beyond the moment in which a slot may be used unasked
        go_on.set()
        answer = await call
    assert len(stack.calls("/Organisation")) - before == (0 if disconnected else 1)
    if disconnected:
        assert answer.status_code == 409
        assert answer.json()["reason"] == "DISCONNECTED_BY_USER"
        assert (
            await stack.db.fetchval("SELECT count(*) FROM call_slots WHERE account_id = 'acc-1'")
            == 0
        )
    else:
        assert answer.status_code == 200


async def test_a_call_too_late_for_its_place_in_the_apps_minute_needs_another(stack):
    await stack.connect("acc-1")
    tenant = (await stack.status("acc-1"))["tenant_id"]
    deps, slot = stack.apps[0].state.deps, Slot(1, time.monotonic() - 2)
    await still_allowed(deps, "acc-1", tenant, slot)
    deps.permits.hear(0, time.monotonic())
    with pytest.raises(NotSent):
        await still_allowed(deps, "acc-1", tenant, slot)


async def test_a_connection_made_anew_meanwhile_is_not_called_expired(stack):
    await stack.connect("acc-1")
    stack.sim.world.grants.connections.clear()
    # Connected after the question was asked which organisations are left: that answer says nothing about it.
    await stack.db.execute("UPDATE connections SET connected_at = now() + interval '1 hour'")
    async with stack.caller() as client:
        answer = await client.get(ORGANISATION)
    assert answer.status_code == 403
    assert "x-gateway-error" not in answer.headers
    assert (await stack.status("acc-1"))["status"] == "CONNECTED"
