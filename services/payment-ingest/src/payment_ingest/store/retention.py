"""How long raw deliveries are kept: a partition for each day, made ahead and dropped by age."""

from collections.abc import Sequence
from datetime import date

from pipeline_messaging.connection import Connection


async def make_partitions(conn: Connection, days_ahead: int) -> None:
    """See that today and the next days have their partitions; any replica may do it at any time."""
    await conn.execute(
        """
        SELECT make_delivery_partitions(today, today + $1::int)
        FROM (SELECT (now() AT TIME ZONE 'UTC')::date) AS t (today)
        """,
        days_ahead,
    )


async def drop_partition(conn: Connection, days_kept: int) -> date | None:
    """Drop the oldest day more than `days_kept` days ago of which everything has been read; returns it.

    Raises:
        asyncpg.LockNotAvailableError: Deliveries are too busy just now; try again later.
    """
    dropped: date | None = await conn.fetchval(
        "SELECT drop_delivery_partition((now() AT TIME ZONE 'UTC')::date - $1::int)", days_kept
    )
    return dropped


async def lock_former(conn: Connection, after: bytes, limit: int) -> list[bytes]:
    """Lock deliveries that the former release stored, the first behind `after` by their hashes; gives back those."""
    rows = await conn.fetch(
        """
        SELECT body_hash FROM deliveries WHERE body_hash > $1
        ORDER BY body_hash LIMIT $2 FOR UPDATE SKIP LOCKED
        """,
        after,
        limit,
    )
    return [row["body_hash"] for row in rows]


async def make_room(conn: Connection, body_hashes: Sequence[bytes], days_kept: int) -> None:
    """See that the days of the former release's deliveries that are still wanted have their partitions."""
    await conn.execute(
        """
        SELECT make_delivery_partitions(day, day) FROM (
            SELECT DISTINCT (received_at AT TIME ZONE 'UTC')::date AS day FROM deliveries
            WHERE body_hash = ANY($1::bytea[])
              AND (processed_at IS NULL OR received_at >= now() - make_interval(days => $2))
        ) AS wanted
        """,
        body_hashes,
        days_kept,
    )


async def move_former(conn: Connection, body_hashes: Sequence[bytes], days_kept: int) -> None:
    """Move deliveries of the former release to where they are kept now, read or waiting as they are.

    What was read more than `days_kept` days ago is not kept.
    """
    await conn.execute(
        """
        WITH taken AS (
            DELETE FROM deliveries WHERE body_hash = ANY($1::bytea[]) RETURNING *
        ), fresh AS (
            INSERT INTO raw_deliveries (body_hash, day, body, key_position, received_at)
            SELECT body_hash, (received_at AT TIME ZONE 'UTC')::date, body, key_position, received_at FROM taken
            WHERE processed_at IS NULL OR received_at >= now() - make_interval(days => $2)
            ORDER BY body_hash ON CONFLICT (body_hash, day) DO NOTHING
            RETURNING body_hash
        ), told AS (
            INSERT INTO delivery_readings (
                received_at, body_hash, processed_at, outcome, events, not_understood, first_sequence, last_sequence)
            SELECT received_at, body_hash, processed_at, outcome, events, not_understood, first_sequence, last_sequence
            FROM taken JOIN fresh USING (body_hash) WHERE outcome IS NOT NULL
        ), mentioned AS (
            INSERT INTO delivery_mentions (tenant_id, received_at, body_hash)
            SELECT tenant_id, former.received_at, body_hash
            FROM taken JOIN fresh USING (body_hash) JOIN delivery_tenants AS former USING (body_hash)
            WHERE former.received_at = taken.received_at
        )
        INSERT INTO unread_deliveries (received_at, body_hash, again)
        SELECT received_at, body_hash, outcome IS NOT NULL
        FROM taken JOIN fresh USING (body_hash) WHERE processed_at IS NULL
        """,
        body_hashes,
        days_kept,
    )
