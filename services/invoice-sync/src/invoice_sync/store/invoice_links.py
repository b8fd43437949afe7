"""Rows of ``invoice_links``: our invoice and Xero's, what was last agreed and what was last read."""

import json
from collections.abc import Sequence

import asyncpg

from invoice_sync.domain.state import Link
from pipeline_messaging.connection import Connection

_COLUMNS = """
    account_id, invoice_id, tenant_id, xero_invoice_id, xero_number, xero_status, line_item_ids, agreed, base,
    observed, observed_at, is_paid, xero_updated_at, kept, kept_by
"""


async def save(conn: Connection, links: Sequence[Link]) -> None:
    """Insert or replace links."""
    if not links:
        return
    await conn.execute(
        f"""
        INSERT INTO invoice_links ({_COLUMNS})
        SELECT * FROM unnest($1::invoice_link[])
        ON CONFLICT (account_id, invoice_id) DO UPDATE
           SET tenant_id = excluded.tenant_id, xero_invoice_id = excluded.xero_invoice_id,
               xero_number = excluded.xero_number, xero_status = excluded.xero_status,
               line_item_ids = excluded.line_item_ids, agreed = excluded.agreed, base = excluded.base,
               observed = excluded.observed, observed_at = excluded.observed_at,
               is_paid = excluded.is_paid, xero_updated_at = excluded.xero_updated_at,
               kept = excluded.kept, kept_by = excluded.kept_by
        """,  # noqa: S608 - a constant list of columns
        [
            (
                link.account_id,
                link.invoice_id,
                link.tenant_id,
                link.xero_invoice_id,
                link.xero_number,
                link.xero_status,
                json.dumps(link.line_item_ids),
                json.dumps(link.agreed),
                json.dumps(link.base),
                json.dumps(link.observed),
                link.observed_at,
                link.is_paid,
                link.xero_updated_at,
                json.dumps(sorted(link.kept)),
                link.kept_by,
            )
            for link in links
        ],
    )


async def links_of(
    conn: Connection, account_id: str, invoice_ids: Sequence[str]
) -> dict[str, Link]:
    """The links of these invoices by invoice_id; those never written to Xero are missing."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM invoice_links WHERE account_id = $1 AND invoice_id = ANY($2::text[])",  # noqa: S608 - as above
        account_id,
        invoice_ids,
    )
    return {row["invoice_id"]: _link(row) for row in rows}


async def links_by_xero(
    conn: Connection, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Link]:
    """The links of these (tenant, InvoiceID) pairs; invoices that are not ours are missing."""
    rows = await conn.fetch(
        f"""
        SELECT {_COLUMNS} FROM invoice_links
          JOIN unnest($1::text[], $2::text[]) AS asked (tenant_id, xero_invoice_id)
         USING (tenant_id, xero_invoice_id)
        """,  # noqa: S608 - as above
        [tenant_id for tenant_id, _ in keys],
        [xero_invoice_id for _, xero_invoice_id in keys],
    )
    return {(row["tenant_id"], row["xero_invoice_id"]): _link(row) for row in rows}


def _link(row: asyncpg.Record) -> Link:
    return Link(
        account_id=row["account_id"],
        invoice_id=row["invoice_id"],
        tenant_id=row["tenant_id"],
        xero_invoice_id=row["xero_invoice_id"],
        xero_number=row["xero_number"],
        xero_status=row["xero_status"],
        line_item_ids=json.loads(row["line_item_ids"]),
        agreed=json.loads(row["agreed"]),
        base=json.loads(row["base"]),
        observed=json.loads(row["observed"]),
        observed_at=row["observed_at"],
        is_paid=row["is_paid"],
        xero_updated_at=row["xero_updated_at"],
        kept=frozenset(json.loads(row["kept"])),
        kept_by=row["kept_by"],
    )


async def follow_merge(
    conn: Connection, account_id: str, tenant_id: str, merged: Sequence[tuple[str, str, str]]
) -> None:
    """Take over on a customer's invoices that its contact was merged: (customer, old, new). That is nobody's edit."""
    await conn.execute(
        """
        UPDATE invoice_links l
           SET base = (l.base::jsonb || jsonb_build_object('contact', m.new))::text,
               agreed = (l.agreed::jsonb || jsonb_build_object('contact', m.new))::text
          FROM unnest($3::text[], $4::text[], $5::text[]) AS m (customer_id, old, new)
          JOIN invoices i ON i.account_id = $1 AND i.customer_id = m.customer_id
         WHERE l.account_id = $1 AND l.tenant_id = $2 AND l.invoice_id = i.invoice_id
           AND l.base::jsonb ->> 'contact' = m.old
        """,
        account_id,
        tenant_id,
        [customer_id for customer_id, _, _ in merged],
        [old for _, old, _ in merged],
        [new for _, _, new in merged],
    )
