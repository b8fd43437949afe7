"""Reading the head of the outbox costs the same whatever waits behind it."""

from pipeline_messaging import outbox


async def test_refused_records_do_not_make_the_relay_read_the_whole_outbox(pool):
    await pool.execute(
        """
        INSERT INTO outbox (topic, key, value, headers, retry_at)
        SELECT 't', ('r' || n % 500)::bytea, 'x', '[]', now() + interval '1 hour' FROM generate_series(1, 2000) AS n
        """
    )
    await pool.execute(
        """
        INSERT INTO outbox (topic, key, value, headers)
        SELECT 't', ('r' || n % 3000)::bytea, 'x', '[]' FROM generate_series(1, 30000) AS n
        """
    )
    await pool.execute("ANALYZE outbox")
    async with pool.acquire() as conn, conn.transaction():
        rows = await outbox.head(conn, limit=500, max_bytes=1_000_000)
        read_whole = await conn.fetchval(
            "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'outbox'"
        )
    assert len(rows) == 500
    assert read_whole == 0
