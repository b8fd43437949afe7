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
        SELECT account_id, invoice_id, $2, kind, version, code, detail, correlation_id
          FROM unnest($1::timeline_note[])
        """,
        [
            (
                account_id,
                invoice_id,
                note.kind,
                note.version,
                note.code,
                note.detail,
                note.correlation_id,
            )
            for account_id, invoice_id, note in notes
        ],
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
