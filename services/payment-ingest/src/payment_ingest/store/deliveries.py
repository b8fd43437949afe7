"""Webhook bodies as received, and what became of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from payment_ingest.domain.delivery import Reading
from pipeline_messaging.connection import Connection


@dataclass(frozen=True, slots=True)
class Delivery:
    """A genuine webhook body: its SHA-256, its bytes, which key had signed it, and its trace, if one is recorded."""

    body_hash: bytes
    body: bytes
    key_position: int
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Unread:
    """A delivery that waits to be read; `again` if somebody asked for it."""

    received_at: datetime
    body_hash: bytes
    again: bool = False

    @property
    def day(self) -> date:
        """The day (UTC) under which its body is kept."""
        return self.received_at.astimezone(UTC).date()


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    """A delivery with its body; `is_replay` if somebody asked for it to be read again."""

    body_hash: bytes
    body: bytes
    received_at: datetime
    is_replay: bool


async def keep(conn: Connection, deliveries: Sequence[Delivery]) -> None:
    """Store every body not stored today, to be read; the same body twice in a day is one row.

    Raises:
        asyncpg.CheckViolationError: There is no partition for today; see `retention.make_partitions`.
    """
    # In one order for everybody: two transactions with two bodies in common must wait for each other, not dead-lock.
    ordered = sorted(deliveries, key=lambda one: one.body_hash)
    await conn.execute(
        """
        WITH fresh AS (
            INSERT INTO raw_deliveries (body_hash, body, key_position, traceparent)
            SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::smallint[], $4::text[])
            ON CONFLICT (body_hash, day) DO NOTHING
            RETURNING received_at, body_hash
        )
        INSERT INTO unread_deliveries (received_at, body_hash) SELECT received_at, body_hash FROM fresh
        """,
        [one.body_hash for one in ordered],
        [one.body for one in ordered],
        [one.key_position for one in ordered],
        [one.traceparent for one in ordered],
    )


async def traceparents(
    conn: Connection, heard: Collection[tuple[date, bytes]]
) -> dict[tuple[date, bytes], str]:
    """The traces of deliveries, each named by the day (UTC) on which it arrived and its hash."""
    rows = await conn.fetch(
        """
        SELECT day, body_hash, traceparent FROM raw_deliveries
        WHERE day = ANY($1::date[]) AND body_hash = ANY($2::bytea[]) AND traceparent IS NOT NULL
        """,
        list({day for day, _ in heard}),
        [body_hash for _, body_hash in heard],
    )
    return {(row["day"], row["body_hash"]): row["traceparent"] for row in rows}


async def claim_unread(conn: Connection, limit: int) -> list[Unread]:
    """Lock the oldest unread deliveries that no other replica is reading."""
    rows = await conn.fetch(
        """
        SELECT received_at, body_hash, again FROM unread_deliveries
        ORDER BY received_at, body_hash LIMIT $1 FOR UPDATE SKIP LOCKED
        """,
        limit,
    )
    return [Unread(**row) for row in rows]


async def with_bodies(
    conn: Connection, claimed: Sequence[Unread], max_bytes: int
) -> list[StoredDelivery]:
    """The first of `claimed` with their bodies, about `max_bytes` of them."""
    rows = await conn.fetch(
        """
        SELECT day, body_hash, body FROM (
            SELECT day, body_hash, body, received_at,
                   sum(octet_length(body)) OVER (ORDER BY received_at, body_hash) - octet_length(body) AS bytes_before
            FROM raw_deliveries
            -- The first two find the rows; the third leaves out the same body on another day, which is not claimed.
            WHERE day = ANY($1::date[]) AND body_hash = ANY($2::bytea[])
              AND (day, body_hash) IN (SELECT * FROM unnest($4::date[], $2::bytea[]))
        ) AS measured WHERE bytes_before < $3
        """,
        list({one.day for one in claimed}),
        [one.body_hash for one in claimed],
        max_bytes,
        [one.day for one in claimed],
    )
    bodies = {(row["day"], row["body_hash"]): row["body"] for row in rows}
    return [
        StoredDelivery(one.body_hash, bodies[one.day, one.body_hash], one.received_at, one.again)
        for one in claimed
        if (one.day, one.body_hash) in bodies
    ]


async def finish(conn: Connection, readings: Sequence[tuple[StoredDelivery, Reading]]) -> None:
    """Note that deliveries are read, what they turned out to be, and of whom they speak."""
    named = [(one, tenant) for one, reading in readings for tenant in reading.tenants]
    await conn.execute(
        """
        INSERT INTO delivery_mentions (tenant_id, received_at, body_hash)
        SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::bytea[]) ON CONFLICT DO NOTHING
        """,
        [tenant for _, tenant in named],
        [one.received_at for one, _ in named],
        [one.body_hash for one, _ in named],
    )
    await conn.execute(
        """
        WITH done AS (
            DELETE FROM unread_deliveries USING unnest($1::timestamptz[], $2::bytea[]) AS read (received_at, body_hash)
            WHERE unread_deliveries.received_at = read.received_at AND unread_deliveries.body_hash = read.body_hash
        )
        INSERT INTO delivery_readings (
            received_at, body_hash, processed_at, outcome, events, not_understood, first_sequence, last_sequence)
        SELECT received_at, body_hash, now(), outcome, events, not_understood, first_sequence, last_sequence
        FROM unnest($1::timestamptz[], $2::bytea[], $3::text[], $4::int[], $5::int[], $6::bigint[], $7::bigint[])
            AS read (received_at, body_hash, outcome, events, not_understood, first_sequence, last_sequence)
        ON CONFLICT (received_at, body_hash) DO UPDATE SET processed_at = excluded.processed_at,
            outcome = excluded.outcome, events = excluded.events, not_understood = excluded.not_understood,
            first_sequence = excluded.first_sequence, last_sequence = excluded.last_sequence
        """,
        [one.received_at for one, _ in readings],
        [one.body_hash for one, _ in readings],
        [reading.outcome.value for _, reading in readings],
        [reading.events for _, reading in readings],
        [reading.not_understood for _, reading in readings],
        [reading.first_sequence for _, reading in readings],
        [reading.last_sequence for _, reading in readings],
    )


async def find(conn: Connection, body_hash: bytes) -> StoredDelivery | None:
    """The newest delivery of this body; None when there is none, or none any more."""
    row = await conn.fetchrow(
        """
        SELECT body_hash, body, received_at, false AS is_replay FROM raw_deliveries
        WHERE body_hash = $1 ORDER BY day DESC LIMIT 1
        """,
        body_hash,
    )
    return None if row is None else StoredDelivery(**row)


async def mark_unread(conn: Connection, deliveries: Sequence[tuple[datetime, bytes]]) -> None:
    """Let deliveries (received at, hash) be read again; look them up in the same transaction, or they may be dropped."""
    await conn.execute(
        """
        WITH wanted AS (
            SELECT * FROM unnest($1::timestamptz[], $2::bytea[]) AS one (received_at, body_hash)
        ), waiting AS (
            UPDATE delivery_readings AS read SET processed_at = NULL FROM wanted
            WHERE read.received_at = wanted.received_at AND read.body_hash = wanted.body_hash
              AND read.received_at = ANY($1::timestamptz[])
        )
        INSERT INTO unread_deliveries (received_at, body_hash, again)
        SELECT received_at, body_hash, true FROM wanted ORDER BY received_at, body_hash
        ON CONFLICT (received_at, body_hash) DO UPDATE SET again = true
        """,
        [received_at for received_at, _ in deliveries],
        [body_hash for _, body_hash in deliveries],
    )


async def record_replay(
    conn: Connection, body_hashes: Sequence[bytes], requested_by: str, account_id: str | None
) -> datetime:
    """Write down who asked for replays; returns when, by the database's clock."""
    at: datetime = await conn.fetchval(
        """
        WITH asked AS (
            INSERT INTO delivery_replays (body_hash, requested_by, account_id)
            SELECT unnest($1::bytea[]), $2, $3
        )
        SELECT now()
        """,
        list(body_hashes),
        requested_by,
        account_id,
    )
    return at


@dataclass(frozen=True, slots=True)
class Search:
    """Which deliveries: received in [`since`, `until`), of one of the tenants (None: of anybody), oldest first."""

    since: datetime
    until: datetime
    tenant_ids: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class FoundDelivery:
    """What is known of a stored delivery without opening it."""

    body_hash: bytes
    received_at: datetime
    processed_at: datetime | None
    outcome: str | None
    events: int | None
    not_understood: int | None
    first_sequence: int | None
    last_sequence: int | None


async def search(conn: Connection, wanted: Search, limit: int) -> list[FoundDelivery]:
    """The first `limit` deliveries that were asked for. One not read yet is found only where no tenant is named."""
    columns = "body_hash, received_at, processed_at, outcome, events, not_understood, first_sequence, last_sequence"
    if wanted.tenant_ids is None:
        rows = await conn.fetch(
            f"""
            SELECT {columns} FROM (
                SELECT {columns} FROM delivery_readings
                UNION ALL
                SELECT body_hash, received_at, NULL, NULL, NULL, NULL, NULL, NULL FROM unread_deliveries AS unread
                WHERE NOT EXISTS (
                    SELECT FROM delivery_readings AS read
                    WHERE read.received_at = unread.received_at AND read.body_hash = unread.body_hash
                      AND read.received_at >= $1 AND read.received_at < $2)
            ) AS known WHERE received_at >= $1 AND received_at < $2 ORDER BY received_at, body_hash LIMIT $3
            """,  # noqa: S608 - a constant list of columns
            wanted.since,
            wanted.until,
            limit,
        )
    else:
        rows = await conn.fetch(
            f"""
            SELECT {columns} FROM (
                SELECT DISTINCT received_at, body_hash FROM delivery_mentions
                WHERE tenant_id = ANY($4::text[]) AND received_at >= $1 AND received_at < $2
                ORDER BY received_at, body_hash LIMIT $3
            ) AS named JOIN delivery_readings USING (received_at, body_hash)
            WHERE received_at >= $1 AND received_at < $2 ORDER BY received_at, body_hash
            """,  # noqa: S608 - as above
            wanted.since,
            wanted.until,
            limit,
            list(wanted.tenant_ids),
        )
    return [FoundDelivery(**row) for row in rows]


async def oldest_unprocessed_age(conn: Connection) -> float:
    """Seconds since the oldest unread delivery arrived; 0 when all are read."""
    age: float = await conn.fetchval(
        "SELECT coalesce(extract(epoch FROM now() - min(received_at)), 0)::float8 FROM unread_deliveries"
    )
    return age
