"""Call slots and what Xero said about its limits, shared by all replicas. Times are the database's."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from connector.domain.budget import Block, Usage
from pipeline_messaging.connection import Connection as Db

APP = ""
"""The row of the app-wide limit."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A tenant's locked row: what Xero asked for, and whether a preferred caller wants its share."""

    block: Block | None
    reserve_wanted: bool


async def lock_tenant(conn: Db, tenant_id: str) -> Budget:
    """Take the tenant's lock until the transaction ends: slots of one tenant are given out one at a time."""
    row = await conn.fetchrow(
        """
        SELECT blocked_until, blocked_problem, coalesce(reserved_until > clock_timestamp(), false) AS reserved
          FROM tenant_budgets WHERE tenant_id = $1 FOR UPDATE
        """,
        tenant_id,
    )
    if row is not None:
        return Budget(_block(row["blocked_until"], row["blocked_problem"]), row["reserved"])
    await conn.execute(
        "INSERT INTO tenant_budgets (tenant_id) VALUES ($1) ON CONFLICT DO NOTHING", tenant_id
    )
    return await lock_tenant(conn, tenant_id)


def _block(until: datetime | None, problem: str | None) -> Block | None:
    return Block(until, problem or "unknown") if until else None


async def count_calls(
    conn: Db, tenant_id: str, per_minute: int
) -> tuple[Usage, Block | None, datetime]:
    """The tenant's calls, the app's block, and the database's clock.

    Call under `lock_tenant`: this statement's snapshot then holds every slot given out before.
    """
    row = await conn.fetchrow(
        """
        WITH clock AS (SELECT clock_timestamp() AS now)
        SELECT clock.now, app.blocked_until, app.blocked_problem,
               (SELECT count(*) FROM call_slots
                 WHERE tenant_id = $1 AND finished_at IS NULL AND lease_until > clock.now) AS running,
               (SELECT count(*) FROM call_slots
                 WHERE tenant_id = $1 AND (finished_at IS NOT NULL OR lease_until <= clock.now)
                   AND coalesce(finished_at, lease_until) > clock.now - interval '60 seconds') AS recent
          FROM clock, tenant_budgets app WHERE app.tenant_id = ''
        """,
        tenant_id,
    )
    if row is None:
        raise LookupError("the app's row is missing from tenant_budgets")
    running, recent, now = row["running"], row["recent"], row["now"]
    full_by = running + recent - per_minute
    frees_at = await _frees_at(conn, tenant_id, full_by, now) if 0 <= full_by < recent else None
    return (
        Usage(running, recent, frees_at),
        _block(row["blocked_until"], row["blocked_problem"]),
        now,
    )


async def _frees_at(conn: Db, tenant_id: str, leaving: int, now: datetime) -> datetime | None:
    found: datetime | None = await conn.fetchval(
        """
        SELECT coalesce(finished_at, lease_until) + interval '60 seconds' FROM call_slots
         WHERE tenant_id = $1 AND (finished_at IS NOT NULL OR lease_until <= $3)
           AND coalesce(finished_at, lease_until) > $3 - interval '60 seconds'
         ORDER BY coalesce(finished_at, lease_until) OFFSET $2 LIMIT 1
        """,
        tenant_id,
        leaving,
        now,
    )
    return found


async def forget_finished(conn: Db) -> None:
    """Drop calls that no longer count."""
    await conn.execute(
        """
        DELETE FROM call_slots
         WHERE coalesce(finished_at, lease_until) < clock_timestamp() - interval '61 seconds'
        """
    )


async def take_slot(
    conn: Db,
    *,
    tenant_id: str,
    account_id: str | None,
    caller: str,
    lease: timedelta,
) -> int:
    """Insert a started call; returns the slot's id."""
    found: int = await conn.fetchval(
        """
        INSERT INTO call_slots (tenant_id, account_id, caller, started_at, lease_until)
        VALUES ($1, $2, $3, clock_timestamp(), clock_timestamp() + $4) RETURNING id
        """,
        tenant_id,
        account_id,
        caller,
        lease,
    )
    return found


async def finish_call(
    conn: Db,
    slot_id: int,
    tenant_id: str,
    day_remaining: int | None,
    account_id: str | None,
    xero_userid: str | None,
) -> None:
    """The call is over for certain: end its slot, store the day's count, and note (once a minute) that tokens are used.

    One statement for all, because this stands between Xero's reply and the caller. Left to itself, Postgres runs the
    last part first; the conditions on the counts make it take its locks in the order of everybody else (tenant, tokens,
    connection), or the end of one call and the start of another could deadlock.
    """
    await conn.execute(
        """
        WITH ended AS (
            UPDATE call_slots SET finished_at = clock_timestamp() WHERE id = $1 AND finished_at IS NULL
        ), counted AS (
            UPDATE tenant_budgets SET day_remaining = $3, day_seen_at = clock_timestamp()
             WHERE tenant_id = $2 AND $3::integer IS NOT NULL
            RETURNING 1
        ), used AS (
            UPDATE token_sets SET last_used_at = clock_timestamp()
             WHERE xero_userid = $5 AND last_used_at < clock_timestamp() - interval '1 minute'
               AND (SELECT count(*) FROM counted) >= 0
            RETURNING 1
        )
        UPDATE connections SET last_call_at = clock_timestamp()
         WHERE account_id = $4 AND (last_call_at IS NULL OR last_call_at < clock_timestamp() - interval '1 minute')
           AND (SELECT count(*) FROM used) >= 0
        """,
        slot_id,
        tenant_id,
        day_remaining,
        account_id,
        xero_userid,
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


async def block(conn: Db, tenant_id: str, seconds: timedelta, problem: str) -> None:
    """Xero said stop. A block of the whole app goes to the app's row."""
    await conn.execute(
        """
        UPDATE tenant_budgets
           SET blocked_until = greatest(coalesce(blocked_until, clock_timestamp()), clock_timestamp() + $2),
               blocked_problem = $3
         WHERE tenant_id = $1
        """,
        APP if problem.startswith("app") else tenant_id,
        seconds,
        problem,
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
