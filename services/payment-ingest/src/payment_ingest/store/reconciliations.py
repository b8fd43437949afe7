"""Reconciliations: what deep sweeps found the three accounts of each invoice's payments to say."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from payment_ingest.domain.reconciliation import Kept, Sums
from pipeline_messaging.connection import Connection

_CLOCKS_DIFFER = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The last complete one of a tenant, for one currency."""

    tenant_id: str
    tenant_name: str | None
    currency: str
    completed_at: datetime
    invoices: int
    in_xero: Decimal
    in_ledger: Decimal
    published: Decimal
    differing: int
    example: str | None


async def kept(
    conn: Connection, tenant_id: str, xero_invoice_ids: Collection[str]
) -> dict[str, Kept]:
    """What is kept of those of the invoices that are Pipeline's."""
    rows = await conn.fetch(
        """
        SELECT x.xero_invoice_id, x.updated_at,
               (SELECT coalesce(sum(amount), 0) FROM payments p
                 WHERE p.tenant_id = x.tenant_id AND p.xero_invoice_id = x.xero_invoice_id
                   AND NOT p.reversed) AS in_ledger,
               (SELECT coalesce(sum(CASE m.change WHEN 'recorded' THEN p.amount ELSE -p.amount END), 0)
                  FROM payment_movements m JOIN payments p USING (payment_id)
                 WHERE m.tenant_id = x.tenant_id AND m.xero_invoice_id = x.xero_invoice_id
                   AND m.sequence IS NOT NULL) AS published
        FROM xero_invoices x
        WHERE x.tenant_id = $1 AND x.xero_invoice_id = ANY($2::text[]) AND x.invoice_id IS NOT NULL
        """,
        tenant_id,
        list(xero_invoice_ids),
    )
    return {
        row["xero_invoice_id"]: Kept(row["updated_at"], row["in_ledger"], row["published"])
        for row in rows
    }


async def unlisted(conn: Connection, tenant_id: str, began_at: datetime) -> dict[str, str]:
    """Currencies of Pipeline's invoices with payments in the ledger that were not read since then, by Xero's clock.

    A deep sweep that began then has read all that Xero lists: these are not among it. Xero's answers are dated in whole
    seconds and by more than one server: what was read within a minute before counts as read, and if it is listed no more,
    the next sweep says so.
    """
    rows = await conn.fetch(
        """
        SELECT xero_invoice_id, min(p.currency) AS currency
        FROM xero_invoices x JOIN payments p USING (tenant_id, xero_invoice_id)
        WHERE tenant_id = $1 AND invoice_id IS NOT NULL AND NOT p.reversed
          AND (observed_at IS NULL OR observed_at < $2::timestamptz - $3::interval)
        GROUP BY xero_invoice_id
        """,
        tenant_id,
        began_at,
        _CLOCKS_DIFFER,
    )
    return {row["xero_invoice_id"]: row["currency"] for row in rows}


async def add(conn: Connection, tenant_id: str, began_at: datetime, sums: Sequence[Sums]) -> None:
    """Add a page of the sweep that began then."""
    await conn.executemany(
        """
        INSERT INTO reconciliations AS r
            (tenant_id, began_at, currency, invoices, in_xero, in_ledger, published, differing, example)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (tenant_id, began_at, currency) DO UPDATE
        SET invoices = r.invoices + excluded.invoices, in_xero = r.in_xero + excluded.in_xero,
            in_ledger = r.in_ledger + excluded.in_ledger, published = r.published + excluded.published,
            differing = r.differing + excluded.differing, example = coalesce(r.example, excluded.example)
        """,
        [
            (
                tenant_id,
                began_at,
                one.currency,
                one.invoices,
                one.in_xero,
                one.in_ledger,
                one.published,
                one.differing,
                one.example,
            )
            for one in sums
        ],
    )


async def complete(conn: Connection, tenant_id: str, began_at: datetime) -> None:
    """The sweep that began then has read its last page; what is older than three months is forgotten."""
    await conn.execute(
        "UPDATE reconciliations SET completed_at = now() WHERE tenant_id = $1 AND began_at = $2",
        tenant_id,
        began_at,
    )
    await conn.execute(
        "DELETE FROM reconciliations WHERE tenant_id = $1 AND began_at < now() - interval '90 days'",
        tenant_id,
    )


async def latest(conn: Connection) -> list[Reconciliation]:
    """The last complete reconciliation of each tenant and currency, those that differ first."""
    rows = await conn.fetch(
        """
        SELECT tenant_id,
               (SELECT max(c.tenant_name) FROM connections c WHERE c.tenant_id = ranked.tenant_id) AS tenant_name,
               currency, completed_at, invoices, in_xero, in_ledger, published, differing, example
        FROM (
            SELECT *, rank() OVER (PARTITION BY tenant_id ORDER BY began_at DESC) AS age
            FROM reconciliations WHERE completed_at IS NOT NULL
        ) AS ranked
        WHERE age = 1 ORDER BY differing = 0, tenant_id, currency
        """
    )
    return [Reconciliation(**row) for row in rows]


async def count_differing(conn: Connection) -> int:
    """About how many invoices the last complete reconciliations found a difference."""
    count: int = await conn.fetchval(
        """
        SELECT coalesce(sum(differing), 0) FROM reconciliations r
        WHERE differing > 0 AND completed_at IS NOT NULL
          AND NOT EXISTS (
                SELECT FROM reconciliations later
                WHERE later.tenant_id = r.tenant_id AND later.began_at > r.began_at
                  AND later.completed_at IS NOT NULL)
        """
    )
    return count
