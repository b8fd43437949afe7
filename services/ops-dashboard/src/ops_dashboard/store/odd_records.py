"""Dead letters and unreadable records, with the beginning of their bytes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiokafka import ConsumerRecord

from ops_dashboard.domain.odd_records import MOST_BYTES, Odd
from ops_dashboard.domain.paging import After
from pipeline_messaging.connection import Connection


@dataclass(frozen=True, slots=True)
class OddRecord:
    """A record as the page shows it."""

    topic: str
    partition: int
    record_offset: int
    written_at: datetime
    account_id: str | None
    is_dead_letter: bool
    from_topic: str
    from_place: str | None
    code: str
    reason: str
    value_size: int
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, str | None], ...] = ()

    @property
    def place(self) -> str:
        """What tells it from every other record."""
        return f"{self.topic}/{self.partition}/{self.record_offset}"


_LISTED = (
    "topic, partition, record_offset, written_at, account_id, is_dead_letter, from_topic, from_place, code, reason,"
    " value_size"
)
_NEWEST_FIRST = "ORDER BY written_at DESC, topic DESC, partition DESC, record_offset DESC"


async def keep(
    conn: Connection, generation: int, records: Sequence[tuple[ConsumerRecord, Odd]]
) -> None:
    """Store the records; one that is known stays as it is.

    A later one at the same place is another: the topic was deleted and made anew, and the old one is there no more.
    """
    await conn.executemany(
        """
        INSERT INTO odd_records (generation, topic, partition, record_offset, written_at, account_id, is_dead_letter,
               from_topic, from_place, code, reason, key, value, value_size, headers)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
        ON CONFLICT (generation, topic, partition, record_offset) DO UPDATE
           SET (written_at, account_id, is_dead_letter, from_topic, from_place, code, reason, key, value, value_size,
                headers)
             = (excluded.written_at, excluded.account_id, excluded.is_dead_letter, excluded.from_topic,
                excluded.from_place, excluded.code, excluded.reason, excluded.key, excluded.value, excluded.value_size,
                excluded.headers)
         WHERE odd_records.written_at < excluded.written_at
        """,
        [
            (
                generation,
                record.topic,
                record.partition,
                record.offset,
                written_at(record),
                odd.account_id,
                record.topic.endswith(".dlq"),
                odd.from_topic,
                odd.from_place,
                odd.code,
                odd.reason,
                None if record.key is None else record.key[:MOST_BYTES],
                None if record.value is None else record.value[:MOST_BYTES],
                len(record.value or b""),
                json.dumps(odd.headers),
            )
            for record, odd in records
        ],
    )


def written_at(record: ConsumerRecord) -> datetime:
    """When a record was written, by its own word: which may be any number."""
    try:
        return datetime.fromtimestamp(record.timestamp / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


async def page(
    conn: Connection, generation: int, account_id: str | None, *, after: After | None, limit: int
) -> Sequence[OddRecord]:
    """Records that name an account, or all for None, newest first, without their bytes."""
    mine = "" if account_id is None else " AND account_id = $7"
    values = () if account_id is None else (account_id,)
    topic, partition, offset = place_of(after.id) if after else (None, None, None)
    rows = await conn.fetch(
        f"SELECT {_LISTED} FROM odd_records WHERE generation = $1"  # noqa: S608 - our own names
        " AND ($2::timestamptz IS NULL"
        " OR (written_at, topic, partition, record_offset) < ($2, $3, $4::int, $5::bigint))"
        f"{mine} {_NEWEST_FIRST} LIMIT $6",
        generation,
        after.at if after else None,
        topic,
        partition,
        offset,
        limit,
        *values,
    )
    return [OddRecord(**row) for row in rows]


def place_of(mark: str) -> tuple[str, int, int]:
    """The place a page's mark names; the very beginning for one that names none."""
    topic, _, rest = mark.partition("/")
    partition, _, offset = rest.partition("/")
    try:
        return topic, int(partition[:9]), int(offset[:18])
    except ValueError:
        return "", 0, 0


async def find(
    conn: Connection, generation: int, topic: str, partition: int, record_offset: int
) -> OddRecord | None:
    """One record with its bytes."""
    row = await conn.fetchrow(
        f"SELECT {_LISTED}, key, value, headers FROM odd_records"  # noqa: S608 - our own names
        " WHERE generation = $1 AND topic = $2 AND partition = $3 AND record_offset = $4",
        generation,
        topic,
        partition,
        record_offset,
    )
    if row is None:
        return None
    headers: Any = json.loads(row["headers"])
    return OddRecord(**{**row, "headers": tuple((name, value) for name, value in headers)})


async def count(conn: Connection, generation: int, account_id: str, *, most: int) -> int:
    """How many records name this account, counted up to `most`."""
    found: int = await conn.fetchval(
        "SELECT count(*) FROM (SELECT 1 FROM odd_records"
        " WHERE generation = $1 AND account_id = $2 LIMIT $3) AS found",
        generation,
        account_id,
        most,
    )
    return found


async def forget(conn: Connection, before: datetime, limit: int) -> int:
    """Delete at most `limit` records that were written before that moment; how many that were."""
    status = await conn.execute(
        """
        DELETE FROM odd_records WHERE ctid = ANY(ARRAY(
            SELECT o.ctid FROM generations g JOIN odd_records o USING (generation)
             WHERE o.written_at < $1 LIMIT $2 FOR UPDATE OF o SKIP LOCKED))
        """,
        before,
        limit,
    )
    return int(status.rpartition(" ")[2])
