"""An account's connection and the tokens it lives on, in one round trip: every call of the gateway asks for both."""

from connector.domain.connection import Connection
from connector.store import connections, token_sets
from connector.store.token_sets import TokenSet
from pipeline_messaging.connection import Connection as Db


async def find(conn: Db, account_id: str) -> tuple[Connection, TokenSet | None] | None:
    """The account's connection and its Xero user's tokens; None when the account was never connected."""
    row = await conn.fetchrow(
        f"""
        SELECT {connections.COLUMNS}, {token_sets.COLUMNS_BUT_USER}
          FROM connections LEFT JOIN token_sets USING (xero_userid) WHERE account_id = $1
        """,  # noqa: S608 - constants
        account_id,
    )
    if row is None:
        return None
    has_tokens = row["version"] is not None
    return connections.of_row(row), token_sets.of_row(row) if has_tokens else None
