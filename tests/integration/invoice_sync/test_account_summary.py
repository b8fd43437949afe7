"""`GET …/summary`: the counts that tell an administrator what a disconnect will stop."""

from types import SimpleNamespace

import httpx
import pytest
from invoice_sync_api import Callers, app_over

from invoice_sync.domain.state import State
from invoice_sync.store import invoices


@pytest.fixture
async def asking(sync_dsn, sync_pool, tmp_path):
    """A client in front of the application, and the makers of its callers' headers."""
    callers = Callers()
    app = app_over(SimpleNamespace(pool=sync_pool), sync_dsn, tmp_path, callers)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://invoice-sync"
    ) as client:
        yield client, callers.service, callers.person


async def fill(pool, account_id, **counts):
    async with pool.acquire() as conn:
        for state, number in counts.items():
            await conn.execute(
                """
                INSERT INTO invoices (account_id, invoice_id, state, version, operation)
                SELECT $1, $2 || '-' || n, $2, 1, 'write' FROM generate_series(1, $3) n
                """,
                account_id,
                state,
                number,
            )


async def test_counts_by_state_and_what_waits_failed_and_is_in_xero(asking, sync_pool):
    client, service, _ = asking
    await fill(
        sync_pool,
        "acc-sum",
        pending=1,
        waiting_for_connection=2,
        waiting_for_contact=3,
        waiting_for_budget=4,
        syncing=5,
        synced=6,
        failed=7,
        out_of_sync=8,
        voided=9,
    )
    await fill(sync_pool, "acc-other", synced=50)
    answer = await client.get("/v1/accounts/acc-sum/summary", headers=service("connector"))
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "account_id": "acc-sum",
        "states": {
            "pending": 1,
            "waiting_for_connection": 2,
            "waiting_for_contact": 3,
            "waiting_for_budget": 4,
            "syncing": 5,
            "synced": 6,
            "failed": 7,
            "out_of_sync": 8,
            "voided": 9,
        },
        "waiting": 15,
        "failed": 7,
        "synced": 6,
    }


async def test_an_account_nothing_was_heard_of_has_nothing(asking):
    client, service, _ = asking
    answer = await client.get("/v1/accounts/acc-new/summary", headers=service("connector"))
    assert set(answer.json()["states"].values()) == {0}
    assert set(answer.json()["states"]) == set(State)
    assert [answer.json()[name] for name in ("waiting", "failed", "synced")] == [0, 0, 0]


async def test_the_connector_may_ask_this_and_nothing_else(asking):
    client, service, person = asking
    connector = service("connector")
    for path in ("/failures", "/invoices/inv-1/sync", "/contact-mappings"):
        refused = await client.get(f"/v1/accounts/acc-sum{path}", headers=connector)
        assert refused.status_code == 403, path
    path = "/v1/accounts/acc-sum/summary"
    assert (await client.get(path)).status_code == 401
    assert (await client.get(path, headers=service("payment-ingest"))).status_code == 403
    assert (await client.get(path, headers=person("acc-sum"))).status_code == 200
    assert (await client.get(path, headers=person("acc-else", "admin"))).status_code == 404


async def test_the_index_alone_answers_for_an_account_with_many_invoices(sync_pool):
    async with sync_pool.acquire() as conn:
        await conn.execute("TRUNCATE invoices CASCADE")
    await fill(sync_pool, "acc-big", synced=20_000, pending=50)
    async with sync_pool.acquire() as conn:
        await conn.execute("VACUUM ANALYZE invoices")
        seen = []

        class Explaining:
            async def fetch(self, statement, *args):
                seen.extend(await conn.fetch(f"EXPLAIN {statement}", *args))
                return []

        await invoices.count_by_state(Explaining(), "acc-big")
    plan = "\n".join(row[0] for row in seen)
    assert "Index Only Scan using invoices_by_state" in plan, plan
