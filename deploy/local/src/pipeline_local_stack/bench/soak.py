"""`make soak`: the whole system under a constant load, looked at every few seconds: does anything grow that must not?"""

import asyncio
import contextlib
import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import psutil
from rich.console import Console

from pipeline_contracts import topics
from pipeline_contracts.sync import InvoiceSynced
from pipeline_local_stack.bench.accounts import BenchAccount, connect_accounts
from pipeline_local_stack.bench.flatness import Series
from pipeline_local_stack.bench.machine import describe_machine, load_now
from pipeline_local_stack.bench.page import soak_page
from pipeline_local_stack.bench.report import write_json
from pipeline_local_stack.bench.run import check_books
from pipeline_local_stack.bench.surroundings import Surroundings, connected
from pipeline_local_stack.databases import as_superuser
from pipeline_local_stack.paths import LOCAL, ROOT, StackError
from pipeline_local_stack.processes import Child
from pipeline_local_stack.stack import SERVICES, Stack, running_stack

RECORD = ROOT / "docs" / "soak"
LEAST_MINUTES = 2.0
_ACCOUNTS, _INVOICES_A_SECOND, _PAYMENTS_A_SECOND = 4, 5, 2
_SAMPLE_SECONDS = 5.0
_MB, _DESCRIPTORS, _ROWS = 6.0, 5.0, 50.0
"""What may be more at the end than after the warm-up: an arena of the allocator or two, connections, a moment's work."""
_TABLE_MB = 1.0
_PASSING = {
    "connector": ("outbox", "call_slots", "account_leases"),
    "invoice_sync": ("outbox", "intents", "account_leases"),
    "payment_ingest": ("outbox", "doorbells", "unread_deliveries", "account_leases"),
}
"""Tables through which work only passes."""


class _Samples:
    """What was sampled, by name."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self._values: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._kinds: dict[str, tuple[str, float, bool]] = {}

    def add(
        self, name: str, unit: str, value: float, tolerance: float = 0.0, *, may_grow: bool = False
    ) -> None:
        self._kinds[name] = (unit, tolerance, may_grow)
        self._values[name].append((time.monotonic() - self.began, value))

    def series(self) -> list[Series]:
        return [
            Series(name, unit, self._values[name], tolerance, may_grow)
            for name, (unit, tolerance, may_grow) in self._kinds.items()
        ]


def run_soak(minutes: float, *, record: bool) -> int:
    """Load the system for so long; 0 only if nothing grew that must not, and the books add up.

    Raises:
        StackError: the stack did not start, or the time is too short for a verdict.
    """
    if minutes < LEAST_MINUTES:
        raise StackError(f"A soak takes {LEAST_MINUTES:.0f} minutes at least.")
    console, load, samples, broken = Console(), load_now(), _Samples(), []
    with running_stack(say=console.print) as stack:
        machine = asyncio.run(describe_machine(stack, load))
        broken += asyncio.run(_soak(stack, minutes, samples, console.print))
        broken += [f"{n} ended" for n, child in stack.children.items() if not child.is_running()]
    found = samples.series()
    broken += [
        f"{each.name} grew by {each.grown:.1f} {each.unit}" for each in found if not each.is_flat
    ]
    run = {
        "machine": machine.as_json(), "minutes": minutes, "invoices_a_second": _INVOICES_A_SECOND,
        "payments_a_second": _PAYMENTS_A_SECOND, "series": [each.as_json() for each in found],
        "broken": broken,
    }  # fmt: skip
    for base in (LOCAL / "soak", *([RECORD] if record and not broken else [])):
        write_json(base.with_suffix(".json"), run)
        base.with_suffix(".md").write_text(soak_page(run), "utf-8")
    print((LOCAL / "soak.md").read_text("utf-8"))
    for complaint in broken:
        console.print(f"[red]{complaint}[/red]")
    return 1 if broken else 0


async def _soak(
    stack: Stack, minutes: float, samples: _Samples, say: Callable[[str], None]
) -> list[str]:
    async with connected(stack, say) as around:
        accounts = await connect_accounts(around, "soak", _ACCOUNTS)
        await around.until_idle()
        ends = time.monotonic() + minutes * 60
        async with asyncio.TaskGroup() as group:
            group.create_task(_publish(around, accounts, ends))
            group.create_task(_pay(around, accounts, ends))
            group.create_task(_sample(around, samples, ends, say))
        await around.until_idle()
        await around.seen.read_to_the_end()
        return await asyncio.to_thread(check_books, around)


async def _publish(around: Surroundings, accounts: list[BenchAccount], ends: float) -> None:
    """A few invoices each second, to the accounts in turn."""
    for account in itertools.cycle(accounts):
        if (now := time.monotonic()) >= ends:
            return
        await around.publish(account.own(around.workload.take(_INVOICES_A_SECOND)))
        await asyncio.sleep(max(0.0, 1 - (time.monotonic() - now)))


async def _pay(around: Surroundings, accounts: list[BenchAccount], ends: float) -> None:
    """Some of what was synced is paid in Xero, as webhooks tell."""
    tenants = {account.account_id: account.tenant_id for account in accounts}
    synced = _newly(around, topics.SYNC.name, InvoiceSynced)
    while (now := time.monotonic()) < ends:
        for event in list(itertools.islice(next(synced), _PAYMENTS_A_SECOND)):
            if event.account_id in tenants and event.total >= 1:
                path = f"/admin/tenants/{tenants[event.account_id]}/payments"
                reply = await around.http.post(path, json={"invoice": event.invoice_number})
                reply.raise_for_status()
        await asyncio.sleep(max(0.0, 1 - (time.monotonic() - now)))


def _newly(around: Surroundings, topic: str, kind: type) -> Iterator[list[Any]]:
    """At each asking the events of a kind that came since the last."""
    position = 0
    while True:
        envelopes = around.seen.envelopes[topic]
        fresh, position = envelopes[position:], len(envelopes)
        yield [each.event for each in fresh if isinstance(each.event, kind)]


async def _sample(
    around: Surroundings, samples: _Samples, ends: float, say: Callable[[str], None]
) -> None:
    async with contextlib.AsyncExitStack() as undo:
        connections = {}
        for database in _PASSING:
            dsn = as_superuser(around.stack.postgres.dsn, database)
            connections[database] = await asyncpg.connect(dsn)
            undo.push_async_callback(connections[database].close)
        for number in itertools.count():
            _sample_processes(around.stack, samples)
            for database, conn in connections.items():
                await _sample_tables(database, conn, samples)
            synced = {
                e.subject
                for e in around.seen.envelopes[topics.SYNC.name]
                if isinstance(e.event, InvoiceSynced)
            }
            waiting = sum(1 for each in around.published if each.invoice_id not in synced)
            samples.add("invoices published and not yet synced", "invoices", waiting, _ROWS)
            if number % 12 == 0:
                say(f"{len(around.published)} invoices published, {waiting} under way.")
            if time.monotonic() >= ends:
                return
            await asyncio.sleep(_SAMPLE_SECONDS)


def _sample_processes(stack: Stack, samples: _Samples) -> None:
    for name in SERVICES:
        process = _process(stack.children[name])
        samples.add(f"{name}: memory", "MB", process.memory_full_info().uss / 1e6, _MB)
        samples.add(f"{name}: descriptors", "", process.num_fds(), _DESCRIPTORS)
    servers = _process(stack.postgres.child).children(recursive=True)
    own = 0.0
    for server in servers:
        with contextlib.suppress(psutil.NoSuchProcess):
            own += (
                server.memory_full_info().uss / 1e6
            )  # what they share is one cache, of a fixed size
    samples.add("Postgres: memory of its processes", "MB", own, len(servers) * 1.0)
    samples.add("Postgres: processes", "", len(servers), _DESCRIPTORS)
    kafka = _process(stack.broker.child)
    samples.add("Kafka: memory", "MB", kafka.memory_full_info().uss / 1e6, may_grow=True)


def _process(child: Child) -> psutil.Process:
    if child.process is None:
        raise StackError(f"{child.name} is not running.")
    return psutil.Process(child.process.pid)


async def _sample_tables(database: str, conn: asyncpg.Connection, samples: _Samples) -> None:
    for table in _PASSING[database]:
        size = await conn.fetchval("SELECT pg_total_relation_size($1::text::regclass)", table)
        samples.add(f"{database}.{table}", "MB", size / 1e6, _TABLE_MB)
        if table != "account_leases":
            rows = await conn.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - constants
            samples.add(f"{database}.{table}: rows", "", rows, _ROWS * 10)
    size = await conn.fetchval("SELECT pg_database_size(current_database())")
    samples.add(f"{database}: all of it", "MB", size / 1e6, may_grow=True)
