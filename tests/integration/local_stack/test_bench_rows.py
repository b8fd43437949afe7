"""The bench must notice a lost webhook; that it does is shown by losing one."""

import hashlib

import asyncpg

from pipeline_local_stack.bench.plain_webhook import CREATE_TABLE
from pipeline_local_stack.bench.report import Report
from pipeline_local_stack.bench.webhooks import Target, count_rows, find_rows
from pipeline_service_defaults.migrate import directories_of

BODIES = [f"body {number}".encode() for number in range(50)]


def accepted(tmp_path, bodies):
    file = tmp_path / "accepted"
    file.write_bytes(b"".join(hashlib.sha256(body).digest() for body in bodies))
    return Target("payment-ingest", 0, "/", [], accepted=[file])


async def test_a_webhook_answered_200_without_a_row_is_a_broken_promise(make_database, tmp_path):
    dsn = await make_database(*directories_of("payment_ingest"))
    conn = await asyncpg.connect(dsn)
    await conn.executemany(
        "INSERT INTO raw_deliveries (body_hash, body, key_position) VALUES ($1, $2, 0)",
        [(hashlib.sha256(body).digest(), body) for body in BODIES],
    )
    target, report = accepted(tmp_path, BODIES), Report()
    await find_rows(dsn, target, report)
    assert report.broken == []
    await conn.execute("DELETE FROM raw_deliveries WHERE body = $1", BODIES[7])
    await conn.close()
    await find_rows(dsn, target, report)
    assert report.broken == ["1 of 50 webhooks answered 200 have no row"]


async def test_a_baseline_that_stored_another_number_than_it_accepted_does_not_count(
    make_database, tmp_path
):
    dsn = await make_database()
    conn = await asyncpg.connect(dsn)
    await conn.execute(CREATE_TABLE)
    await conn.executemany("INSERT INTO webhooks (body) VALUES ($1)", [(b,) for b in BODIES[1:]])
    await conn.close()
    report = Report()
    await count_rows(dsn, accepted(tmp_path, BODIES), report)
    assert report.broken == ["the baseline stored 49 webhooks and accepted 50"]
