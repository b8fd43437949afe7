"""Which of Xero's numbered webhook events arrived."""

from collections.abc import Sequence
from datetime import timedelta

from pipeline_messaging.connection import Connection


async def arrived(conn: Connection, ranges: Sequence[tuple[int, int]]) -> None:
    """Note event numbers that arrived, each (first, last); a hole is as old as the first look that saw one.

    Numbers below all that ever arrived are left out: Xero sends again what it kept of the last 31 days, and what lies
    between that and the first number heard was never ours to miss.
    """
    await conn.execute(
        """
        WITH grown AS (
            SELECT seen + (
                SELECT coalesce(range_agg(int8range(r.first, r.last, '[]')), '{}')
                FROM unnest($1::bigint[], $2::bigint[]) AS r (first, last)
                WHERE isempty(seen) OR r.last >= lower(seen)
            ) AS seen FROM webhook_sequences FOR UPDATE
        )
        UPDATE webhook_sequences
        SET seen = grown.seen,
            hole_since = CASE WHEN multirange(range_merge(grown.seen)) <> grown.seen
                              THEN coalesce(hole_since, now()) END
        FROM grown
        """,
        [first for first, _ in ranges],
        [last for _, last in ranges],
    )


async def give_up_holes(conn: Connection, patience: timedelta) -> int:
    """Close the holes if there has been one for longer than `patience`; returns how many events never came.

    Whoever closes them acts upon it, in the same transaction: it happens once.
    """
    missing: int | None = await conn.fetchval(
        """
        WITH old AS (
            SELECT seen FROM webhook_sequences WHERE hole_since <= now() - $1::interval FOR UPDATE
        )
        UPDATE webhook_sequences SET seen = multirange(range_merge(old.seen)), hole_since = NULL
        FROM old
        RETURNING (
            SELECT upper(range_merge(old.seen)) - lower(range_merge(old.seen)) - sum(upper(r) - lower(r))
            FROM unnest(old.seen) AS r
        )::bigint
        """,
        patience,
    )
    return missing or 0
