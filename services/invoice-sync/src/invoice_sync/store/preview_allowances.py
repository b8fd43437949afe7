"""Rows of ``preview_allowances``: what an account may still ask Xero for on behalf of people, shared by all replicas.

Asking spends the time in which it is earned again; three hours of it can be spent at once.
"""

from datetime import timedelta

from pipeline_messaging.connection import Connection

AT_ONCE = timedelta(hours=3)
A_PREVIEW = timedelta(minutes=3)
"""With two calls a preview at most a fifth of the 5,000 calls Xero allows a day."""
A_CALL = timedelta(minutes=1)
"""At most 1,440 calls a day; whatever is asked, it is earned again from the same time."""


async def spend(conn: Connection, account_id: str, cost: timedelta) -> timedelta | None:
    """Take this much from the account's allowance; None if it is taken, else how long until there is enough again."""
    taken = await conn.fetchval(
        """
        INSERT INTO preview_allowances AS p (account_id, spent_until) VALUES ($1, now() + $2::interval)
        ON CONFLICT (account_id) DO UPDATE SET spent_until = greatest(p.spent_until, now()) + $2
         WHERE p.spent_until <= now() + $3::interval
        RETURNING true
        """,
        account_id,
        cost,
        AT_ONCE - cost,
    )
    if taken:
        return None
    wait: timedelta | None = await conn.fetchval(
        "SELECT spent_until - now() - $2::interval FROM preview_allowances WHERE account_id = $1",
        account_id,
        AT_ONCE - cost,
    )
    return max(wait or timedelta(0), timedelta(seconds=1))
