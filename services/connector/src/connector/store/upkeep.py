"""Figures over all rows, for metrics."""

from dataclasses import dataclass

from connector.domain.refresh import UNUSED_LIFETIME
from pipeline_messaging.connection import Connection as Db


@dataclass(frozen=True, slots=True)
class Figures:
    """How near the nearest trouble is. Seconds until an expiry are infinite when there is nothing to expire."""

    access_expiry_seconds: float
    refresh_expiry_seconds: float
    refreshes_overdue: int
    cleanups_pending: int
    cleanups_oldest_seconds: float


async def figures(conn: Db) -> Figures:
    """One pass over the grants that serve a connection, and over the cleanups.

    The nearest access token's expiry leaves out grants nobody uses at the moment, whose tokens run out on purpose.
    """
    row = await conn.fetchrow(
        """
        WITH clock AS (SELECT clock_timestamp() AS now),
        serving AS (
            SELECT t.* FROM token_sets t
             WHERE t.rejected_at IS NULL
               AND EXISTS (SELECT FROM connections c WHERE c.xero_userid = t.xero_userid AND c.status = 'CONNECTED')
        ),
        grants AS (
            SELECT min(extract(epoch FROM access_expires_at - now)) FILTER (WHERE last_used_at >= refreshed_at) AS access,
                   min(extract(epoch FROM refreshed_at + $1 - now)) AS refresh,
                   count(*) FILTER (
                       -- Each failed try puts the next one off: what Xero does not answer is late since the first of them.
                       WHERE least(refresh_after, unavailable_since) < now - interval '2 minutes'
                         AND (refresh_pending OR last_used_at >= refreshed_at OR refreshed_at < now - interval '23 hours')
                   ) AS overdue
              FROM serving, clock
        ),
        waiting AS (
            SELECT count(*) AS pending, coalesce(max(extract(epoch FROM now - created_at)), 0) AS oldest
              FROM cleanups, clock
        )
        SELECT coalesce(access, 'Infinity')::float8 AS access, coalesce(refresh, 'Infinity')::float8 AS refresh,
               overdue, pending, oldest::float8 AS oldest
          FROM grants, waiting
        """,
        UNUSED_LIFETIME,
    )
    if row is None:
        raise AssertionError("aggregates always give a row")
    return Figures(row["access"], row["refresh"], row["overdue"], row["pending"], row["oldest"])


async def connections_by_state(conn: Db) -> list[tuple[str, str, int]]:
    """How many connections have each status and reason."""
    rows = await conn.fetch("SELECT status, reason, count(*) FROM connections GROUP BY 1, 2")
    return [(row["status"], row["reason"], row["count"]) for row in rows]
