"""The first of a backlog costs the same however much waits behind it, of one account and of many."""

import asyncpg
from explained import ExplainedConnection, Reading, grown

from invoice_sync.domain.turns import Kind
from invoice_sync.store import customers, intents, invoices
from pipeline_local_stack.bench.filling import add_accounts, add_rows, look_over
from pipeline_messaging import inbox, leases, outbox
from pipeline_service_defaults.migrate import directories_of

ACCOUNT, BATCH = "past-1", 50


async def wait_in_line(conn, first, last):
    """All accounts are due, and invoices of one of them; as many records wait for Kafka."""
    await conn.execute("UPDATE account_leases SET due_at = now() - interval '1 minute'")
    await conn.execute(
        """
        UPDATE invoices SET due_at = now() - interval '1 minute', state = 'pending', synced_version = NULL
         WHERE account_id = $1
        """,
        ACCOUNT,
    )
    await conn.execute(
        """
        INSERT INTO outbox (topic, key, value, headers)
        SELECT 't', ('k' || n % 3000)::bytea, 'x', '[]' FROM generate_series($1::int, $2::int) n
        """,
        first,
        last,
    )
    await look_over(conn)


async def take(conn, prefix):
    with Reading() as reads:
        async with conn.transaction():
            claims = await leases.claim(conn, limit=8, seconds=30)
            assert len(claims) == 8
            await claims[0].lease.verify(conn)
            await leases.mark_due(conn, [ACCOUNT])
            assert len(await invoices.due_kinds(conn, ACCOUNT)) == 1
            assert len(await invoices.lock_due(conn, ACCOUNT, limit=BATCH)) == BATCH
            assert len(await invoices.lock_due_of(conn, ACCOUNT, Kind.NEW, limit=BATCH)) == BATCH
            await invoices.next_due(conn, ACCOUNT)
            await customers.lock_due(conn, ACCOUNT, limit=BATCH)
            await intents.due(conn, ACCOUNT)
            ids = [("billing", f"{prefix}-{number}") for number in range(BATCH)]
            assert len(await inbox.accept(conn, ids)) == BATCH
            rows = await outbox.head(conn, limit=BATCH, max_bytes=8_000_000)
            await outbox.delete(conn, [row.id for row in rows])
            assert len(rows) == BATCH
    return reads


async def test_what_is_read_for_the_first_of_a_backlog_does_not_grow_with_it(make_database):
    dsn = await make_database(*directories_of("invoice_sync"))
    conn = await asyncpg.connect(dsn, connection_class=ExplainedConnection)
    found, before = [], (0, 0)
    try:
        for accounts, rows in ((20, 4_000), (10_000, 100_000)):
            await add_accounts(conn, "invoice_sync", before[0] + 1, accounts)
            await add_rows(conn, "invoice_sync", before[1] + 1, rows, 20)
            await wait_in_line(conn, before[1] + 1, rows)
            before = (accounts, rows)
            found.append(await take(conn, f"of-{rows}"))
    finally:
        await conn.close()
    assert grown(*found) == []
