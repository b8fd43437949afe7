"""Which accounts have changed: one question a second for all streams of this process, whoever stored the change.

Streams keep no queue. Each remembers the number it has told last and waits for another one, so a slow reader costs
nothing, and many changes in one second are told once.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from ops_dashboard import metrics
from ops_dashboard.store import versions
from pipeline_messaging.faults import told
from pipeline_service_defaults.database import Pool

log = structlog.get_logger(__name__)

_EVERY_SECONDS = 1.0


class TooManyStreams(Exception):  # noqa: N818 - a state, answered with 503
    """This process has as many open streams as it may."""


class AccountWatch:
    """The numbers of the accounts that streams of this process are about."""

    def __init__(self, pool: Pool, *, most: int) -> None:
        self._pool = pool
        self._most = most
        self._watched: Counter[str] = Counter()
        self._known: dict[str, int] = {}
        self._changed = asyncio.Condition()

    @property
    def is_full(self) -> bool:
        """Whether one more stream would be one too many."""
        return self._watched.total() >= self._most

    @contextmanager
    def open(self, account_id: str) -> Iterator[None]:
        """Watch an account for as long as a stream lasts.

        Raises:
            TooManyStreams: it would be one too many.
        """
        if self.is_full:
            raise TooManyStreams
        self._watched[account_id] += 1
        metrics.STREAMS.set(self._watched.total())
        try:
            yield
        finally:
            self._watched[account_id] -= 1
            if not self._watched[account_id]:
                del self._watched[account_id]
                self._known.pop(account_id, None)
            metrics.STREAMS.set(self._watched.total())

    async def other_than(self, account_id: str, seen: int, seconds: float) -> int | None:
        """The account's number once it is not `seen`; None if that does not happen in time."""

        def news() -> bool:
            return self._known.get(account_id, seen) != seen

        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(news)
                return self._known[account_id]
        except TimeoutError:
            return None

    async def run(self) -> None:
        """Ask until cancelled; while the database is away, streams only say that they are alive."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            try:
                await self._ask()
            except Exception as error:  # noqa: BLE001 - the database comes back, and so must this
                log.warning("accounts_not_watched", **told(error))

    async def _ask(self) -> None:
        watched = list(self._watched)
        if not watched:
            return
        async with self._pool.acquire(timeout=5) as conn:
            found = await versions.of(conn, watched)
        async with self._changed:
            self._known = {one: found[one] for one in watched if one in self._watched}
            self._changed.notify_all()
