"""Rows of ``resolutions``: whose version of an invoice in conflict a person chose."""

from collections.abc import Sequence

import asyncpg

from invoice_sync.domain.state import Choice, Keep
from pipeline_messaging.connection import Connection


async def save(conn: Connection, account_id: str, invoice_id: str, choice: Choice) -> None:
    """Record a choice in place of any before; the caller holds the invoice's lock."""
    await conn.execute(
        """
        INSERT INTO resolutions (account_id, invoice_id, keep, fingerprint, actor) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (account_id, invoice_id) DO UPDATE
           SET keep = excluded.keep, fingerprint = excluded.fingerprint, actor = excluded.actor, chosen_at = now()
        """,
        account_id,
        invoice_id,
        choice.keep,
        choice.fingerprint,
        choice.actor,
    )


async def choices_of(
    conn: Connection, account_id: str, invoice_ids: Sequence[str]
) -> dict[str, Choice]:
    """The last choice on each of these invoices, by invoice_id, whether or not its picture still stands."""
    rows = await conn.fetch(
        """
        SELECT invoice_id, keep, fingerprint, actor FROM resolutions
         WHERE account_id = $1 AND invoice_id = ANY($2::text[])
        """,
        account_id,
        invoice_ids,
    )
    return {row["invoice_id"]: _choice(row) for row in rows}


def _choice(row: asyncpg.Record) -> Choice:
    return Choice(Keep(row["keep"]), row["fingerprint"], row["actor"])
