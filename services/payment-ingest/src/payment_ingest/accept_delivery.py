"""Make a genuine webhook body durable before it is answered: one writer, one commit for all that waits.

While one INSERT is on its way to the disk, the next requests queue; then all of them go in one statement. An
idle service answers after one commit, a burst costs one commit per few hundred bodies. Kafka is not on this
path, and neither is anything that reads the body.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg
import structlog

from payment_ingest import metrics
from payment_ingest.store import deliveries
from payment_ingest.store.deliveries import Delivery
from pipeline_messaging.failpoints import failpoint

log = structlog.get_logger(__name__)

Connect = Callable[[], Awaitable[asyncpg.Connection]]


class NotStoredError(Exception):
    """The body could not be made durable in time; Xero must be told to come again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the queue and of each commit."""

    rows_per_commit: int = 1_000
    bytes_per_commit: int = 8 * 1024 * 1024
    queued_rows: int = 20_000
    queued_bytes: int = 64 * 1024 * 1024
    commit_seconds: float = 2.0
    answer_seconds: float = 2.5
    """Longest wait of one request; with the read deadline it stays inside Xero's 5 seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    delivery: Delivery
    durable: asyncio.Future[None]


class DeliveryWriter:
    """The only writer of deliveries in this process.

    Args:
        connect: Opens a connection for the writer's own use.
        on_stored: Called after each commit, to wake whoever reads deliveries.
        limits: Bounds.
    """

    def __init__(
        self, connect: Connect, on_stored: Callable[[], None], limits: Limits | None = None
    ) -> None:
        self._connect = connect
        self._on_stored = on_stored
        self._limits = limits or Limits()
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._more = asyncio.Event()
        self._stopping = False
        self._conn: asyncpg.Connection | None = None

    async def accept(self, delivery: Delivery) -> None:
        """Return once `delivery` is durable.

        Raises:
            NotStoredError: The database is away or too slow, or too much is queued already. The row may or may not be
                there; the same body again is the same row.
        """
        size = len(delivery.body)
        limits = self._limits
        if (
            self._stopping
            or len(self._queue) >= limits.queued_rows
            or self._queued_bytes + size > limits.queued_bytes
        ):
            raise NotStoredError("too much is waiting to be stored")
        waiting = _Waiting(delivery, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._queued_bytes += size
        self._more.set()
        started = time.monotonic()
        try:
            async with asyncio.timeout(limits.answer_seconds):
                await waiting.durable
        except TimeoutError:
            raise NotStoredError("the database did not answer in time") from None
        metrics.DELIVERY_ACK.observe(time.monotonic() - started)

    async def run(self) -> None:
        """Write until stopped; what is queued then is still written."""
        try:
            while not (self._stopping and not self._queue):
                await self._more.wait()
                self._more.clear()
                while self._queue:
                    await self._write(self._take())
        finally:
            await self._drop_connection()

    def stop(self) -> None:
        """Accept no more, finish what is queued."""
        self._stopping = True
        self._more.set()

    def _take(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        size = 0
        while self._queue and len(taken) < self._limits.rows_per_commit:
            size += len(self._queue[0].delivery.body)
            if taken and size > self._limits.bytes_per_commit:
                break
            taken.append(self._queue.popleft())
        self._queued_bytes -= sum(len(one.delivery.body) for one in taken)
        # A request that gave up was answered 503: storing it is allowed, but others may be waiting behind it.
        return [one for one in taken if not one.durable.done()]

    async def _write(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        try:
            async with asyncio.timeout(self._limits.commit_seconds):
                if self._conn is None or self._conn.is_closed():
                    self._conn = await self._connect()
                failpoint("delivery:before_commit")
                await deliveries.keep(self._conn, [one.delivery for one in batch])
                failpoint("delivery:after_commit")
        except Exception as error:  # noqa: BLE001 - whatever it was, every waiting request must get its answer
            log.warning("deliveries_not_stored", error=type(error).__name__, deliveries=len(batch))
            await self._drop_connection()
            _tell(batch, NotStoredError(type(error).__name__))
        else:
            _tell(batch, None)
            self._on_stored()

    async def _drop_connection(self) -> None:
        # After a timeout the statement may still be running on it: only a new connection starts clean.
        conn, self._conn = self._conn, None
        if conn is not None and not conn.is_closed():
            conn.terminate()


def _tell(batch: list[_Waiting], error: NotStoredError | None) -> None:
    for one in batch:
        if one.durable.done():
            continue
        if error is None:
            one.durable.set_result(None)
        else:
            one.durable.set_exception(error)
