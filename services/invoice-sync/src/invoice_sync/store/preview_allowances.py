"""Rows of ``preview_allowances``: how many previews an account may still ask Xero for, shared by all replicas."""

from datetime import timedelta

from pipeline_messaging.connection import Connection

AT_ONCE = 60
EVERY = timedelta(minutes=3)
"""After those at once, one each: with two calls a preview at most a fifth of the 5,000 calls Xero allows a day."""


async def spend(conn: Connection, account_id: str) -> timedelta | None:
    """Take one preview from the account's allowance; None if it is taken, else how long until there is one again."""
    taken = await conn.fetchval(
        """
        INSERT INTO preview_allowances AS p (account_id, spent_until) VALUES ($1, now() + $2::interval)
        ON CONFLICT (account_id) DO UPDATE SET spent_until = greatest(p.spent_until, now()) + $2
         WHERE p.spent_until <= now() + $3::interval
        RETURNING true
        """,
        account_id,
        EVERY,
        EVERY * (AT_ONCE - 1),
    )
    if taken:
        return None
    wait: timedelta | None = await conn.fetchval(
        "SELECT spent_until - now() - $2::interval FROM preview_allowances WHERE account_id = $1",
        account_id,
        EVERY * (AT_ONCE - 1),
    )
    return max(wait or timedelta(0), timedelta(seconds=1))
