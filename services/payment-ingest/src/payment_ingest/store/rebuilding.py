"""Put back into the ledger what its events tell; what is there already stays, and counts as told."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from payment_ingest.domain.ledger import Change
from pipeline_contracts.payment import Payment
from pipeline_messaging.connection import Connection


@dataclass(frozen=True, slots=True)
class Told:
    """A payment event, as it stands in the topic."""

    event_id: uuid.UUID
    change: Change
    payment: Payment
    occurrence: int
    told_at: datetime


async def put_back(conn: Connection, told: Sequence[Told]) -> None:
    """Write invoices with their links, payments, movements and the last sequences.

    In the order given, which for each invoice is the order of its sequence.
    """
    await _invoices(conn, told)
    await _payments(conn, told)
    await _movements(conn, told)
    await _sequences(conn, told)


async def count_movements(conn: Connection) -> int:
    """How many movements the ledger holds."""
    count: int = await conn.fetchval("SELECT count(*) FROM payment_movements")
    return count


async def _invoices(conn: Connection, told: Sequence[Told]) -> None:
    rows = {(one.payment.tenant_id, one.payment.xero_invoice_id): one.payment for one in told}
    await conn.executemany(
        """
        INSERT INTO xero_invoices (tenant_id, xero_invoice_id, account_id, invoice_id, linked_at)
        VALUES ($1, $2, $3, $4, now())
        ON CONFLICT (tenant_id, xero_invoice_id) DO UPDATE
        SET account_id = excluded.account_id, invoice_id = excluded.invoice_id, linked_at = now()
        WHERE xero_invoices.invoice_id IS NULL
        """,
        [(*key, one.account_id, one.invoice_id) for key, one in sorted(rows.items())],
    )


async def _payments(conn: Connection, told: Sequence[Told]) -> None:
    await conn.executemany(
        """
        INSERT INTO payments (payment_id, tenant_id, xero_invoice_id, kind, xero_payment_id, occurrence,
                              amount, currency, paid_on, reference)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        -- What was read from Xero before the rebuild knew nothing of earlier allocations of the same credit.
        ON CONFLICT (payment_id) DO UPDATE
        SET amount = excluded.amount, paid_on = excluded.paid_on, reference = excluded.reference
        WHERE payments.amount <> excluded.amount
        """,
        [
            (
                uuid.UUID(one.payment.payment_id),
                one.payment.tenant_id,
                one.payment.xero_invoice_id,
                one.payment.kind,
                one.payment.xero_payment_id,
                one.occurrence,
                one.payment.amount,
                one.payment.currency,
                one.payment.paid_on,
                one.payment.reference,
            )
            for one in told
        ],
    )
    await conn.execute(
        "UPDATE payments SET reversed = true WHERE payment_id = ANY($1::uuid[])",
        [uuid.UUID(one.payment.payment_id) for one in told if one.change is Change.REVERSED],
    )


async def _movements(conn: Connection, told: Sequence[Told]) -> None:
    await conn.executemany(
        """
        INSERT INTO payment_movements (payment_id, tenant_id, xero_invoice_id, change, event_id,
                                       invoice_status, amount_paid, amount_due, found_by, recorded_at,
                                       sequence, published_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $10)
        -- In an old copy it may be waiting still: without its number it would be told again, under another.
        ON CONFLICT (event_id) DO UPDATE SET sequence = excluded.sequence, published_at = excluded.published_at
        WHERE payment_movements.sequence IS NULL
        """,
        [
            (
                uuid.UUID(one.payment.payment_id),
                one.payment.tenant_id,
                one.payment.xero_invoice_id,
                one.change.value,
                one.event_id,
                one.payment.invoice_status,
                one.payment.amount_paid,
                one.payment.amount_due,
                one.payment.found_by,
                one.told_at,
                one.payment.sequence,
            )
            for one in told
        ],
    )


async def _sequences(conn: Connection, told: Sequence[Told]) -> None:
    last: dict[tuple[str, str], int] = {}
    for one in told:
        key = (one.payment.account_id, one.payment.invoice_id)
        last[key] = max(last.get(key, 0), one.payment.sequence)
    await conn.executemany(
        """
        INSERT INTO payment_sequences AS s (account_id, invoice_id, last_sequence) VALUES ($1, $2, $3)
        ON CONFLICT (account_id, invoice_id)
        DO UPDATE SET last_sequence = greatest(s.last_sequence, excluded.last_sequence)
        """,
        [(*key, number) for key, number in sorted(last.items())],
    )
