"""How far each tenant was swept, and when it is next."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from payment_ingest.domain.sweeping import FIRST, Part, Place, SweepKind
from pipeline_messaging import worker
from pipeline_messaging.connection import Connection


@dataclass(frozen=True, slots=True)
class Sweep:
    """The progress of one look-around of a tenant; `began_at` is None before its first page."""

    tenant_id: str
    kind: SweepKind
    watermark: datetime | None
    next_at: datetime
    requests: int
    began_at: datetime | None
    place: Place
    missed: int


async def begin(conn: Connection, tenant_id: str, watermark: datetime) -> None:
    """Have the tenant swept from now on; does nothing for one that is.

    The first recent sweep looks back to `watermark`. The first deep one comes at once too: payments made before the
    tenant was connected are then known when their invoices are taken over.
    """
    await conn.execute(
        """
        INSERT INTO tenant_sweeps (tenant_id, kind, watermark, next_at, page_size)
        VALUES ($1, 'recent', $2, now(), $3), ($1, 'deep', NULL, now(), $3)
        ON CONFLICT DO NOTHING
        """,
        tenant_id,
        watermark,
        FIRST.size,
    )


async def completed(conn: Connection, account_id: str) -> dict[SweepKind, datetime]:
    """When each kind of sweep of the account's organisation was last completed; none that never was."""
    rows = await conn.fetch(
        """
        SELECT s.kind, s.completed_at FROM connections c JOIN tenant_sweeps s USING (tenant_id)
         WHERE c.account_id = $1 AND s.completed_at IS NOT NULL
        """,
        account_id,
    )
    return {SweepKind(row["kind"]): row["completed_at"] for row in rows}


async def oldest_age(conn: Connection) -> float:
    """Seconds since the connected tenant that waits longest was last swept, or else connected; 0 without any."""
    age: float = await conn.fetchval(
        """
        SELECT coalesce(extract(epoch FROM now() - min(greatest(s.completed_at, c.since))), 0)::float8
        FROM connections c JOIN tenant_sweeps s ON s.tenant_id = c.tenant_id AND s.kind = 'recent'
        WHERE c.status = 'CONNECTED'
        """
    )
    return max(0.0, age)


async def request(conn: Connection, tenant_id: str) -> None:
    """Let the tenant be swept as soon as possible."""
    await conn.execute(
        """
        UPDATE tenant_sweeps SET next_at = now(), requests = requests + 1
        WHERE tenant_id = $1 AND kind = 'recent'
        """,
        tenant_id,
    )


async def deepen(conn: Connection) -> int:
    """Let every connected tenant be read whole as soon as possible; returns how many those are."""
    rows = await conn.fetch(
        """
        WITH hurried AS (
            UPDATE tenant_sweeps s SET next_at = now(), requests = requests + 1
            WHERE kind = 'deep'
              AND EXISTS (SELECT FROM connections c WHERE c.tenant_id = s.tenant_id AND c.status = 'CONNECTED')
            RETURNING tenant_id
        )
        SELECT tenant_id, account_id FROM hurried JOIN connections USING (tenant_id) WHERE status = 'CONNECTED'
        """
    )
    await worker.mark_due(conn, [row["account_id"] for row in rows])
    return len({row["tenant_id"] for row in rows})


async def hurry_all(conn: Connection, pause: timedelta, over: timedelta) -> list[str]:
    """Bring the next sweep of every connected tenant forward, as `hurry` does, but spread evenly over a time.

    Returns the accounts concerned. Whoever died a moment ago, or lost webhooks, may have missed something of any tenant.
    """
    rows = await conn.fetch(
        """
        WITH connected AS (
            SELECT s.tenant_id FROM tenant_sweeps s
            WHERE kind = 'recent'
              AND EXISTS (SELECT FROM connections c WHERE c.tenant_id = s.tenant_id AND c.status = 'CONNECTED')
            ORDER BY tenant_id COLLATE "C" FOR UPDATE
        ), hurried AS (
            UPDATE tenant_sweeps s
            SET next_at = least(next_at, greatest(now() + $2::interval * random(), coalesce(completed_at + $1::interval, now()))),
                requests = requests + 1
            FROM connected WHERE s.tenant_id = connected.tenant_id AND s.kind = 'recent'
        )
        SELECT account_id FROM connections JOIN connected USING (tenant_id) WHERE status = 'CONNECTED'
        """,
        pause,
        over,
    )
    return [row["account_id"] for row in rows]


async def hurry(conn: Connection, tenant_ids: Collection[str], pause: timedelta) -> None:
    """Bring the tenants' next sweeps forward to now, but at most one sweep per `pause` and tenant."""
    await conn.execute(
        """
        UPDATE tenant_sweeps
        SET next_at = least(next_at, greatest(now(), coalesce(completed_at + $2, now()))),
            requests = requests + 1
        WHERE kind = 'recent'
          AND tenant_id IN (
                SELECT tenant_id FROM tenant_sweeps
                WHERE kind = 'recent' AND tenant_id = ANY($1::text[])
                ORDER BY tenant_id COLLATE "C" FOR UPDATE)
        """,
        list(tenant_ids),
        pause,
    )


async def due(conn: Connection, tenant_id: str) -> Sweep | None:
    """The tenant's sweep whose time has come by the database's clock, the recent one first."""
    row = await conn.fetchrow(
        """
        SELECT tenant_id, kind, watermark, next_at, requests, began_at, part, next_page, page_size, missed
        FROM tenant_sweeps WHERE tenant_id = $1 AND next_at <= now()
        ORDER BY kind = 'deep' LIMIT 1
        """,
        tenant_id,
    )
    if row is None:
        return None
    return Sweep(
        tenant_id=row["tenant_id"],
        kind=SweepKind(row["kind"]),
        watermark=row["watermark"],
        next_at=row["next_at"],
        requests=row["requests"],
        began_at=row["began_at"],
        place=Place(Part(row["part"]), row["next_page"], row["page_size"]),
        missed=row["missed"],
    )


async def next_time(conn: Connection, tenant_id: str) -> datetime | None:
    """When the tenant is swept next; None when it is not swept at all."""
    at: datetime | None = await conn.fetchval(
        "SELECT min(next_at) FROM tenant_sweeps WHERE tenant_id = $1", tenant_id
    )
    return at


async def delay(conn: Connection, sweep: Sweep, pause: timedelta) -> None:
    """Go on with the sweep no sooner than after `pause`."""
    await conn.execute(
        "UPDATE tenant_sweeps SET next_at = now() + $3 WHERE tenant_id = $1 AND kind = $2",
        sweep.tenant_id,
        sweep.kind.value,
        pause,
    )


async def go_on(
    conn: Connection, sweep: Sweep, began_at: datetime, place: Place, missed: int
) -> bool:
    """A page is durable and another follows: begin there after a crash or a limit.

    From the first page on, `requests` counts only those made since: the pages read by then may lack what they are for.
    False when another account of the same tenant has moved the sweep meanwhile; then that counts.
    """
    moved = await conn.fetchval(
        f"""
        UPDATE tenant_sweeps
        SET began_at = $7, part = $8, next_page = $9, page_size = $10, missed = missed + $11,
            requests = requests - $12
        WHERE {_UNMOVED} RETURNING true
        """,  # noqa: S608 - _UNMOVED is a constant condition
        *_as_read(sweep),
        began_at,
        place.part.value,
        place.page,
        place.size,
        missed,
        _met(sweep),
    )
    return moved is not None


async def shrink(conn: Connection, sweep: Sweep, place: Place) -> None:
    """Go on at `place`, which is where the sweep stands among smaller pages."""
    await conn.execute(
        f"UPDATE tenant_sweeps SET next_page = $7, page_size = $8 WHERE {_UNMOVED}",  # noqa: S608 - as above
        *_as_read(sweep),
        place.page,
        place.size,
    )


async def finish(
    conn: Connection, sweep: Sweep, began_at: datetime, wait: timedelta, pause: timedelta
) -> bool:
    """The last page is durable: move a recent sweep's watermark to Xero's time at its beginning.

    The next comes after `wait`, or after `pause` when somebody asked for one meanwhile. False as for `go_on`.
    """
    moved = await conn.fetchval(
        f"""
        UPDATE tenant_sweeps
        SET watermark = CASE WHEN kind = 'recent' THEN greatest(watermark, $7) END,
            began_at = NULL, part = $8, next_page = $9, page_size = $10, missed = 0, completed_at = now(),
            next_at = now() + CASE WHEN requests = $11 THEN $12::interval ELSE $13::interval END, requests = 0
        WHERE {_UNMOVED} RETURNING true
        """,  # noqa: S608 - as above
        *_as_read(sweep),
        began_at,
        FIRST.part.value,
        FIRST.page,
        FIRST.size,
        _met(sweep),
        wait,
        pause,
    )
    return moved is not None


_UNMOVED = """
    tenant_id = $1 AND kind = $2 AND began_at IS NOT DISTINCT FROM $3 AND (part, next_page, page_size) = ($4, $5, $6)
"""


def _as_read(sweep: Sweep) -> tuple[object, ...]:
    place = sweep.place
    return (
        sweep.tenant_id,
        sweep.kind.value,
        sweep.began_at,
        place.part.value,
        place.page,
        place.size,
    )


def _met(sweep: Sweep) -> int:
    """How many of the requests the sweep meets: those made before its first page was asked for."""
    return sweep.requests if sweep.began_at is None else 0
