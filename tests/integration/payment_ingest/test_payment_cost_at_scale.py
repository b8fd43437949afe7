"""A payment costs the same whatever else the database holds: what is read for it is counted at both sizes."""

import asyncpg
import pytest
from explained import ExplainedConnection, Reading, grown

from payment_ingest.store import deliveries, document_doorbells, doorbells
from pipeline_local_stack.bench.filling import add_accounts, add_rows, look_over
from pipeline_messaging import outbox
from pipeline_service_defaults.migrate import directories_of

FEW, MANY = (10, 10_000), (10_000, 100_000)
"""Accounts, and rows of each large table: indexes of the first are grown already, if not to their full height."""
BATCH = 50


@pytest.fixture
async def pool(make_database):
    dsn = await make_database(*directories_of("payment_ingest"))
    async with asyncpg.create_pool(
        dsn, min_size=1, max_size=4, connection_class=ExplainedConnection
    ) as opened:
        yield opened


async def one_batch(service, prefix):
    """From the links that invoice-sync tells of and from Xero's webhooks to the payments' events, and a sweep."""
    service.xero.invoices.clear()  # a sweep reads again what changed within its overlap
    with Reading() as reads:
        invoices = [service.xero.add() for _ in range(BATCH)]
        for number, invoice in enumerate(invoices):
            await service.link(invoice, f"{prefix}-{number}")
            service.xero.pay(invoice, "10.00")
        await service.ring(*invoices)
        await service.turn()
        await service.sweep()
        recorded = await service.told("pipeline.payment.recorded.v1")
        async with service.pool.acquire() as conn:
            rows = await outbox.head(conn, limit=500, max_bytes=8_000_000)
            await outbox.delete(conn, [row.id for row in rows])
    assert len(recorded) == BATCH
    return reads


async def test_what_is_read_for_a_payment_does_not_grow_with_the_tables(service, pool):
    found, accounts, rows = [], 0, 0
    for more_accounts, more_rows in (FEW, MANY):
        async with pool.acquire() as conn:
            await add_accounts(conn, "payment_ingest", accounts + 1, more_accounts)
            await add_rows(conn, "payment_ingest", rows + 1, more_rows, more_accounts)
            await look_over(conn)
        accounts, rows = more_accounts, more_rows
        await one_batch(service, f"warm-{rows}")
        found.append(await one_batch(service, f"counted-{rows}"))
    small, large = found
    assert len(large) > 20
    assert grown(small, large) == []


async def take(pool, tenant_id):
    """The first of what waits: webhooks to be read, and doorbells of an organisation."""
    with Reading() as reads:
        async with pool.acquire() as conn:
            async with conn.transaction():
                claimed = await deliveries.claim_unread(conn, BATCH)
                assert len(claimed) == BATCH
                assert len(await deliveries.with_bodies(conn, claimed, 1_000_000)) == BATCH
            assert len(await doorbells.due(conn, tenant_id, BATCH)) == BATCH
            assert await doorbells.next_time(conn, tenant_id) is not None
            assert await document_doorbells.due(conn, tenant_id, BATCH) == []
    return reads


async def test_what_is_read_for_the_first_of_a_backlog_does_not_grow_with_it(service, pool):
    found, before, tenant_id = [], 0, service.xero.tenant_id
    for waiting in (2_000, 100_000):
        async with pool.acquire() as conn:
            await add_rows(conn, "payment_ingest", before + 1, waiting, 10)
            await conn.execute(
                """
                INSERT INTO unread_deliveries (received_at, body_hash, again)
                SELECT received_at, body_hash, false FROM raw_deliveries ON CONFLICT DO NOTHING
                """
            )
            await conn.execute(
                """
                INSERT INTO doorbells (tenant_id, xero_invoice_id, rung_at, next_at, found_by)
                SELECT $3, md5(n::text), now() - interval '1 hour' + interval '1 ms' * n, now() - interval '1 minute', 'sweep'
                  FROM generate_series($1::int, $2::int) n
                """,
                before + 1,
                waiting,
                tenant_id,
            )
            await look_over(conn)
        before = waiting
        found.append(await take(pool, tenant_id))
    assert grown(*found) == []
