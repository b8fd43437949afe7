"""What an invoice costs when the databases hold a past: processor time of the services and of Postgres, and the rate.

Nothing of the past is due, as most of an installation's accounts and invoices are at rest at any moment. Each size is
measured by the same rounds of the same accounts, the whole way from Kafka to InvoiceSynced.
"""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable
from itertools import pairwise

import asyncpg

from pipeline_local_stack.bench.accounts import connect_accounts
from pipeline_local_stack.bench.filling import add_accounts, add_rows, look_over
from pipeline_local_stack.bench.processor import services_and_postgres
from pipeline_local_stack.bench.report import Figure, Reference, Report
from pipeline_local_stack.bench.statistics import Measured, over_rounds
from pipeline_local_stack.bench.surroundings import Surroundings
from pipeline_local_stack.bench.sync import Rounds, measured_round, our_round
from pipeline_local_stack.databases import as_superuser
from pipeline_local_stack.paths import LOCAL, StackError
from pipeline_local_stack.stack import SERVICES

SIZES = ((10, 0), (1_000, 0), (10_000, 0), (10_000, 1_000_000), (10_000, 10_000_000))
"""Accounts and invoices of the past; each holds what the one before it did."""
MOST_ENV = "BENCH_SCALE_ROWS"
_AT_ONCE = 250_000
_MOST_OF = {"connector": 1_000_000, "payment_ingest": 3_000_000}
"""The first keeps counts of a day and nothing of invoices: 100 rows of each account. The keys of the second are as random as
Xero's, and so are their places in its dozen indexes: ten million would take an hour to fill in."""
_BYTES_EACH = 4_500
"""Of one invoice of the past in all three databases, indexes and the log of the filling included."""
_WHILE_FILLING = {"max_wal_size": "12GB", "checkpoint_timeout": "1h"}
_TENANTS, _BACKLOG, _ROUNDS, _WARM_UP = 8, 2_000, 3, 400
_FLAT = 1.2


async def measure_scale(around: Surroundings, report: Report, say: Callable[[str], None]) -> None:
    """Add `scale_cpu_ms_…` and `scale_rate_…` of each size to the report.

    Raises:
        StackError: not every invoice came out, or the disk has no room.
    """
    most = int(os.environ.get(MOST_ENV, SIZES[-2][1]))
    sizes = [size for size in SIZES if size[1] <= most]
    _make_sure_of_room(sizes[-1][1])
    accounts = await connect_accounts(around, "scale", _TENANTS)
    own = services_and_postgres(around.stack, SERVICES)
    await our_round(around, accounts, _WARM_UP)
    found: dict[tuple[int, int], Rounds] = {}
    for before, size in pairwise(((0, 0), *sizes)):
        await _grow(around, before, size, say)
        await our_round(around, accounts, _WARM_UP)
        found[size] = rounds = Rounds()
        for _ in range(_ROUNDS):
            async with measured_round(around, own, _BACKLOG, rounds):
                await our_round(around, accounts, _BACKLOG)
        say(
            f"{size[0]:,} accounts, {size[1]:,} invoices of the past: "
            f"{over_rounds(rounds.milliseconds).value:.2f} ms of a core for an invoice, {rounds.a_second[-1]:,.0f} a second."
        )
    few = found.pop(sizes[0])
    for (many, rows), rounds in found.items():
        name = f"{many}_accounts" if not rows else f"{rows // 1_000_000}m_rows"
        what = f"the same with {sizes[0][0]} accounts and no past"
        cost, of_few = over_rounds(rounds.milliseconds), over_rounds(few.milliseconds)
        report.figures += [
            Figure(f"scale_cpu_ms_{name}", "ms", cost, Reference(what, of_few)),
            Figure(
                f"scale_rate_{name}", "invoices/s", over_rounds(rounds.a_second),
                Reference(what, over_rounds(few.a_second)),
            ),
        ]  # fmt: skip
        report.remarks += not_flat(f"{many:,} accounts and {rows:,} invoices", cost, of_few)


def not_flat(what: str, cost: Measured, of_few: Measured) -> list[str]:
    """A word about a cost that grew by more than a fifth and by more than the rounds of each differ."""
    if cost.value <= _FLAT * of_few.value or cost.low <= of_few.high:
        return []
    return [
        f"An invoice costs {cost.value / of_few.value:.2f} times as much with {what} of the past."
    ]


async def _grow(
    around: Surroundings, before: tuple[int, int], size: tuple[int, int], say: Callable[[str], None]
) -> None:
    """Add accounts and rows up to a size to every database, and let Postgres look at them."""
    async with _few_checkpoints(around.stack.postgres.dsn):
        for database in SERVICES.values():
            conn = await asyncpg.connect(as_superuser(around.stack.postgres.dsn, database))
            try:
                await _grow_database(conn, database, before, size, say)
            finally:
                await conn.close()


async def _grow_database(
    conn: asyncpg.Connection,
    database: str,
    before: tuple[int, int],
    size: tuple[int, int],
    say: Callable[[str], None],
) -> None:
    most = _MOST_OF.get(database, size[1])
    await add_accounts(conn, database, before[0] + 1, size[0])
    for first in range(before[1] + 1, min(size[1], most) + 1, _AT_ONCE):
        last = min(first + _AT_ONCE - 1, size[1], most)
        await add_rows(conn, database, first, last, size[0])
        say(f"{database}: {last:,} rows.")
    await look_over(conn)


@contextlib.asynccontextmanager
async def _few_checkpoints(dsn: str) -> AsyncIterator[None]:
    """After each checkpoint a page is logged whole when it is next written: filling in would be mostly that.

    At the end everything is written out, which is no cost of the invoices to come.
    """
    conn = await asyncpg.connect(dsn)
    try:
        for name, value in _WHILE_FILLING.items():
            await conn.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        await conn.execute("SELECT pg_reload_conf()")
        yield
        for name in _WHILE_FILLING:
            await conn.execute(f"ALTER SYSTEM RESET {name}")
        await conn.execute("SELECT pg_reload_conf()")
        await conn.execute("CHECKPOINT")
    finally:
        await conn.close()


def _make_sure_of_room(rows: int) -> None:
    free, wanted = shutil.disk_usage(LOCAL).free, rows * _BYTES_EACH
    if free < wanted:
        raise StackError(
            f"{rows:,} rows want {wanted / 1e9:.0f} GB, and {free / 1e9:.0f} GB are free; {MOST_ENV} asks for fewer."
        )
