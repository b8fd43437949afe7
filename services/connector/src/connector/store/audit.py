"""The audit of connections, read whole to be checked."""

from connector.domain.audit import ChangeRecord, Head
from pipeline_messaging.connection import Connection as Db


async def changes(conn: Db) -> list[ChangeRecord]:
    """Every change of every account, account by account, the oldest first."""
    rows = await conn.fetch(
        """
        SELECT account_id, sequence, at, actor, actor_name, from_status, to_status, reason, tenant_id, tenant_name,
               previous_hash, hash
          FROM connection_changes ORDER BY account_id, sequence
        """
    )
    return [ChangeRecord(**dict(row)) for row in rows]


async def heads(conn: Db) -> list[Head]:
    """Every connection as it now is."""
    rows = await conn.fetch("SELECT account_id, sequence, status, reason FROM connections")
    return [Head(**dict(row)) for row in rows]
