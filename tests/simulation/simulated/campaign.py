"""Many lives: in a row on one database, and in as many processes as there are cores."""

import argparse
import ast
import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import structlog

from simulated.clock import VirtualLoop, virtual_time
from simulated.database import Database, made_database
from simulated.script import Script, drawn
from simulated.seams import Died, owned_task
from simulated.shrink import shrunk
from simulated.world import Verdict, World
from xero_simulator.app import create_app
from xero_simulator.config import Settings

Live = Callable[[Script, int], Awaitable[Verdict]]
PORTION = 250
"""Seeds that a process lives before it tells, at most."""
UNSAFE = "fsync = off\nfull_page_writes = off\n"
"""A server that is thrown away need not survive the loss of power."""


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
    async with made_database(server_dsn, "invoice_sync") as dsn:
        database, simulator = Database(dsn, loop), create_app(Settings())

        async def live(script: Script, seed: int) -> Verdict:
            loop.now = 0.0
            with virtual_time(loop, seed):
                return await World(loop, database, simulator).live(script)

        try:
            return await work(live)
        finally:
            await database.close()


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
    broken: list[str] = field(default_factory=list)
    """Each with its seed, and a short script that breaks it too."""

    def add(self, other: "Told") -> None:
        """Take over what others lived."""
        self.lives += other.lives
        self.faults += other.faults
        self.passed += other.passed
        self.broken += other.broken


async def lived(live: Live, seeds: range) -> Told:
    """Live through the seeds; every one that breaks a promise is cut down."""
    told = Told()
    for seed in seeds:
        script = drawn(seed)
        verdict = await live(script, seed)
        told.lives += 1
        told.faults.update(verdict.faults)
        told.passed.update(verdict.passed)
        if verdict.broken:
            short = await broken_and_short(script, seed, live)
            told.broken.append(
                f"seed {seed} broke a promise: {'; '.join(verdict.broken)}\n"
                f"  a script that does, for SCRIPT=<file>: {(seed, short)}"
            )
    return told


def campaign(seeds: range, server_dsn: str, processes: int) -> Iterator[Told]:
    """Live through the seeds, in processes that each have a database; told by portions as they end."""
    size = max(min(PORTION, -(-len(seeds) // processes)), 1)
    portions = [seeds[start : start + size] for start in range(0, len(seeds), size)]
    # Spawned: a process of its own must not inherit another's loop.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as workers:
        asked = [workers.submit(_portion, portion, server_dsn) for portion in portions]
        for each in as_completed(asked):
            yield each.result()


def _portion(seeds: range, server_dsn: str) -> Told:
    return run(partial(lived, seeds=seeds), server_dsn)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--script", type=Path, help="live this script, as a failure printed it")
    asked = parser.parse_args()
    with postgres() as server_dsn:
        if asked.script is not None:
            return _trace(asked.script, server_dsn)
        seeds = range(asked.first, asked.first + asked.seeds)
        return _tell(campaign(seeds, server_dsn, asked.processes), seeds)


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


def _trace(file: Path, server_dsn: str) -> int:
    seed, script = ast.literal_eval(file.read_text(encoding="utf-8"))
    verdict: Verdict = run(lambda live: live(script, seed), server_dsn)
    print(*verdict.trace, *verdict.broken, sep="\n")
    return int(bool(verdict.broken))


def _tell(portions: Iterator[Told], seeds: range) -> int:
    began, told = time.perf_counter(), Told()
    for portion in portions:
        told.add(portion)
        seconds = time.perf_counter() - began
        print(*portion.broken, sep="\n", end="\n" if portion.broken else "")
        print(f"{told.lives} seeds, {told.lives / seconds:.1f} a second", file=sys.stderr)
    seconds = time.perf_counter() - began
    print(
        f"Seeds {seeds.start} to {seeds.stop - 1}: {len(told.broken)} of {told.lives} broke a promise; "
        f"{seconds:.0f} s, {told.lives / seconds:.1f} seeds a second"
    )
    for fault, count in sorted(told.faults.items()):
        print(f"  {count:8} {fault}")
    return int(bool(told.broken))
