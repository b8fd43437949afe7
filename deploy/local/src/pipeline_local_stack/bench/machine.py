"""On what was measured, and what it can do at the most: figures of different machines must not be compared."""

import os
import platform
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from pipeline_local_stack.bench.statistics import percentile
from pipeline_local_stack.paths import LOCAL, ROOT
from pipeline_local_stack.stack import Stack

_CPU_INFO = Path("/proc/cpuinfo")
_WRITES, _PAGE = 300, b"x" * 8192


@dataclass(frozen=True, slots=True)
class Machine:
    """What the figures were measured on, and when.

    Attributes:
        commit: of this project; `-dirty` when files differed from it.
        load: how many processes wanted a core before the start; 0 is an idle machine.
        fsync_ms: the median of writing 8 KB and having the disk confirm it.
        commit_ms: the median of one row inserted and committed over one connection to Postgres.
    """

    cpu: str
    cores: int
    memory_gb: float
    kernel: str
    python: str
    kafka: str
    postgres: str
    commit: str
    measured_at: str
    load: float
    fsync_ms: float
    commit_ms: float

    def lines(self) -> list[str]:
        """The same for people."""
        return [
            f"{self.cores} cores, {self.cpu}, {self.memory_gb:.0f} GB, {self.kernel}",
            f"Python {self.python}, {self.kafka}, Postgres {self.postgres}; commit {self.commit}",
            f"One fsync {self.fsync_ms:.2f} ms, one commit of Postgres {self.commit_ms:.2f} ms",
            f"Load of the machine before the start: {self.load:.2f} (0 is an idle machine)",
            "Load generator, services, broker, database and simulator share these cores.",
        ]

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return asdict(self)


async def describe_machine(stack: Stack, load: float) -> Machine:
    """Look at the machine and at what runs on it; `load` is that from before the stack was started."""
    conn = await asyncpg.connect(stack.postgres.dsn)
    try:
        version = await conn.fetchval("SHOW server_version")
        commit_ms = await _commit_ms(conn)
    finally:
        await conn.close()
    return Machine(
        cpu=cpu_model(),
        cores=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        memory_gb=round(psutil.virtual_memory().total / 2**30, 1),
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        kafka=stack.broker.implementation,
        postgres=version,
        commit=commit_of(ROOT),
        measured_at=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        load=round(load, 2),
        fsync_ms=fsync_ms(LOCAL),
        commit_ms=commit_ms,
    )


def load_now() -> float:
    """How many processes want a core, by the average over the last minute."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def cpu_model(cpu_info: Path = _CPU_INFO) -> str:
    """The processor's name as the system gives it."""
    if cpu_info.exists():
        for line in cpu_info.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def commit_of(checkout: Path) -> str:
    """Which commit a checkout holds, `-dirty` if more than that; `unknown` where there is no history to ask."""
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"],
            cwd=checkout, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return asked.stdout.strip()


def fsync_ms(folder: Path) -> float:
    """The median time, in ms, in which the disk under a folder takes 8 KB for good."""
    took = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(_WRITES):
            began = time.perf_counter()
            file.write(_PAGE)
            os.fsync(file.fileno())
            took.append((time.perf_counter() - began) * 1000)
    return round(percentile(took, 50), 3)


async def _commit_ms(conn: asyncpg.Connection) -> float:
    await conn.execute("CREATE TABLE committed (id bigint GENERATED ALWAYS AS IDENTITY)")
    took = []
    for _ in range(_WRITES):
        began = time.perf_counter()
        await conn.execute("INSERT INTO committed DEFAULT VALUES")
        took.append((time.perf_counter() - began) * 1000)
    await conn.execute("DROP TABLE committed")
    return round(percentile(took, 50), 3)
