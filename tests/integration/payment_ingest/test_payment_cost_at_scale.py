"""A payment costs the same whatever else the database holds: what is read for it is counted at both sizes."""

import asyncpg
import pytest
from explained import ExplainedConnection, Reading, grown

from pipeline_local_stack.bench.filling import add_accounts, add_rows, look_over
from pipeline_messaging import outbox
from pipeline_service_defaults.migrate import directories_of

FEW, MANY = (10, 10_000), (10_000, 200_000)
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
