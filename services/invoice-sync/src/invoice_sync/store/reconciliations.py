"""Rows of ``reconciliations``: comparisons of an account's books with Xero's, and how far each is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from invoice_sync.domain.reconciliation import PAGE_SIZE, Total
from pipeline_messaging.connection import Connection

_COLUMNS = """
    account_id, number, tenant_id, asked_by, began_at, next_page, page_size, xero_invoices, finished_at, outcome,
    message, findings
"""
_KEPT = 100


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """One comparison of an account's books."""

    account_id: str
    number: int
    tenant_id: str
    asked_by: str
    began_at: datetime
    next_page: int | None
    """The page of Xero's list to read next; None once all were read."""
    page_size: int
    xero_invoices: int
    finished_at: datetime | None
    outcome: str | None
    message: str | None
    findings: Mapping[str, int]


async def begin(conn: Connection, account_id: str, tenant_id: str, asked_by: str) -> Reconciliation:
    """Open a reconciliation and make its first step due; the caller holds the account's lock, and none is open.

    The account's older ones are forgotten, but for the last hundred.
    """
    row = await conn.fetchrow(
        f"""
        INSERT INTO reconciliations (account_id, number, tenant_id, asked_by, began_at, page_size)
        SELECT $1, coalesce(max(number), 0) + 1, $2, $3, clock_timestamp(), $4
          FROM reconciliations WHERE account_id = $1
        RETURNING {_COLUMNS}
        """,  # noqa: S608 - a constant list of columns
        account_id,
        tenant_id,
        asked_by,
        PAGE_SIZE,
    )
    assert row is not None  # noqa: S101 - an aggregate has one row
    await conn.execute(
        "DELETE FROM reconciliations WHERE account_id = $1 AND number <= $2",
        account_id,
        row["number"] - _KEPT,
    )
    return _run(row)


async def find_open(conn: Connection, account_id: str) -> Reconciliation | None:
    """The account's reconciliation under way, if there is one."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM reconciliations WHERE account_id = $1 AND finished_at IS NULL",  # noqa: S608 - as above
        account_id,
    )
    return None if row is None else _run(row)


async def find(conn: Connection, account_id: str, number: int) -> Reconciliation | None:
    """One reconciliation of the account."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM reconciliations WHERE account_id = $1 AND number = $2",  # noqa: S608 - as above
        account_id,
        number,
    )
    return None if row is None else _run(row)


async def newest(conn: Connection, account_id: str, *, limit: int) -> list[Reconciliation]:
    """The account's reconciliations, the newest first."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM reconciliations WHERE account_id = $1 ORDER BY number DESC LIMIT $2",  # noqa: S608 - as above
        account_id,
        limit,
    )
    return [_run(row) for row in rows]


async def turned_page(
    conn: Connection, run: Reconciliation, next_page: int | None, page_size: int, shown: int
) -> None:
    """A page was read that showed so many invoices; ``next_page`` is None if it was the last."""
    await conn.execute(
        """
        UPDATE reconciliations SET next_page = $3, page_size = $4, xero_invoices = xero_invoices + $5
         WHERE account_id = $1 AND number = $2
        """,
        run.account_id,
        run.number,
        next_page,
        page_size,
        shown,
    )


async def finish(
    conn: Connection,
    run: Reconciliation,
    *,
    outcome: str,
    message: str,
    findings: Mapping[str, int],
) -> datetime:
    """Close a reconciliation and forget what it saw; when that was."""
    await conn.execute(
        "DELETE FROM reconciled_invoices WHERE account_id = $1 AND number = $2",
        run.account_id,
        run.number,
    )
    finished_at: datetime = await conn.fetchval(
        """
        UPDATE reconciliations
           SET finished_at = clock_timestamp(), outcome = $3, message = $4, findings = $5::jsonb
         WHERE account_id = $1 AND number = $2
        RETURNING finished_at
        """,
        run.account_id,
        run.number,
        outcome,
        message,
        json.dumps(findings),
    )
    return finished_at


async def totals_of(
    conn: Connection, account_id: str, numbers: Sequence[int]
) -> dict[int, list[Total]]:
    """Both books by state and currency, of these reconciliations by number."""
    rows = await conn.fetch(
        """
        SELECT number, state, currency, invoices, total, in_xero, xero_total FROM reconciliation_totals
         WHERE account_id = $1 AND number = ANY($2::int[]) ORDER BY number, currency, state
        """,
        account_id,
        list(numbers),
    )
    found: dict[int, list[Total]] = {number: [] for number in numbers}
    for row in rows:
        values = dict(row)
        found[values.pop("number")].append(Total(**values))
    return found


def _run(row: asyncpg.Record) -> Reconciliation:
    return Reconciliation(**{**dict(row), "findings": json.loads(row["findings"] or "{}")})
