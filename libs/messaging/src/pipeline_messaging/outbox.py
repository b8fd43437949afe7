"""Records to publish, written in the caller's transaction: they leave if, and only if, it commits.

Take the aggregate's row lock (or win its version check) *before* `add`: the ids of one key then follow the order of
the commits, and the relay publishes in the order of ids.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline_contracts.envelope import Record
from pipeline_messaging.connection import Connection

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One record waiting to be published; `attempts` counts how often the broker refused it for good."""

    id: int
    record: Record
    created_at: datetime
    attempts: int


async def add(conn: Connection, *records: Record) -> None:
    """Add records to the outbox, in the order given, in the caller's transaction.

    Raises whatever asyncpg raises; nothing is published before the caller commits.
    """
    if not records:
        return
    await conn.execute(
        """
        INSERT INTO outbox (topic, key, value, headers)
        SELECT r.topic, r.key, r.value, r.headers
          FROM unnest($1::text[], $2::bytea[], $3::bytea[], $4::bytea[])
               WITH ORDINALITY AS r (topic, key, value, headers, position)
         ORDER BY r.position
        """,
        [record.topic for record in records],
        [record.key for record in records],
        [record.value for record in records],
        [pack_headers(record.headers) for record in records],
    )


async def head(conn: Connection, *, limit: int, max_bytes: int) -> list[OutboxRow]:
    """The oldest publishable rows in the order of ids: at most `limit`, and about `max_bytes` of values.

    A refused row waits for its `retry_at`, and so does every later row of the same topic and key.
    """
    rows = await conn.fetch(
        """
        WITH head AS (
            SELECT o.id, o.topic, o.key, o.value, o.headers, o.created_at, o.attempts,
                   coalesce(octet_length(o.value), 0) AS size
              FROM outbox o
             WHERE (o.retry_at IS NULL OR o.retry_at <= now())
               AND NOT EXISTS (
                     SELECT FROM outbox refused
                      WHERE refused.retry_at > now() AND refused.id < o.id
                        AND refused.topic = o.topic AND refused.key = o.key)
             ORDER BY o.id
             LIMIT $1
        ), measured AS (
            SELECT head.*, sum(size) OVER (ORDER BY id) - size AS bytes_before FROM head
        )
        SELECT id, topic, key, value, headers, created_at, attempts
          FROM measured WHERE bytes_before < $2 ORDER BY id
        """,
        limit,
        max_bytes,
    )
    return [
        OutboxRow(
            row["id"],
            Record(row["topic"], row["key"], row["value"], unpack_headers(row["headers"])),
            row["created_at"],
            row["attempts"],
        )
        for row in rows
    ]


async def waiting(conn: Connection, topic: str) -> list[Record]:
    """Every record of a topic that is still to be published, in order."""
    rows = await conn.fetch(
        "SELECT key, value, headers FROM outbox WHERE topic = $1 ORDER BY id", topic
    )
    return [Record(topic, row["key"], row["value"], unpack_headers(row["headers"])) for row in rows]


async def delete(conn: Connection, ids: Sequence[int]) -> None:
    """Forget published rows."""
    await conn.execute("DELETE FROM outbox WHERE id = ANY($1::bigint[])", ids)


async def postpone(conn: Connection, ids: Sequence[int]) -> None:
    """Keep rows the broker refused out of the way: 15 s at first, twice as long each time, an hour at most."""
    await conn.execute(
        """
        UPDATE outbox
           SET attempts = attempts + 1,
               retry_at = now() + least(interval '15 seconds' * 2 ^ least(attempts, 10), interval '1 hour')
         WHERE id = ANY($1::bigint[])
        """,
        ids,
    )


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far publishing is behind, for the gauges."""

    pending: int
    refused: int
    oldest_age_seconds: float


async def backlog(conn: Connection) -> Backlog:
    """Count what waits."""
    row = await conn.fetchrow(
        """
        SELECT count(*) AS pending, count(retry_at) AS refused,
               coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS oldest
          FROM outbox
        """
    )
    assert row is not None  # noqa: S101 - an aggregate without GROUP BY always answers one row
    return Backlog(row["pending"], row["refused"], max(row["oldest"], 0.0))


def pack_headers(headers: Headers) -> bytes:
    """Headers as one column, bytes preserved whatever they are, and legible where they are text.

    JSON, because Kafka headers are an ordered list with repeats and nulls; Latin-1, because it maps every byte to one
    character and back. Not a `json` column: Postgres refuses the NUL that a broken header may hold.
    """
    pairs = [[name, None if value is None else value.decode("latin-1")] for name, value in headers]
    return json.dumps(pairs, separators=(",", ":")).encode()


def unpack_headers(packed: bytes) -> Headers:
    """The exact inverse of `pack_headers`."""
    return tuple(
        (name, None if value is None else value.encode("latin-1"))
        for name, value in json.loads(packed)
    )
