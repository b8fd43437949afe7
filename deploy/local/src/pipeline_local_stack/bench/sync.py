"""Invoices per second from a backlog to InvoiceSynced, against the least that can be done, and the plain design."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType

import asyncpg

from pipeline_contracts import topics
from pipeline_contracts.invoice import InvoiceCreated
from pipeline_contracts.sync import InvoiceSynced
from pipeline_local_stack.bench import bare_sync, plain_sync
from pipeline_local_stack.bench.accounts import BenchAccount, connect_accounts
from pipeline_local_stack.bench.processor import seconds_used, services_and_postgres
from pipeline_local_stack.bench.report import Figure, Reference, Report
from pipeline_local_stack.bench.statistics import over_rounds
from pipeline_local_stack.bench.surroundings import Surroundings
from pipeline_local_stack.bench.workload import publish_all
from pipeline_local_stack.processes import Child
from pipeline_local_stack.stack import SERVICES

ROUNDS = 3
TENANTS = 8
_BACKLOG = 2_000
_PLAIN_BACKLOG = 200
_WARM_UP = 200
_PER_CALL = 50
_LOOK_SECONDS = 0.1
_NAIVE = "FastStream handler one by one, a call per invoice, no outbox"
_NAIVE_WORK = "the same handler; ours is all three services, reading Xero's webhooks included"
_BARE = "a bare loop: the same reads, rows and calls of 50, each in its cheapest form; no gateway"
_XERO_ALONE = "the simulator alone: the same calls of 50 from a loop that reads and stores nothing"
_BARE_CORE = (
    "the same loop and its database; ours is all three services, reading Xero's webhooks included"
)


@dataclass(slots=True)
class Rounds:
    """What the rounds of one design gave."""

    a_second: list[float] = field(default_factory=list)
    core_seconds: list[float] = field(default_factory=list)
    """Processor time of each invoice."""

    @property
    def of_a_core(self) -> list[float]:
        """Invoices that a core does in a second."""
        return [1 / each for each in self.core_seconds]

    @property
    def milliseconds(self) -> list[float]:
        """Processor time of each invoice."""
        return [each * 1000 for each in self.core_seconds]


async def measure_sync(around: Surroundings, report: Report, say: Callable[[str], None]) -> None:
    """Add `sync_rate`, `sync_core_rate`, `sync_vs_naive` and `sync_cpu_ms` to the report.

    Raises:
        StackError: not every invoice came out at the end.
    """
    ours, naive, bare = Rounds(), Rounds(), Rounds()
    xero_alone: list[float] = []
    own = services_and_postgres(around.stack, SERVICES)
    accounts = await connect_accounts(around, "sync", TENANTS)
    async with _baseline(around, plain_sync) as plain, _baseline(around, bare_sync) as loop:
        postgres = around.stack.postgres.child
        await our_round(around, accounts, _WARM_UP)
        await _baseline_round(around, plain_sync, _WARM_UP // 4)
        await _baseline_round(around, bare_sync, _WARM_UP)
        for _ in range(ROUNDS):
            async with measured_round(around, own, _BACKLOG, ours):
                await our_round(around, accounts, _BACKLOG)
            async with _without_webhooks(around):
                async with measured_round(around, [postgres, plain], _PLAIN_BACKLOG, naive):
                    await _baseline_round(around, plain_sync, _PLAIN_BACKLOG)
                async with measured_round(around, [postgres, loop], _BACKLOG, bare):
                    await _baseline_round(around, bare_sync, _BACKLOG)
                xero_alone.append(await _xero_alone(around, _BACKLOG))
            say(
                f"Sync: {ours.a_second[-1]:,.0f} invoices a second; a bare loop {bare.a_second[-1]:,.0f}, "
                f"the plain design {naive.a_second[-1]:,.0f}."
            )
    rate, bare_rate = over_rounds(ours.a_second), over_rounds(bare.a_second)
    report.figures += [
        Figure(
            "sync_rate", "invoices/s", rate, Reference(_BARE, bare_rate),
            Reference(_XERO_ALONE, over_rounds(xero_alone)),
        ),
        Figure(
            "sync_core_rate", "invoices/s of a core", over_rounds(ours.of_a_core),
            Reference(_BARE_CORE, over_rounds(bare.of_a_core)),
        ),
        Figure(
            "sync_vs_naive", "invoices/s", rate, Reference(_NAIVE, over_rounds(naive.a_second)),
            Reference(_BARE, bare_rate),
        ),
        Figure(
            "sync_cpu_ms", "ms", over_rounds(ours.milliseconds),
            Reference(_NAIVE_WORK, over_rounds(naive.milliseconds)),
            Reference(_BARE, over_rounds(bare.milliseconds)),
        ),
    ]  # fmt: skip


@contextlib.asynccontextmanager
async def measured_round(
    around: Surroundings, children: Sequence[Child], count: int, rounds: Rounds
) -> AsyncIterator[None]:
    """One round: the clock stops when the last invoice came out, the processor when everything is at rest again."""
    await around.until_idle(look_seconds=_LOOK_SECONDS)
    used, started = seconds_used(children), time.perf_counter()
    yield
    rounds.a_second.append(count / (time.perf_counter() - started))
    await around.until_idle(look_seconds=_LOOK_SECONDS)
    rounds.core_seconds.append((seconds_used(children) - used) / count)


async def our_round(around: Surroundings, accounts: Sequence[BenchAccount], count: int) -> None:
    """So many invoices of these accounts at once, until the last is synced."""
    each = count // len(accounts)
    shares = [account.own(around.workload.take(each)) for account in accounts]
    invoices = [invoice for turn in zip(*shares, strict=True) for invoice in turn]
    await around.publish(invoices)
    await around.wait_for(topics.SYNC.name, InvoiceSynced, _ids(invoices))


async def _baseline_round(around: Surroundings, design: ModuleType, count: int) -> None:
    invoices = around.workload.take(count)
    await publish_all(around.producer, invoices, design.INVOICES.name)
    await around.wait_for(design.SYNCED.name, InvoiceSynced, _ids(invoices))


async def _xero_alone(around: Surroundings, count: int) -> float:
    """Invoices a second that Xero's simulator takes in calls of 50, from a loop that keeps nothing."""
    invoices = around.workload.take(count)
    started = time.perf_counter()
    for first in range(0, count, _PER_CALL):
        await around.direct.create_invoices(
            invoices[first : first + _PER_CALL], around.direct_contacts
        )
    return count / (time.perf_counter() - started)


def _ids(invoices: Sequence[InvoiceCreated]) -> set[str]:
    return {invoice.invoice_id for invoice in invoices}


@contextlib.asynccontextmanager
async def _without_webhooks(around: Surroundings) -> AsyncIterator[None]:
    """Nobody listens to the baselines' webhooks: storing them in our database is no work of theirs."""
    reply = await around.http.get("/admin/webhooks")
    categories = reply.raise_for_status().json()["categories"]
    await _listen(around, [])
    try:
        yield
    finally:
        await _listen(around, categories)


async def _listen(around: Surroundings, categories: list[str]) -> None:
    reply = await around.http.patch("/admin/webhooks", json={"categories": categories})
    reply.raise_for_status()


@contextlib.asynccontextmanager
async def _baseline(around: Surroundings, design: ModuleType) -> AsyncIterator[Child]:
    """A baseline's own process, and its database on the same Postgres."""
    stack, name = around.stack, design.__name__.rpartition(".")[2]
    conn = await asyncpg.connect(stack.postgres.dsn)
    await conn.execute(f"CREATE DATABASE bench_{name}")
    await conn.close()
    dsn = f"{stack.postgres.dsn.rsplit('/', 1)[0]}/bench_{name}"
    conn = await asyncpg.connect(dsn)
    await conn.execute(design.CREATE_TABLES)
    await conn.executemany(
        "INSERT INTO contacts VALUES ($1, $2)", list(around.direct_contacts.items())
    )
    await conn.close()
    child = Child(
        f"bench-{name.replace('_', '-')}",
        [sys.executable, "-m", design.__name__],
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
