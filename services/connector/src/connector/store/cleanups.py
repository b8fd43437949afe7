"""What is still to be undone at Xero after a disconnect or an abandoned consent."""

from dataclasses import dataclass
from datetime import timedelta

from pipeline_messaging.connection import Connection as Db


@dataclass(frozen=True, slots=True)
class Cleanup:
    """One claimed piece of work: remove a tenant's connection, or revoke the whole grant."""

    id: int
    kind: str
    xero_userid: str
    tenant_id: str | None
    attempts: int


async def add(
    conn: Db,
    *,
    kind: str,
    xero_userid: str,
    tenant_id: str | None,
    delay: timedelta = timedelta(0),
) -> int:
    """Queue a cleanup; returns its id."""
    found: int = await conn.fetchval(
        """
        INSERT INTO cleanups (kind, xero_userid, tenant_id, next_attempt_at)
        VALUES ($1, $2, $3, clock_timestamp() + $4) RETURNING id
        """,
        kind,
        xero_userid,
        tenant_id,
        delay,
    )
    return found


async def due(conn: Db, limit: int) -> list[int]:
    """Cleanups to try now."""
    # now(), not clock_timestamp(): what may change within a statement is not looked up in an index.
    rows = await conn.fetch(
        """
        SELECT id FROM cleanups
         WHERE next_attempt_at <= now() AND (lease_until IS NULL OR lease_until <= now())
         ORDER BY next_attempt_at LIMIT $1
        """,
        limit,
    )
    return [row["id"] for row in rows]


async def claim(conn: Db, cleanup_id: int, lease: timedelta) -> Cleanup | None:
    """Take one cleanup; None when it is gone, not due, or someone else has it.

    A new consent puts cleanups off (`spare_grant`), perhaps after this one was found due.
    """
    row = await conn.fetchrow(
        """
        UPDATE cleanups
           SET lease_until = clock_timestamp() + $2, attempts = attempts + 1,
               next_attempt_at = clock_timestamp() + $2
         WHERE id = $1 AND next_attempt_at <= clock_timestamp()
           AND (lease_until IS NULL OR lease_until <= clock_timestamp())
        RETURNING id, kind, xero_userid, tenant_id, attempts
        """,
        cleanup_id,
        lease,
    )
    return Cleanup(**dict(row)) if row else None


async def postpone(conn: Db, cleanup_id: int, delay: timedelta, problem: str) -> None:
    """Try again later."""
    await conn.execute(
        """
        UPDATE cleanups
           SET lease_until = NULL, next_attempt_at = clock_timestamp() + $2, last_problem = $3 WHERE id = $1
        """,
        cleanup_id,
        delay,
        problem[:200],
    )


async def delete(conn: Db, cleanup_id: int) -> None:
    """Done."""
    await conn.execute("DELETE FROM cleanups WHERE id = $1", cleanup_id)


async def spare_grant(conn: Db, xero_userid: str, delay: timedelta) -> None:
    """The user consented anew: revoking everything would take the new consent too, so only remove the old tenant, later."""
    await conn.execute(
        """
        UPDATE cleanups
           SET kind = CASE WHEN tenant_id IS NULL THEN kind ELSE 'connection' END,
               next_attempt_at = greatest(next_attempt_at, clock_timestamp() + $2)
         WHERE xero_userid = $1 AND (lease_until IS NULL OR lease_until <= clock_timestamp())
        """,
        xero_userid,
        delay,
    )


async def under_way(conn: Db, xero_userid: str) -> bool:
    """Whether somebody is undoing something of this user at Xero right now."""
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM cleanups WHERE xero_userid = $1 AND lease_until > clock_timestamp())",
        xero_userid,
    )
    return found


async def forget_tenant(conn: Db, xero_userid: str, tenant_id: str) -> None:
    """The tenant is connected again through this user: nothing of it is to be removed any more."""
    await conn.execute(
        "DELETE FROM cleanups WHERE xero_userid = $1 AND (tenant_id = $2 OR tenant_id IS NULL)",
        xero_userid,
        tenant_id,
    )
