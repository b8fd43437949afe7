"""The simulator's clock: real time plus whatever a test has added to it.

Everything that has a lifetime here (tokens, limits, idempotency keys, webhook retries) reads this
clock, so a test can let thirty minutes pass in no time.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class Clock:
    """Wall-clock time that can be advanced, frozen and waited on.

    Args:
        real: The source of real seconds since the epoch.
    """

    def __init__(self, real: Callable[[], float] = time.time) -> None:
        self._real = real
        self._offset = 0.0
        self._frozen_at: float | None = None
        self._moved = asyncio.Event()

    @property
    def frozen(self) -> bool:
        """Whether time stands still until it is advanced."""
        return self._frozen_at is not None

    def timestamp(self) -> float:
        """The current simulated time in seconds since the epoch."""
        base = self._frozen_at if self._frozen_at is not None else self._real()
        return base + self._offset

    def now(self) -> datetime:
        """The current simulated time, in UTC, cut to milliseconds as Xero stores it."""
        moment = datetime.fromtimestamp(self.timestamp(), UTC)
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    def advance(self, seconds: float) -> None:
        """Moves the clock forward (or back, with a negative figure) and wakes whoever waits."""
        self._offset += seconds
        self._wake()

    def freeze(self) -> None:
        """Stops the clock where it is."""
        if self._frozen_at is None:
            self._frozen_at = self._real()

    def resume(self) -> None:
        """Lets a frozen clock run again, continuing from where it stood."""
        if self._frozen_at is not None:
            self._offset -= self._real() - self._frozen_at
            self._frozen_at = None
            self._wake()

    def reset(self) -> None:
        """Returns to real time."""
        self._offset, self._frozen_at = 0.0, None
        self._wake()

    async def wait_until(self, moment: datetime | None, *others: asyncio.Event) -> None:
        """Returns when the simulated time reaches `moment` or one of `others` is set.

        A wait for None ends only by an event; a frozen clock ends a timed wait only by advancing.
        """
        while not any(event.is_set() for event in others):
            missing = None if moment is None else moment - self.now()
            if missing is not None and missing <= timedelta(0):
                return
            self._moved.clear()
            waits = [asyncio.ensure_future(event.wait()) for event in (self._moved, *others)]
            timeout = None if missing is None or self.frozen else missing.total_seconds()
            try:
                await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    def _wake(self) -> None:
        self._moved.set()
