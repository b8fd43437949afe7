"""Call slots and what Xero said about its limits, shared by all replicas. Times are the database's."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from connector.domain.budget import Block, Call, Learnt
from pipeline_messaging.connection import Connection as Db

APP = ""
"""The row of the app-wide limit."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a tenant's budget looks like under its lock, at `now`."""

    now: datetime
    calls: tuple[Call, ...]
    blocks: tuple[Block, ...]
    reserve_wanted: bool


async def lock_tenant(conn: Db, tenant_id: str) -> None:
    """Take the tenant's lock until the transaction ends: slots of one tenant are given out one at a time."""
    locked = await conn.fetchval(
        "SELECT true FROM tenant_budgets WHERE tenant_id = $1 FOR UPDATE", tenant_id
    )
    if locked is None:
        await conn.execute(
            """
            INSERT INTO tenant_budgets (tenant_id) VALUES ($1)
            ON CONFLICT (tenant_id) DO UPDATE SET tenant_id = EXCLUDED.tenant_id
            """,
            tenant_id,
        )


async def standing(conn: Db, tenant_id: str) -> Standing:
    """Read the tenant's calls and blocks. Call under `lock_tenant`: this statement's snapshot then is the latest."""
    rows = await conn.fetch(
        """
        SELECT clock_timestamp() AS now, b.tenant_id, b.blocked_until, b.blocked_problem,
               coalesce(b.reserved_until > clock_timestamp(), false) AS reserved,
               NULL::timestamptz AS started_at, NULL::timestamptz AS lease_until, NULL::timestamptz AS finished_at
          FROM tenant_budgets b WHERE b.tenant_id IN ($1, '')
        UNION ALL
        SELECT clock_timestamp(), s.tenant_id, NULL, NULL, false, s.started_at, s.lease_until, s.finished_at
          FROM call_slots s WHERE s.tenant_id = $1
        """,
        tenant_id,
    )
    calls = [
        Call(row["started_at"], row["lease_until"], row["finished_at"])
        for row in rows
        if row["started_at"]
    ]
    blocks = [
        Block(row["blocked_until"], row["blocked_problem"] or "unknown")
        for row in rows
        if row["started_at"] is None and row["blocked_until"] is not None
    ]
    reserved = any(row["reserved"] and row["tenant_id"] == tenant_id for row in rows)
    return Standing(rows[0]["now"], tuple(calls), tuple(blocks), reserved)


async def take_slot(
    conn: Db,
    *,
    tenant_id: str,
    account_id: str | None,
    caller: str,
    lease: timedelta,
) -> int:
    """Insert a started call, and drop those that no longer count; returns the slot's id."""
    found: int = await conn.fetchval(
        """
        WITH gone AS (
            DELETE FROM call_slots
             WHERE tenant_id = $1 AND coalesce(finished_at, lease_until) < clock_timestamp() - interval '61 seconds'
        )
        INSERT INTO call_slots (tenant_id, account_id, caller, started_at, lease_until)
        VALUES ($1, $2, $3, clock_timestamp(), clock_timestamp() + $4) RETURNING id
        """,
        tenant_id,
        account_id,
        caller,
        lease,
    )
    return found


async def finish_slot(conn: Db, slot_id: int) -> None:
    """The call is over for certain: its reply was read to the end, or it was never sent."""
    await conn.execute(
        "UPDATE call_slots SET finished_at = clock_timestamp() WHERE id = $1 AND finished_at IS NULL",
        slot_id,
    )


async def shorten_slot(conn: Db, slot_id: int, seconds: float) -> None:
    """The connection broke: Xero may be working on the call a little longer, but hardly until the lease ends."""
    await conn.execute(
        """
        UPDATE call_slots SET lease_until = least(lease_until, clock_timestamp() + make_interval(secs => $2))
         WHERE id = $1 AND finished_at IS NULL
        """,
        slot_id,
        seconds,
    )


async def void_slot(conn: Db, slot_id: int) -> None:
    """The call was never sent, so it does not count."""
    await conn.execute("DELETE FROM call_slots WHERE id = $1", slot_id)


async def usable(conn: Db, account_id: str, tenant_id: str) -> bool:
    """The fence: whether the account may call this tenant, locked against a disconnect until the slot is committed."""
    found = await conn.fetchval(
        """
        SELECT true FROM connections
         WHERE account_id = $1 AND tenant_id = $2 AND status = 'CONNECTED' AND fenced_at IS NULL
           FOR SHARE
        """,
        account_id,
        tenant_id,
    )
    return bool(found)


async def running(conn: Db, account_id: str) -> int:
    """How many calls of the account may be under way."""
    found: int = await conn.fetchval(
        """
        SELECT count(*) FROM call_slots
         WHERE account_id = $1 AND finished_at IS NULL AND lease_until > clock_timestamp()
        """,
        account_id,
    )
    return found


async def want_reserve(conn: Db, tenant_id: str, seconds: float) -> None:
    """A preferred caller was turned away: keep its share free until it can come back."""
    await conn.execute(
        """
        UPDATE tenant_budgets
           SET reserved_until = greatest(coalesce(reserved_until, clock_timestamp()),
                                         clock_timestamp() + make_interval(secs => $2))
         WHERE tenant_id = $1
        """,
        tenant_id,
        seconds,
    )


async def remember(conn: Db, tenant_id: str, learnt: Learnt) -> None:
    """Store what a reply said. A block of the whole app goes to the app's row."""
    if learnt.day_remaining is not None:
        await conn.execute(
            """
            UPDATE tenant_budgets SET day_remaining = $2, day_seen_at = clock_timestamp() WHERE tenant_id = $1
            """,
            tenant_id,
            learnt.day_remaining,
        )
    if learnt.blocked_for is not None:
        await conn.execute(
            """
            UPDATE tenant_budgets
               SET blocked_until = greatest(coalesce(blocked_until, clock_timestamp()), clock_timestamp() + $2),
                   blocked_problem = $3
             WHERE tenant_id = $1
            """,
            APP if (learnt.problem or "").startswith("app") else tenant_id,
            learnt.blocked_for,
            learnt.problem,
        )


async def day_remaining(conn: Db, tenant_id: str) -> int | None:
    """The calls left today by Xero's last word, if that is younger than a day."""
    found: int | None = await conn.fetchval(
        """
        SELECT day_remaining FROM tenant_budgets
         WHERE tenant_id = $1 AND day_seen_at > clock_timestamp() - interval '1 day'
        """,
        tenant_id,
    )
    return found
