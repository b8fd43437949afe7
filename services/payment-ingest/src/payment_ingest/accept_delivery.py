"""Make a genuine webhook body durable before it is answered: one commit for all that waits.

While one INSERT is on its way to the disk, the next requests queue; then all of them go in one statement. An
idle service answers after one commit, a burst costs one commit per few hundred bodies. Two lanes take turns, each
with a connection of its own, so that one gathers while the other waits for the disk. Kafka is not on this path, and
neither is anything that reads the body.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import asyncpg
import structlog

from payment_ingest import metrics
from payment_ingest.store import deliveries, retention
from payment_ingest.store.deliveries import Delivery
from pipeline_messaging.failpoints import failpoint

log = structlog.get_logger(__name__)

_BURST_ROWS = 8
_BURST_SECONDS = 0.1

Connect = Callable[[], Awaitable[asyncpg.Connection]]


class NotStoredError(Exception):
    """The body could not be made durable in time; Xero must be told to come again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the queue and of each commit."""

    lanes: int = 2
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
    since: float


class DeliveryWriter:
    """Writes every delivery of this process.

    Args:
        connect: Opens a connection for a lane's own use.
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
        self._idle: list[asyncio.Future[None]] = []
        self._last_burst = -_BURST_SECONDS
        self._stopping = False

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
        loop = asyncio.get_running_loop()
        waiting = _Waiting(delivery, loop.create_future(), loop.time())
        self._queue.append(waiting)
        self._queued_bytes += size
        self._wake_one()
        await waiting.durable
        metrics.DELIVERY_ACK.observe(loop.time() - waiting.since)

    async def run(self) -> None:
        """Write until stopped; what is queued then is still written."""
        try:
            async with asyncio.TaskGroup() as lanes:
                for _ in range(self._limits.lanes):
                    lanes.create_task(self._lane(), name="delivery-lane")
        finally:
            # However it ended: nobody waits for a writer that is no more.
            self._stopping = True
            self._idle.clear()
            _tell(self._queue, NotStoredError("the writer has ended"))

    @property
    def busy(self) -> bool:
        """Whether webhooks are coming in a burst: several to a commit, just now."""
        return time.monotonic() - self._last_burst < _BURST_SECONDS

    def stop(self) -> None:
        """Accept no more, finish what is queued."""
        self._stopping = True
        while self._idle:
            self._wake_one()

    def _wake_one(self) -> None:
        # Exactly one: a lane woken for nothing would cost each request of a quiet service a turn of the loop.
        if self._idle:
            self._idle.pop().set_result(None)

    async def _lane(self) -> None:
        conn: asyncpg.Connection | None = None
        try:
            while True:
                if self._queue:
                    conn = await self._write(conn, self._take())
                elif self._stopping:
                    return
                else:
                    woken = asyncio.get_running_loop().create_future()
                    self._idle.append(woken)
                    await woken
        finally:
            _drop(conn)

    def _take(self) -> list[_Waiting]:
        self._give_up_late()
        taken: list[_Waiting] = []
        size = 0
        while self._queue and len(taken) < self._limits.rows_per_commit:
            size += len(self._queue[0].delivery.body)
            if taken and size > self._limits.bytes_per_commit:
                break
            taken.append(self._queue.popleft())
        self._queued_bytes -= sum(len(one.delivery.body) for one in taken)
        if len(taken) >= _BURST_ROWS:
            self._last_burst = time.monotonic()
        return taken

    def _give_up_late(self) -> None:
        """Answer those who have waited too long already: others may be waiting behind them."""
        too_early = asyncio.get_running_loop().time() - self._limits.answer_seconds
        late: list[_Waiting] = []
        while self._queue and self._queue[0].since <= too_early:
            late.append(self._queue.popleft())
        self._queued_bytes -= sum(len(one.delivery.body) for one in late)
        _tell(late, NotStoredError("the database did not answer in time"))

    def _deadline(self, batch: list[_Waiting]) -> float:
        # The queue is in order, so no request needs a timer of its own: a lane that waits for the disk ends when the
        # oldest of its batch has waited long enough, which is before anybody still queued has.
        limits = self._limits
        now = asyncio.get_running_loop().time()
        return min(now + limits.commit_seconds, batch[0].since + limits.answer_seconds)

    async def _write(
        self, conn: asyncpg.Connection | None, batch: list[_Waiting]
    ) -> asyncpg.Connection | None:
        """Store a batch and tell its requests; gives back the connection to go on with, if it is still good."""
        if not batch:
            return conn
        try:
            async with asyncio.timeout_at(self._deadline(batch)):
                if conn is None or conn.is_closed():
                    conn = await self._connect()
                failpoint("delivery:before_commit")
                await _keep(conn, [one.delivery for one in batch])
                failpoint("delivery:after_commit")
        except asyncio.CancelledError:
            _drop(conn)
            _tell(batch, NotStoredError("the writer was cancelled"))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, every waiting request must get its answer
            log.warning("deliveries_not_stored", error=type(error).__name__, count=len(batch))
            # After a timeout the statement may still be running on it: only a new connection starts clean.
            _drop(conn)
            _tell(batch, NotStoredError(type(error).__name__))
            return None
        _tell(batch, None)
        self._on_stored()
        return conn


async def _keep(conn: asyncpg.Connection, batch: list[Delivery]) -> None:
    try:
        await deliveries.keep(conn, batch)
    except asyncpg.CheckViolationError:
        # Nobody made today's partition: no replica was up for a week.
        await retention.make_partitions(conn, days_ahead=1)
        await deliveries.keep(conn, batch)


def _drop(conn: asyncpg.Connection | None) -> None:
    if conn is not None and not conn.is_closed():
        conn.terminate()


def _tell(batch: Iterable[_Waiting], error: NotStoredError | None) -> None:
    for one in batch:
        if one.durable.done():
            continue
        if error is None:
            one.durable.set_result(None)
        else:
            one.durable.set_exception(error)
