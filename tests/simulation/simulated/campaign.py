"""Many lives: in a row on one database, and in as many processes as there are cores."""

import argparse
import ast
import asyncio
import os
import platform
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import structlog

from pipeline_local_stack.bench.machine import commit_of
from pipeline_local_stack.paths import ROOT
from simulated import record
from simulated.clock import VirtualLoop, virtual_time
from simulated.database import Database, Databases, made_database
from simulated.payment_ingest_life import make_days
from simulated.script import Script, drawn
from simulated.seams import Died, owned_task
from simulated.shrink import shrunk
from simulated.world import Verdict, World
from xero_simulator.app import create_app
from xero_simulator.config import Settings

Live = Callable[[Script, int], Awaitable[Verdict]]
PORTION = 250
"""Seeds that a process lives before it tells, at most."""
STOPPING = (signal.SIGINT, signal.SIGTERM)
UNSAFE = "fsync = off\nfull_page_writes = off\n"
"""A server that is thrown away need not survive the loss of power."""


class Event(Protocol):
    """A flag, of threads or of processes."""

    def is_set(self) -> bool: ...

    def set(self) -> None: ...


def run(work: Callable[[Live], Awaitable[Any]], server_dsn: str) -> Any:
    """Run `work`, which is given a function that lives a script, on a loop and a database of their own."""
    loop = VirtualLoop()
    loop.set_exception_handler(_only_what_is_unexpected)
    loop.set_task_factory(owned_task)
    asyncio.set_event_loop(loop)
    structlog.configure(processors=[_drop])
    try:
        return loop.run_until_complete(_run(work, loop, server_dsn))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        structlog.reset_defaults()


async def _run(work: Callable[[Live], Awaitable[Any]], loop: VirtualLoop, server_dsn: str) -> Any:
    async with (
        made_database(server_dsn, "invoice_sync") as of_invoices,
        made_database(server_dsn, "payment_ingest") as of_payments,
    ):
        databases = Databases(Database(of_invoices, loop), Database(of_payments, loop))
        await make_days(databases.payments)
        simulator = create_app(Settings())

        async def live(script: Script, seed: int) -> Verdict:
            loop.now = 0.0
            with virtual_time(loop, seed):
                return await World(loop, databases, simulator).live(script)

        try:
            return await work(live)
        finally:
            for each in databases:
                await each.close()


def _drop(logger: Any, name: str, event: Any) -> Any:
    raise structlog.DropEvent


def _only_what_is_unexpected(loop: Any, context: dict[str, Any]) -> None:
    if not isinstance(context.get("exception"), Died | asyncio.CancelledError):
        loop.default_exception_handler(context)


async def broken_and_short(script: Script, seed: int, live: Live) -> Script:
    """A script that breaks a promise, cut down."""

    async def breaks(shorter: Script) -> bool:
        return bool((await live(shorter, seed)).broken)

    return await shrunk(script, breaks)


@dataclass(slots=True)
class Told:
    """What became of many lives."""

    lives: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)
    broken: dict[int, str] = field(default_factory=dict)
    """By seed: what broke, and a short script that breaks it too."""
    seeds: range = range(0)
    """Those that were lived, of one portion."""

    def add(self, other: "Told") -> None:
        """Take over what others lived."""
        self.lives += other.lives
        self.faults += other.faults
        self.passed += other.passed
        self.broken |= other.broken


async def lived(live: Live, seeds: range) -> Told:
    """Live through the seeds, unless told to stop; every one that breaks a promise is cut down."""
    told = Told()
    for seed in seeds:
        if _stop.is_set():
            break
        script = drawn(seed)
        verdict = await live(script, seed)
        told.lives += 1
        told.faults.update(verdict.faults)
        told.passed.update(verdict.passed)
        if verdict.broken:
            short = await broken_and_short(script, seed, live)
            told.broken[seed] = (
                f"seed {seed} broke a promise: {'; '.join(verdict.broken)}\n"
                f"  a script that does, for SCRIPT=<file>: {(seed, short)}"
            )
    told.seeds = seeds[: told.lives]
    return told


def campaign(
    seeds: range, server_dsn: str, processes: int, stop: Event | None = None
) -> Iterator[Told]:
    """Live through the seeds, in processes that each have a database; told by portions as they end.

    Once `stop` is set, the lives that are lived are the last ones: their portions end with them.
    """
    size = max(min(PORTION, -(-len(seeds) // processes)), 1)
    portions = [seeds[start : start + size] for start in range(0, len(seeds), size)]
    # Spawned: a process of its own must not inherit another's loop.
    context = get_context("spawn")
    stop = stop or context.Event()
    with ProcessPoolExecutor(processes, context, _stops_by, (stop,)) as workers:
        asked = [workers.submit(_portion, portion, server_dsn) for portion in portions]
        for each in as_completed(asked):
            if stop.is_set():
                for other in asked:
                    other.cancel()
            if not each.cancelled():
                yield each.result()


_stop: Event = threading.Event()
"""Set where no further life is to begin."""


def _stops_by(stop: Event) -> None:
    """In a process that lives portions: Ctrl-C reaches it too, but it is its parent who says when to stop."""
    global _stop  # noqa: PLW0603 - a process's one
    _stop = stop
    for each in STOPPING:
        signal.signal(each, signal.SIG_IGN)


def _portion(seeds: range, server_dsn: str) -> Told:
    if _stop.is_set():
        return Told()
    told: Told = run(partial(lived, seeds=seeds), server_dsn)
    return told


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--script", type=_printed, help="file with what a failure printed; lived step by step"
    )
    parser.add_argument(
        "--record", action="store_true", help=f"keep what was lived in {record.FILE.name}"
    )
    asked = parser.parse_args()
    with postgres() as server_dsn:
        if asked.script is not None:
            return _trace(*asked.script, server_dsn)
        seeds = range(asked.first, asked.first + asked.seeds)
        stop = get_context("spawn").Event()
        for each in STOPPING:
            signal.signal(each, lambda *_: stop.set())
        kept = record.Campaign(
            began=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S"),
            commit=commit_of(ROOT),
            python=platform.python_version(),
            postgres=asyncio.run(_version(server_dsn)),
            processes=asked.processes,
        )
        portions = campaign(seeds, server_dsn, asked.processes, stop)
        return _tell(portions, kept, record.keep if asked.record else lambda _: None)


async def _version(server_dsn: str) -> str:
    conn = await asyncpg.connect(server_dsn)
    try:
        version: str = await conn.fetchval("SHOW server_version")
        return version
    finally:
        await conn.close()


@contextmanager
def postgres() -> Iterator[str]:
    """The DSN of the server in DATABASE_URL, or else of one that runs for as long as this block."""
    if dsn := os.environ.get("DATABASE_URL"):
        yield dsn
        return
    from pipeline_local_stack.postgres import start_postgres

    with tempfile.TemporaryDirectory(prefix="simulated-") as folder:
        files = {"postgresql.auto.conf": UNSAFE}
        server = start_postgres("postgres-simulated", Path(folder), files)
        try:
            yield server.dsn
        finally:
            server.stop()


def _printed(file: str) -> tuple[int, Script]:
    """The seed and the script in a file."""
    try:
        seed, script = ast.literal_eval(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, TypeError, ValueError) as error:
        wanted = "(seed, [steps]), as a failure prints it"
        raise argparse.ArgumentTypeError(f"{file} does not hold {wanted}: {error}") from None
    return seed, script


def _trace(seed: int, script: Script, server_dsn: str) -> int:
    verdict: Verdict = run(lambda live: live(script, seed), server_dsn)
    print(*verdict.trace, *verdict.broken, sep="\n")
    return int(bool(verdict.broken))


def _tell(
    portions: Iterator[Told], kept: record.Campaign, keep: Callable[[record.Campaign], None]
) -> int:
    began, told = time.perf_counter(), Told()
    for portion in portions:
        told.add(portion)
        seconds = time.perf_counter() - began
        kept.add(portion.seeds, portion.broken, seconds)
        keep(kept)
        print(*portion.broken.values(), sep="\n", end="\n" if portion.broken else "")
        print(f"{told.lives} seeds, {told.lives / seconds:.1f} a second", file=sys.stderr)
    lived_through = ", ".join(f"{first} to {last}" for first, last in kept.seeds)
    print(
        f"Seeds {lived_through or 'none'}: {len(told.broken)} of {told.lives} broke a promise; "
        f"{kept.seconds} s, {told.lives / max(kept.seconds, 1):.1f} seeds a second"
    )
    for fault, count in sorted(told.faults.items()):
        print(f"  {count:8} {fault}")
    return int(bool(told.broken))
