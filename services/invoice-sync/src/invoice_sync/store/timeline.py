"""Rows of ``timeline``: what happened to an invoice, in order."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from invoice_sync.domain.intake import Arrival
from invoice_sync.domain.state import Note
from pipeline_messaging.connection import Connection


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One entry as shown."""

    at: datetime
    note: Note


async def add(conn: Connection, notes: Sequence[tuple[str, str, Note]], now: datetime) -> None:
    """Add notes, each with its account and invoice."""
    if not notes:
        return
    await conn.execute(
        """
        INSERT INTO timeline (account_id, invoice_id, at, kind, version, code, detail, correlation_id)
        SELECT account_id, invoice_id, $8, kind, version, code, detail, correlation_id
          FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::text[], $6::text[], $7::text[])
               AS n (account_id, invoice_id, kind, version, code, detail, correlation_id)
        """,
        [account_id for account_id, _, _ in notes],
        [invoice_id for _, invoice_id, _ in notes],
        [note.kind for _, _, note in notes],
        [note.version for _, _, note in notes],
        [note.code for _, _, note in notes],
        [note.detail for _, _, note in notes],
        [note.correlation_id for _, _, note in notes],
        now,
    )


async def add_arrivals(conn: Connection, arrivals: Sequence[Arrival]) -> None:
    """Add the events as they arrived; ``at`` is our clock, the event's own time stands in the detail."""
    await conn.execute(
        """
        INSERT INTO timeline (account_id, invoice_id, at, kind, version, detail)
        SELECT account_id, invoice_id, now(), kind, version, 'event of ' || to_char(
                   time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
          FROM unnest($1::arrival[])
        """,
        arrivals,
    )


async def timeline_of(
    conn: Connection, account_id: str, invoice_id: str, *, limit: int = 200
) -> list[TimelineEntry]:
    """The newest entries of an invoice, oldest of them first."""
    rows = await conn.fetch(
        """
        SELECT * FROM (
            SELECT id, at, kind, version, code, detail, correlation_id FROM timeline
             WHERE account_id = $1 AND invoice_id = $2 ORDER BY id DESC LIMIT $3) newest
         ORDER BY id
        """,
        account_id,
        invoice_id,
        limit,
    )
    return [
        TimelineEntry(
            row["at"],
            Note(row["kind"], row["detail"], row["code"], row["version"], row["correlation_id"]),
        )
        for row in rows
    ]
