"""One run: start the stack, measure, print, write table, JSON and chart, and say whether every promise held."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path

from rich.console import Console

from pipeline_contracts import topics
from pipeline_local_stack.bench import direct
from pipeline_local_stack.bench.consume import measure_consuming
from pipeline_local_stack.bench.costs import measure_costs
from pipeline_local_stack.bench.crowd import measure_crowd
from pipeline_local_stack.bench.gateway import measure_gateway
from pipeline_local_stack.bench.latency import measure_latency
from pipeline_local_stack.bench.machine import Machine, describe_machine, load_now
from pipeline_local_stack.bench.page import write_page
from pipeline_local_stack.bench.report import Report, write_json
from pipeline_local_stack.bench.scale import measure_scale
from pipeline_local_stack.bench.surroundings import Surroundings, connected
from pipeline_local_stack.bench.sync import measure_sync
from pipeline_local_stack.bench.webhooks import measure_webhooks
from pipeline_local_stack.books import XeroInvoice, compare_books
from pipeline_local_stack.paths import LOCAL, ROOT
from pipeline_local_stack.stack import Stack, running_stack
from pipeline_local_stack.xero_admin import XeroAdmin

REPORT_FILE = LOCAL / "bench.json"
RUN_FILE = LOCAL / "bench-run.json"
RECORD = ROOT / "docs" / "benchmarks"
_WEBHOOKS = "webhooks"
_PARTS: dict[str, Callable[[Surroundings, Report, Callable[[str], None]], Awaitable[None]]] = {
    "latency": measure_latency,
    "sync": measure_sync,
    "costs": measure_costs,
    "consuming": measure_consuming,
    "crowd": measure_crowd,
    "gateway": measure_gateway,
}
_LARGE = {"scale": measure_scale}
"""Only where asked for: filling the databases takes minutes and gigabytes."""
PARTS = (_WEBHOOKS, *_PARTS)
"""What a run without a choice measures."""
ALL_PARTS = (*PARTS, *_LARGE)


def measure_all(parts: Collection[str], *, record: bool) -> int:
    """See `run_bench`. What was measured before and after something broke is still told."""
    console = Console()
    began, load = time.monotonic(), load_now()
    report = Report()
    REPORT_FILE.unlink(missing_ok=True)
    RUN_FILE.unlink(missing_ok=True)
    with running_stack(say=console.print) as stack:
        machine = asyncio.run(describe_machine(stack, load))
        asyncio.run(_measure(stack, parts, report, console.print))
        report.broken += [
            f"{name} ended while it was measured: {child.last_words(3)}"
            for name, child in stack.children.items()
            if not child.is_running()
        ]
    return _tell(report, machine, console, time.monotonic() - began, record=record)


def _tell(
    report: Report, machine: Machine, console: Console, seconds: float, *, record: bool
) -> int:
    for line in machine.lines():
        console.print(line, highlight=False)
    console.print(report.table())
    if report.costs:
        console.print(report.cost_table())
    report.write(REPORT_FILE)
    run = {
        "machine": machine.as_json(),
        "seconds": round(seconds),
        "figures": [figure.as_json() for figure in report.figures],
        "costs": [cost.as_json() for cost in report.costs],
        "remarks": report.remarks,
        "broken": report.broken,
    }
    write_json(RUN_FILE, run)
    places = [write_page(run, LOCAL / "bench")]
    if record and not report.broken:
        write_json(RECORD.with_suffix(".json"), run)
        places.append(write_page(run, RECORD))
    shown = ", ".join(_shown(place) for place in (REPORT_FILE, RUN_FILE, *places))
    console.print(f"{seconds:.0f} s in all; written: {shown}", soft_wrap=True)
    for remark in report.remarks:
        console.print(f"[yellow]{remark}[/yellow]")
    for complaint in report.broken:
        console.print(f"[red]{complaint}[/red]")
    if report.broken:
        console.print("[red]A promise was broken: these figures do not count.[/red]")
        return 1
    console.print("[green]Nothing accepted was lost, nothing was doubled.[/green]")
    return 0


async def _measure(
    stack: Stack, parts: Collection[str], report: Report, say: Callable[[str], None]
) -> None:
    if _WEBHOOKS in parts:
        await keep_going(_WEBHOOKS, measure_webhooks(stack, report, say), report)
    if wanted := [name for name in _PARTS | _LARGE if name in parts]:
        await keep_going("the account", _measure_connected(stack, wanted, report, say), report)


async def _measure_connected(
    stack: Stack, parts: Sequence[str], report: Report, say: Callable[[str], None]
) -> None:
    async with connected(stack, say) as around:
        for name in parts:
            await keep_going(name, (_PARTS | _LARGE)[name](around, report, say), report)
        await around.until_idle()
        await around.seen.read_to_the_end()
        report.broken += await asyncio.to_thread(check_books, around)


async def keep_going(part: str, measuring: Awaitable[None], report: Report) -> None:
    """Measure one part; what breaks it is told at the end, beside the figures of all others."""
    try:
        await measuring
    except Exception as error:  # noqa: BLE001 - an hour of figures is not thrown away for one of them
        report.broken.append(f"{part} was not measured: {type(error).__name__}: {error}")


def check_books(around: Surroundings) -> list[str]:
    """Every published invoice is in Xero once, to the cent, and was announced once; none is left waiting.

    And every payment made there was told of once.
    """
    verdict = compare_books(
        around.published,
        [invoice for books in around.books for invoice in books.invoices()],
        [payment for books in around.books for payment in books.payments()],
        around.seen.envelopes[topics.SYNC.name],
        around.seen.envelopes[topics.PAYMENTS.name],
    )
    waiting = [f"{count} invoices wait: {code}" for code, count in verdict.waiting.items()]
    baselines = XeroAdmin(around.stack.urls["simulator"], direct.ORGANISATION).invoices()
    doubled = doubled_numbers(baselines)
    twice = [f"the baselines have {doubled} invoices twice in Xero"] if doubled else []
    return verdict.complaints + waiting + twice


def doubled_numbers(invoices: Sequence[XeroInvoice]) -> int:
    """How many invoices carry a number that another one has already."""
    return len(invoices) - len({invoice.number for invoice in invoices})


def _shown(file: Path) -> str:
    return str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else str(file)
