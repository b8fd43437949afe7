"""One account that cannot be served, whyever, holds up nobody else's turn in the background."""

import pytest

from connector import announce_days, disconnect_tenant, learn_facts
from connector.store import connections

SICK, WELL = "acc-1", "acc-2"
"""In the order in which they get their turn."""


def ports(stack):
    return stack.apps[0].state.deps


@pytest.fixture
async def two(stack):
    await stack.connect(SICK)
    await stack.connect(WELL, "demo@example.com", ("Demo Company (NZ)",))
    return stack


@pytest.fixture
def sick(two, monkeypatch):
    """Both are connected, and whoever locks the first account's row fails."""
    lock = connections.lock

    async def failing(conn, account_id):
        if account_id == SICK:
            raise RuntimeError("a mistake of ours")
        return await lock(conn, account_id)

    monkeypatch.setattr(connections, "lock", failing)
    return two


async def test_a_disconnect_that_was_begun_is_finished(sick):
    await sick.db.execute(
        "UPDATE connections SET fenced_at = now() - interval '2 minutes' + ascii(right(account_id, 1)) * interval '1 second'"
    )
    await disconnect_tenant.resume_disconnects(ports(sick))
    assert (await sick.status(WELL))["status"] == "DISCONNECTED"
    # And what is left to do at Xero was done too.
    assert await sick.db.fetchval("SELECT count(*) FROM cleanups") == 0


async def test_what_is_left_at_xero_is_undone(two, monkeypatch):
    first = await two.db.fetchval("SELECT xero_userid FROM connections WHERE account_id = $1", SICK)
    await two.db.execute(
        """
        INSERT INTO cleanups (kind, xero_userid, tenant_id, next_attempt_at)
        SELECT 'connection', xero_userid, 'gone', now() - interval '1 hour' + ascii(right(account_id, 1)) * interval '1 second'
          FROM connections
        """
    )
    remove = disconnect_tenant.remove_connection

    async def failing(deps, cleanup):
        if cleanup.xero_userid == first:
            raise RuntimeError("a mistake of ours")
        return await remove(deps, cleanup)

    monkeypatch.setattr(disconnect_tenant, "remove_connection", failing)
    await disconnect_tenant.resume_disconnects(ports(two))
    left = await two.db.fetch("SELECT xero_userid FROM cleanups")
    assert [row["xero_userid"] for row in left] == [first]


async def test_a_low_day_is_announced(sick):
    await sick.db.execute(
        "UPDATE tenant_budgets SET day_remaining = 1, day_limit = 5000, day_seen_at = now() WHERE tenant_id <> ''"
    )
    await announce_days.announce_days(ports(sick))
    assert (await sick.status(WELL))["reason"] == "DAY_BUDGET_LOW"


async def test_facts_are_learnt(sick):
    await sick.db.execute("UPDATE connections SET short_code = NULL, facts_asked_at = NULL")
    await learn_facts.learn_facts(ports(sick))
    learnt = await sick.db.fetchval(
        "SELECT short_code FROM connections WHERE account_id = $1", WELL
    )
    assert learnt is not None
