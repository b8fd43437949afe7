"""Take invoices as read from Xero into the ledger, and tell what changed.

The one way in for payments, however they were found: by a doorbell, by a sweep, or by whatever comes later.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from payment_ingest import metrics
from payment_ingest.domain.ledger import (
    Change,
    FoundBy,
    Movement,
    Observation,
    Weight,
    difference,
    observation_id,
    weigh,
)
from payment_ingest.domain.observation import fingerprint, snapshot
from payment_ingest.domain.sweeping import was_missed
from payment_ingest.publish_movements import SOURCE, publish_movements
from payment_ingest.store import connections, doorbells, ledger, xero_invoices
from payment_ingest.store.ledger import Provenance, Step
from payment_ingest.store.xero_invoices import KnownInvoice
from pipeline_contracts.envelope import Record, encode
from pipeline_contracts.errors import NotEncodable
from pipeline_messaging import outbox
from pipeline_messaging.connection import Connection
from pipeline_xero.wire import XeroInvoice

log = structlog.get_logger(__name__)


Found = tuple[Observation, Movement, Provenance]
"""A movement, what showed it, and how that came to be read."""


@dataclass(frozen=True, slots=True)
class SeenInvoice:
    """An invoice as read from Xero: whole, reduced to its balance, and how it came to be read."""

    invoice: XeroInvoice
    observation: Observation
    how: Provenance


@dataclass(slots=True)
class Ingested:
    """What became of a read.

    `written` are the movements new in the ledger, `missed` those of them of which a webhook should have told, each by the
    time of its change in Xero where that is known, `told` those
    whose events are in the outbox, `again` the invoices that must be read again: the answer did not explain its balance, so
    that nothing was reversed from it, or its times contradicted what is known.
    """

    written: list[tuple[Change, str]] = field(default_factory=list)
    missed: list[datetime | None] = field(default_factory=list)
    told: list[Step] = field(default_factory=list)
    again: set[str] = field(default_factory=set)


async def ingest_payments(
    conn: Connection,
    *,
    account_id: str,
    tenant_id: str,
    seen: Sequence[SeenInvoice],
    observed_at: datetime,
    now: datetime,
) -> Ingested:
    """Compare each invoice with the ledger, write down what is new or gone, and put the events into the outbox.

    Args:
        conn: The caller's transaction; it has verified its lease.
        account_id: Through whose connection the invoices were read.
        tenant_id: The organisation they are in.
        seen: The invoices, none twice.
        observed_at: Xero's clock at the read.
        now: Time of the events.
    """
    result = Ingested()
    if not seen:
        return result
    ids = [one.observation.xero_invoice_id for one in seen]
    await xero_invoices.know(conn, tenant_id, ids)
    known = await xero_invoices.lock(conn, tenant_id, ids)
    weights = {
        one.observation.xero_invoice_id: _weigh(
            one.observation, known[one.observation.xero_invoice_id], observed_at
        )
        for one in seen
    }
    doubtful = {invoice for invoice, weight in weights.items() if weight is Weight.DOUBTFUL}
    seen = [one for one in seen if weights[one.observation.xero_invoice_id] is Weight.NEWS]
    incomplete = {one.observation.xero_invoice_id for one in seen if not one.observation.complete}
    metrics.INCOMPLETE.inc(len(incomplete))
    result.again = doubtful | incomplete
    movements = await _write_movements(conn, tenant_id, seen, now)
    result.written = [(movement.change, how.found_by) for _, movement, how in movements]
    result.missed = await _find_missed(conn, account_id, tenant_id, movements, observed_at)
    links = {one: invoice.link for one, invoice in known.items() if invoice.link is not None}
    traceparents = {one.observation.xero_invoice_id: one.how.traceparent for one in seen}
    result.told = await publish_movements(conn, tenant_id, links, now, traceparents)
    await _tell_snapshots(conn, account_id, tenant_id, seen, known, observed_at)
    return result


def _weigh(seen: Observation, known: KnownInvoice, observed_at: datetime) -> Weight:
    return weigh(seen.updated_at, observed_at, known.updated_at, known.observed_at)


def count_ingested(ingested: Ingested, now: datetime) -> None:
    """Measure what was done; called once the transaction has committed."""
    metrics.MISSED.inc(len(ingested.missed))
    for changed_at in ingested.missed:
        if changed_at is not None:
            metrics.VISIBLE_SECONDS.labels(FoundBy.SWEEP).observe(_seconds(changed_at, now))
    for change, found_by in ingested.written:
        metrics.MOVEMENTS.labels(change.value, found_by).inc()
    for step in ingested.told:
        if step.rung_at is not None and step.found_by == FoundBy.WEBHOOK:
            seconds = _seconds(step.rung_at, now)
            metrics.DOORBELL_TO_EVENT.observe(seconds)
            metrics.VISIBLE_SECONDS.labels(FoundBy.WEBHOOK).observe(seconds)


def _seconds(since: datetime, now: datetime) -> float:
    return max((now - since).total_seconds(), 0.0)


async def _write_movements(
    conn: Connection, tenant_id: str, seen: Sequence[SeenInvoice], now: datetime
) -> list[Found]:
    payments = await ledger.payments_of(
        conn, tenant_id, [one.observation.xero_invoice_id for one in seen]
    )
    movements: list[Found] = [
        (one.observation, movement, one.how)
        for one in seen
        for movement in difference(payments[one.observation.xero_invoice_id], one.observation)
    ]
    if not movements:
        return []
    await ledger.add_payments(conn, [(seen_as, movement) for seen_as, movement, _ in movements])
    await ledger.mark_reversed(
        conn,
        [movement.payment_id for _, movement, _ in movements if movement.change is Change.REVERSED],
    )
    await ledger.add_movements(conn, movements, now)
    return movements


async def _find_missed(
    conn: Connection,
    account_id: str,
    tenant_id: str,
    movements: Sequence[Found],
    observed_at: datetime,
) -> list[datetime | None]:
    """When what changed of which a webhook should have told, and none did."""
    swept = [seen for seen, _, how in movements if how.found_by == FoundBy.SWEEP]
    if not swept:
        return []
    connection = await connections.connection_of(conn, account_id)
    since = connection.since if connection else None
    told_of = await doorbells.rung_by_webhook(
        conn, tenant_id, {one.xero_invoice_id for one in swept}
    )
    missed = [
        one
        for one in swept
        if one.xero_invoice_id not in told_of and was_missed(one.updated_at, observed_at, since)
    ]
    if missed:
        log.warning(
            "webhook_missed",
            tenant_id=tenant_id,
            payments=len(missed),
            example=missed[0].xero_invoice_id,
        )
    return [one.updated_at for one in missed]


async def _tell_snapshots(
    conn: Connection,
    account_id: str,
    tenant_id: str,
    seen: Sequence[SeenInvoice],
    known: dict[str, KnownInvoice],
    observed_at: datetime,
) -> None:
    """Tell how each invoice looks, if that differs from what was told last; remember what was seen."""
    records: list[Record] = []
    rows: list[tuple[Observation, bytes, int]] = []
    for one in seen:
        before = known[one.observation.xero_invoice_id]
        hashed, count = before.snapshot_hash or b"", before.observations
        owner = before.link.account_id if before.link else account_id
        event = snapshot(owner, tenant_id, one.invoice, observed_at)
        if event is None:
            metrics.SNAPSHOTS_LEFT_OUT.inc()
        elif fingerprint(event) != before.snapshot_hash:
            hashed, count = fingerprint(event), count + 1
            identity = observation_id(tenant_id, one.observation.xero_invoice_id, count, hashed)
            try:
                records.append(
                    encode(
                        event,
                        id=str(identity),
                        source=SOURCE,
                        time=observed_at,
                        traceparent=one.how.traceparent,
                    )
                )
            except NotEncodable:
                # An invoice of thousands of lines is larger than an event may be; its payments still count.
                metrics.SNAPSHOTS_LEFT_OUT.inc()
                log.warning("snapshot_left_out", xero_invoice_id=before.xero_invoice_id)
        rows.append((one.observation, hashed, count))
    await outbox.add(conn, *records)
    await xero_invoices.record_observations(conn, rows, observed_at)
