"""What 10,000 accounts with 100,000 waiting invoices cost: memory of a replica, and work for each look at one account.

They lie in a database of their own. A replica of invoice-sync without Kafka works on them for some seconds; and the
statements of one account's turn are counted there, row by row, as they are with ten accounts.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import asyncpg
import httpx
import psutil

from invoice_sync.choose_work import Send, choose_work
from invoice_sync.deps import Deps
from invoice_sync.domain.mapping import WriteSettings
from pipeline_contracts.invoice import InvoiceCreated
from pipeline_local_stack.bench.report import Figure, Reference, Report
from pipeline_local_stack.bench.statistics import Measured, over_rounds
from pipeline_local_stack.bench.surroundings import Surroundings
from pipeline_local_stack.paths import StackError
from pipeline_local_stack.processes import Child, free_port
from pipeline_messaging import leases
from pipeline_service_defaults.migrate import directories_of, migrate
from pipeline_xero.client import GatewayClient

FEW, MANY, INVOICES_EACH = 10, 10_000, 10
_TICKS = 30
_NOISE = 1.2
"""A statement planned otherwise may read a row more; a scan of the crowd reads thousands."""
_WORK_SECONDS, _LOOK_SECONDS = 10.0, 0.25
_MOST_MB = 300.0
_FILL = """
WITH filled AS (SELECT generate_series($1::int, $2::int) AS a), leased AS (
    INSERT INTO account_leases (account_id, due_at) SELECT 'crowd-' || a, now() FROM filled
), connected AS (
    INSERT INTO accounts (account_id, status, tenant_id, sequence) SELECT 'crowd-' || a, 'CONNECTED', 'ten-' || a, 1 FROM filled
), mapped AS (
    INSERT INTO contact_mappings (account_id, tenant_id, customer_id, contact_id, mapped_by)
    SELECT 'crowd-' || a, 'ten-' || a, 'customer', '5f8f3d36-5c9d-4a4c-9f4e-1f6f3a1f4d0e', 'bench' FROM filled
)
INSERT INTO invoices (account_id, invoice_id, state, version, operation, desired, invoice_number, customer_id,
                      currency, total, due_at)
SELECT 'crowd-' || a, 'inv-' || a || '-' || n, 'pending', 1, 'write', $4, 'INV-' || a || '-' || n, 'customer', 'NZD', 1, now()
  FROM filled, generate_series(1, $3::int) n
"""
_LOAD_ONLY = "import invoice_sync.app, psutil; print(psutil.Process().memory_info().rss / 1e6)"
_ROWS_READ = """
SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_xact_user_tables
"""


async def measure_crowd(around: Surroundings, report: Report, say: Callable[[str], None]) -> None:
    """Add `tick_cost` and `memory_mb` to the report; that a turn reads more rows in a crowd is a broken promise.

    Raises:
        StackError: the replica did not start.
    """
    dsn = await _database(around)
    conn = await asyncpg.connect(dsn)
    (invoice,) = around.workload.take(1)
    try:
        await _fill(conn, 1, FEW, invoice)
        await _tick(conn)  # once for warmth
        few = [await _tick(conn) for _ in range(_TICKS)]
        await _fill(conn, FEW + 1, MANY, invoice)
        many = [await _tick(conn) for _ in range(_TICKS)]
        bare = _quartiles([await _round_trips(conn, many[0].statements) for _ in range(_TICKS)])
    finally:
        await conn.close()
    rows_of_few, rows_of_many = (median(tick.rows for tick in ticks) for ticks in (few, many))
    if rows_of_many > _NOISE * rows_of_few:
        report.broken.append(
            f"a turn reads {rows_of_many:.0f} rows with {MANY} accounts, {rows_of_few:.0f} with {FEW}"
        )
    report.figures.append(
        Figure(
            "tick_cost", "ms", _quartiles(many),
            Reference(f"the same turn with {FEW} accounts", _quartiles(few)),
            Reference("as many SELECT 1 as the turn has statements", bare),
        )
    )  # fmt: skip
    peak = await _memory_of_replica(around, dsn)
    limit = Measured(_MOST_MB, _MOST_MB, _MOST_MB)
    report.figures.append(
        Figure(
            "memory_mb", "MB", over_rounds([peak]),
            Reference("the most a replica may take", limit),
            Reference("the same program loaded, doing nothing", over_rounds([await _loaded_mb()])),
        )
    )  # fmt: skip
    say(
        f"A turn among {MANY:,} accounts reads {rows_of_many:.0f} rows; a replica took {peak:.0f} MB."
    )


@dataclass(frozen=True, slots=True)
class _Tick:
    """What one turn took: milliseconds, and rows that its statements read."""

    milliseconds: float
    rows: int
    statements: int


def _quartiles(ticks: list[_Tick]) -> Measured:
    ordered = sorted(tick.milliseconds for tick in ticks)
    quarter = len(ordered) // 4
    return Measured(median(ordered), ordered[quarter], ordered[-quarter - 1])


class _OneConnection:
    """A pool of one connection, in whose transaction everything happens and is undone."""

    def __init__(self, conn: asyncpg.Connection) -> None:
        self._conn = conn

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        yield self._conn


async def _tick(conn: asyncpg.Connection) -> _Tick:
    """Claim the longest due account, choose its work, commit the intent of it, and undo all that."""
    pool: Any = _OneConnection(conn)
    async with httpx.AsyncClient() as unused:
        gateway = GatewayClient(unused, "http://nobody.invalid", lambda: "")
        deps = Deps(pool, gateway, WriteSettings("https://app.pipeline.example", "200"))
        transaction = conn.transaction()
        await transaction.start()
        try:
            asked: list[object] = []
            with conn.query_logger(asked.append):
                began = time.perf_counter()
                (claim,) = await leases.claim(conn, limit=1, seconds=30)
                work = await choose_work(deps, claim.lease)
                took = (time.perf_counter() - began) * 1000
            if not isinstance(work, Send):
                raise StackError(f"a turn in the crowd chose {work}")
            return _Tick(took, await conn.fetchval(_ROWS_READ), len(asked))
        finally:
            await transaction.rollback()


async def _round_trips(conn: asyncpg.Connection, count: int) -> _Tick:
    """The least that this many statements can take here."""
    began = time.perf_counter()
    for _ in range(count):
        await conn.fetchval("SELECT 1")
    return _Tick((time.perf_counter() - began) * 1000, 0, count)


async def _loaded_mb() -> float:
    """What the program takes before it has done anything."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _LOAD_ONLY, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    return float(printed)


async def _database(around: Surroundings) -> str:
    postgres = around.stack.postgres
    conn = await asyncpg.connect(postgres.dsn)
    await conn.execute("CREATE DATABASE bench_crowd")
    await conn.close()
    dsn = f"{postgres.dsn.rsplit('/', 1)[0]}/bench_crowd"
    await asyncio.to_thread(migrate, dsn, *directories_of("invoice_sync"))
    return dsn


async def _fill(conn: asyncpg.Connection, first: int, last: int, invoice: InvoiceCreated) -> None:
    body = invoice.model_copy(update={"customer_id": "customer"}).model_dump_json(exclude_none=True)
    await conn.execute(_FILL, first, last, INVOICES_EACH, body)
    await conn.execute("ANALYZE")


async def _memory_of_replica(around: Surroundings, dsn: str) -> float:
    """The most memory, in MB, that a replica held while it worked on the crowd.

    No account of it is connected as far as the connector knows, so each parks its invoices and says so.

    Raises:
        StackError: it ended by itself.
    """
    regular, port = around.stack.children["invoice-sync"], free_port()
    child = Child(
        "bench-crowd",
        regular.command,
        {
            **regular.env,
            "DATABASE_URL": dsn,
            "HTTP_PORT": str(port),
            # Nobody else shall read what it says of accounts that do not exist.
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        },
    )
    child.start()
    peak, ends = 0.0, time.monotonic() + _WORK_SECONDS
    try:
        while time.monotonic() < ends:
            await asyncio.sleep(_LOOK_SECONDS)
            if child.process is None or not child.is_running():
                raise StackError(f"a replica among a crowd ended: {child.last_words(3)}")
            peak = max(peak, psutil.Process(child.process.pid).memory_info().rss / 1e6)
    finally:
        await asyncio.to_thread(child.stop)
    return peak
