"""How far this view has read, and how far the topics go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ops_dashboard.domain.freshness import Sample
from pipeline_messaging.connection import Connection

Place = tuple[str, int]
"""Topic and partition."""

KEEP_SAMPLES = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class TopicLag:
    """One topic: how many records are still to be read, and the time of the newest that was.

    Attributes:
        complete_until: everything that was there at this moment is stored, in every partition.
    """

    topic: str
    behind: int
    read_until: datetime | None
    complete_until: datetime | None


async def advance(conn: Connection, places: Mapping[Place, tuple[int, datetime]]) -> None:
    """Note the offset after the last stored record of each partition, and that record's time."""
    rows = sorted(places.items())
    await conn.execute(
        """
        INSERT INTO positions AS p (topic, partition, next_offset, written_at)
        SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[], $4::timestamptz[])
        ON CONFLICT (topic, partition) DO UPDATE
           SET next_offset = excluded.next_offset, written_at = excluded.written_at
         WHERE p.next_offset < excluded.next_offset
        """,
        [place[0] for place, _ in rows],
        [place[1] for place, _ in rows],
        [offset for _, (offset, _) in rows],
        [at for _, (_, at) in rows],
    )


async def note_ends(conn: Connection, ends: Mapping[Place, tuple[int, int]], now: datetime) -> None:
    """Note where each partition begins and ends, and how far behind that leaves this view."""
    rows = sorted(ends.items())
    await conn.execute(
        """
        INSERT INTO topic_ends AS e (topic, partition, begin_offset, end_offset, seen_at, complete_until)
        SELECT t, p, b, e, $5, $5 FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[]) AS s (t, p, b, e)
        ON CONFLICT (topic, partition) DO UPDATE SET begin_offset = excluded.begin_offset,
               end_offset = excluded.end_offset, seen_at = excluded.seen_at,
               -- What was the end when last seen is stored by now, or retention has removed it.
               complete_until = CASE WHEN e.end_offset <= greatest(excluded.begin_offset, (
                       SELECT p.next_offset FROM positions p WHERE p.topic = e.topic AND p.partition = e.partition))
                   THEN e.seen_at ELSE coalesce(e.complete_until, excluded.seen_at) END
        """,
        [place[0] for place, _ in rows],
        [place[1] for place, _ in rows],
        [begin for _, (begin, _) in rows],
        [end for _, (_, end) in rows],
        now,
    )
    # A topic that is read no more must not look like one that has fallen silent.
    await conn.execute(
        "DELETE FROM topic_ends WHERE topic <> ALL($1::text[])", [place[0] for place, _ in rows]
    )
    await conn.execute(
        "INSERT INTO lag_samples (at, behind) SELECT $1, coalesce(sum(behind), 0)"  # noqa: S608 - our own words
        f" FROM ({_LAGS}) AS lags ON CONFLICT DO NOTHING",
        now,
    )
    await conn.execute("DELETE FROM lag_samples WHERE at < $1", now - KEEP_SAMPLES)


# Where retention has removed what was never read, reading goes on at the beginning.
_LAGS = """
    SELECT e.topic, e.partition, e.seen_at, e.complete_until, p.written_at,
           greatest(e.end_offset - greatest(coalesce(p.next_offset, 0), e.begin_offset), 0) AS behind
      FROM topic_ends e LEFT JOIN positions p USING (topic, partition)"""


async def lags(conn: Connection) -> tuple[Sequence[TopicLag], datetime | None]:
    """Each topic's lag, and when Kafka last answered for all of them."""
    rows = await conn.fetch(
        "SELECT topic, sum(behind)::bigint AS behind, max(written_at) AS read_until,"  # noqa: S608 - our own words
        " min(seen_at) AS seen_at, min(complete_until) AS complete_until"
        f" FROM ({_LAGS}) AS lags GROUP BY topic ORDER BY topic"
    )
    found = [
        TopicLag(row["topic"], row["behind"], row["read_until"], row["complete_until"])
        for row in rows
    ]
    return found, min((row["seen_at"] for row in rows), default=None)


async def samples(conn: Connection) -> list[Sample]:
    """How far behind this view was over the last minutes, oldest first."""
    rows = await conn.fetch("SELECT at, behind FROM lag_samples ORDER BY at")
    return [Sample(row["at"], row["behind"]) for row in rows]
