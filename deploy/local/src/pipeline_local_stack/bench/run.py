"""One run: start the stack, measure, print, write the JSON, and say whether every promise held."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import asyncpg
from rich.console import Console

from pipeline_contracts import topics
from pipeline_local_stack.bench import direct
from pipeline_local_stack.bench.consume import measure_consuming
from pipeline_local_stack.bench.crowd import measure_crowd
from pipeline_local_stack.bench.gateway import measure_gateway
from pipeline_local_stack.bench.latency import measure_latency
from pipeline_local_stack.bench.machine import describe_machine
from pipeline_local_stack.bench.report import Report
from pipeline_local_stack.bench.surroundings import Surroundings, connected
from pipeline_local_stack.bench.sync import measure_sync
from pipeline_local_stack.bench.webhooks import measure_webhooks
from pipeline_local_stack.books import XeroInvoice, compare_books
from pipeline_local_stack.paths import LOCAL, StackError
from pipeline_local_stack.stack import Stack, running_stack
from pipeline_local_stack.xero_admin import XeroAdmin

REPORT_FILE = LOCAL / "bench.json"


def measure_all() -> int:
    """See `run_bench`. What was measured before something broke is still told."""
    console = Console()
    began = time.monotonic()
    report = Report()
    REPORT_FILE.unlink(missing_ok=True)
    with running_stack(say=console.print) as stack:
        machine = asyncio.run(_describe(stack))
        try:
            asyncio.run(_measure(stack, report, console))
        except StackError as error:
            report.broken.append(str(error))
        report.broken += [
            f"{name} ended while it was measured: {child.last_words(3)}"
            for name, child in stack.children.items()
            if not child.is_running()
        ]
    return _tell(report, machine, console, time.monotonic() - began)


def _tell(report: Report, machine: list[str], console: Console, seconds: float) -> int:
    for line in machine:
        console.print(line, highlight=False)
    console.print(report.table())
    report.write(REPORT_FILE)
    console.print(f"{seconds:.0f} s in all; the figures for programs: {_shown(REPORT_FILE)}")
    for remark in report.remarks:
        console.print(f"[yellow]{remark}[/yellow]")
    for complaint in report.broken:
        console.print(f"[red]{complaint}[/red]")
    if report.broken:
        console.print("[red]A promise was broken: these figures do not count.[/red]")
        return 1
    console.print("[green]Nothing accepted was lost, nothing was doubled.[/green]")
    return 0


async def _measure(stack: Stack, report: Report, console: Console) -> None:
    say = console.print
    await measure_webhooks(stack, report, say)
    async with connected(stack, say) as around:
        await measure_latency(around, report, say)
        await measure_sync(around, report, say)
        await measure_consuming(around, report, say)
        await measure_crowd(around, report, say)
        await measure_gateway(around, report, say)
        await around.seen.read_to_the_end()
        report.broken += await asyncio.to_thread(_check_books, around)


def _check_books(around: Surroundings) -> list[str]:
    """Every published invoice is in Xero once, to the cent, and was announced once; none is left waiting."""
    verdict = compare_books(
        around.published,
        [invoice for books in around.books for invoice in books.invoices()],
        [],
        around.seen.envelopes[topics.SYNC.name],
        [],
    )
    waiting = [f"{count} invoices wait: {code}" for code, count in verdict.waiting.items()]
    baselines = XeroAdmin(around.stack.urls["simulator"], direct.ORGANISATION).invoices()
    doubled = doubled_numbers(baselines)
    twice = [f"the baselines have {doubled} invoices twice in Xero"] if doubled else []
    return verdict.complaints + waiting + twice


def doubled_numbers(invoices: Sequence[XeroInvoice]) -> int:
    """How many invoices carry a number that another one has already."""
    return len(invoices) - len({invoice.number for invoice in invoices})


async def _describe(stack: Stack) -> list[str]:
    conn = await asyncpg.connect(stack.postgres.dsn)
    try:
        version = await conn.fetchval("SHOW server_version")
    finally:
        await conn.close()
    return describe_machine(stack.broker.implementation, version)


def _shown(file: Path) -> str:
    return str(file.relative_to(LOCAL.parent))
