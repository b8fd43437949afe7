"""Tell people before a day's calls are spent, and when there are plenty again: once for each crossing."""

from connector import metrics
from connector.deps import Deps
from connector.domain.connection import next_connection
from connector.domain.day_budget import crossing, runs_low
from connector.for_each import for_each
from connector.record_change import record_change
from connector.store import budgets, connections
from pipeline_messaging.failpoints import failpoint


async def announce_days(deps: Deps) -> None:
    """Measure every organisation's day, and record what its connection does not say yet.

    Apart from the calls themselves, so that none of them waits for it or for its locks. It compares what is stored:
    so nothing is lost when a process dies, and replicas that do it together find each other's work done.
    """
    async with deps.pool.acquire() as conn:
        days = await budgets.connected_days(conn)
    metrics.TENANTS_LOW.set(sum(runs_low(day) for _, _, day in days.to_tell_of))
    metrics.DAY_LEFT.set(1.0 if days.least_left is None else days.least_left)
    crossed = [
        account_id
        for account_id, reason, day in days.to_tell_of
        if crossing(reason, day) is not None
    ]
    await for_each(crossed, lambda account_id: announce_day(deps, account_id))


async def announce_day(deps: Deps, account_id: str) -> None:
    """Record the crossing, if under the connection's lock there still is one."""
    async with deps.pool.acquire() as conn, conn.transaction():
        old = await connections.lock(conn, account_id)
        if old is None or old.tenant_id is None:
            return
        day, now = await budgets.day_of(conn, old.tenant_id)
        happening = crossing(old.reason, day)
        new = next_connection(old, happening, now=now, actor=None) if happening else None
        if new is None:
            return
        await record_change(conn, old, new, None)
        failpoint("announce:before_commit")
    failpoint("announce:after_commit")
    deps.wake()
