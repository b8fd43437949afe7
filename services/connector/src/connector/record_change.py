"""Write a connection's new state, its audit row and its event, in the caller's transaction."""

from dataclasses import replace
from datetime import UTC

import structlog

from connector.domain.audit import ChangeRecord, change_hash
from connector.domain.connection import (
    Actor,
    Connection,
    Refused,
    Renewed,
    Status,
    next_connection,
)
from connector.store import connections
from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.envelope import encode, stable_id
from pipeline_messaging import outbox, traces
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
    await connections.add_change(conn, chained(new, from_status, actor, previous))
    event = status_changed(new)
    # In the trace of the call that showed it, where one did; a person's click or a chore begins its own.
    told = {"account_id": new.account_id, "reason": new.reason.value}
    with traces.doing("change connection", attributes=told) as traceparent:
        record = encode(
            event, id=stable_id(event), source=SOURCE, time=event.since, traceparent=traceparent
        )
        await outbox.add(conn, record)
    log.info(
        "connection_changed",
        account_id=new.account_id,
        status=new.status.value,
        reason=new.reason.value,
    )


def chained(
    new: Connection, from_status: str | None, actor: Actor | None, previous: bytes | None
) -> ChangeRecord:
    """The audit's row for a change, linked to the one before it."""
    record = ChangeRecord(
        account_id=new.account_id,
        sequence=new.sequence,
        at=new.since,
        actor=actor.user_id if actor else None,
        actor_name=actor.name if actor else None,
        from_status=from_status,
        to_status=new.status.value,
        reason=new.reason.value,
        tenant_id=new.tenant_id,
        tenant_name=new.tenant_name,
        previous_hash=previous,
        hash=b"",
    )
    return replace(record, hash=change_hash(record))


async def change_all_of_user(
    conn: Db, xero_userid: str, happening: Refused | Renewed, actor: Actor | None
) -> bool:
    """Apply one happening to every connection of a Xero user, in the caller's transaction; whether any changed."""
    changed = False
    for old in await connections.lock_of_user(conn, xero_userid):
        now = await conn.fetchval("SELECT clock_timestamp()")
        new = next_connection(old, happening, now=now, actor=actor)
        if new is not None:
            await record_change(conn, old, new, actor)
            changed = True
    return changed


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
