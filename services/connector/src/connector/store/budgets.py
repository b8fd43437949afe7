"""Call slots and what Xero said about its limits, shared by all replicas. Times are the database's."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from connector.domain.budget import Block, Usage
from connector.domain.connection import Reason
from connector.domain.day_budget import DAY, LARGEST_DAY, LOW_BELOW, DayBudget, Outlook, outlook_of
from connector.domain.lanes import Lane
from pipeline_messaging.connection import Connection as Db

APP = ""
"""The row of the app-wide limit."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A tenant's budget at one moment. `version` changes with every slot given out."""

    version: int
    now: datetime
    usage: Usage
    blocks: tuple[Block, ...]
    day: DayBudget


async def look(conn: Db, tenant_id: str) -> Budget:
    """The tenant's calls, what Xero asked for, and the database's clock. Locks nothing: `claim_slot` checks."""
    rows = await conn.fetch(
        """
        WITH clock AS (SELECT clock_timestamp() AS now), calls AS (
            SELECT lane, max(started_at) AS last_start,
                   count(*) FILTER (WHERE finished_at IS NULL AND lease_until > clock.now) AS running,
                   count(*) FILTER (WHERE (finished_at IS NOT NULL OR lease_until <= clock.now)
                     AND coalesce(finished_at, lease_until) > clock.now - interval '60 seconds') AS recent,
                   min(coalesce(finished_at, lease_until)) FILTER (
                     WHERE (finished_at IS NOT NULL OR lease_until <= clock.now)
                       AND coalesce(finished_at, lease_until) > clock.now - interval '60 seconds'
                   ) + interval '60 seconds' AS next_free
              FROM call_slots, clock WHERE tenant_id = $1 GROUP BY lane
        )
        SELECT clock.now, lanes.lane, calls.running, calls.recent, calls.last_start, calls.next_free, wish.callers AS waiting,
               tenant.version, tenant.blocked_until, tenant.blocked_problem, tenant.day_remaining, tenant.day_limit,
               tenant.day_seen_at, tenant.day_asked_at,
               app.blocked_until AS app_blocked_until, app.blocked_problem AS app_blocked_problem
          FROM clock
          JOIN tenant_budgets tenant ON tenant.tenant_id = $1
          JOIN tenant_budgets app ON app.tenant_id = ''
          CROSS JOIN unnest($2::text[]) AS lanes (lane)
          LEFT JOIN calls ON calls.lane = lanes.lane
          LEFT JOIN lane_wishes wish
            ON wish.tenant_id = $1 AND wish.lane = lanes.lane AND wish.until > clock.now
        """,
        tenant_id,
        [lane.value for lane in Lane],
    )
    if rows:
        return _budget(rows)
    await conn.execute(
        "INSERT INTO tenant_budgets (tenant_id) VALUES ($1), ('') ON CONFLICT DO NOTHING",
        tenant_id,
    )
    return await look(conn, tenant_id)


def _budget(rows: list[asyncpg.Record]) -> Budget:
    first = rows[0]
    usage = Usage(
        running=_by_lane(rows, "running"),
        recent=_by_lane(rows, "recent"),
        waiting=_by_lane(rows, "waiting"),
        last_start=max((row["last_start"] for row in rows if row["last_start"]), default=None),
        next_free=min((row["next_free"] for row in rows if row["next_free"]), default=None),
    )
    blocks = tuple(
        Block(first[f"{of}blocked_until"], first[f"{of}blocked_problem"] or "unknown")
        for of in ("", "app_")
        if first[f"{of}blocked_until"]
    )
    return Budget(first["version"], first["now"], usage, blocks, _day(first))


def _by_lane(rows: list[asyncpg.Record], column: str) -> dict[Lane, int]:
    return {Lane(row["lane"]): row[column] for row in rows if row[column]}


def _day(row: asyncpg.Record) -> DayBudget:
    return DayBudget(
        row["day_remaining"], row["day_limit"], row["day_seen_at"], row["day_asked_at"]
    )


@dataclass(frozen=True, slots=True)
class Claim:
    """What became of a claim: `current` says whether the budget was still as looked at, `slot_id` whether it worked."""

    current: bool
    slot_id: int | None


async def claim_slot(
    conn: Db,
    version: int,
    *,
    tenant_id: str,
    account_id: str | None,
    caller: str,
    lane: Lane,
    lease: timedelta,
    asks_for_day: bool,
) -> Claim:
    """Start a call, if no other slot was given out since the look at `version` and the account may still call.

    One statement: the tenant's row is locked first, then the connection's, in the order of everybody else. The
    connection is locked against a disconnect, which therefore sees the slot or prevents it.
    """
    row = await conn.fetchrow(
        """
        WITH tenant AS (
            UPDATE tenant_budgets
               SET version = version + 1,
                   day_asked_at = CASE WHEN $7 THEN clock_timestamp() ELSE day_asked_at END
             WHERE tenant_id = $1 AND version = $2
            RETURNING 1
        ), allowed AS (
            SELECT 1 FROM connections
             WHERE account_id = $3 AND tenant_id = $1 AND status = 'CONNECTED' AND fenced_at IS NULL
               AND (SELECT count(*) FROM tenant) = 1
               FOR SHARE
        ), slot AS (
            INSERT INTO call_slots (tenant_id, account_id, caller, lane, started_at, lease_until)
            SELECT $1, $3, $4, $5, clock_timestamp(), clock_timestamp() + $6
              FROM tenant WHERE $3::text IS NULL OR EXISTS (SELECT FROM allowed)
            RETURNING id
        ), wish AS (
            UPDATE lane_wishes SET callers = callers - 1
             WHERE tenant_id = $1 AND lane = $5 AND callers > 0 AND (SELECT count(*) FROM slot) = 1
        )
        SELECT (SELECT count(*) FROM tenant) = 1 AS current, (SELECT id FROM slot) AS slot_id
        """,
        tenant_id,
        version,
        account_id,
        caller,
        lane.value,
        lease,
        asks_for_day,
    )
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    return Claim(row["current"], row["slot_id"])


async def leaves_at(conn: Db, tenant_id: str, leaving: int) -> datetime | None:
    """When `leaving` of the tenant's oldest recent calls will be 60 s past; None when not so many are recent."""
    found: datetime | None = await conn.fetchval(
        """
        WITH clock AS (SELECT clock_timestamp() AS now)
        SELECT coalesce(finished_at, lease_until) + interval '60 seconds' FROM call_slots, clock
         WHERE tenant_id = $1 AND (finished_at IS NOT NULL OR lease_until <= clock.now)
           AND coalesce(finished_at, lease_until) > clock.now - interval '60 seconds'
         ORDER BY coalesce(finished_at, lease_until) OFFSET $2 LIMIT 1
        """,
        tenant_id,
        leaving - 1,
    )
    return found


async def wish(conn: Db, tenant_id: str, lane: Lane, callers: int, seconds: float) -> None:
    """So many callers of a lane wait for slots: keep their share free for so long."""
    await conn.execute(
        """
        INSERT INTO lane_wishes AS w (tenant_id, lane, callers, until)
        VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4))
        ON CONFLICT (tenant_id, lane) DO UPDATE
           SET callers = CASE WHEN w.until > clock_timestamp() THEN greatest(w.callers, excluded.callers)
                              ELSE excluded.callers END,
               until = greatest(w.until, excluded.until)
        """,
        tenant_id,
        lane.value,
        callers,
        seconds,
    )


async def forget_finished(conn: Db) -> None:
    """Drop calls that no longer count against the minute, and keep their number, by ten minutes, for a day.

    One statement, so that every call is counted once, whoever else does the same.
    """
    await conn.execute(
        """
        WITH gone AS (
            DELETE FROM call_slots
             WHERE coalesce(finished_at, lease_until) < clock_timestamp() - interval '61 seconds'
            RETURNING tenant_id, date_bin('10 minutes', started_at, 'epoch') AS since
        )
        INSERT INTO call_counts AS known (tenant_id, since, calls)
        SELECT tenant_id, since, count(*) FROM gone GROUP BY tenant_id, since ORDER BY tenant_id, since
        ON CONFLICT (tenant_id, since) DO UPDATE SET calls = known.calls + excluded.calls
        """
    )
    await conn.execute("DELETE FROM call_counts WHERE since < now() - interval '1 day'")


async def finish_call(
    conn: Db,
    slot_id: int,
    tenant_id: str,
    day_remaining: int | None,
    account_id: str | None,
    xero_userid: str | None,
) -> None:
    """The call is over for certain: end its slot, store the day's count, and note (once a minute) that tokens are used.

    One statement for all, and no wait for the disk, because this stands between Xero's reply and the caller. What a crash
    of Postgres forgets of it (under a second: postgresql.org, Asynchronous Commit) costs nothing: the slot ends with its
    lease, as after a killed replica, and the next reply tells the day's count anew. So it is never part of a transaction
    that must last.

    The day's limit is the most that was ever left, and the call that learns it: Xero counts a call before it answers.

    Left to itself, Postgres runs the last part first; the conditions on the counts make it take its locks in the order of
    everybody else (tenant, tokens, connection), or the end of one call and the start of another could deadlock.
    """
    await conn.execute(
        """
        WITH unflushed AS (
            SELECT set_config('synchronous_commit', 'off', true)
        ), ended AS (
            UPDATE call_slots SET finished_at = clock_timestamp()
             WHERE id = $1 AND finished_at IS NULL AND (SELECT count(*) FROM unflushed) = 1
        ), counted AS (
            UPDATE tenant_budgets
               SET day_remaining = $3, day_seen_at = clock_timestamp(),
                   day_limit = CASE WHEN least($3 + 1, $6) >= day_limit THEN least($3 + 1, $6)
                                    WHEN day_limit_at > clock_timestamp() - interval '2 days' THEN day_limit
                                    ELSE least($3 + 1, $6) END,
                   day_limit_at = CASE WHEN least($3 + 1, $6) < day_limit
                                        AND day_limit_at > clock_timestamp() - interval '2 days' THEN day_limit_at
                                       ELSE clock_timestamp() END
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
        LARGEST_DAY,
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


async def outlook(conn: Db, tenant_id: str) -> Outlook:
    """The tenant's day: what is left by Xero's last word, and when it will be spent at the last hour's rate."""
    row = await conn.fetchrow(
        """
        WITH clock AS (SELECT clock_timestamp() AS now), spent AS (
            SELECT (SELECT coalesce(sum(calls), 0) FROM call_counts
                     WHERE tenant_id = $1 AND since > clock.now - interval '70 minutes')
                 + (SELECT count(*) FROM call_slots
                     WHERE tenant_id = $1 AND started_at > clock.now - interval '1 hour') AS calls
              FROM clock
        )
        SELECT clock.now, spent.calls::integer AS calls, day_remaining, day_limit, day_seen_at, day_asked_at
          FROM clock CROSS JOIN spent LEFT JOIN tenant_budgets ON tenant_id = $1
        """,
        tenant_id,
    )
    assert row is not None  # noqa: S101 - the left side has one row
    return outlook_of(_day(row), row["calls"], row["now"])


@dataclass(frozen=True, slots=True)
class ConnectedDays:
    """The days of all connected accounts, as far as Xero spoke of them within a day.

    Attributes:
        least_left: the smallest share of a day that is left, None while none is known.
        to_tell_of: accounts whose day runs low, and those that say so: with reason and day.
    """

    least_left: float | None
    to_tell_of: list[tuple[str, Reason, DayBudget]]


async def connected_days(conn: Db) -> ConnectedDays:
    """Look at every day in the database: most of thousands are plenty, and no word of them need leave it."""
    rows = await conn.fetch(
        """
        WITH days AS (
            SELECT account_id, reason, day_remaining, day_limit, day_seen_at, day_asked_at,
                   least(1, day_remaining::float8 / nullif(day_limit, 0)) AS day_left
              FROM connections JOIN tenant_budgets USING (tenant_id)
             WHERE status = 'CONNECTED' AND fenced_at IS NULL AND day_seen_at > now() - $1::interval
        ), least_left AS (SELECT min(day_left) AS least_left FROM days)
        SELECT least_left, days.* FROM least_left LEFT JOIN days ON reason = $2 OR day_left < $3
         ORDER BY account_id
        """,
        DAY,
        Reason.DAY_BUDGET_LOW,
        LOW_BELOW,
    )
    to_tell_of = [
        (row["account_id"], Reason(row["reason"]), _day(row))
        for row in rows
        if row["account_id"] is not None
    ]
    return ConnectedDays(rows[0]["least_left"], to_tell_of)


async def day_of(conn: Db, tenant_id: str) -> tuple[DayBudget, datetime]:
    """What is known of a tenant's day, and the time."""
    row = await conn.fetchrow(
        """
        SELECT clock.now, day_remaining, day_limit, day_seen_at, day_asked_at
          FROM (SELECT clock_timestamp() AS now) clock LEFT JOIN tenant_budgets ON tenant_id = $1
        """,
        tenant_id,
    )
    assert row is not None  # noqa: S101 - the left side has one row
    return _day(row), row["now"]


@dataclass(frozen=True, slots=True)
class PermitBlock:
    """Permits taken of the app's minute (as block `id`), what is left in it, and in how many seconds some come back."""

    id: int | None
    permits: int
    left: int
    frees_in: float


async def take_permits(
    conn: Db, wanted: int, limit: int, counts_seconds: float, former: int | None, former_spent: int
) -> PermitBlock:
    """Take up to `wanted` of the app's calls in a minute, which count for `counts_seconds`.

    Of the `former` block only what was spent goes on counting.
    """
    row = await conn.fetchrow(
        "SELECT block, granted, left_over, frees_in FROM take_app_permits($1, $2, $3, $4, $5)",
        wanted,
        limit,
        timedelta(seconds=counts_seconds),
        former,
        former_spent,
    )
    assert row is not None  # noqa: S101 - the function returns one row
    return PermitBlock(row["block"], row["granted"], row["left_over"], row["frees_in"])
