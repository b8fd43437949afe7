"""Rows of ``imports`` and what became of each invoice they look for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from invoice_sync.domain.importing import Outcome, Verdict, number_key
from pipeline_messaging.connection import Connection

_COLUMNS = (
    "account_id, number, tenant_id, dry_run, asked_by, asked_at, finished_at, outcome, message"
)

_KEPT = 50


@dataclass(frozen=True, slots=True)
class Import:
    """Somebody's order to link what is in Xero already."""

    account_id: str
    number: int
    tenant_id: str
    dry_run: bool
    asked_by: str
    asked_at: datetime
    finished_at: datetime | None
    outcome: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class Listed:
    """An invoice an import is to look for."""

    place: int
    invoice_id: str
    number_key: str
    twins: int
    """How many invoices of the import bear its number, itself included."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one invoice."""

    place: int
    invoice_id: str
    outcome: str
    xero_invoice_id: str | None
    message: str


async def begin(
    conn: Connection, account_id: str, tenant_id: str, *, dry_run: bool, asked_by: str
) -> Import:
    """Open an import and list what it looks for: every invoice that is not in Xero by what we know.

    The caller holds the account's lock, and no import of it is open. Its older ones are forgotten, but for the last 50.
    """
    row = await conn.fetchrow(
        f"""
        INSERT INTO imports (account_id, number, tenant_id, dry_run, asked_by)
        SELECT $1, coalesce(max(number), 0) + 1, $2, $3, $4 FROM imports WHERE account_id = $1
        RETURNING {_COLUMNS}
        """,  # noqa: S608 - a constant list of columns
        account_id,
        tenant_id,
        dry_run,
        asked_by,
    )
    assert row is not None  # noqa: S101 - an aggregate has one row
    await conn.execute(
        "DELETE FROM imports WHERE account_id = $1 AND number <= $2",
        account_id,
        row["number"] - _KEPT,
    )
    listed = await conn.fetch(
        """
        SELECT invoice_id, invoice_number FROM invoices
         WHERE account_id = $1 AND synced_version IS NULL AND operation = 'write' AND state <> 'voided'
         ORDER BY ordinal
        """,
        account_id,
    )
    await conn.execute(
        """
        INSERT INTO import_results (account_id, number, place, invoice_id, number_key)
        SELECT $1, $2, place, invoice_id, number_key
          FROM unnest($3::text[], $4::text[]) WITH ORDINALITY AS listed (invoice_id, number_key, place)
        """,
        account_id,
        row["number"],
        [each["invoice_id"] for each in listed],
        [number_key(each["invoice_number"]) for each in listed],
    )
    return Import(**row)


async def find(conn: Connection, account_id: str, number: int) -> Import | None:
    """One import of the account."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM imports WHERE account_id = $1 AND number = $2",  # noqa: S608 - as above
        account_id,
        number,
    )
    return None if row is None else Import(**row)


async def find_open(conn: Connection, account_id: str) -> Import | None:
    """The account's import under way, if there is one."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM imports WHERE account_id = $1 AND finished_at IS NULL",  # noqa: S608 - as above
        account_id,
    )
    return None if row is None else Import(**row)


async def newest(conn: Connection, account_id: str, *, limit: int) -> list[Import]:
    """The account's imports, the newest first."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM imports WHERE account_id = $1 ORDER BY number DESC LIMIT $2",  # noqa: S608 - as above
        account_id,
        limit,
    )
    return [Import(**row) for row in rows]


async def next_listed(conn: Connection, run: Import, *, limit: int) -> list[Listed]:
    """The next invoices nothing is known of yet, in their order."""
    rows = await conn.fetch(
        """
        SELECT r.place, r.invoice_id, r.number_key,
               (SELECT count(*) FROM import_results t
                 WHERE t.account_id = r.account_id AND t.number = r.number AND t.number_key = r.number_key) AS twins
          FROM import_results r
         WHERE r.account_id = $1 AND r.number = $2 AND r.outcome IS NULL
         ORDER BY r.place LIMIT $3
        """,
        run.account_id,
        run.number,
        limit,
    )
    return [Listed(**row) for row in rows]


async def record(conn: Connection, run: Import, verdicts: Mapping[int, Verdict]) -> None:
    """Keep what became of these invoices, by place."""
    await conn.execute(
        """
        UPDATE import_results r SET outcome = v.outcome, xero_invoice_id = v.xero_invoice_id, message = v.message
          FROM unnest($3::int[], $4::text[], $5::text[], $6::text[]) AS v (place, outcome, xero_invoice_id, message)
         WHERE r.account_id = $1 AND r.number = $2 AND r.place = v.place
        """,
        run.account_id,
        run.number,
        list(verdicts),
        [each.outcome for each in verdicts.values()],
        [each.xero_invoice_id for each in verdicts.values()],
        [each.message for each in verdicts.values()],
    )


async def counts_of(
    conn: Connection, account_id: str, numbers: Sequence[int]
) -> dict[int, dict[str, int]]:
    """How many invoices came to what, of these imports by number; those still to be looked for under ``left``."""
    rows = await conn.fetch(
        """
        SELECT number, coalesce(outcome, 'left') AS outcome, count(*) AS invoices FROM import_results
         WHERE account_id = $1 AND number = ANY($2::int[]) GROUP BY 1, 2
        """,
        account_id,
        list(numbers),
    )
    found: dict[int, dict[str, int]] = {number: {} for number in numbers}
    for row in rows:
        found[row["number"]][row["outcome"]] = row["invoices"]
    return found


async def finish(conn: Connection, run: Import, *, outcome: str, message: str) -> None:
    """Close an import."""
    await conn.execute(
        """
        UPDATE imports SET finished_at = clock_timestamp(), outcome = $3, message = $4
         WHERE account_id = $1 AND number = $2
        """,
        run.account_id,
        run.number,
        outcome,
        message,
    )


async def results(
    conn: Connection,
    account_id: str,
    number: int,
    *,
    outcome: Outcome | None,
    after: int,
    limit: int,
) -> list[Result]:
    """What became of an import's invoices, from behind a place, of one outcome or of all."""
    rows: list[asyncpg.Record] = await conn.fetch(
        """
        SELECT place, invoice_id, outcome, xero_invoice_id, message FROM import_results
         WHERE account_id = $1 AND number = $2 AND place > $3 AND outcome IS NOT NULL
           AND ($4::text IS NULL OR outcome = $4)
         ORDER BY place LIMIT $5
        """,
        account_id,
        number,
        after,
        outcome,
        limit,
    )
    return [Result(**row) for row in rows]
