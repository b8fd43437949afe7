"""The audit of key rotations: one chain of hashes over all of them."""

from collections.abc import Sequence

from connector.domain.audit import RotationRecord, rotation_hash
from pipeline_messaging.connection import Connection as Db


async def lock(conn: Db) -> None:
    """Serialise on the chain until the transaction ends: two runs must not write the same link."""
    await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('key rotations', 0))")


async def last(conn: Db) -> RotationRecord | None:
    """The newest link."""
    row = await conn.fetchrow("SELECT * FROM key_rotations ORDER BY sequence DESC LIMIT 1")
    return RotationRecord(**dict(row)) if row else None


async def under_way(conn: Db, key_version: str) -> bool:
    """Whether a rotation to this key began and has not ended."""
    found: bool | None = await conn.fetchval(
        """
        SELECT happening = 'begun' AND key_version = $1 FROM key_rotations
         WHERE happening IN ('begun', 'ended') ORDER BY sequence DESC LIMIT 1
        """,
        key_version,
    )
    return bool(found)


async def every(conn: Db) -> Sequence[RotationRecord]:
    """All links, the oldest first."""
    rows = await conn.fetch("SELECT * FROM key_rotations ORDER BY sequence")
    return [RotationRecord(**dict(row)) for row in rows]


async def add(conn: Db, happening: str, key_version: str, values_left: int) -> None:
    """Append a link; the chain must be locked."""
    before = await last(conn)
    record = RotationRecord(
        sequence=before.sequence + 1 if before else 1,
        at=await conn.fetchval("SELECT clock_timestamp()"),
        happening=happening,
        key_version=key_version,
        values_left=values_left,
        previous_hash=before.hash if before else None,
        hash=b"",
    )
    await conn.execute(
        """
        INSERT INTO key_rotations (sequence, at, happening, key_version, values_left, previous_hash, hash)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        record.sequence,
        record.at,
        record.happening,
        record.key_version,
        record.values_left,
        record.previous_hash,
        rotation_hash(record),
    )
