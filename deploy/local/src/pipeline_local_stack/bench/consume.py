"""Events per second from Kafka into durable desired state, against plain consumers of batches of raw bytes."""

import asyncio
import sys
import time
from collections.abc import Callable

import asyncpg

from pipeline_local_stack.bench import consumers
from pipeline_local_stack.bench.report import Figure, Reference, Report
from pipeline_local_stack.bench.statistics import over_rounds
from pipeline_local_stack.bench.surroundings import PATIENCE_SECONDS, Surroundings
from pipeline_local_stack.bench.workload import publish_all
from pipeline_local_stack.kafka import create_topics
from pipeline_local_stack.paths import StackError
from pipeline_local_stack.processes import Child
from pipeline_service_defaults.migrate import directories_of, migrate

EVENTS, ACCOUNTS, ROUNDS = 10_000, 100, 3
_LOOK_SECONDS = 0.02
_WHOLE_STEP = "FastStream batches of 500, raw bytes: a row each by unnest, an event each, commit"
_RAW = "the same without an event: the bytes into a row each, commit"
_COUNTED = {
    consumer: f"""
        SELECT CASE WHEN pg_sequence_last_value('{numbered}') >= $1 THEN (SELECT count(*) FROM {table}) ELSE 0 END
    """  # noqa: S608 - constants
    for consumer, table, numbered in (
        ("invoice-sync", "invoices", "invoices_ordinal_seq"),
        ("whole-step", "raw", "raw_id_seq"),
        ("raw-bytes", "raw", "raw_id_seq"),
    )
}
"""Rows that are there, counted once there can be enough: reading the whole table at each look would be most of what
the database does meanwhile."""


async def measure_consuming(
    around: Surroundings, report: Report, say: Callable[[str], None]
) -> None:
    """Add `consume_rate` to the report.

    Raises:
        StackError: not every event became a row.
    """
    stack = around.stack
    await create_topics(stack.broker.bootstrap_servers, [consumers.INVOICES, consumers.TOLD])
    events = [
        invoice.model_copy(update={"account_id": f"consumed-{number % ACCOUNTS}"})
        for number, invoice in enumerate(around.workload.take(EVENTS))
    ]
    await publish_all(around.producer, events, consumers.INVOICES.name)
    dsn = await _database(around)
    conn = await asyncpg.connect(dsn)
    try:
        found: dict[str, list[float]] = {consumer: [] for consumer in consumers.CONSUMERS}
        for number in range(ROUNDS):
            for consumer, rates in found.items():
                await conn.execute("TRUNCATE raw, invoices RESTART IDENTITY CASCADE")
                await conn.execute("TRUNCATE inbox, timeline, account_leases")
                rates.append(await _round(around, conn, dsn, consumer, number))
    finally:
        await conn.close()
    ours, whole, raw = (over_rounds(rates) for rates in found.values())
    report.figures += [
        Figure(
            "consume_rate", "events/s", ours, Reference(_WHOLE_STEP, whole), Reference(_RAW, raw)
        )
    ]
    say(
        f"Consuming: {ours.value:,.0f} events a second; a plain consumer {whole.value:,.0f}, "
        f"their bytes alone {raw.value:,.0f}."
    )


async def _database(around: Surroundings) -> str:
    postgres = around.stack.postgres
    conn = await asyncpg.connect(postgres.dsn)
    await conn.execute("CREATE DATABASE bench_consume")
    await conn.close()
    dsn = f"{postgres.dsn.rsplit('/', 1)[0]}/bench_consume"
    await asyncio.to_thread(migrate, dsn, *directories_of("invoice_sync"))
    conn = await asyncpg.connect(dsn)
    await conn.execute(consumers.CREATE_TABLE)
    await conn.close()
    return dsn


async def _round(
    around: Surroundings, conn: asyncpg.Connection, dsn: str, consumer: str, number: int
) -> float:
    """Events a second from the first rows that are seen to the last; starting up does not count.

    Raises:
        StackError: some events became no row.
    """
    child = Child(
        f"bench-consume-{consumer}",
        [sys.executable, "-m", consumers.__name__, consumer],
        {
            "BENCH_KAFKA": around.stack.broker.bootstrap_servers,
            "BENCH_DSN": dsn,
            "BENCH_GROUP": f"bench-{consumer}-{number}",
        },
    )
    child.start()
    try:
        first, began = await _rows(conn, consumer, 1)
        last, ended = await _rows(conn, consumer, EVENTS)
    finally:
        await asyncio.to_thread(child.stop)
    return (last - first) / (ended - began)


async def _rows(conn: asyncpg.Connection, consumer: str, least: int) -> tuple[int, float]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        count = await conn.fetchval(_COUNTED[consumer], least)
        if count >= least:
            return count, time.perf_counter()
        await asyncio.sleep(_LOOK_SECONDS)
    raise StackError(f"{consumer}: {count} of {EVENTS} events became a row")
