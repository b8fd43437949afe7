"""Rows of ``lock_dates``: up to which day the connected organisation's books were read to be closed."""

from collections.abc import Sequence
from datetime import date

import asyncpg

from invoice_sync.domain.locks import LockDates
from pipeline_messaging.connection import Connection
from pipeline_xero.reference_data import XeroOrganisation

COLUMNS = "period_lock, year_lock, read_at, tried_at, refused_on"


def of_row(row: asyncpg.Record | None) -> LockDates | None:
    """The lock dates in a row that has ``COLUMNS``; None if they were never read."""
    if row is None or row["read_at"] is None:
        return None
    return LockDates(
        row["period_lock"], row["year_lock"], row["read_at"], row["tried_at"], row["refused_on"]
    )


async def find(conn: Connection, account_id: str, tenant_id: str) -> LockDates | None:
    """The organisation's lock dates; None if they were never read."""
    row = await conn.fetchrow(
        f"SELECT {COLUMNS} FROM lock_dates WHERE account_id = $1 AND tenant_id = $2",  # noqa: S608 - a constant list of columns
        account_id,
        tenant_id,
    )
    return of_row(row)


async def save(
    conn: Connection, account_id: str, tenant_id: str, found: XeroOrganisation | None
) -> None:
    """Keep what was read of them; None was not readable, and what was read before stays.

    A refused day that is open by this reading says nothing of the locks as they are now, and would outlast one that does.
    """
    await conn.execute(
        """
        INSERT INTO lock_dates AS l (account_id, tenant_id, period_lock, year_lock, read_at, tried_at)
        VALUES ($1, $2, $4, $5, CASE WHEN $3 THEN now() END, now())
        ON CONFLICT (account_id) DO UPDATE
           SET tenant_id = excluded.tenant_id, tried_at = excluded.tried_at,
               period_lock = CASE WHEN $3 OR l.tenant_id <> $2 THEN excluded.period_lock ELSE l.period_lock END,
               year_lock = CASE WHEN $3 OR l.tenant_id <> $2 THEN excluded.year_lock ELSE l.year_lock END,
               read_at = CASE WHEN $3 OR l.tenant_id <> $2 THEN excluded.read_at ELSE l.read_at END,
               refused_on = CASE WHEN l.tenant_id = $2
                                  AND (NOT $3 OR l.refused_on <= greatest(excluded.period_lock, excluded.year_lock))
                                 THEN l.refused_on END
        """,
        account_id,
        tenant_id,
        found is not None,
        found.period_lock_date if found else None,
        found.end_of_year_lock_date if found else None,
    )


async def refused(conn: Connection, account_id: str, tenant_id: str, day: date) -> None:
    """Xero refused a document of this day for a lock date."""
    await conn.execute(
        """
        INSERT INTO lock_dates AS l (account_id, tenant_id, refused_on) VALUES ($1, $2, $3)
        ON CONFLICT (account_id) DO UPDATE SET refused_on = greatest(l.refused_on, excluded.refused_on)
         WHERE l.tenant_id = excluded.tenant_id
        """,
        account_id,
        tenant_id,
        day,
    )


async def forget_refusals(conn: Connection, account_ids: Sequence[str]) -> None:
    """Somebody else may have connected these accounts: for an adviser other locks hold."""
    await conn.execute(
        "UPDATE lock_dates SET refused_on = NULL WHERE account_id = ANY($1::text[]) AND refused_on IS NOT NULL",
        list(account_ids),
    )


async def doubt(conn: Connection, account_id: str) -> None:
    """A person says that something has changed in Xero: nothing is stopped before the dates were read again."""
    await conn.execute(
        "UPDATE lock_dates SET read_at = 'epoch', tried_at = 'epoch' WHERE account_id = $1 AND read_at IS NOT NULL",
        account_id,
    )
