"""A call through the gateway costs the same whatever else the database holds: what is read for it is counted at both sizes."""

import asyncpg
import httpx
import pytest
from explained import ExplainedConnection, Reading, grown

from connector.background import forget_calls
from connector.learn_facts import learn_facts
from connector.store import budgets
from connector.tend_tokens import check_due, refresh_due
from pipeline_local_stack.bench.filling import add_accounts, add_rows, look_over
from pipeline_service_defaults.migrate import directories_of

FEW, MANY = (10, 10_000), (10_000, 200_000)
"""Accounts, and rows of each large table: indexes of the first are grown already, if not to their full height."""
CALLS = 10
PATH = "/v1/accounts/acc-1/xero/Organisation"


@pytest.fixture(scope="module")
async def migrated(make_database):
    return await make_database(*directories_of("connector"))


@pytest.fixture
def explained_pools(monkeypatch):
    create = asyncpg.create_pool

    def explained(*given, **options):
        return create(*given, **(options | {"connection_class": ExplainedConnection}))

    monkeypatch.setattr(asyncpg, "create_pool", explained)


async def use(stack):
    """Calls to Xero, the card, the connection as programs ask for it, and the chores about tokens."""
    with Reading() as reads:
        async with stack.caller() as client:
            for _ in range(CALLS):
                answer = await client.get(PATH, headers={"X-Lane": "invoices"})
                assert answer.status_code == httpx.codes.OK, answer.text
            assert (await stack.status("acc-1"))["status"] == "CONNECTED"
        async with stack.browser("acc-1") as browser:
            assert (await browser.pipeline.get(browser.card)).status_code == httpx.codes.OK
        await refresh_due(stack.apps[0].state.deps)
        await check_due(stack.apps[0].state.deps)
        await forget_calls(stack.apps[0].state.deps)
        await learn_facts(stack.apps[0].state.deps)
    return reads


async def test_what_is_read_for_a_call_does_not_grow_with_the_tables(explained_pools, make_stack):
    stack = await make_stack()
    await stack.connect("acc-1")
    found, accounts, rows = [], 0, 0
    for more_accounts, more_rows in (FEW, MANY):
        await add_accounts(stack.db, "connector", accounts + 1, more_accounts)
        await add_rows(stack.db, "connector", rows + 1, more_rows, more_accounts)
        await look_over(stack.db)
        accounts, rows = more_accounts, more_rows
        await stack.db.execute("DELETE FROM call_slots")
        await use(stack)
        await stack.db.execute("DELETE FROM call_slots")
        found.append(await use(stack))
    small, large = found
    assert len(large) > 20
    assert grown(small, large) == []


async def test_of_thousands_of_days_only_those_that_run_low_or_say_so_are_brought(make_stack):
    stack = await make_stack()
    assert await budgets.connected_days(stack.db) == budgets.ConnectedDays(None, [])
    await add_accounts(stack.db, "connector", 1, 1_000)
    await stack.db.execute(
        "UPDATE tenant_budgets SET day_limit = 1000, day_remaining = 900, day_seen_at = now()"
    )
    for number, remaining in ((7, 349), (8, 350), (9, 0)):
        await stack.db.execute(
            "UPDATE tenant_budgets SET day_remaining = $2 WHERE tenant_id = $1",
            f"past-tenant-{number}",
            remaining,
        )
    await stack.db.execute(
        "UPDATE connections SET reason = 'DAY_BUDGET_LOW' WHERE account_id = 'past-5'"
    )
    days = await budgets.connected_days(stack.db)
    assert days.least_left == 0
    told = {account_id: day.remaining for account_id, _, day in days.to_tell_of}
    assert told == {"past-5": 900, "past-7": 349, "past-9": 0}
