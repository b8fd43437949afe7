"""The ledger: every payment seen on an invoice, and each movement of it, in order."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from payment_ingest.domain.ledger import Change, Kind, LedgerPayment, Movement, Observation
from pipeline_messaging.connection import Connection


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a change came to our knowledge: the doorbell or sweep, the delivery, the read."""

    found_by: str
    delivery: bytes | None
    rung_at: datetime | None
    fetched_at: datetime
    traceparent: str | None = None
    """The trace of all this; what is told because of it continues there. Not kept."""


@dataclass(frozen=True, slots=True)
class Step:
    """A movement joined with its payment: everything there is to tell about it."""

    id: int
    payment_id: uuid.UUID
    kind: str
    xero_payment_id: str
    occurrence: int
    amount: Decimal
    currency: str
    paid_on: date | None
    reference: str | None
    tenant_id: str
    xero_invoice_id: str
    change: str
    event_id: uuid.UUID
    invoice_status: str
    amount_paid: Decimal
    amount_due: Decimal
    found_by: str
    delivery: bytes | None
    rung_at: datetime | None
    fetched_at: datetime | None
    """None in what was put back from the topic."""
    recorded_at: datetime
    sequence: int | None
    published_at: datetime | None


STEP = """
    m.id, m.payment_id, p.kind, p.xero_payment_id, p.occurrence, p.amount, p.currency, p.paid_on,
    p.reference, m.tenant_id, m.xero_invoice_id, m.change, m.event_id, m.invoice_status, m.amount_paid,
    m.amount_due, m.found_by, m.delivery, m.rung_at, m.fetched_at, m.recorded_at, m.sequence,
    m.published_at
"""
"""The columns of a Step, of payments p and payment_movements m."""


_WRITING = 7_281_003
"""Number of the advisory lock under which the ledger is written: shared by all who add to it, alone for a rebuild."""


async def write(conn: Connection) -> None:
    """Begin to write; until the transaction ends, nobody rebuilds the ledger. The first lock of the transaction.

    Whoever holds others already, such as a lease's row, would keep a rebuild waiting for it and be waited for.
    """
    await conn.execute("SELECT pg_advisory_xact_lock_shared($1)", _WRITING)


async def write_alone(conn: Connection) -> None:
    """Wait for those who write, and keep others from it until the transaction ends."""
    await conn.execute("SELECT pg_advisory_xact_lock($1)", _WRITING)


async def payments_of(
    conn: Connection, tenant_id: str, xero_invoice_ids: Collection[str]
) -> dict[str, list[LedgerPayment]]:
    """The payments known of each invoice, reversed ones included; the caller holds the invoices' rows."""
    rows = await conn.fetch(
        """
        SELECT xero_invoice_id, payment_id, kind, xero_payment_id, occurrence, amount, reversed
        FROM payments WHERE tenant_id = $1 AND xero_invoice_id = ANY($2::text[])
        """,
        tenant_id,
        list(xero_invoice_ids),
    )
    found: dict[str, list[LedgerPayment]] = {one: [] for one in xero_invoice_ids}
    for row in rows:
        found[row["xero_invoice_id"]].append(
            LedgerPayment(
                payment_id=row["payment_id"],
                kind=Kind(row["kind"]),
                xero_id=row["xero_payment_id"],
                occurrence=row["occurrence"],
                amount=row["amount"],
                reversed=row["reversed"],
            )
        )
    return found


async def add_payments(conn: Connection, movements: Sequence[tuple[Observation, Movement]]) -> None:
    """Write the payments that are new."""
    await conn.executemany(
        """
        INSERT INTO payments (payment_id, tenant_id, xero_invoice_id, kind, xero_payment_id, occurrence,
                              amount, currency, paid_on, reference)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        """,
        [
            (
                one.payment_id,
                seen.tenant_id,
                seen.xero_invoice_id,
                one.settlement.kind.value,
                one.settlement.xero_id,
                one.occurrence,
                one.settlement.amount,
                seen.currency,
                one.settlement.paid_on,
                one.settlement.reference,
            )
            for seen, one in movements
            if one.change is Change.RECORDED
        ],
    )


async def mark_reversed(conn: Connection, payment_ids: Collection[uuid.UUID]) -> None:
    """Write that Xero no longer shows these payments."""
    await conn.execute(
        "UPDATE payments SET reversed = true WHERE payment_id = ANY($1::uuid[])", list(payment_ids)
    )


async def add_movements(
    conn: Connection,
    movements: Sequence[tuple[Observation, Movement, Provenance]],
    recorded_at: datetime,
) -> None:
    """Append movements in the order given. `recorded_at` becomes the time of their events."""
    await conn.executemany(
        """
        INSERT INTO payment_movements (payment_id, tenant_id, xero_invoice_id, change, event_id,
                                       invoice_status, amount_paid, amount_due, found_by, delivery,
                                       rung_at, fetched_at, recorded_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        """,
        [
            (
                one.payment_id,
                seen.tenant_id,
                seen.xero_invoice_id,
                one.change.value,
                one.event_id,
                seen.status,
                seen.amount_paid,
                seen.amount_due,
                how.found_by,
                how.delivery,
                how.rung_at,
                how.fetched_at,
                recorded_at,
            )
            for seen, one, how in movements
        ],
    )


async def unpublished(
    conn: Connection, tenant_id: str, xero_invoice_ids: Collection[str]
) -> list[Step]:
    """The movements of these invoices that nobody was told of yet, in order."""
    rows = await conn.fetch(
        f"""
        SELECT {STEP} FROM payment_movements m JOIN payments p USING (payment_id)
        WHERE m.tenant_id = $1 AND m.xero_invoice_id = ANY($2::text[]) AND m.sequence IS NULL
        ORDER BY m.id
        """,  # noqa: S608 - STEP is a constant list of columns
        tenant_id,
        list(xero_invoice_ids),
    )
    return [Step(**row) for row in rows]


async def take_sequences(conn: Connection, account_id: str, invoice_id: str, count: int) -> int:
    """Reserve the invoice's next `count` sequence numbers; returns the first.

    Its row stays locked until the transaction ends, so events of one invoice enter the outbox in order,
    and a rollback gives the numbers back: no gap.
    """
    last: int = await conn.fetchval(
        """
        INSERT INTO payment_sequences (account_id, invoice_id, last_sequence) VALUES ($1, $2, $3)
        ON CONFLICT (account_id, invoice_id)
        DO UPDATE SET last_sequence = payment_sequences.last_sequence + $3
        RETURNING last_sequence
        """,
        account_id,
        invoice_id,
        count,
    )
    return last - count + 1


async def mark_published(
    conn: Connection, numbered: Sequence[tuple[int, int]], published_at: datetime
) -> None:
    """Write the sequence each movement (its id, the sequence) was published under."""
    await conn.execute(
        """
        UPDATE payment_movements SET sequence = told.sequence, published_at = $3
        FROM unnest($1::bigint[], $2::bigint[]) AS told (id, sequence)
        WHERE payment_movements.id = told.id
        """,
        [movement for movement, _ in numbered],
        [sequence for _, sequence in numbered],
        published_at,
    )


async def count_unmatched(conn: Connection) -> int:
    """How many invoices have payments but no known Pipeline invoice."""
    count: int = await conn.fetchval(
        """
        SELECT count(*) FROM (
            SELECT DISTINCT tenant_id, xero_invoice_id FROM payment_movements WHERE sequence IS NULL
        ) AS waiting
        """
    )
    return count


async def published(conn: Connection) -> dict[uuid.UUID, tuple[str, str, Decimal]]:
    """Every event that was told: its tenant, its currency, and its amount, negative for a reversal."""
    rows = await conn.fetch(
        """
        SELECT m.event_id, m.tenant_id, p.currency, CASE m.change WHEN 'recorded' THEN p.amount ELSE -p.amount END
        FROM payment_movements m JOIN payments p USING (payment_id) WHERE m.sequence IS NOT NULL
        """
    )
    return {row[0]: (row[1], row[2], row[3]) for row in rows}
