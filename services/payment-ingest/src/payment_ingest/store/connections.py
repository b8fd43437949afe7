"""Which tenant belongs to which account, as the connector tells it, and how far each was swept."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline_messaging.connection import Connection

CONNECTED = "CONNECTED"


@dataclass(frozen=True, slots=True)
class AccountConnection:
    """The last word of the connector about an account; until `not_before`, if there is one, Xero is not asked."""

    account_id: str
    tenant_id: str | None
    status: str
    since: datetime
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Sweep:
    """The progress of a tenant's look-around."""

    tenant_id: str
    watermark: datetime | None
    next_at: datetime
    requests: int
    began_at: datetime | None
    next_page: int


@dataclass(frozen=True, slots=True)
class Known:
    """What was last heard of an account; an account never heard of has sequence 0."""

    status: str | None = None
    sequence: int = 0
    tenant_id: str | None = None


async def lock(conn: Connection, account_id: str) -> Known:
    """What was last heard of the account; nobody hears more before the transaction ends."""
    row = await conn.fetchrow(
        "SELECT status, sequence, tenant_id FROM connections WHERE account_id = $1 FOR NO KEY UPDATE",
        account_id,
    )
    return Known(**row) if row else Known()


async def remember(
    conn: Connection,
    connection: AccountConnection,
    sequence: int,
    *,
    keep_pause: bool = False,
) -> bool:
    """Write down a newer word about an account; False when a newer one was already known.

    An event that names no tenant (a disconnect may not) leaves the known one in place. A pause ends with it, unless it
    is to be kept: what the account waits for may be over.
    """
    known = await conn.fetchval(
        """
        INSERT INTO connections (account_id, tenant_id, status, since, sequence)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (account_id) DO UPDATE
        SET tenant_id = coalesce(excluded.tenant_id, connections.tenant_id), status = excluded.status,
            since = excluded.since, sequence = excluded.sequence, heard_at = now(),
            not_before = CASE WHEN $6 THEN connections.not_before END
        WHERE connections.sequence < excluded.sequence
        RETURNING true
        """,
        connection.account_id,
        connection.tenant_id,
        connection.status,
        connection.since,
        sequence,
        keep_pause,
    )
    return known is not None


async def connection_of(conn: Connection, account_id: str) -> AccountConnection | None:
    """What is known of the account's connection; None before the connector spoke of it."""
    row = await conn.fetchrow(
        """
        SELECT account_id, tenant_id, status, since, CASE WHEN not_before > now() THEN not_before END AS not_before
        FROM connections WHERE account_id = $1
        """,
        account_id,
    )
    return AccountConnection(**row) if row else None


async def park(conn: Connection, account_id: str, pause: timedelta) -> datetime:
    """Do not ask Xero for this account before `pause` is over, however often its doorbells ring.

    Returns when that is by the database's clock, which also decides when the account's lease is due.
    """
    until: datetime = await conn.fetchval(
        "UPDATE connections SET not_before = now() + $2 WHERE account_id = $1 RETURNING not_before",
        account_id,
        pause,
    )
    return until


async def accounts_of(conn: Connection, tenant_ids: Collection[str]) -> list[str]:
    """The accounts connected to any of the tenants right now."""
    rows = await conn.fetch(
        "SELECT account_id FROM connections WHERE tenant_id = ANY($1::text[]) AND status = $2",
        list(tenant_ids),
        CONNECTED,
    )
    return [row["account_id"] for row in rows]


async def belongs_to(conn: Connection, account_id: str, tenant_ids: Collection[str]) -> bool:
    """Whether the account is, or last was, connected to one of the tenants."""
    found = await conn.fetchval(
        "SELECT true FROM connections WHERE account_id = $1 AND tenant_id = ANY($2::text[])",
        account_id,
        list(tenant_ids),
    )
    return found is not None


async def request_sweep(conn: Connection, tenant_id: str, watermark: datetime | None) -> None:
    """Let the tenant be swept as soon as possible; a first sweep looks back to `watermark`."""
    await conn.execute(
        """
        INSERT INTO sweeps (tenant_id, watermark, next_at) VALUES ($1, $2, now())
        ON CONFLICT (tenant_id) DO UPDATE SET next_at = now(), requests = sweeps.requests + 1
        """,
        tenant_id,
        watermark,
    )


async def hurry_sweeps(conn: Connection, tenant_ids: Collection[str], pause: timedelta) -> None:
    """Bring the tenants' next sweeps forward to now, but at most one sweep per `pause` and tenant."""
    await conn.execute(
        """
        UPDATE sweeps
        SET next_at = least(next_at, greatest(now(), coalesce(completed_at + $2, now()))),
            requests = requests + 1
        WHERE tenant_id = ANY($1::text[])
        """,
        sorted(tenant_ids),
        pause,
    )


async def sweep_of(conn: Connection, tenant_id: str) -> Sweep | None:
    """The progress of the tenant's sweep; None when it was never connected."""
    row = await conn.fetchrow(
        "SELECT tenant_id, watermark, next_at, requests, began_at, next_page FROM sweeps WHERE tenant_id = $1",
        tenant_id,
    )
    return Sweep(**row) if row else None


async def sweep_is_due(conn: Connection, tenant_id: str) -> bool:
    """Whether the tenant's sweep should go on now, by the database's clock."""
    due: bool | None = await conn.fetchval(
        "SELECT next_at <= now() FROM sweeps WHERE tenant_id = $1", tenant_id
    )
    return bool(due)


async def delay_sweep(conn: Connection, tenant_id: str, interval: timedelta) -> None:
    """Go on with the tenant's sweep no sooner than after `interval`."""
    await conn.execute(
        "UPDATE sweeps SET next_at = now() + $2 WHERE tenant_id = $1", tenant_id, interval
    )


async def continue_sweep(
    conn: Connection, sweep: Sweep, began_at: datetime, next_page: int
) -> None:
    """A page is durable and another follows: begin there after a crash or a limit.

    From the first page on, `requests` counts only those made since: the pages read by then may lack what they are for.
    """
    await conn.execute(
        "UPDATE sweeps SET began_at = $2, next_page = $3, requests = requests - $4 WHERE tenant_id = $1",
        sweep.tenant_id,
        began_at,
        next_page,
        _met(sweep),
    )


async def finish_sweep(
    conn: Connection, sweep: Sweep, watermark: datetime, interval: timedelta, pause: timedelta
) -> None:
    """The last page is durable: move the watermark to Xero's time at the sweep's beginning.

    The next sweep comes after `interval`, or after `pause` when somebody asked for one meanwhile.
    """
    await conn.execute(
        """
        UPDATE sweeps
        SET watermark = greatest(watermark, $2), began_at = NULL, next_page = 1, completed_at = now(),
            requests = 0, next_at = now() + CASE WHEN requests = $3 THEN $4::interval ELSE $5::interval END
        WHERE tenant_id = $1
        """,
        sweep.tenant_id,
        watermark,
        _met(sweep),
        interval,
        pause,
    )


def _met(sweep: Sweep) -> int:
    """How many of the requests the sweep meets: those made before its first page was asked for."""
    return sweep.requests if sweep.began_at is None else 0
