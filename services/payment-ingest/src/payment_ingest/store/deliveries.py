"""Webhook bodies as received, and what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from payment_ingest.domain.delivery import Reading
from pipeline_messaging.connection import Connection


@dataclass(frozen=True, slots=True)
class Delivery:
    """A genuine webhook body: its SHA-256, its bytes, and which key had signed it."""

    body_hash: bytes
    body: bytes
    key_position: int


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    """A delivery waiting to be read; `is_replay` if it was read before and somebody asked for it again."""

    body_hash: bytes
    body: bytes
    received_at: datetime
    is_replay: bool


async def keep(conn: Connection, deliveries: Sequence[Delivery]) -> None:
    """Store every body not stored before; the same body twice is one row."""
    # In one order for everybody: two transactions with two bodies in common must wait for each other, not dead-lock.
    ordered = sorted(deliveries, key=lambda one: one.body_hash)
    await conn.execute(
        """
        INSERT INTO deliveries (body_hash, body, key_position)
        SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::smallint[])
        ON CONFLICT (body_hash) DO NOTHING
        """,
        [one.body_hash for one in ordered],
        [one.body for one in ordered],
        [one.key_position for one in ordered],
    )


async def claim_unprocessed(conn: Connection, limit: int, max_bytes: int) -> list[StoredDelivery]:
    """Lock the oldest unread deliveries that no other replica is reading; give back about `max_bytes` of them."""
    rows = await conn.fetch(
        """
        WITH claimed AS (
            SELECT body_hash, octet_length(body) AS size, received_at FROM deliveries
            WHERE processed_at IS NULL
            ORDER BY received_at
            LIMIT $1
            FOR UPDATE SKIP LOCKED
        ), measured AS (
            SELECT body_hash, sum(size) OVER (ORDER BY received_at, body_hash) - size AS bytes_before FROM claimed
        )
        SELECT body_hash, body, received_at, outcome IS NOT NULL AS is_replay
        FROM measured JOIN deliveries USING (body_hash)
        WHERE bytes_before < $2
        ORDER BY received_at
        """,
        limit,
        max_bytes,
    )
    return [StoredDelivery(**row) for row in rows]


async def finish(conn: Connection, readings: Sequence[tuple[StoredDelivery, Reading]]) -> None:
    """Mark deliveries as read, with what they turned out to be and of whom they speak."""
    named = [(one, tenant) for one, reading in readings for tenant in reading.tenants]
    await conn.execute(
        """
        INSERT INTO delivery_tenants (tenant_id, received_at, body_hash)
        SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::bytea[]) ON CONFLICT DO NOTHING
        """,
        [tenant for _, tenant in named],
        [one.received_at for one, _ in named],
        [one.body_hash for one, _ in named],
    )
    await conn.execute(
        """
        UPDATE deliveries
        SET processed_at = now(), outcome = read.outcome, events = read.events,
            not_understood = read.not_understood, first_sequence = read.first_sequence,
            last_sequence = read.last_sequence
        FROM unnest($1::bytea[], $2::text[], $3::int[], $4::int[], $5::bigint[], $6::bigint[])
            AS read (body_hash, outcome, events, not_understood, first_sequence, last_sequence)
        WHERE deliveries.body_hash = read.body_hash
        """,
        [one.body_hash for one, _ in readings],
        [reading.outcome.value for _, reading in readings],
        [reading.events for _, reading in readings],
        [reading.not_understood for _, reading in readings],
        [reading.first_sequence for _, reading in readings],
        [reading.last_sequence for _, reading in readings],
    )


async def body_of(conn: Connection, body_hash: bytes) -> bytes | None:
    """The stored bytes of one delivery; None when there is no such delivery."""
    body: bytes | None = await conn.fetchval(
        "SELECT body FROM deliveries WHERE body_hash = $1", body_hash
    )
    return body


async def mark_unprocessed(conn: Connection, body_hashes: Sequence[bytes]) -> None:
    """Let deliveries be read again."""
    await conn.execute(
        """
        UPDATE deliveries SET processed_at = NULL
        WHERE body_hash IN (
            SELECT body_hash FROM deliveries WHERE body_hash = ANY($1::bytea[]) ORDER BY body_hash FOR UPDATE)
        """,
        list(body_hashes),
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
    columns = (
        "d.body_hash, d.received_at, d.processed_at, d.outcome, d.events, d.not_understood,"
        " d.first_sequence, d.last_sequence"
    )
    if wanted.tenant_ids is None:
        rows = await conn.fetch(
            f"""
            SELECT {columns} FROM deliveries d WHERE d.received_at >= $1 AND d.received_at < $2
            ORDER BY d.received_at, d.body_hash LIMIT $3
            """,  # noqa: S608 - a constant list of columns
            wanted.since,
            wanted.until,
            limit,
        )
    else:
        rows = await conn.fetch(
            f"""
            SELECT {columns} FROM (
                SELECT DISTINCT received_at, body_hash FROM delivery_tenants
                WHERE tenant_id = ANY($4::text[]) AND received_at >= $1 AND received_at < $2
                ORDER BY received_at, body_hash LIMIT $3
            ) AS named JOIN deliveries d USING (body_hash) ORDER BY d.received_at, d.body_hash
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
        """
        SELECT coalesce(extract(epoch FROM now() - min(received_at)), 0)::float8
        FROM deliveries WHERE processed_at IS NULL
        """
    )
    return age
