"""Accounts and the state of their connections."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ops_dashboard.domain.connections import tone
from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_messaging.connection import Connection


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the connections page shows it; nothing but its id and tone if it was never connected."""

    account_id: str
    tone: str
    status: str | None = None
    reason: str | None = None
    message: str | None = None
    hint: str | None = None
    since: datetime | None = None
    changed_by: str | None = None
    tenant_name: str | None = None
    short_code: str | None = None
    base_currency: str | None = None


_COLUMNS = (
    "account_id, tone, status, reason, message, hint, since, changed_by, tenant_name, short_code,"
    " base_currency"
)


async def heard_of(conn: Connection, generation: int, account_ids: Iterable[str]) -> None:
    """Note that there are these accounts."""
    await conn.execute(
        "INSERT INTO accounts (generation, account_id) SELECT $1, a FROM unnest($2::text[]) AS a"
        " ON CONFLICT DO NOTHING",
        generation,
        sorted(account_ids),
    )


async def connections_changed(
    conn: Connection, generation: int, newest: Mapping[str, ConnectionStatusChanged]
) -> None:
    """Store the newest state of each connection, unless a newer one is known."""
    events = [newest[account_id] for account_id in sorted(newest)]
    await conn.execute(
        """
        INSERT INTO accounts AS a (generation, account_id, sequence, status, reason, message, hint, since, changed_by,
               can_refresh, tenant_name, short_code, base_currency, tone)
        SELECT $1, * FROM unnest($2::text[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[],
               $8::timestamptz[], $9::text[], $10::boolean[], $11::text[], $12::text[], $13::text[], $14::text[])
        ON CONFLICT (generation, account_id) DO UPDATE SET
               sequence = excluded.sequence, status = excluded.status, reason = excluded.reason,
               message = excluded.message, hint = excluded.hint, since = excluded.since,
               changed_by = excluded.changed_by, can_refresh = excluded.can_refresh,
               tenant_name = excluded.tenant_name, short_code = excluded.short_code,
               base_currency = excluded.base_currency, tone = excluded.tone
         WHERE a.sequence < excluded.sequence
        """,
        generation,
        [event.account_id for event in events],
        [event.sequence for event in events],
        [event.status for event in events],
        [event.reason for event in events],
        [event.message for event in events],
        [event.hint for event in events],
        [event.since for event in events],
        [event.changed_by for event in events],
        [event.can_refresh for event in events],
        [event.tenant_name for event in events],
        [event.short_code for event in events],
        [event.base_currency for event in events],
        [tone(event.status, event.reason, can_refresh=event.can_refresh) for event in events],
    )


async def find(conn: Connection, generation: int, account_id: str) -> Account | None:
    """One account; None if nothing was ever heard of it."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM accounts WHERE generation = $1 AND account_id = $2",  # noqa: S608 - our own names
        generation,
        account_id,
    )
    return Account(**row) if row else None


async def page(
    conn: Connection,
    generation: int,
    *,
    tone: str | None,
    starting_with: str,
    after: str,
    limit: int,
) -> Sequence[Account]:
    """Accounts in the order of their ids, from `after` on."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM accounts WHERE generation = $1 AND account_id > $2"  # noqa: S608 - our own names
        " AND ($3::text IS NULL OR tone = $3) AND starts_with(account_id, $4)"
        " ORDER BY account_id LIMIT $5",
        generation,
        after,
        tone,
        starting_with,
        limit,
    )
    return [Account(**row) for row in rows]


async def tones(conn: Connection, generation: int) -> dict[str, int]:
    """How many connections have which tone."""
    rows = await conn.fetch(
        "SELECT tone, count(*) FROM accounts WHERE generation = $1 GROUP BY tone", generation
    )
    return {row["tone"]: row["count"] for row in rows}
