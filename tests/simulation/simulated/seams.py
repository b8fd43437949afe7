"""Where actors wait for their turn, and where a replica may die."""

import asyncio
import hashlib
import sys
from collections.abc import Coroutine
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from pipeline_messaging import failpoints


class Died(BaseException):
    """The process ends here, as a kill would end it: no `except Exception` may see it."""


@dataclass(eq=False)
class Life:
    """One process from its start to its death; the network's and other people's work belongs to none."""

    name: str
    is_dead: bool = False
    is_frozen: bool = False
    dies_at: dict[str, int] = field(default_factory=dict)
    """By failpoint: the how manieth passing from now is the last."""
    overdue: list[Any] = field(default_factory=list, repr=False)
    """What came due while it was frozen."""
    tasks: list[asyncio.Task[Any]] = field(default_factory=list, repr=False)


LIFE: ContextVar[Life | None] = ContextVar("life", default=None)


@dataclass(eq=False)
class Waiting:
    """An actor at a seam."""

    life: Life | None
    seam: str
    go: asyncio.Future[None]

    def __str__(self) -> str:
        return f"{self.life.name if self.life else '-'} {self.seam}"


class Seams:
    """All who wait, in the order they came; and the trace of what was done."""

    def __init__(self, loop: Any) -> None:
        self.loop = loop
        self.waiting: list[Waiting] = []
        self.trace: list[str] = []
        self.passed: dict[str, int] = {}
        self.faults: dict[str, int] = {}
        self.killed: list[str] = []
        self.deaths: list[str] = []
        """Failpoints, in order: whoever passes the first dies there, and then it is the next one's turn."""
        self.unexpected: list[BaseException] = []
        self._digest = hashlib.sha256()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._clean_ups: set[asyncio.Task[Any]] = set()

    async def pause(self, name: str) -> None:
        """A seam: whoever comes here waits until it is picked, and dies here if its process does."""
        life = LIFE.get()
        if life is not None and life.is_dead:
            raise Died
        mine = Waiting(life, name, self.loop.create_future())
        self.waiting.append(mine)
        try:
            await mine.go
        finally:
            if mine in self.waiting:
                self.waiting.remove(mine)
        if life is not None and life.is_dead:
            raise Died

    def ready(self) -> list[Waiting]:
        """Who could go on."""
        return [each for each in self.waiting if not (each.life and each.life.is_frozen)]

    def let_go(self, one: Waiting) -> None:
        self.note(f"go {one}")
        self.waiting.remove(one)
        if not one.go.done():
            one.go.set_result(None)

    def note(self, what: str) -> None:
        line = f"{self.loop.now:.3f} {what}"
        self.trace.append(line)
        self._digest.update(line.encode())

    def strike(self, fault: str) -> None:
        """Count a fault that took place."""
        self.faults[fault] = self.faults.get(fault, 0) + 1
        self.note(f"fault {fault}")

    @property
    def fingerprint(self) -> str:
        """Equal for equal traces."""
        return self._digest.hexdigest()

    def failpoint(self, name: str) -> None:
        """Takes the place of the services' own `failpoint`."""
        life = LIFE.get()
        self.passed[name] = self.passed.get(name, 0) + 1
        if life is None:
            return
        if life.is_dead:
            raise Died
        if self._must_die(life, name):
            self.killed.append(name)
            self.strike(f"killed at {name}")
            life.is_dead = True
            raise Died

    def _must_die(self, life: Life, name: str) -> bool:
        if self.deaths[:1] == [name]:
            self.deaths.pop(0)
            return True
        if name not in life.dies_at:
            return False
        life.dies_at[name] -= 1
        return life.dies_at[name] == 0

    def start(self, work: Coroutine[Any, Any, Any], life: Life | None) -> asyncio.Task[Any]:
        """Run a coroutine as part of a life."""
        token = LIFE.set(life)
        try:
            task = self.loop.create_task(work)
        finally:
            LIFE.reset(token)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def bury(self, life: Life) -> None:
        """End all that belongs to a life: none of it gets any further."""
        tasks = [each for each in life.tasks if not each.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def clean_up(self, work: Coroutine[Any, Any, Any]) -> None:
        """What the world does after a life's end, whoever asked for it."""
        task = self.start(work, None)
        self._clean_ups.add(task)
        task.add_done_callback(self._clean_ups.discard)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not _is_death(error):
            self.unexpected.append(error)

    async def end(self) -> None:
        """Nothing goes on any more; every life is dead already. What they leave behind is cleaned up."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()} - self._clean_ups
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while self._clean_ups:
            await asyncio.gather(*self._clean_ups)


def _is_death(error: BaseException) -> bool:
    """Whether a process died; where several tasks were one group, perhaps in some of them."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_death, error.exceptions))
    return isinstance(error, Died)


def owned_task(loop: Any, work: Any, **named: Any) -> asyncio.Task[Any]:
    """asyncio's task factory: a task belongs to the life that started it."""
    task = asyncio.Task(work, loop=loop, **named)
    if (life := LIFE.get()) is not None:
        life.tasks.append(task)
    return task


def modules_with_failpoints() -> list[Any]:
    """The loaded modules that call `failpoint`."""
    return [
        module
        for name, module in sorted(sys.modules.items())
        if name.startswith(("invoice_sync", "payment_ingest", "pipeline_messaging"))
        and getattr(module, "failpoint", None) is failpoints.failpoint
    ]
