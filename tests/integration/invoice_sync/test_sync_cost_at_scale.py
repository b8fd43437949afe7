"""An invoice costs the same whatever else the database holds: what is read for it is counted at both sizes."""

import asyncpg
import pytest
from explained import ExplainedConnection, Reading, grown

from pipeline_local_stack.bench.filling import add_accounts, add_rows, look_over
from pipeline_messaging import inbox, outbox
from pipeline_service_defaults.migrate import directories_of

FEW, MANY = (10, 10_000), (10_000, 200_000)
"""Accounts, and rows of each large table: indexes of the first are grown already, if not to their full height."""
BATCH = 50


@pytest.fixture
async def sync_pool(make_database):
    dsn = await make_database(*directories_of("invoice_sync"))
    async with asyncpg.create_pool(
        dsn, min_size=1, max_size=4, connection_class=ExplainedConnection
    ) as pool:
        yield pool


async def one_batch(service, prefix):
    """From Kafka's events to Xero and to the events told of it."""
    ids = [f"{prefix}-{number}" for number in range(BATCH)]
    with Reading() as reads:
        async with service.pool.acquire() as conn, conn.transaction():
            await inbox.accept(conn, [("billing", each) for each in ids])
        await service.want(*(service.invoice(each) for each in ids))
        await service.turn()
        async with service.pool.acquire() as conn:
            rows = await outbox.head(conn, limit=500, max_bytes=8_000_000)
            await outbox.delete(conn, [row.id for row in rows])
    assert {await service.state(each) for each in ids} == {"synced"}
    return reads


async def test_what_is_read_for_an_invoice_does_not_grow_with_the_tables(ready):
    found, accounts, rows = [], 0, 0
    for more_accounts, more_rows in (FEW, MANY):
        async with ready.pool.acquire() as conn:
            await add_accounts(conn, "invoice_sync", accounts + 1, more_accounts)
            await add_rows(conn, "invoice_sync", rows + 1, more_rows, more_accounts)
            await look_over(conn)
        accounts, rows = more_accounts, more_rows
        await one_batch(ready, f"warm-{rows}")
        found.append(await one_batch(ready, f"counted-{rows}"))
    small, large = found
    assert len(large) > 20
    assert grown(small, large) == []
