"""The lines of timelines, one for each event however often it is heard."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops_dashboard.domain.facts import Details, Fact, Kept
from pipeline_contracts.envelope import Envelope
from pipeline_messaging.connection import Connection


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a timeline."""

    source: str
    type: str
    at: datetime
    number: int
    details: Details


async def keep(
    conn: Connection, generation: int, facts: Sequence[tuple[Envelope, Fact]]
) -> set[tuple[str, str]]:
    """Store the lines; give back the (source, id) of those that are new."""
    rows = sorted(facts, key=lambda pair: (pair[0].source, pair[0].id))
    found = await conn.fetch(
        """
        INSERT INTO facts (generation, source, event_id, account_id, subject_kind, subject, type, at, number, details)
        SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
               $8::timestamptz[], $9::int[], $10::jsonb[])
        ON CONFLICT DO NOTHING RETURNING source, event_id
        """,
        generation,
        [envelope.source for envelope, _ in rows],
        [envelope.id for envelope, _ in rows],
        [envelope.event.account_id for envelope, _ in rows],
        [fact.subject_kind for _, fact in rows],
        [fact.subject for _, fact in rows],
        [envelope.type for envelope, _ in rows],
        [envelope.time for envelope, _ in rows],
        [fact.number for _, fact in rows],
        [json.dumps(fact.details) for _, fact in rows],
    )
    return {(row["source"], row["event_id"]) for row in found}


async def timeline(
    conn: Connection,
    generation: int,
    account_id: str,
    subjects: Sequence[tuple[str, str]],
    limit: int,
) -> Sequence[Line]:
    """The newest lines about these subjects (kind, id), newest first."""
    rows = await conn.fetch(
        """
        SELECT f.source, f.type, f.at, f.number, f.details
          FROM unnest($3::text[], $4::text[]) AS s (kind, id)
         CROSS JOIN LATERAL (
               SELECT * FROM facts
                WHERE generation = $1 AND account_id = $2 AND subject_kind = s.kind AND subject = s.id
                ORDER BY at DESC LIMIT $5) f
         ORDER BY f.at DESC, f.number DESC, f.type, f.event_id LIMIT $5
        """,
        generation,
        account_id,
        [kind for kind, _ in subjects],
        [name for _, name in subjects],
        limit,
    )
    return [_line(row) for row in rows]


async def forget(conn: Connection, before: datetime, limit: int) -> int:
    """Delete at most `limit` lines of before that moment; how many that were.

    An account's newest comparison of its books and newest change of its connection stay: they tell how it stands.
    """
    status = await conn.execute(
        """
        DELETE FROM facts WHERE ctid = ANY(ARRAY(
            SELECT f.ctid FROM facts f
             WHERE f.at < $1
               AND (f.subject_kind NOT IN ('account', 'connection') OR EXISTS (
                    SELECT FROM facts newer
                     WHERE newer.generation = f.generation AND newer.account_id = f.account_id
                       AND newer.subject_kind = f.subject_kind AND newer.subject = f.subject AND newer.at > f.at))
             ORDER BY f.at LIMIT $2 FOR UPDATE OF f SKIP LOCKED))
        """,
        before,
        limit,
    )
    return int(status.rpartition(" ")[2])


def _line(row: Any) -> Line:
    return Line(**{**row, "details": Kept(json.loads(row["details"]))})
