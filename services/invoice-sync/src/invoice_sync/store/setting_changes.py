"""Rows of ``setting_changes``: the chain of who changed which setting or code mapping, from what to what."""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from invoice_sync.domain.account_settings import SettingChange, change_hash
from pipeline_messaging.connection import Connection


@dataclass(frozen=True, slots=True)
class KeptChange:
    """A change as it was recorded, with the link it was given."""

    change: SettingChange
    hash: bytes


async def add(
    conn: Connection,
    account_id: str,
    *,
    actor: str,
    subject: str,
    before: str | None,
    after: str | None,
) -> None:
    """Append a change, in its transaction; the caller holds the account's lock, so that the chain never forks."""
    last = await conn.fetchrow(
        "SELECT sequence, hash FROM setting_changes WHERE account_id = $1 ORDER BY sequence DESC LIMIT 1",
        account_id,
    )
    change = SettingChange(
        account_id,
        last["sequence"] + 1 if last else 1,
        await conn.fetchval("SELECT clock_timestamp()"),
        actor,
        subject,
        before,
        after,
        last["hash"] if last else None,
    )
    await conn.execute(
        """
        INSERT INTO setting_changes (account_id, sequence, at, actor, subject, before, after, previous_hash, hash)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        change.account_id,
        change.sequence,
        change.at,
        change.actor,
        change.subject,
        change.before,
        change.after,
        change.previous_hash,
        change_hash(change),
    )


async def any_since(conn: Connection, account_id: str, at: datetime) -> bool:
    """Whether anything was changed since."""
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM setting_changes WHERE account_id = $1 AND at > $2)",
        account_id,
        at,
    )
    return found


async def changes_of(
    conn: Connection, account_id: str, *, after: int, limit: int
) -> list[KeptChange]:
    """The account's changes from behind a sequence, oldest first."""
    rows = await conn.fetch(
        """
        SELECT account_id, sequence, at, actor, subject, before, after, previous_hash, hash
          FROM setting_changes WHERE account_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3
        """,
        account_id,
        after,
        limit,
    )
    return [_kept(row) for row in rows]


async def every(conn: Connection) -> list[KeptChange]:
    """Every change of every account, by account, the oldest first."""
    rows = await conn.fetch(
        """
        SELECT account_id, sequence, at, actor, subject, before, after, previous_hash, hash
          FROM setting_changes ORDER BY account_id COLLATE "C", sequence
        """
    )
    return [_kept(row) for row in rows]


def _kept(row: asyncpg.Record) -> KeptChange:
    change = SettingChange(**{key: value for key, value in row.items() if key != "hash"})
    return KeptChange(change, row["hash"])
