"""Invoices per second from a backlog to InvoiceSynced, against the plain design and against bare calls."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable

import asyncpg

from pipeline_contracts import topics
from pipeline_contracts.sync import InvoiceSynced
from pipeline_local_stack.bench import plain_sync
from pipeline_local_stack.bench.processor import seconds_used, services_and_postgres
from pipeline_local_stack.bench.report import Figure, Report
from pipeline_local_stack.bench.statistics import over_rounds
from pipeline_local_stack.bench.surroundings import Surroundings
from pipeline_local_stack.bench.workload import publish_all
from pipeline_local_stack.processes import Child
from pipeline_local_stack.stack import SERVICES

ROUNDS = 3
_BACKLOG = 1_000
_PLAIN_BACKLOG = 200
_PER_CALL = 50
_NAIVE = "FastStream handler one by one, a call per invoice, no outbox"
_NAIVE_WORK = "the same handler; ours is all three services, reading Xero's webhooks included"
_BARE = "bare PUTs of 50, one after the other, no Kafka, nothing stored"


async def measure_sync(around: Surroundings, report: Report, say: Callable[[str], None]) -> None:
    """Add `sync_rate`, `sync_vs_naive` and `sync_cpu_ms` to the report.

    Raises:
        StackError: not every invoice came out at the end.
    """
    ours, naive, bare = [], [], []
    our_work, naive_work = [], []
    own = services_and_postgres(around.stack, SERVICES)
    async with _plain_sync(around) as plain:
        theirs = [around.stack.postgres.child, plain]
        await _naive_round(around, _PER_CALL)  # once for warmth, as is ours below
        await _our_round(around, _PER_CALL)
        for _ in range(ROUNDS):
            used = seconds_used(theirs)
            naive.append(await _naive_round(around, _PLAIN_BACKLOG))
            naive_work.append((seconds_used(theirs) - used) * 1000 / _PLAIN_BACKLOG)
            await around.until_idle()
            used = seconds_used(own)
            ours.append(await _our_round(around, _BACKLOG))
            await around.until_idle()
            our_work.append((seconds_used(own) - used) * 1000 / _BACKLOG)
            bare.append(await _bare_round(around, _BACKLOG))
            await around.until_idle()
            say(f"Sync: {ours[-1]:,.0f} invoices a second; the plain design {naive[-1]:,.0f}.")
    rate, naive_rate = over_rounds(ours), over_rounds(naive)
    report.figures += [
        Figure("sync_rate", "invoices/s", rate, _BARE, over_rounds(bare)),
        Figure("sync_vs_naive", "invoices/s", rate, _NAIVE, naive_rate),
        Figure("sync_cpu_ms", "ms", over_rounds(our_work), _NAIVE_WORK, over_rounds(naive_work)),
    ]


async def _our_round(around: Surroundings, count: int) -> float:
    invoices = around.workload.take(count)
    started = time.perf_counter()
    await around.publish(invoices)
    ended = await around.wait_for(
        topics.SYNC.name, InvoiceSynced, {invoice.invoice_id for invoice in invoices}
    )
    return count / (ended - started)


async def _naive_round(around: Surroundings, count: int) -> float:
    invoices = around.workload.take(count)
    started = time.perf_counter()
    await publish_all(around.producer, invoices, plain_sync.INVOICES.name)
    ended = await around.wait_for(
        plain_sync.SYNCED.name, InvoiceSynced, {invoice.invoice_id for invoice in invoices}
    )
    return count / (ended - started)


async def _bare_round(around: Surroundings, count: int) -> float:
    invoices = around.workload.take(count)
    started = time.perf_counter()
    for first in range(0, count, _PER_CALL):
        await around.direct.create_invoices(
            invoices[first : first + _PER_CALL], around.direct_contacts
        )
    return count / (time.perf_counter() - started)


@contextlib.asynccontextmanager
async def _plain_sync(around: Surroundings) -> AsyncIterator[Child]:
    """The plain design's own process, and its database on the same Postgres."""
    stack = around.stack
    conn = await asyncpg.connect(stack.postgres.dsn)
    await conn.execute("CREATE DATABASE bench_sync")
    await conn.close()
    dsn = f"{stack.postgres.dsn.rsplit('/', 1)[0]}/bench_sync"
    conn = await asyncpg.connect(dsn)
    await conn.execute(plain_sync.CREATE_TABLES)
    await conn.executemany(
        "INSERT INTO contacts VALUES ($1, $2)", list(around.direct_contacts.items())
    )
    await conn.close()
    child = Child(
        "bench-plain-sync",
        [sys.executable, "-m", "pipeline_local_stack.bench.plain_sync"],
        {
            "BENCH_KAFKA": stack.broker.bootstrap_servers,
            "BENCH_DSN": dsn,
            "BENCH_XERO_URL": stack.urls["simulator"],
            "BENCH_XERO_TOKEN": around.direct.token,
            "BENCH_TENANT_ID": around.direct.tenant_id,
        },
    )
    child.start()
    try:
        yield child
    finally:
        await asyncio.to_thread(child.stop)
