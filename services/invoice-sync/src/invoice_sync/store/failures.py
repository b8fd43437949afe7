"""What keeps an account's invoices from Xero, grouped by cause."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from pipeline_messaging.connection import Connection


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """The invoices of one cause, customer (where one is what they wait for) and currency."""

    code: str
    customer_id: str | None
    currency: str | None
    invoices: int
    total: Decimal
    message: str
    hint: str
    oldest: datetime
    """Since when the first of them is not in Xero as Pipeline wants it."""
    sample: tuple[str, ...]


async def groups(conn: Connection, account_id: str) -> list[FailureGroup]:
    """The groups, those with the most invoices first."""
    rows = await conn.fetch(
        """
        SELECT block_code AS code,
               CASE WHEN state = 'waiting_for_contact' THEN customer_id END AS customer_id,
               currency, count(*) AS invoices, coalesce(sum(total), 0) AS total,
               max(block_message) AS message, max(block_hint) AS hint, min(waiting_since) AS oldest,
               (array_agg(invoice_id ORDER BY ordinal))[1:5] AS sample
          FROM invoices
         WHERE account_id = $1 AND block_code IS NOT NULL AND state NOT IN ('syncing', 'synced', 'voided')
         GROUP BY 1, 2, 3
         ORDER BY invoices DESC, code, customer_id, currency
        """,
        account_id,
    )
    return [FailureGroup(**{**dict(row), "sample": tuple(row["sample"])}) for row in rows]
