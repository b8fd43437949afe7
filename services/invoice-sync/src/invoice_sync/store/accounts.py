"""Rows of ``accounts``: each account's connection as last heard, and until when it rests."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from invoice_sync.domain.state import Account
from invoice_sync.domain.turns import Kind
from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_messaging.connection import Connection

_COLUMNS = """
    account_id, status, reason, message, hint, tenant_id, tenant_name, short_code, base_currency, sequence,
    paused_until, paused_code, pause_count, last_kind, codes_due_at, import_due_at, reconcile_due_at
"""


async def find(conn: Connection, account_id: str) -> tuple[Account, datetime]:
    """The account (an unheard-of one is UNKNOWN) and the database's time, by which everything is scheduled."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS}, now() AS now FROM (SELECT $1::text AS account_id) asked LEFT JOIN accounts USING (account_id)",  # noqa: S608 - a constant list of columns
        account_id,
    )
    assert row is not None  # noqa: S101 - the left side has one row
    now: datetime = row["now"]
    if row["status"] is None:
        return Account(account_id), now
    return Account(**{key: value for key, value in row.items() if key != "now"}), now


async def lock(conn: Connection, account_id: str) -> tuple[Account, datetime]:
    """As ``find``, and nobody changes the account before the transaction ends; one never heard of gets its row.

    Whoever parks work and whoever ends what it waits for hold this lock. Otherwise a release between a look and its
    commit would find nothing to release, and what is parked then would stay for ever.
    """
    row = await _locked(conn, account_id)
    if row is None:
        await conn.execute(
            "INSERT INTO accounts (account_id) VALUES ($1) ON CONFLICT DO NOTHING", account_id
        )
        row = await _locked(conn, account_id)
    assert row is not None  # noqa: S101 - accounts are never deleted
    now: datetime = row["now"]
    return Account(**{key: value for key, value in row.items() if key != "now"}), now


async def _locked(conn: Connection, account_id: str) -> asyncpg.Record | None:
    return await conn.fetchrow(
        f"SELECT {_COLUMNS}, now() AS now FROM accounts WHERE account_id = $1 FOR NO KEY UPDATE",  # noqa: S608 - as above
        account_id,
    )


async def lock_known(conn: Connection, account_ids: Sequence[str]) -> dict[str, Account]:
    """Those of the accounts that were heard of, locked as by ``lock``, in one order for all."""
    rows = await conn.fetch(
        f"""
        SELECT {_COLUMNS} FROM accounts
         WHERE account_id = ANY($1::text[]) ORDER BY account_id FOR NO KEY UPDATE
        """,  # noqa: S608 - a constant list of columns
        list(account_ids),
    )
    return {row["account_id"]: Account(**row) for row in rows}


async def apply_status(
    conn: Connection, events: Sequence[ConnectionStatusChanged], *, ends_rest: bool
) -> list[str]:
    """Take over connection states, never an older one; the accounts whose state did change.

    The organisation last known is kept while disconnected, so that a reconnection to another one is noticed.
    ``ends_rest``: the account need not rest any longer, because the new state may be what it was waiting for.
    """
    rows = await conn.fetch(
        """
        INSERT INTO accounts AS a (account_id, status, reason, message, hint, tenant_id, tenant_name, short_code,
                                   base_currency, sequence, changed_at, codes_due_at)
        SELECT told.*, CASE WHEN told.status = 'CONNECTED' THEN now() END
          FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                             $8::text[], $9::text[], $10::bigint[], $11::timestamptz[])
               AS told (account_id, status, reason, message, hint, tenant_id, tenant_name, short_code, base_currency,
                        sequence, changed_at)
        ON CONFLICT (account_id) DO UPDATE
           SET status = excluded.status, reason = excluded.reason, message = excluded.message,
               hint = excluded.hint, tenant_id = coalesce(excluded.tenant_id, a.tenant_id),
               tenant_name = CASE WHEN coalesce(excluded.tenant_id, a.tenant_id) = a.tenant_id
                          THEN coalesce(excluded.tenant_name, a.tenant_name) ELSE excluded.tenant_name END,
               short_code = CASE WHEN coalesce(excluded.tenant_id, a.tenant_id) = a.tenant_id
                          THEN coalesce(excluded.short_code, a.short_code) ELSE excluded.short_code END,
               base_currency = CASE WHEN coalesce(excluded.tenant_id, a.tenant_id) = a.tenant_id
                          THEN coalesce(excluded.base_currency, a.base_currency) ELSE excluded.base_currency END,
               sequence = excluded.sequence, changed_at = excluded.changed_at,
               codes_due_at = CASE WHEN $12 THEN excluded.codes_due_at ELSE a.codes_due_at END,
               paused_until = CASE WHEN $12 THEN NULL ELSE a.paused_until END,
               paused_code = CASE WHEN $12 THEN NULL ELSE a.paused_code END,
               pause_count = CASE WHEN $12 THEN 0 ELSE a.pause_count END
         WHERE excluded.sequence > a.sequence
        RETURNING account_id
        """,
        [event.account_id for event in events],
        [event.status for event in events],
        [event.reason for event in events],
        [event.message for event in events],
        [event.hint for event in events],
        [event.tenant_id for event in events],
        [event.tenant_name for event in events],
        [event.short_code for event in events],
        [event.base_currency for event in events],
        [event.sequence for event in events],
        [event.since for event in events],
        ends_rest,
    )
    return [row["account_id"] for row in rows]


async def served(conn: Connection, account_id: str, kind: Kind) -> None:
    """This kind of invoices has its turn while others wait."""
    await conn.execute("UPDATE accounts SET last_kind = $2 WHERE account_id = $1", account_id, kind)


async def connected(conn: Connection) -> list[str]:
    """Every account with a usable connection."""
    rows = await conn.fetch(
        "SELECT account_id FROM accounts WHERE status = 'CONNECTED' AND tenant_id IS NOT NULL ORDER BY account_id"
    )
    return [row["account_id"] for row in rows]


async def import_at(conn: Connection, account_id: str, at: datetime | None) -> None:
    """The next step of the account's import is due then; None: none is under way any more."""
    await conn.execute(
        "UPDATE accounts SET import_due_at = $2 WHERE account_id = $1", account_id, at
    )


async def reconcile_at(conn: Connection, account_id: str, at: datetime | None) -> None:
    """The next step of the account's reconciliation is due then."""
    await conn.execute(
        "UPDATE accounts SET reconcile_due_at = $2 WHERE account_id = $1", account_id, at
    )


async def pause(
    conn: Connection, account_id: str, *, until: datetime, code: str, count: int
) -> None:
    """Let the account rest: nothing of it is sent before ``until``."""
    await conn.execute(
        """
        INSERT INTO accounts (account_id, paused_until, paused_code, pause_count) VALUES ($1, $2, $3, $4)
        ON CONFLICT (account_id) DO UPDATE
           SET paused_until = excluded.paused_until, paused_code = excluded.paused_code,
               pause_count = excluded.pause_count
        """,
        account_id,
        until,
        code,
        count,
    )


async def resume(conn: Connection, account_id: str) -> None:
    """The account's last call worked: forget its rests."""
    await conn.execute(
        "UPDATE accounts SET paused_until = NULL, paused_code = NULL, pause_count = 0 WHERE account_id = $1",
        account_id,
    )
