"""Many at once on the rows of one tenant, over two replicas: no limit is exceeded, and nobody deadlocks."""

import asyncio
import random
import time
from datetime import timedelta

import asyncpg

from connector.domain.connection import Actor, Reason, Refused, Renewed
from connector.domain.lanes import Lane
from connector.record_change import change_all_of_user
from connector.store import budgets, cleanups, connections, token_sets
from connector.take_slot import OutOfBudget, slot_in_time

SECONDS = 3.0
SOMEBODY = Actor("user-1", "Ada")


class Rows:
    """One account's rows, and what happens to them."""

    def __init__(self, stack, tenant, userid):
        self.pool = stack.apps[0].state.deps.pool
        self.tenant, self.userid = tenant, userid
        self.done = {}

    async def ends(self, conn):
        slot = await self.starts(conn)
        await conn.execute("UPDATE connections SET last_call_at = NULL")
        await conn.execute("UPDATE token_sets SET last_used_at = now() - interval '1 hour'")
        await budgets.finish_call(conn, slot or 0, self.tenant, 4000, "acc-1", self.userid)

    async def starts(self, conn):
        budget = await budgets.look(conn, self.tenant)
        claim = await budgets.claim_slot(
            conn,
            budget.version,
            tenant_id=self.tenant,
            account_id="acc-1",
            caller="x",
            lane=Lane.INVOICES,
            lease=timedelta(seconds=1),
            asks_for_day=True,
        )
        return claim.slot_id

    async def refreshes(self, conn):
        happening = random.choice([Renewed(), Refused(Reason.REFRESH_REJECTED)])
        async with conn.transaction():
            await token_sets.note_missing_scopes(conn, self.userid, 1)
            await conn.execute("UPDATE token_sets SET refresh_failures = refresh_failures + 1")
            await asyncio.sleep(random.uniform(0, 0.003))
            await change_all_of_user(conn, self.userid, happening, None)

    async def disconnects(self, conn):
        await connections.fence(conn, "acc-1", SOMEBODY)
        async with conn.transaction():
            old = await connections.lock(conn, "acc-1")
            await asyncio.sleep(random.uniform(0, 0.003))
            await connections.put(conn, old)
            await cleanups.add(conn, kind="connection", xero_userid=self.userid, tenant_id="t")
            await connections.clear_fencer(conn, "acc-1")
        await conn.execute("UPDATE connections SET fenced_at = NULL, status = 'CONNECTED'")

    async def is_blocked(self, conn):
        await budgets.block(conn, self.tenant, timedelta(0), "minute")
        await budgets.wish(conn, self.tenant, Lane.PEOPLE, 1, 0.1)

    async def is_forgotten(self, conn):
        await conn.execute("UPDATE call_slots SET finished_at = finished_at - interval '2 minutes'")
        await budgets.forget_finished(conn)

    async def again_and_again(self, what, until):
        async with self.pool.acquire() as conn:
            while time.monotonic() < until:
                await what(conn)
                self.done[what.__name__] = self.done.get(what.__name__, 0) + 1


async def test_however_late_a_decision_is_carried_out_no_limit_is_exceeded(make_stack, monkeypatch):
    stack = await make_stack(
        # Patient: on a busy machine, everybody's turn may take a while to come.
        replicas=2,
        xero_concurrent_limit=2,
        xero_minute_limit=9,
        gateway_slot_wait_seconds=6,
    )
    await stack.connect("acc-1")
    await stack.db.execute("DELETE FROM call_slots")
    tenant = await stack.db.fetchval("SELECT tenant_id FROM connections")
    look = budgets.look

    async def look_and_dawdle(conn, tenant_id):
        found = await look(conn, tenant_id)
        await asyncio.sleep(random.uniform(0, 0.02))
        return found

    monkeypatch.setattr(budgets, "look", look_and_dawdle)

    async def call(app, lane):
        deps = app.state.deps
        try:
            slot = await slot_in_time(
                deps, tenant_id=tenant, account_id="acc-1", caller="x", lane=lane
            )
        except OutOfBudget:
            return
        await asyncio.sleep(random.uniform(0, 0.05))
        async with deps.pool.acquire() as conn:
            await budgets.finish_call(conn, slot.id, tenant, 4000, "acc-1", None)

    await asyncio.gather(
        *(call(app, lane) for _ in range(5) for app in stack.apps for lane in Lane)
    )
    calls = await stack.db.fetch(
        "SELECT started_at, finished_at FROM call_slots WHERE caller = 'x'"
    )
    assert 5 <= len(calls) <= 9
    for one in calls:
        at = one["started_at"]
        assert sum(other["started_at"] <= at < other["finished_at"] for other in calls) <= 2


async def test_nobody_deadlocks_on_an_accounts_rows(make_stack):
    stack = await make_stack(database_pool_size=20)
    await stack.connect("acc-1")
    row = await stack.db.fetchrow("SELECT tenant_id, xero_userid FROM connections")
    rows, until = Rows(stack, *row), time.monotonic() + SECONDS
    happenings = [
        rows.ends, rows.ends, rows.starts, rows.starts, rows.refreshes, rows.disconnects,
        rows.is_blocked, rows.is_forgotten,
    ]  # fmt: skip
    ends = await asyncio.gather(
        *(rows.again_and_again(what, until) for what in happenings), return_exceptions=True
    )
    assert [end for end in ends if isinstance(end, asyncpg.DeadlockDetectedError)] == []
    assert ends == [None] * len(happenings)
    assert len(rows.done) == len(set(happenings))
