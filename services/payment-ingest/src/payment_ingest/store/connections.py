"""Which tenant belongs to which account, as the connector tells it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline_messaging.connection import Connection

CONNECTED = "CONNECTED"


@dataclass(frozen=True, slots=True)
class AccountConnection:
    """The last word of the connector about an account; until `not_before`, if there is one, Xero is not asked."""

    account_id: str
    tenant_id: str | None
    status: str
    since: datetime
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What was last heard of an account; an account never heard of has sequence 0."""

    status: str | None = None
    sequence: int = 0
    tenant_id: str | None = None


async def lock(conn: Connection, account_id: str) -> Known:
    """What was last heard of the account; nobody hears more before the transaction ends."""
    row = await conn.fetchrow(
        "SELECT status, sequence, tenant_id FROM connections WHERE account_id = $1 FOR NO KEY UPDATE",
        account_id,
    )
    return Known(**row) if row else Known()


async def remember(
    conn: Connection,
    connection: AccountConnection,
    sequence: int,
    *,
    tenant_name: str | None = None,
    keep_pause: bool = False,
) -> bool:
    """Write down a newer word about an account; False when a newer one was already known.

    An event that names no tenant (a disconnect may not) leaves the known one in place. A pause ends with it, unless it
    is to be kept: what the account waits for may be over.
    """
    known = await conn.fetchval(
        """
        INSERT INTO connections (account_id, tenant_id, status, since, sequence, tenant_name)
        VALUES ($1, $2, $3, $4, $5, $7)
        ON CONFLICT (account_id) DO UPDATE
        SET tenant_id = coalesce(excluded.tenant_id, connections.tenant_id), status = excluded.status,
            since = excluded.since, sequence = excluded.sequence, heard_at = now(),
            tenant_name = CASE WHEN excluded.tenant_id IS NULL THEN connections.tenant_name ELSE excluded.tenant_name END,
            not_before = CASE WHEN $6 THEN connections.not_before END
        WHERE connections.sequence < excluded.sequence
        RETURNING true
        """,
        connection.account_id,
        connection.tenant_id,
        connection.status,
        connection.since,
        sequence,
        keep_pause,
        tenant_name,
    )
    return known is not None


async def connection_of(conn: Connection, account_id: str) -> AccountConnection | None:
    """What is known of the account's connection; None before the connector spoke of it."""
    row = await conn.fetchrow(
        """
        SELECT account_id, tenant_id, status, since, CASE WHEN not_before > now() THEN not_before END AS not_before
        FROM connections WHERE account_id = $1
        """,
        account_id,
    )
    return AccountConnection(**row) if row else None


async def park(conn: Connection, account_id: str, pause: timedelta) -> datetime:
    """Do not ask Xero for this account before `pause` is over, however often its doorbells ring.

    Returns when that is by the database's clock, which also decides when the account's lease is due.
    """
    until: datetime = await conn.fetchval(
        "UPDATE connections SET not_before = now() + $2 WHERE account_id = $1 RETURNING not_before",
        account_id,
        pause,
    )
    return until


async def accounts_of(conn: Connection, tenant_ids: Collection[str]) -> list[str]:
    """The accounts connected to any of the tenants right now."""
    rows = await conn.fetch(
        "SELECT account_id FROM connections WHERE tenant_id = ANY($1::text[]) AND status = $2",
        list(tenant_ids),
        CONNECTED,
    )
    return [row["account_id"] for row in rows]


async def belongs_to(conn: Connection, account_id: str, tenant_ids: Collection[str]) -> bool:
    """Whether the account is, or last was, connected to one of the tenants."""
    found = await conn.fetchval(
        "SELECT true FROM connections WHERE account_id = $1 AND tenant_id = ANY($2::text[])",
        account_id,
        list(tenant_ids),
    )
    return found is not None


async def tenants_of(conn: Connection, account_id: str) -> tuple[str, ...]:
    """The organisation the account is, or last was, connected to; empty when it never was."""
    tenant_id = await conn.fetchval(
        "SELECT tenant_id FROM connections WHERE account_id = $1", account_id
    )
    return () if tenant_id is None else (tenant_id,)


async def tenant_names(conn: Connection) -> dict[str, str]:
    """What each organisation is called, by its id; those never named are missing."""
    rows = await conn.fetch(
        "SELECT tenant_id, max(tenant_name) AS name FROM connections WHERE tenant_name IS NOT NULL GROUP BY tenant_id"
    )
    return {row["tenant_id"]: row["name"] for row in rows}
