"""Whatever order events come in, and however often, the projection is the same."""

import random
from types import SimpleNamespace

import asyncpg
import pytest
from dashboard_world import Telling, snapshot

from ops_dashboard.project_records import Batch, project
from pipeline_contracts.envelope import decode
from pipeline_service_defaults.migrate import directories_of


@pytest.fixture(scope="module")
async def dsn(make_database):
    return await make_database(*directories_of("ops_dashboard"))


def everything() -> list:
    told = Telling("acc-1")
    records = [told.connected(), told.customer(), told.customer(name="Ridgeway Ltd")]
    for one in ("a", "b", "c"):
        records += [
            told.issued(one), told.failed(one, retryable=True), told.issued(one, "99.00"), told.failed(one),
            told.synced(one), told.out_of_sync(one), told.resumed(one), told.paid(one, f"p-{one}"),
            told.paid(one, f"p-{one}", found_by="sweep", reverse=True), told.voided(one),
        ]  # fmt: skip
    records += [
        told.synced("c", xero_status="VOIDED"),
        told.connected("TOKEN_EXPIRED", "EXPIRED_UNUSED"),
    ]
    return [
        (SimpleNamespace(topic="t", partition=0, offset=at), decode(key=r.key, value=r.value, headers=r.headers))
        for at, r in enumerate(records)
    ]  # fmt: skip


async def test_any_order_and_any_repetition_come_to_the_same(dsn):
    conn = await asyncpg.connect(dsn)
    events = everything()
    await project(conn, 1, Batch(events, []))
    in_order = await snapshot(conn, 1)
    states = await conn.fetch("SELECT invoice_id, state FROM invoices WHERE generation = 1")
    assert dict(states) == {"a": "waiting", "b": "waiting", "c": "voided"}
    assert len(in_order["facts"]) == len(events)
    for seed in range(2, 22):
        dice = random.Random(seed)
        shuffled = events + dice.choices(events, k=10)
        dice.shuffle(shuffled)
        while shuffled:
            size = dice.randint(1, 8)
            await project(conn, seed, Batch(shuffled[:size], []))
            shuffled = shuffled[size:]
        assert await snapshot(conn, seed) == in_order, f"seed {seed}"
    await conn.close()


async def test_searches_and_pages_use_their_indexes(dsn):
    """With many rows; a plan that reads a whole account for one page is what makes a dashboard slow."""
    conn = await asyncpg.connect(dsn)
    await conn.execute("""
        INSERT INTO invoices (generation, account_id, invoice_id, changed_at, version, invoice_number, customer_id,
               currency, total, is_voided)
        SELECT 1, 'big-' || n % 4, 'i-' || n, now() - n * interval '1 s', 1, 'INV-' || n, 'c-' || n % 500, 'NZD', n, n % 1000 = 1
          FROM generate_series(1, 40000) AS n""")
    await conn.execute("ANALYZE invoices")
    newest = "generation = 1 AND account_id = 'big-1'"
    for where, index in {
        f"{newest} ORDER BY changed_at DESC, invoice_id DESC LIMIT 51": "invoices_newest",
        f"{newest} AND state = 'voided' ORDER BY changed_at DESC, invoice_id DESC LIMIT 51": "invoices_by_state",
        f"{newest} AND lower(left(invoice_number, 100)) LIKE 'inv-123%' LIMIT 200": "invoices_by_number",
        f"{newest} AND state IN ('failed', 'retrying')": "invoices_by_",
    }.items():
        select = "EXPLAIN SELECT invoice_id FROM invoices WHERE {}"
        rows = await conn.fetch(select.format(where))
        plan = "\n".join(row[0] for row in rows)
        assert index in plan, plan
        assert "Seq Scan" not in plan, plan
    await conn.close()
