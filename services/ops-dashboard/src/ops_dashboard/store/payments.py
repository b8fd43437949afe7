"""Payments, each as its newest event has it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from ops_dashboard.domain.facts import short
from ops_dashboard.domain.paging import After
from pipeline_contracts.envelope import Envelope
from pipeline_contracts.payment import Payment, PaymentReversed
from pipeline_messaging.connection import Connection


@dataclass(frozen=True, slots=True)
class PaymentRow:
    """A payment as the page shows it."""

    payment_id: str
    invoice_id: str
    invoice_number: str | None
    is_reversed: bool
    kind: str
    amount: Decimal
    currency: str
    paid_on: date
    reference: str | None
    found_by: str
    changed_at: datetime


async def keep(
    conn: Connection, generation: int, newest: Sequence[tuple[Envelope, Payment]]
) -> None:
    """Store the newest event of each payment, unless a newer one is known."""
    rows = sorted(newest, key=lambda pair: (pair[1].account_id, pair[1].payment_id))
    await conn.execute(
        """
        INSERT INTO payments AS p (generation, account_id, payment_id, invoice_id, sequence, is_reversed, kind, amount,
               currency, paid_on, reference, found_by, changed_at)
        SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::int[], $6::boolean[], $7::text[],
               $8::numeric[], $9::text[], $10::date[], $11::text[], $12::text[], $13::timestamptz[])
        ON CONFLICT (generation, account_id, payment_id) DO UPDATE SET
               invoice_id = excluded.invoice_id, sequence = excluded.sequence, is_reversed = excluded.is_reversed,
               kind = excluded.kind, amount = excluded.amount, currency = excluded.currency,
               paid_on = excluded.paid_on, reference = excluded.reference, found_by = excluded.found_by,
               changed_at = excluded.changed_at
         WHERE p.sequence < excluded.sequence
        """,
        generation,
        [event.account_id for _, event in rows],
        [event.payment_id for _, event in rows],
        [event.invoice_id for _, event in rows],
        [event.sequence for _, event in rows],
        [isinstance(event, PaymentReversed) for _, event in rows],
        [event.kind for _, event in rows],
        [event.amount for _, event in rows],
        [event.currency for _, event in rows],
        [event.paid_on for _, event in rows],
        [short(event.reference) for _, event in rows],
        [event.found_by for _, event in rows],
        [envelope.time for envelope, _ in rows],
    )


async def page(
    conn: Connection,
    generation: int,
    account_id: str,
    *,
    missed: bool,
    after: After | None,
    limit: int,
) -> Sequence[PaymentRow]:
    """Payments, newest first; with `missed`, those of which no webhook told."""
    sought = " AND p.found_by <> 'webhook'" if missed else ""
    rows = await conn.fetch(
        f"""
        SELECT p.payment_id, p.invoice_id, i.invoice_number, p.is_reversed, p.kind, p.amount, p.currency, p.paid_on,
               p.reference, p.found_by, p.changed_at
          FROM payments p
          LEFT JOIN invoices i ON i.generation = p.generation AND i.account_id = p.account_id
               AND i.invoice_id = p.invoice_id
         WHERE p.generation = $1 AND p.account_id = $2 {sought}
           AND ($3::timestamptz IS NULL OR (p.changed_at, p.payment_id) < ($3, $4))
         ORDER BY p.changed_at DESC, p.payment_id DESC LIMIT $5
        """,  # noqa: S608 - our own words
        generation,
        account_id,
        after.at if after else None,
        after.id if after else None,
        limit,
    )
    return [PaymentRow(**row) for row in rows]


async def count_missed(conn: Connection, generation: int, account_id: str) -> int:
    """How many payments no webhook told of."""
    found: int = await conn.fetchval(
        "SELECT count(*) FROM payments"
        " WHERE generation = $1 AND account_id = $2 AND found_by <> 'webhook'",
        generation,
        account_id,
    )
    return found
