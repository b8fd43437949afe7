"""Read stored deliveries and ring for the invoices they name."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog

from payment_ingest import metrics
from payment_ingest.domain.delivery import DocumentRing, Reading, read, together
from payment_ingest.domain.ledger import FoundBy
from payment_ingest.store import (
    connections,
    deliveries,
    document_doorbells,
    doorbells,
    sequences,
    sweeps,
)
from payment_ingest.store.deliveries import StoredDelivery
from pipeline_messaging import worker
from pipeline_messaging.connection import Connection
from pipeline_messaging.failpoints import failpoint

log = structlog.get_logger(__name__)

_BATCH = 1_000
_BATCH_BYTES = 8 * 1024 * 1024
_AT_A_TIME = 50
_STEPS_BACK = 10
_STEP_SECONDS = 0.05
_IDLE_SECONDS = 1.0
_BACKOFF_SECONDS = 2.0
_PAUSE_BETWEEN_SWEEPS = timedelta(minutes=1)


async def ring_doorbells(
    conn: Connection, limit: int = _BATCH, max_bytes: int = _BATCH_BYTES
) -> int:
    """Take the oldest unread deliveries to their doorbells, in one transaction; returns how many there were.

    At most `limit` at once, and about `max_bytes` of bodies: read into objects they take many times that.

    Any replica may do it at any time, and doing it again for the same delivery only makes us look once more.
    """
    async with conn.transaction():
        unread = await deliveries.claim_unread(conn, limit)
        if not unread:
            return 0
        claimed = await deliveries.with_bodies(conn, unread, max_bytes)
        failpoint("doorbell:after_claim")
        readings = await _read_all(claimed)
        rings = together(ring for _, reading in readings for ring in reading.rings)
        first = _first_heard(readings)
        look_around = {tenant for _, reading in readings for tenant in reading.look_around}
        await doorbells.ring(
            conn,
            [(ring, *first[ring.tenant_id, ring.xero_invoice_id]) for ring in rings],
            FoundBy.WEBHOOK,
        )
        created = [ring for ring in rings if ring.created_at is not None]
        dismissed = await doorbells.dismiss_own(
            conn, [(ring.tenant_id, ring.xero_invoice_id) for ring in created]
        )
        documents = _first_documents(readings)
        await document_doorbells.ring(conn, [(one, *heard) for one, heard in documents.items()])
        await sweeps.hurry(conn, look_around, _PAUSE_BETWEEN_SWEEPS)
        # Doorbells of a tenant nobody is known for stay until its account connects.
        tenants = {ring.tenant_id for ring in rings if ring.created_at is None} | look_around
        tenants |= {one.tenant_id for one in documents}
        await worker.mark_due(conn, await connections.accounts_of(conn, tenants))
        later = {ring.tenant_id for ring in created} - tenants
        at = datetime.now(UTC) + doorbells.CREATED_WAITS
        await worker.mark_due(conn, await connections.accounts_of(conn, later), at)
        await deliveries.finish(conn, readings)
        failpoint("doorbell:before_commit")
    failpoint("doorbell:after_commit")
    # On its own, so that ringers do not queue for the one row: numbers lost here only lead to a sweep too many.
    # What somebody had read again arrived long ago, and says nothing about what arrives now.
    fresh = [reading for delivery, reading in readings if not delivery.is_replay]
    if ranges := [numbers for reading in fresh if (numbers := reading.numbers)]:
        await sequences.arrived(conn, ranges)
    metrics.OWN_CREATIONS.inc(dismissed)
    for _, reading in readings:
        metrics.READINGS.labels(reading.outcome.value).inc()
        metrics.NOT_UNDERSTOOD.inc(reading.not_understood)
    return len(claimed)


async def _read_all(deliveries: Sequence[StoredDelivery]) -> list[tuple[StoredDelivery, Reading]]:
    """Read a few at a time: the webhooks that arrive meanwhile are not kept waiting for a thousand of them."""
    readings = []
    for number, delivery in enumerate(deliveries, start=1):
        readings.append((delivery, _reading(delivery)))
        if number % _AT_A_TIME == 0:
            await asyncio.sleep(0)
    return readings


def _reading(delivery: StoredDelivery) -> Reading:
    """What the delivery asks for. Whoever asked for it again wants a look at all it names, mere creations included."""
    reading = read(delivery.body)
    if not delivery.is_replay:
        return reading
    return replace(reading, rings=tuple(replace(one, created_at=None) for one in reading.rings))


def _first_heard(
    readings: Sequence[tuple[StoredDelivery, Reading]],
) -> dict[tuple[str, str], tuple[datetime, bytes]]:
    """When each invoice was first told of, and by which delivery: a mere creation only where nothing else was told."""
    first: dict[tuple[str, str], tuple[datetime, bytes]] = {}
    created: dict[tuple[str, str], tuple[datetime, bytes]] = {}
    for delivery, reading in readings:
        for ring in reading.rings:
            heard = (delivery.received_at, delivery.body_hash)
            kept = first if ring.created_at is None else created
            kept.setdefault((ring.tenant_id, ring.xero_invoice_id), heard)
    return created | first


def _first_documents(
    readings: Sequence[tuple[StoredDelivery, Reading]],
) -> dict[DocumentRing, tuple[datetime, bytes]]:
    """When each document was first told of, and by which delivery."""
    first: dict[DocumentRing, tuple[datetime, bytes]] = {}
    for delivery, reading in readings:
        for one in reading.documents:
            first.setdefault(one, (delivery.received_at, delivery.body_hash))
    return first


class DoorbellRinger:
    """Keeps ringing as deliveries come in; woken by the writer, and looking by itself every second.

    Args:
        pool: The service's database.
        on_rung: Called when something was rung, to wake the account worker.
        is_busy: Whether webhooks are waiting to be stored; in a burst, storing goes first.
    """

    def __init__(
        self, pool: asyncpg.Pool, on_rung: Callable[[], None], is_busy: Callable[[], bool]
    ) -> None:
        self._is_busy = is_busy
        self._pool = pool
        self._on_rung = on_rung
        self._more = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """There are new deliveries."""
        self._more.set()

    def stop(self) -> None:
        """Finish the running batch and no more."""
        self._stopping = True
        self._more.set()

    async def run(self) -> None:
        """Ring until stopped; a database that is away is waited for."""
        while not self._stopping:
            self._more.clear()
            try:
                async with self._pool.acquire() as conn:
                    handled = await ring_doorbells(conn)
            except Exception as error:  # a ringer that ends is a webhook nobody reads
                log.warning("doorbells_not_rung", error=type(error).__name__, exc_info=error)
                await self._wait(_BACKOFF_SECONDS)
                continue
            if handled:
                self._on_rung()
            else:
                await self._wait(_IDLE_SECONDS)
            await self._step_back()

    async def _step_back(self) -> None:
        """Let a burst be stored first: Xero waits for that, and the next batch will be the larger for it."""
        for _ in range(_STEPS_BACK):
            if self._stopping or not self._is_busy():
                return
            await asyncio.sleep(_STEP_SECONDS)

    async def _wait(self, seconds: float) -> None:
        if self._stopping:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._more.wait()
        except TimeoutError:
            return
