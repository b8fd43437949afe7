"""Write a connection's new state, its audit row and its event, in the caller's transaction."""

from datetime import UTC

import structlog

from connector.domain.connection import Actor, Connection, Status, change_hash
from connector.store import connections
from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.envelope import encode, stable_id
from pipeline_messaging import outbox
from pipeline_messaging.connection import Connection as Db

log = structlog.get_logger(__name__)

SOURCE = "connector"


async def record_change(conn: Db, old: Connection, new: Connection, actor: Actor | None) -> None:
    """Store `new` in place of `old` and announce it, once: `sequence` counts the account's changes.

    The account's row must be locked (or be new). Raises asyncpg.UniqueViolationError when the organisation is connected
    to another account.
    """
    from_status = old.status.value if old.sequence else None
    await connections.put(conn, new)
    previous = await connections.last_hash(conn, new.account_id)
    chained = change_hash(previous, new, from_status, actor)
    await connections.add_change(conn, new, from_status, actor, previous, chained)
    event = status_changed(new)
    await outbox.add(conn, encode(event, id=stable_id(event), source=SOURCE, time=event.since))
    log.info(
        "connection_changed",
        account_id=new.account_id,
        status=new.status.value,
        reason=new.reason.value,
    )


def status_changed(connection: Connection) -> ConnectionStatusChanged:
    """The event that says how the connection now is."""
    if connection.since is None:
        raise ValueError("a connection that never changed has nothing to announce")
    connected = connection.status is not Status.DISCONNECTED
    return ConnectionStatusChanged(
        account_id=connection.account_id,
        status=connection.status.value,
        reason=connection.reason.value,
        since=connection.since.astimezone(UTC),
        changed_by=connection.changed_by,
        message=connection.words.message,
        hint=connection.words.hint,
        can_refresh=connection.can_refresh,
        tenant_id=connection.tenant_id,
        tenant_name=connection.tenant_name[:1000] if connection.tenant_name else None,
        short_code=connection.short_code if connected else None,
        base_currency=connection.base_currency if connected else None,
        sequence=connection.sequence,
    )
