"""What people are told of a grant. No token is read here, so nothing here can show one."""

from dataclasses import dataclass

from pipeline_messaging.connection import Connection as Db


@dataclass(frozen=True, slots=True)
class Grant:
    """The scopes as Xero granted them, and what stood in the way of the last renewal; None when nothing did."""

    scopes: str
    problem: str | None


async def find(conn: Db, xero_userid: str) -> Grant | None:
    """The grant of this Xero user."""
    row = await conn.fetchrow(
        """
        SELECT scopes, CASE WHEN unavailable_since IS NOT NULL THEN coalesce(last_problem, '') END AS problem
          FROM token_sets WHERE xero_userid = $1
        """,
        xero_userid,
    )
    return Grant(row["scopes"], row["problem"]) if row else None
