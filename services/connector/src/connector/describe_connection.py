"""What can be said of an account's connection at this moment: for the card, and for programs."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from connector.deps import Deps
from connector.domain.connection import Connection, never_connected
from connector.domain.day_budget import Outlook
from connector.domain.history import Change
from connector.domain.standing import Standing, standing
from connector.store import budgets, connections, grants
from connector.store.grants import Grant
from pipeline_messaging.connection import Connection as Db

CHANGES_TOLD: Final = 8


@dataclass(frozen=True, slots=True)
class Description:
    """A connection with all that its card tells; `now` is the database's clock, by which its times were taken."""

    connection: Connection
    standing: Standing
    scopes: str
    day: Outlook | None
    changes: tuple[Change, ...]
    now: datetime


async def describe_connection(deps: Deps, account_id: str) -> Description:
    """Everything the card tells. An account that was never connected has a description too."""
    async with deps.pool.acquire() as conn:
        connection, grant = await _find(conn, account_id)
        return Description(
            connection=connection,
            standing=standing(connection, grant.problem),
            scopes=grant.scopes,
            day=await budgets.outlook(conn, connection.tenant_id) if connection.tenant_id else None,
            changes=tuple(await connections.changes(conn, account_id, CHANGES_TOLD)),
            now=await conn.fetchval("SELECT clock_timestamp()"),
        )


async def how_it_stands(deps: Deps, account_id: str) -> tuple[Connection, Standing, Outlook | None]:
    """The connection, what is said of it now, and its organisation's calls of the day."""
    async with deps.pool.acquire() as conn:
        connection, grant = await _find(conn, account_id)
        day = await budgets.outlook(conn, connection.tenant_id) if connection.tenant_id else None
    return connection, standing(connection, grant.problem), day


async def _find(conn: Db, account_id: str) -> tuple[Connection, Grant]:
    connection = await connections.find(conn, account_id) or never_connected(account_id)
    grant = await grants.find(conn, connection.xero_userid) if connection.xero_userid else None
    return connection, grant or Grant("", None)
