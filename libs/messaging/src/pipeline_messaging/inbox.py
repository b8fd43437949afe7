"""Which events have had their effect here: the row and the effect commit together, so a second copy is recognised."""

from collections.abc import Sequence
from datetime import timedelta

from pipeline_messaging.connection import Connection

EventId = tuple[str, str]
"""(source, id): what CloudEvents 1.0 promises to be unique per event."""

KEEP = timedelta(days=90)
"""How long accepted events are remembered: longer than topics are kept, and than dead letters may be replayed."""

FORGET_ROWS = 10_000
"""How many rows one `forget` deletes: some tens of milliseconds, for publishing waits meanwhile."""


async def accept(conn: Connection, ids: Sequence[EventId]) -> set[EventId]:
    """Record events as accepted in the caller's transaction; give back those that had not been before.

    Where another transaction is accepting the same event right now, this waits for it. The ids are inserted in sorted
    order, so that two batches with events in common wait for each other instead of dead-locking.
    """
    if not ids:
        return set()
    wanted = sorted(set(ids))
    rows = await conn.fetch(
        """
        INSERT INTO inbox (source, event_id)
        SELECT source, event_id FROM unnest($1::text[], $2::text[]) AS e (source, event_id)
        ON CONFLICT DO NOTHING
        RETURNING source, event_id
        """,
        [source for source, _ in wanted],
        [event_id for _, event_id in wanted],
    )
    return {(row["source"], row["event_id"]) for row in rows}


async def forget(conn: Connection, *, keep: timedelta) -> int:
    """Delete what was accepted longer than `keep` ago, at most `FORGET_ROWS`; give back how many rows that were.

    `keep` must be longer than the topics' retention and than any replay: a copy that arrives after its row is gone
    would have its effect again.
    """
    status = await conn.execute(
        """
        DELETE FROM inbox WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM inbox WHERE accepted_at < now() - $1::interval LIMIT $2))
        """,
        keep,
        FORGET_ROWS,
    )
    return int(status.rpartition(" ")[2])
