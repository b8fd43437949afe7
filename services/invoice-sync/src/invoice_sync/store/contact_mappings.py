"""Rows of ``contact_mappings``: which contact of which organisation a customer is."""

from collections.abc import Sequence

from invoice_sync.domain.state import ContactMapping
from pipeline_messaging.connection import Connection

_COLUMNS = "account_id, tenant_id, customer_id, contact_id, contact_name, mapped_by, mapped_at"


async def mappings_of(
    conn: Connection, account_id: str, tenant_id: str, customer_ids: Sequence[str]
) -> dict[str, ContactMapping]:
    """The mappings of these customers in this organisation, by customer_id."""
    rows = await conn.fetch(
        f"""
        SELECT {_COLUMNS} FROM contact_mappings
         WHERE account_id = $1 AND tenant_id = $2 AND customer_id = ANY($3::text[])
        """,  # noqa: S608 - a constant list of columns
        account_id,
        tenant_id,
        customer_ids,
    )
    return {row["customer_id"]: ContactMapping(**dict(row)) for row in rows}


async def list_mappings(
    conn: Connection, account_id: str, tenant_id: str, *, after: str, limit: int
) -> list[ContactMapping]:
    """The mappings of an account in the order of customer ids, from behind ``after``."""
    rows = await conn.fetch(
        f"""
        SELECT {_COLUMNS} FROM contact_mappings
         WHERE account_id = $1 AND tenant_id = $2 AND customer_id > $3 ORDER BY customer_id LIMIT $4
        """,  # noqa: S608 - as above
        account_id,
        tenant_id,
        after,
        limit,
    )
    return [ContactMapping(**dict(row)) for row in rows]


async def save(conn: Connection, mappings: Sequence[ContactMapping]) -> None:
    """Insert or replace mappings."""
    await conn.execute(
        """
        INSERT INTO contact_mappings (account_id, tenant_id, customer_id, contact_id, contact_name, mapped_by)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
        ON CONFLICT (account_id, tenant_id, customer_id) DO UPDATE
           SET contact_id = excluded.contact_id, contact_name = excluded.contact_name,
               mapped_by = excluded.mapped_by, mapped_at = now()
        """,
        [mapping.account_id for mapping in mappings],
        [mapping.tenant_id for mapping in mappings],
        [mapping.customer_id for mapping in mappings],
        [mapping.contact_id for mapping in mappings],
        [mapping.contact_name for mapping in mappings],
        [mapping.mapped_by for mapping in mappings],
    )


async def remove(conn: Connection, account_id: str, tenant_id: str, customer_id: str) -> str | None:
    """Remove a mapping; the contact it named, or None if there was none."""
    contact_id: str | None = await conn.fetchval(
        """
        DELETE FROM contact_mappings WHERE account_id = $1 AND tenant_id = $2 AND customer_id = $3
        RETURNING contact_id
        """,
        account_id,
        tenant_id,
        customer_id,
    )
    return contact_id
