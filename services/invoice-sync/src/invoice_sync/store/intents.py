"""Rows of ``intents``: writes that may be on their way to Xero."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from invoice_sync.domain.state import Intent
from pipeline_messaging.connection import Connection

_COLUMNS = """
    id, account_id, tenant_id, kind, method, path, body, idempotency_key, first_sent_at, must_look_up, attempts, due_at
"""


async def add(
    conn: Connection,
    *,
    account_id: str,
    tenant_id: str,
    kind: str,
    method: str,
    path: str,
    body: bytes,
    idempotency_key: str,
) -> Intent:
    """Record a write about to be sent. It is stamped as sent now: the sending follows the commit at once."""
    row = await conn.fetchrow(
        f"""
        INSERT INTO intents (account_id, tenant_id, kind, method, path, body, idempotency_key, first_sent_at, due_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp(), clock_timestamp())
        RETURNING {_COLUMNS}
        """,  # noqa: S608 - a constant list of columns
        account_id,
        tenant_id,
        kind,
        method,
        path,
        body,
        idempotency_key,
    )
    assert row is not None  # noqa: S101 - INSERT … RETURNING of one row answers one row
    return _intent(row)


async def due(conn: Connection, account_id: str) -> list[Intent]:
    """The account's open intents whose time has come, oldest first."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM intents WHERE account_id = $1 AND due_at <= now() ORDER BY id",  # noqa: S608 - as above
        account_id,
    )
    return [_intent(row) for row in rows]


async def defer(
    conn: Connection, intent_id: int, *, until: datetime, must_look_up: bool, attempts: int
) -> None:
    """Come back to an open intent at ``until``."""
    await conn.execute(
        "UPDATE intents SET due_at = $2, must_look_up = $3, attempts = $4 WHERE id = $1",
        intent_id,
        until,
        must_look_up,
        attempts,
    )


async def wake(conn: Connection, account_ids: Sequence[str]) -> None:
    """These accounts' connection changed: look at their open intents now."""
    await conn.execute(
        "UPDATE intents SET due_at = now() WHERE account_id = ANY($1::text[])", account_ids
    )


async def look_now(conn: Connection, intent_id: int) -> None:
    """Look at one open intent now."""
    await conn.execute("UPDATE intents SET due_at = now() WHERE id = $1", intent_id)


async def close(conn: Connection, intent_id: int) -> None:
    """The outcome is known and recorded in the same transaction: nothing is on its way any more."""
    await conn.execute("DELETE FROM intents WHERE id = $1", intent_id)


def _intent(row: asyncpg.Record) -> Intent:
    return Intent(**dict(row))
