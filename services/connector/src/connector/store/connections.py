"""Connections and the audit of their changes."""

from collections.abc import Sequence
from dataclasses import astuple, fields

import asyncpg

from connector.domain.audit import ChangeRecord
from connector.domain.connection import Actor, Connection, Reason, Status
from connector.domain.history import Change
from pipeline_messaging.connection import Connection as Db

COLUMNS = """account_id, status, reason, since, changed_by, sequence, tenant_id, tenant_name, short_code, base_currency,
              xero_userid, connected_at, connected_by, connected_by_name, fenced_at, last_call_at"""


_NAMES = tuple(field.name for field in fields(Connection))


def of_row(row: asyncpg.Record) -> Connection:
    """The connection in a row that has at least `COLUMNS`."""
    facts = {name: row[name] for name in _NAMES}
    facts["status"] = Status(facts["status"])
    facts["reason"] = Reason(facts["reason"])
    return Connection(**facts)


async def find(conn: Db, account_id: str) -> Connection | None:
    """The account's connection, None when it was never connected."""
    row = await conn.fetchrow(
        f"SELECT {COLUMNS} FROM connections WHERE account_id = $1",  # noqa: S608 - a constant
        account_id,
    )
    return of_row(row) if row else None


async def lock(conn: Db, account_id: str) -> Connection | None:
    """The account's connection, locked against every other change until the transaction ends."""
    row = await conn.fetchrow(
        f"SELECT {COLUMNS} FROM connections WHERE account_id = $1 FOR UPDATE",  # noqa: S608 - a constant
        account_id,
    )
    return of_row(row) if row else None


async def lock_account(conn: Db, account_id: str) -> None:
    """Serialise on an account that may have no row yet: two tabs must not both be the first."""
    await conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('connection ' || $1, 0))", account_id
    )


async def tenant_in_use(conn: Db, tenant_id: str) -> bool:
    """Whether any account is connected to this organisation."""
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM connections WHERE tenant_id = $1 AND status <> 'DISCONNECTED')",
        tenant_id,
    )
    return found


async def lock_of_user(conn: Db, xero_userid: str) -> list[Connection]:
    """Every connection that uses this Xero user's tokens, locked, in one order for all (no deadlocks)."""
    rows = await conn.fetch(
        f"""SELECT {COLUMNS} FROM connections WHERE xero_userid = $1
             ORDER BY account_id FOR UPDATE""",  # noqa: S608 - a constant
        xero_userid,
    )
    return [of_row(row) for row in rows]


async def of_user(conn: Db, xero_userid: str) -> list[Connection]:
    """Every connection that uses this Xero user's tokens."""
    rows = await conn.fetch(
        f"SELECT {COLUMNS} FROM connections WHERE xero_userid = $1 ORDER BY account_id",  # noqa: S608 - a constant
        xero_userid,
    )
    return [of_row(row) for row in rows]


async def taken_tenants(conn: Db, account_id: str, tenant_ids: Sequence[str]) -> frozenset[str]:
    """Those of `tenant_ids` that another account is connected to."""
    rows = await conn.fetch(
        """
        SELECT tenant_id FROM connections
         WHERE tenant_id = ANY($2::text[]) AND account_id <> $1 AND status <> 'DISCONNECTED'
        """,
        account_id,
        list(tenant_ids),
    )
    return frozenset(row["tenant_id"] for row in rows)


async def put(conn: Db, connection: Connection) -> None:
    """Write the connection as it now is. Raises asyncpg.UniqueViolationError when its tenant is taken."""
    await conn.execute(
        """
        INSERT INTO connections (account_id, status, reason, since, changed_by, sequence, tenant_id, tenant_name,
                                 short_code, base_currency, xero_userid, connected_at, connected_by,
                                 connected_by_name, fenced_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
        ON CONFLICT (account_id) DO UPDATE
           SET status = EXCLUDED.status, reason = EXCLUDED.reason, since = EXCLUDED.since,
               changed_by = EXCLUDED.changed_by, sequence = EXCLUDED.sequence, tenant_id = EXCLUDED.tenant_id,
               tenant_name = EXCLUDED.tenant_name, short_code = EXCLUDED.short_code,
               base_currency = EXCLUDED.base_currency, xero_userid = EXCLUDED.xero_userid,
               connected_at = EXCLUDED.connected_at, connected_by = EXCLUDED.connected_by,
               connected_by_name = EXCLUDED.connected_by_name, fenced_at = EXCLUDED.fenced_at
        """,
        connection.account_id,
        connection.status.value,
        connection.reason.value,
        connection.since,
        connection.changed_by,
        connection.sequence,
        connection.tenant_id,
        connection.tenant_name,
        connection.short_code,
        connection.base_currency,
        connection.xero_userid,
        connection.connected_at,
        connection.connected_by,
        connection.connected_by_name,
        connection.fenced_at,
    )


async def fence(conn: Db, account_id: str, actor: Actor, only: str | None = None) -> bool:
    """Begin a disconnect: no call starts from here on. False when there is nothing to disconnect.

    With `only`, a connection to any other organisation is left alone.
    """
    done = await conn.fetchval(
        """
        UPDATE connections
           SET fenced_at = coalesce(fenced_at, clock_timestamp()),
               fenced_by = coalesce(fenced_by, $2), fenced_by_name = coalesce(fenced_by_name, $3)
         WHERE account_id = $1 AND status <> 'DISCONNECTED' AND ($4::text IS NULL OR tenant_id = $4)
        RETURNING true
        """,
        account_id,
        actor.user_id,
        actor.name,
        only,
    )
    return bool(done)


async def fencer(conn: Db, account_id: str) -> Actor | None:
    """Who began the disconnect under way."""
    row = await conn.fetchrow(
        "SELECT fenced_by, fenced_by_name FROM connections WHERE account_id = $1 AND fenced_at IS NOT NULL",
        account_id,
    )
    return Actor(row["fenced_by"], row["fenced_by_name"]) if row and row["fenced_by"] else None


async def clear_fencer(conn: Db, account_id: str) -> None:
    """Forget who began a disconnect, once it is recorded or a new consent took its place."""
    await conn.execute(
        "UPDATE connections SET fenced_by = NULL, fenced_by_name = NULL WHERE account_id = $1",
        account_id,
    )


async def unfinished_disconnects(conn: Db, older_than_seconds: float) -> list[str]:
    """Accounts whose disconnect began and was not recorded: its process died in between."""
    rows = await conn.fetch(
        """
        SELECT account_id FROM connections
         WHERE fenced_at < now() - make_interval(secs => $1) ORDER BY fenced_at LIMIT 100
        """,
        older_than_seconds,
    )
    return [row["account_id"] for row in rows]


async def last_hash(conn: Db, account_id: str) -> bytes | None:
    """The end of the account's audit chain."""
    found: bytes | None = await conn.fetchval(
        "SELECT hash FROM connection_changes WHERE account_id = $1 ORDER BY sequence DESC LIMIT 1",
        account_id,
    )
    return found


async def add_change(conn: Db, record: ChangeRecord) -> None:
    """Append one change to the audit."""
    await conn.execute(
        """
        INSERT INTO connection_changes (account_id, sequence, at, actor, actor_name, from_status, to_status, reason,
                                        tenant_id, tenant_name, previous_hash, hash)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        """,
        *astuple(record),
    )


async def changes(conn: Db, account_id: str, limit: int) -> list[Change]:
    """The account's changes, the newest first."""
    rows = await conn.fetch(
        """
        SELECT at, to_status, reason, actor_name, tenant_name
          FROM connection_changes WHERE account_id = $1 ORDER BY sequence DESC LIMIT $2
        """,
        account_id,
        limit,
    )
    return [
        Change(
            row["at"],
            Status(row["to_status"]),
            Reason(row["reason"]),
            row["actor_name"],
            row["tenant_name"],
        )
        for row in rows
    ]
