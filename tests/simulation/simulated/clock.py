"""An event loop whose time moves only when it is told to, and that knows when nobody can go on by himself."""

import asyncio
import selectors
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from random import Random
from typing import Any

from simulated.seams import LIFE, Life

BEGINNING = datetime(2026, 6, 1, 9, tzinfo=UTC).timestamp()

PATIENCE = 60.0
"""Real seconds: no statement of a life takes so long, unless it waits for a lock whose holder waits for a turn."""


class StuckError(RuntimeError):
    """Postgres does not answer: a statement waits for a lock whose holder waits for its turn."""


class _Selector(selectors.DefaultSelector):
    """Looks at sockets only when nothing else is ready, so that their readiness decides no order."""

    busy = 0
    """How many answers of Postgres are awaited: the one thing that is waited for in real time."""
    at_rest: Callable[[], bool] = staticmethod(lambda: False)

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is not None and timeout <= 0:
            return []
        if self.busy:
            if not (found := super().select(PATIENCE)):
                raise StuckError
            return found
        if not self.at_rest():
            return super().select(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's loop on virtual time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.selector = _Selector()
        super().__init__(self.selector)
        self._rest: asyncio.Future[None] | None = None
        self.selector.at_rest = self._nobody_can_go_on

    def time(self) -> float:
        return self.now

    def call_at(
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """As asyncio's, but nothing comes due in a process that stands still: it is overdue when the process goes on."""

        def due() -> None:
            life = LIFE.get()
            if life is not None and life.is_frozen:
                life.overdue.append((handle, callback, args))
            else:
                callback(*args)

        handle = super().call_at(when, due, context=context)
        return handle

    def thaw(self, life: Life) -> None:
        """What came due while it stood still happens now, unless it was called off meanwhile."""
        life.is_frozen = False
        overdue, life.overdue = life.overdue, []
        for handle, callback, args in overdue:
            if not handle.cancelled():
                self.call_soon(callback, *args, context=handle._context)

    def timestamp(self) -> float:
        """Virtual seconds since the epoch."""
        return BEGINNING + self.now

    def utc(self, now: float | None = None) -> datetime:
        """The moment at this second of the loop's time, or at the present one."""
        return datetime.fromtimestamp(BEGINNING + (self.now if now is None else now), UTC)

    async def rest(self) -> None:
        """Return once nobody can go on by himself: all wait for a seam, for a moment, or for each other."""
        self._rest = self.create_future()
        await self._rest

    def _nobody_can_go_on(self) -> bool:
        if self._rest is None or self._rest.done():
            return False
        self._rest.set_result(None)
        return True

    @contextmanager
    def waiting_for_postgres(self) -> Iterator[None]:
        self.selector.busy += 1
        try:
            yield
        finally:
            self.selector.busy -= 1


@contextmanager
def virtual_time(loop: VirtualLoop, seed: int) -> Iterator[None]:
    """Until the block ends, this process reads the loop's time, and draws its ids and its jitter from the seed."""
    chance = Random(seed)

    class Moment(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.fromtimestamp(loop.timestamp(), tz)

    import random

    from payment_ingest import ring_doorbells, sweep_account

    replaced: list[tuple[Any, str, Any]] = [
        (time, "monotonic", loop.time),
        (time, "time", loop.timestamp),
        (random, "uniform", chance.uniform),
        # Another thread's end is no moment of the loop's time.
        (asyncio, "to_thread", _at_once),
        (uuid, "uuid4", lambda: uuid.UUID(int=chance.getrandbits(128), version=4)),
        (ring_doorbells, "datetime", Moment),
        (sweep_account, "datetime", Moment),
    ]
    with replacing(replaced):
        yield


async def _at_once(function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    return function(*given, **named)


@contextmanager
def replacing(replaced: list[tuple[Any, str, Any]]) -> Iterator[None]:
    """Names of modules and objects that mean something else until the block ends."""
    before = [(where, name, getattr(where, name)) for where, name, _ in replaced]
    for where, name, value in replaced:
        setattr(where, name, value)
    try:
        yield
    finally:
        for where, name, value in before:
            setattr(where, name, value)
