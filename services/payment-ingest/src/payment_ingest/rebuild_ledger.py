"""Rebuild the ledger from its own events: payments, movements, links and sequences, under the ids they always had.

For a database that was lost or restored from an old copy. Kafka remembers how far the service had read its other
topics, so what those told has to be heard again here: without the links of invoices not paid yet, their payments would
never be told. What happened in Xero since is found by the sweeps, which a rebuilt ledger begins with.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import asyncpg
import structlog

from payment_ingest.domain.ledger import Change, Kind, occurrence_of
from payment_ingest.publish_movements import SOURCE
from payment_ingest.store import ledger, rebuilding
from payment_ingest.store.rebuilding import Told
from pipeline_contracts.envelope import Envelope, Record, decode
from pipeline_contracts.errors import UndecodableRecord
from pipeline_contracts.payment import Payment, PaymentReversed
from pipeline_messaging.connection import Connection

log = structlog.get_logger(__name__)

_AT_ONCE = 500

Handle = Callable[[Connection, list[Envelope]], Awaitable[None]]


@dataclass(slots=True)
class Rebuilt:
    """How many events were read, how many were put back, and how many are not the ledger's."""

    read: int = 0
    put_back: int = 0
    strange: int = 0


async def rebuild_ledger(pool: asyncpg.Pool, records: AsyncIterator[Record]) -> Rebuilt:
    """Put back what the records of the payments topic tell; again is harmless, and so is dying in between.

    In one transaction, which keeps the service from writing the ledger: what it reads from Xero meanwhile is compared
    with all of it or with nothing of it, never with a half. It waits, or fails and comes again.
    """
    done = Rebuilt()
    batch: list[Told] = []
    async with pool.acquire() as conn, conn.transaction():
        await ledger.write_alone(conn)
        before = await rebuilding.count_movements(conn)
        async for record in records:
            done.read += 1
            told = told_by(record)
            if told is None:
                done.strange += 1
                continue
            batch.append(told)
            if len(batch) == _AT_ONCE:
                await rebuilding.put_back(conn, batch)
                batch.clear()
        await rebuilding.put_back(conn, batch)
        done.put_back = await rebuilding.count_movements(conn) - before
    return done


async def hear_again(pool: asyncpg.Pool, records: AsyncIterator[Record], handle: Handle) -> int:
    """Have the service's handler of a topic handle all that the topic holds; gives back how many events that were.

    For handlers to whom an old event says nothing new; again is harmless, and so is dying in between.
    """
    heard, batch = 0, list[Envelope]()
    async for record in records:
        try:
            batch.append(decode(key=record.key, value=record.value, headers=record.headers))
        except UndecodableRecord:
            continue  # set aside as a dead letter when it was first read
        if len(batch) == _AT_ONCE:
            heard += await _handle(pool, batch, handle)
    return heard + await _handle(pool, batch, handle)


async def _handle(pool: asyncpg.Pool, batch: list[Envelope], handle: Handle) -> int:
    async with pool.acquire() as conn, conn.transaction():
        await handle(conn, batch)
    count = len(batch)
    batch.clear()
    return count


def told_by(record: Record) -> Told | None:
    """What a record of the payments topic tells; None when it is not of this ledger's making."""
    try:
        envelope = decode(key=record.key, value=record.value, headers=record.headers)
    except UndecodableRecord as error:
        log.warning("record_not_understood", error=str(error)[:200])
        return None
    event = envelope.event
    if envelope.source != SOURCE or not isinstance(event, Payment):
        return None
    return _told(envelope, event)


def _told(envelope: Envelope, event: Payment) -> Told | None:
    if event.tenant_id is None or event.xero_invoice_id is None:
        return None
    try:
        event_id, payment_id, kind = (
            uuid.UUID(envelope.id),
            uuid.UUID(event.payment_id),
            Kind(event.kind),
        )
    except ValueError:
        return None
    occurrence = occurrence_of(
        payment_id, event.tenant_id, event.xero_invoice_id, kind, event.xero_payment_id
    )
    if occurrence is None:
        return None
    change = Change.REVERSED if isinstance(event, PaymentReversed) else Change.RECORDED
    return Told(event_id, change, event, occurrence, envelope.time)
