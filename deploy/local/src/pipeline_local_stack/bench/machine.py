"""On what was measured: figures of different machines must not be compared."""

import os
import platform
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")


def describe_machine(kafka: str, postgres: str) -> list[str]:
    """Lines that say what the figures were measured on, and what else was running."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines = [
        f"{cores} cores, {cpu_model()}, {platform.system()} {platform.release()}",
        f"Python {platform.python_version()}, {kafka}, Postgres {postgres}",
    ]
    if hasattr(os, "getloadavg"):
        lines.append(
            f"Load of the machine before the start: {os.getloadavg()[0]:.2f} (0 is an idle machine)"
        )
    lines.append("Load generator, services, broker, database and simulator share these cores.")
    return lines


def cpu_model(cpu_info: Path = _CPU_INFO) -> str:
    """The processor's name as the system gives it."""
    if cpu_info.exists():
        for line in cpu_info.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
