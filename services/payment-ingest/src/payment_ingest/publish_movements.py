"""Tell what happened to payments: movements of linked invoices become events in the outbox."""

from collections.abc import Mapping
from datetime import datetime

from payment_ingest.domain.ledger import Change
from payment_ingest.store import ledger
from payment_ingest.store.ledger import Step
from payment_ingest.store.xero_invoices import Link
from pipeline_contracts.envelope import Record, encode
from pipeline_contracts.payment import PaymentRecorded, PaymentReversed
from pipeline_messaging import outbox
from pipeline_messaging.connection import Connection

SOURCE = "payment-ingest"


async def publish_movements(
    conn: Connection,
    tenant_id: str,
    links: Mapping[str, Link],
    now: datetime,
    traceparents: Mapping[str, str | None],
) -> list[Step]:
    """Put every untold movement of the linked invoices (Xero id -> link) into the outbox, in order.

    Runs in the caller's transaction, which holds the invoices' rows; a sequence number is given only to what is told,
    so the numbers have no gaps. `traceparents` (by Xero id) are of what has them told. Returns what was told.
    """
    steps = await ledger.unpublished(conn, tenant_id, links.keys())
    by_invoice: dict[Link, list[Step]] = {}
    for step in steps:
        by_invoice.setdefault(links[step.xero_invoice_id], []).append(step)
    records: list[Record] = []
    numbered: list[tuple[int, int]] = []
    # Sorted, so that transactions publishing for the same invoices take the sequences' locks in one order.
    for link, own in sorted(
        by_invoice.items(), key=lambda item: (item[0].account_id, item[0].invoice_id)
    ):
        first = await ledger.take_sequences(conn, link.account_id, link.invoice_id, len(own))
        for sequence, step in enumerate(own, start=first):
            records.append(_record(link, step, sequence, traceparents.get(step.xero_invoice_id)))
            numbered.append((step.id, sequence))
    await outbox.add(conn, *records)
    await ledger.mark_published(conn, numbered, now)
    return steps


def _record(link: Link, step: Step, sequence: int, traceparent: str | None) -> Record:
    event = PaymentRecorded if step.change == Change.RECORDED else PaymentReversed
    return encode(
        event(
            account_id=link.account_id,
            payment_id=str(step.payment_id),
            xero_payment_id=step.xero_payment_id,
            invoice_id=link.invoice_id,
            xero_invoice_id=step.xero_invoice_id,
            tenant_id=step.tenant_id,
            kind=step.kind,
            amount=step.amount,
            currency=step.currency,
            # Xero dates every payment; an allocation shown without a date counts from when it was seen.
            paid_on=step.paid_on or (step.fetched_at or step.recorded_at).date(),
            reference=step.reference,
            amount_paid=step.amount_paid,
            amount_due=step.amount_due,
            invoice_status=step.invoice_status,
            found_by=step.found_by,
            sequence=sequence,
        ),
        id=str(step.event_id),
        source=SOURCE,
        time=step.recorded_at,
        traceparent=traceparent,
    )
