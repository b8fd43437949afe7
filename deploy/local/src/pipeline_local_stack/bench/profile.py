"""`make profile`: where the processor time of a hot path goes, by looking at running processes a hundred times a second."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from pipeline_local_stack.bench.accounts import connect_accounts
from pipeline_local_stack.bench.load import LoadSpec
from pipeline_local_stack.bench.surroundings import connected
from pipeline_local_stack.bench.sync import TENANTS, our_round
from pipeline_local_stack.bench.webhooks import put_under_load
from pipeline_local_stack.paths import LOCAL, StackError
from pipeline_local_stack.stack import SERVICES, Stack, running_stack

FOLDER = LOCAL / "profiles"
_ROUNDS, _BACKLOG = 4, 2_000
_LOAD_SECONDS, _REQUESTS = 8.0, 120_000
_LINES = 30
_OURS = (
    *SERVICES.values(),
    "pipeline_contracts",
    "pipeline_messaging",
    "pipeline_service_defaults",
    "pipeline_xero",
)
_WORTH_TELLING, _AROUND_EVERYTHING = 0.01, 0.85


@dataclass(frozen=True, slots=True)
class Hot:
    """One function: its share of all samples, by itself and with all that it called."""

    function: str
    own: float
    with_callees: float


def hottest(collapsed: Iterable[str], lines: int = _LINES) -> list[Hot]:
    """The functions with the largest shares of the samples, given as `outer;inner count`, largest first.

    What only waits is no sample. A recursive function counts once in each.
    """
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in collapsed:
        stack, _, count = line.rstrip().rpartition(" ")
        functions = [_function(frame) for frame in stack.split(";")]
        own[functions[-1]] += int(count)
        for function in set(functions):
            within[function] += int(count)
    samples = own.total()
    found = [
        Hot(name, own[name] / samples, all_of / samples) for name, all_of in within.most_common()
    ]
    return [each for each in found if _is_telling(each)][:lines]


def _is_telling(each: Hot) -> bool:
    """Frames of frameworks that only pass on, and those around everything, say nothing."""
    is_ours = any(f"({package}/" in each.function for package in _OURS)
    return each.own >= _WORTH_TELLING or (is_ours and each.with_callees < _AROUND_EVERYTHING)


def _function(frame: str) -> str:
    """`decode (b.py:5)` without its line."""
    name, colon, _ = frame.rpartition(":")
    return f"{name})" if colon else frame


def run_profile(part: str) -> int:
    """Profile the services while they do one part of the bench; prints the hottest functions of each, keeps all samples.

    Raises:
        StackError: the stack did not start, or the processes cannot be looked at.
    """
    console = Console()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with running_stack(say=console.print) as stack:
        asyncio.run(PARTS[part](stack, console.print))
    for file in sorted(FOLDER.glob("*.txt")):
        with file.open() as samples:
            console.print(_table(file.stem, hottest(samples)))
    console.print(f"All samples, for flame graphs: {FOLDER}", soft_wrap=True)
    return 0


async def _sync(stack: Stack, say: Callable[[str], None]) -> None:
    """From a backlog in Kafka to InvoiceSynced."""
    async with connected(stack, say) as around:
        accounts = await connect_accounts(around, "profile", TENANTS)
        await our_round(around, accounts, _BACKLOG)
        await around.until_idle()
        with _looked_at(stack):
            for _ in range(_ROUNDS):
                await our_round(around, accounts, _BACKLOG)
            await around.until_idle()


async def _webhooks(stack: Stack, say: Callable[[str], None]) -> None:
    """As many genuine webhooks as payment-ingest takes."""
    spec = LoadSpec(
        port=urlsplit(stack.urls["payment-ingest"]).port or 80, path="/webhooks/xero",
        key=stack.children["simulator"].env["SIM_WEBHOOK_KEY"], seconds=_LOAD_SECONDS, requests=_REQUESTS,
        seed=uuid.uuid4().hex, tenant_id=str(uuid.uuid4()), accepted_file=str(FOLDER / "accepted"),
    )  # fmt: skip
    with _looked_at(stack):
        result = await put_under_load(spec)
    (FOLDER / "accepted").unlink()
    say(f"{result.rate:,.0f} webhooks a second while it was looked at.")


PARTS: dict[str, Callable[[Stack, Callable[[str], None]], Coroutine[Any, Any, None]]] = {
    "sync": _sync,
    "webhooks": _webhooks,
}


@contextlib.contextmanager
def _looked_at(stack: Stack) -> Iterator[None]:
    """Look at the services for as long as the block lasts; what waits is left out."""
    spies = {name: _spy_on(stack, name) for name in SERVICES}
    try:
        yield
    finally:
        for spy in spies.values():
            spy.send_signal(signal.SIGINT)
        said = {name: spy.communicate()[1].decode() for name, spy in spies.items()}
    for name, words in said.items():
        if not (FOLDER / f"{name}.txt").exists():
            raise StackError(
                f"{name} cannot be looked at; be root, or allow it by kernel.yama.ptrace_scope=0: {words[-300:]}"
            )


def _spy_on(stack: Stack, name: str) -> "subprocess.Popen[bytes]":
    process = stack.children[name].process
    if process is None:
        raise StackError(f"{name} is not running.")
    spy = Path(sys.executable).with_name("py-spy")
    output = FOLDER / f"{name}.txt"
    return subprocess.Popen(
        [str(spy), "record", "--pid", str(process.pid), "--format", "raw", "--output", str(output), "--nonblocking"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def _table(service: str, functions: list[Hot]) -> Table:
    table = Table(title=service)
    table.add_column("function")
    table.add_column("with what it called", justify="right")
    table.add_column("by itself", justify="right")
    for each in functions:
        table.add_row(each.function, f"{each.with_callees:.1%}", f"{each.own:.1%}")
    return table
