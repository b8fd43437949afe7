"""What there is to tell of payments: by invoice, by payment, by time."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import asyncpg

from payment_ingest.store.ledger import STEP, Step
from pipeline_messaging.connection import Connection


@dataclass(frozen=True, slots=True)
class Told:
    """A movement of a payment of a Pipeline invoice."""

    invoice_id: str
    step: Step


@dataclass(frozen=True, slots=True)
class Standing:
    """How an invoice stood in Xero when it was last read; `read_at` is our clock then, Xero's for an old reading."""

    invoice_status: str
    currency: str
    amount_paid: Decimal
    amount_credited: Decimal
    amount_due: Decimal
    read_at: datetime


@dataclass(frozen=True, slots=True)
class Place:
    """Behind which payment a list goes on."""

    recorded_at: datetime
    id: int


async def standing_of(conn: Connection, account_id: str, invoice_id: str) -> Standing | None:
    """How the invoice was last seen; None before it was read. A number used again counts by its newest invoice."""
    row = await conn.fetchrow(
        """
        SELECT status AS invoice_status, currency, amount_paid, amount_credited, amount_due,
               coalesce(read_at, observed_at) AS read_at
        FROM xero_invoices WHERE account_id = $1 AND invoice_id = $2 AND observed_at IS NOT NULL
        ORDER BY observed_at DESC LIMIT 1
        """,
        account_id,
        invoice_id,
    )
    return Standing(**row) if row else None


async def of_invoice(conn: Connection, account_id: str, invoice_id: str) -> list[Told]:
    """Every movement of every payment of a Pipeline invoice, in order."""
    rows = await conn.fetch(
        f"""
        SELECT x.invoice_id AS of_invoice, {STEP} FROM xero_invoices x
        JOIN payment_movements m USING (tenant_id, xero_invoice_id)
        JOIN payments p USING (payment_id)
        WHERE x.account_id = $1 AND x.invoice_id = $2
        ORDER BY m.sequence, m.id
        """,  # noqa: S608 - a constant list of columns
        account_id,
        invoice_id,
    )
    return [_told(row) for row in rows]


async def of_payment(conn: Connection, account_id: str, payment_id: uuid.UUID) -> list[Told]:
    """Every movement of one payment, in order; empty where the account has no such payment."""
    rows = await conn.fetch(
        f"""
        SELECT x.invoice_id AS of_invoice, {STEP} FROM payments p
        JOIN xero_invoices x USING (tenant_id, xero_invoice_id)
        JOIN payment_movements m USING (tenant_id, xero_invoice_id, payment_id)
        WHERE p.payment_id = $1 AND x.account_id = $2
        ORDER BY m.id
        """,  # noqa: S608 - as above
        payment_id,
        account_id,
    )
    return [_told(row) for row in rows]


async def place_of(conn: Connection, account_id: str, payment_id: uuid.UUID) -> Place | None:
    """Where a payment of the account stands in the list of all."""
    told = await of_payment(conn, account_id, payment_id)
    return Place(told[0].step.recorded_at, told[0].step.id) if told else None


async def recorded_between(
    conn: Connection,
    account_id: str,
    since: datetime,
    until: datetime,
    after: Place | None,
    limit: int,
    xero_payment_id: uuid.UUID | None = None,
) -> list[Told]:
    """Every movement of the first `limit` payments recorded in [`since`, `until`) behind `after`, payment by payment.

    With `xero_payment_id` only of those that have this id in Xero.
    """
    start = after or Place(since, 0)
    of_payment, given = "", []
    if xero_payment_id is not None:
        of_payment = (
            "AND r.payment_id IN (SELECT payment_id FROM payments WHERE xero_payment_id = $7)"
        )
        given = [str(xero_payment_id)]
    rows = await conn.fetch(
        f"""
        WITH own AS (
            SELECT DISTINCT tenant_id FROM xero_invoices WHERE account_id = $1
        ), listed AS (
            SELECT one.* FROM own CROSS JOIN LATERAL (
                SELECT r.payment_id, r.tenant_id, r.xero_invoice_id, r.recorded_at, r.id, x.invoice_id
                FROM payment_movements r JOIN xero_invoices x USING (tenant_id, xero_invoice_id)
                WHERE r.tenant_id = own.tenant_id AND r.change = 'recorded' AND x.account_id = $1
                  AND r.recorded_at >= $2 AND r.recorded_at < $3 AND (r.recorded_at, r.id) > ($4, $5)
                  {of_payment}
                ORDER BY r.recorded_at, r.id LIMIT $6
            ) AS one ORDER BY one.recorded_at, one.id LIMIT $6
        )
        SELECT listed.invoice_id AS of_invoice, {STEP} FROM listed
        JOIN payment_movements m USING (tenant_id, xero_invoice_id, payment_id)
        JOIN payments p USING (payment_id)
        ORDER BY listed.recorded_at, listed.id, m.id
        """,  # noqa: S608 - as above
        account_id,
        since,
        until,
        start.recorded_at,
        start.id,
        limit,
        *given,
    )
    return [_told(row) for row in rows]


def _told(row: asyncpg.Record) -> Told:
    columns = dict(row)
    return Told(columns.pop("of_invoice"), Step(**columns))
