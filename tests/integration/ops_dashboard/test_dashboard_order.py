"""Whatever order events come in, and however often, the projection is the same."""

import random
from types import SimpleNamespace

import asyncpg
import pytest
from dashboard_world import Telling, snapshot

from ops_dashboard import project_records
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


async def test_what_is_void_waits_for_nothing_and_is_no_money_in_xero(dsn):
    """What never was in Xero is withdrawn without an event; what was voided there is told as synced, and so."""
    told = Telling("acc-voided")
    records = [
        told.issued("failed"), told.failed("failed"), told.voided("failed"),
        told.issued("tried"), told.failed("tried", retryable=True), told.voided("tried"),
        told.issued("in-xero"), told.synced("in-xero"), told.voided("in-xero"),
        told.issued("stays"), told.synced("stays"), told.voided("stays"), told.failed("stays"),
        # Voided in Xero, and somebody here chose that this stands; Pipeline itself never cancelled it.
        told.issued("accepted"), told.out_of_sync("accepted"), told.resumed("accepted"),
        told.synced("accepted", xero_status="VOIDED"),
        told.issued("goes-on"), told.synced("goes-on", xero_status="VOIDED"), told.issued("goes-on"),
    ]  # fmt: skip
    conn = await asyncpg.connect(dsn)
    await project(conn, 1, Batch([(None, decode(key=r.key, value=r.value, headers=r.headers)) for r in records], []))  # fmt: skip
    found = await conn.fetch(
        "SELECT invoice_id, state FROM invoices WHERE account_id = 'acc-voided'"
    )
    assert dict(found) == {
        "failed": "voided",
        "tried": "voided",
        "in-xero": "waiting",
        "stays": "failed",
        "accepted": "voided",
        "goes-on": "waiting",
    }
    await conn.close()


async def test_an_invoice_known_by_its_payments_alone_is_in_xero(dsn):
    """Payments are kept for ever, what Pipeline and invoice-sync said for 30 days: made anew, this is all there is."""
    told = Telling("acc-paid-long-ago")
    records = [told.paid("old"), told.paid("early", "pay-2"), told.issued("early")]
    conn = await asyncpg.connect(dsn)
    await project(conn, 1, Batch([(None, decode(key=r.key, value=r.value, headers=r.headers)) for r in records], []))  # fmt: skip
    found = await conn.fetch(
        "SELECT invoice_id, state FROM invoices WHERE account_id = 'acc-paid-long-ago'"
    )
    assert dict(found) == {"old": "synced", "early": "waiting"}
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


def read_at(offset: int, record):
    return SimpleNamespace(
        topic="pipeline.invoices.v1", partition=0, offset=offset, timestamp=offset,
        key=record.key, value=record.value, headers=record.headers,
    )  # fmt: skip


async def test_what_cannot_be_stored_stops_nothing_and_is_shown(make_database, monkeypatch):
    told = Telling("acc-1")
    records = [read_at(at, told.issued(one)) for at, one in enumerate(("a", "guilty", "b"))]

    def fact_of(envelope):
        if envelope.event.invoice_id == "guilty":
            raise ValueError("nobody expected this")
        return told_of(envelope)

    told_of = project_records.fact_of
    monkeypatch.setattr(project_records, "fact_of", fact_of)
    dsn = await make_database(*directories_of("ops_dashboard"))
    async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool:
        stored = await project_records.project_records(pool, records)
        assert stored.accepted == 2
        found = await pool.fetch("SELECT invoice_id FROM invoices ORDER BY 1")
        assert [row["invoice_id"] for row in found] == ["a", "b"]
        odd = await pool.fetchrow("SELECT record_offset, code, account_id FROM odd_records")
        assert tuple(odd) == (1, "NOT_PROJECTED", "acc-1")
        assert await pool.fetchval("SELECT next_offset FROM positions") == 3


async def test_the_longest_ids_of_the_strangest_characters_are_stored(make_database):
    dice = random.Random(7)

    def longest() -> str:
        return "".join(chr(dice.randint(0x10000, 0x1FFFF)) for _ in range(255))

    told = Telling(longest())
    invoice = longest()
    records = [
        told.customer(longest(), name=longest() * 3), told.issued(invoice, number=longest() * 3),
        told.failed(invoice), told.paid(invoice, longest()), told.connected(),
    ]  # fmt: skip
    dsn = await make_database(*directories_of("ops_dashboard"))
    async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool:
        for at, record in enumerate(records):
            stored = await project_records.project_records(pool, [read_at(at, record)])
            assert stored.accepted == 1, at
        assert await pool.fetchval("SELECT count(*) FROM odd_records") == 0
