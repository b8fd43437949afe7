"""Processor time that a piece of work takes: unlike the time on the clock, a busy machine changes it little."""

from collections.abc import Iterable

import psutil

from pipeline_local_stack.processes import Child
from pipeline_local_stack.stack import Stack


def seconds_used(children: Iterable[Child]) -> float:
    """Processor time that these processes, with the processes they started, have used so far."""
    return sum(
        _used(process)
        for child in children
        if child.process is not None
        for process in _with_descendants(child.process.pid)
    )


def services_and_postgres(stack: Stack, names: Iterable[str]) -> list[Child]:
    """The processes of some services, and those of the database that they all use."""
    return [stack.postgres.child, *(stack.children[name] for name in names)]


def _with_descendants(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _used(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:  # a database connection that has just been closed
        return 0.0
    # Of processes that have ended, what they used is in their parent's account (0 where the system keeps none).
    return float(
        times.user
        + times.system
        + getattr(times, "children_user", 0.0)
        + getattr(times, "children_system", 0.0)
    )
