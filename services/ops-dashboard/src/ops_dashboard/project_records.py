"""From records to the projection: one transaction for each batch, and nothing that any record says can stop it.

What is stored of an event is the newest of its kind by the number inside it, so a batch may come again, late or between
others. What cannot be read is stored as it is, to be shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from aiokafka import ConsumerRecord

from ops_dashboard import metrics
from ops_dashboard.domain.facts import fact_of
from ops_dashboard.domain.invoices import issued, outcomes, paid
from ops_dashboard.domain.odd_records import Odd, dead_letter, unreadable
from ops_dashboard.store import (
    accounts,
    customers,
    facts,
    generations,
    invoices,
    odd_records,
    payments,
    positions,
    versions,
)
from pipeline_contracts import topics
from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.customer import Customer
from pipeline_contracts.envelope import Envelope, decode
from pipeline_contracts.errors import UndecodableRecord
from pipeline_contracts.payment import Payment
from pipeline_messaging.batch import Stored
from pipeline_messaging.connection import Connection
from pipeline_messaging.faults import is_infrastructure
from pipeline_service_defaults.database import Pool

log = structlog.get_logger(__name__)

READ = (*topics.EVENT_TOPICS, *topics.DEAD_LETTER_TOPICS)
"""The public topics this view is made from."""

_ACQUIRE_SECONDS = 10.0

Readable = list[tuple[ConsumerRecord, Envelope]]
OddOnes = list[tuple[ConsumerRecord, Odd]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Records as read: events, and what is none or stands in a dead letter topic."""

    readable: Readable
    odd: OddOnes

    @property
    def accounts(self) -> frozenset[str]:
        """The accounts it is about."""
        named = {odd.account_id for _, odd in self.odd if odd.account_id is not None}
        return frozenset(named | {envelope.event.account_id for _, envelope in self.readable})


def read(records: Sequence[ConsumerRecord]) -> Batch:
    """Decode what can be; dead letters are not decoded, they are what they are."""
    batch = Batch([], [])
    for record in records:
        if record.topic.endswith(".dlq"):
            batch.odd.append((record, dead_letter(record)))
            continue
        try:
            envelope = decode(key=record.key, value=record.value, headers=record.headers)
        except UndecodableRecord as error:
            batch.odd.append((record, unreadable(record, error.code, str(error))))
        except Exception as error:  # a record that breaks the decoder must not stop its partition
            log.exception("decoder_failed", topic=record.topic, offset=record.offset)
            batch.odd.append((record, unreadable(record, "DECODER_FAILED", type(error).__name__)))
        else:
            batch.readable.append((record, envelope))
    return batch


async def project_records(pool: Pool, records: Sequence[ConsumerRecord]) -> Stored:
    """Store a batch in every generation that is written, and how far it brings this view.

    Raises what the infrastructure raises; nothing is stored then.
    """
    batch = read(records)
    async with pool.acquire(timeout=_ACQUIRE_SECONDS) as conn:
        try:
            async with conn.transaction():
                new = await _store(conn, batch, records)
        except Exception as error:
            if conn.is_closed() or is_infrastructure(error):
                raise
            log.exception("batch_not_projected", topic=records[0].topic)
            async with conn.transaction():
                (generation, *_) = await generations.written(conn)
                sorted_out = await without_guilty(conn, generation, batch)
                new = await _store(conn, sorted_out, records)
    metrics.UNREADABLE.labels(records[0].topic).inc(len(batch.odd))
    return Stored(new, len(batch.readable) - new, ())


async def project(conn: Connection, generation: int, batch: Batch) -> int:
    """Bring one generation up to what a batch says; how many of its events are new there."""
    envelopes = [envelope for _, envelope in batch.readable]
    await accounts.heard_of(conn, generation, batch.accounts)
    if newest := _newest_connections(envelopes):
        await accounts.connections_changed(conn, generation, newest)
    if told := issued(envelopes):
        await invoices.pipeline_said(conn, generation, told)
    if outcome := outcomes(envelopes):
        await invoices.sync_said(conn, generation, outcome)
    if due := paid(envelopes):
        await invoices.payments_said(conn, generation, due)
    if names := _newest_customers(envelopes):
        await customers.keep(conn, generation, names)
    if money := _newest_payments(envelopes):
        await payments.keep(conn, generation, money)
    if batch.odd:
        await odd_records.keep(conn, generation, batch.odd)
    if not envelopes:
        return 0
    return len(await facts.keep(conn, generation, [(one, fact_of(one)) for one in envelopes]))


async def _store(conn: Connection, batch: Batch, records: Sequence[ConsumerRecord]) -> int:
    new = 0
    for generation in await generations.written(conn):
        new = max(new, await project(conn, generation, batch))
    await positions.advance(conn, _places(records))
    await versions.count_up(conn, batch.accounts)
    return new


async def without_guilty(conn: Connection, generation: int, batch: Batch) -> Batch:
    """The batch with each event that cannot be stored among the unreadable: tried alone, and rolled back."""
    fine, odd = [], list(batch.odd)
    for record, envelope in batch.readable:
        attempt = conn.transaction()
        await attempt.start()
        try:
            await project(conn, generation, Batch([(record, envelope)], []))
        except Exception as error:
            await attempt.rollback()
            if conn.is_closed() or is_infrastructure(error):
                raise
            odd.append((record, unreadable(record, "NOT_PROJECTED", type(error).__name__)))
        else:
            await attempt.rollback()
            fine.append((record, envelope))
    return Batch(fine, odd)


def _places(records: Sequence[ConsumerRecord]) -> dict[positions.Place, tuple[int, datetime]]:
    last: dict[positions.Place, ConsumerRecord] = {}
    for record in records:
        place = (record.topic, record.partition)
        if place not in last or record.offset > last[place].offset:
            last[place] = record
    return {
        place: (record.offset + 1, odd_records.written_at(record)) for place, record in last.items()
    }


def _newest_connections(envelopes: Sequence[Envelope]) -> dict[str, ConnectionStatusChanged]:
    found: dict[str, ConnectionStatusChanged] = {}
    for envelope in envelopes:
        if isinstance(event := envelope.event, ConnectionStatusChanged):
            known = found.get(event.account_id)
            if known is None or event.sequence > known.sequence:
                found[event.account_id] = event
    return found


def _newest_customers(envelopes: Sequence[Envelope]) -> dict[tuple[str, str], Customer]:
    found: dict[tuple[str, str], Customer] = {}
    for envelope in envelopes:
        if isinstance(event := envelope.event, Customer):
            key = (event.account_id, event.customer_id)
            if key not in found or event.version > found[key].version:
                found[key] = event
    return found


def _newest_payments(envelopes: Sequence[Envelope]) -> list[tuple[Envelope, Payment]]:
    found: dict[tuple[str, str], tuple[Envelope, Payment]] = {}
    for envelope in envelopes:
        if isinstance(event := envelope.event, Payment):
            key = (event.account_id, event.payment_id)
            if key not in found or event.sequence > found[key][1].sequence:
                found[key] = (envelope, event)
    return list(found.values())
