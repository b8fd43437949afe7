"""Doorbells: invoices that somebody said had changed, one row each however often it was said."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from payment_ingest.domain.delivery import Ring
from pipeline_messaging.connection import Connection


@dataclass(frozen=True, slots=True)
class Doorbell:
    """One claimed doorbell. `generation` tells a ring during the fetch from the ring that caused it."""

    tenant_id: str
    xero_invoice_id: str
    generation: int
    rung_at: datetime
    attempts: int
    found_by: str
    delivery: bytes | None


async def ring(
    conn: Connection,
    rings: Sequence[tuple[Ring, datetime, bytes | None]],
    found_by: str,
) -> None:
    """Ring for each invoice (ring, time heard, delivery), no invoice twice in one call.

    A doorbell already ringing keeps its first time and delivery, since that is the one whose payment is
    being waited for, and loses any delay an earlier failure gave it.
    """
    # One order for everybody: two replicas ringing the same invoices must not deadlock.
    ordered = sorted(rings, key=lambda one: (one[0].tenant_id, one[0].xero_invoice_id))
    await conn.execute(
        """
        INSERT INTO doorbells (tenant_id, xero_invoice_id, rung_at, next_at, found_by, delivery)
        SELECT tenant_id, xero_invoice_id, rung_at, now(), $5, delivery
        FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::bytea[])
            AS rung (tenant_id, xero_invoice_id, rung_at, delivery)
        ON CONFLICT (tenant_id, xero_invoice_id)
        DO UPDATE SET generation = nextval('doorbell_generation'), next_at = now(), attempts = 0
        """,
        [one.tenant_id for one, _, _ in ordered],
        [one.xero_invoice_id for one, _, _ in ordered],
        [at for _, at, _ in ordered],
        [delivery for _, _, delivery in ordered],
        found_by,
    )


async def due(conn: Connection, tenant_id: str, limit: int) -> list[Doorbell]:
    """The tenant's doorbells whose time has come, longest waiting first.

    No row is locked: the account's lease keeps others away, and a ring meanwhile changes `generation`.
    """
    rows = await conn.fetch(
        """
        SELECT tenant_id, xero_invoice_id, generation, rung_at, attempts, found_by, delivery
        FROM doorbells
        WHERE tenant_id = $1 AND next_at <= now()
        ORDER BY rung_at, xero_invoice_id
        LIMIT $2
        """,
        tenant_id,
        limit,
    )
    return [Doorbell(**row) for row in rows]


async def lock(conn: Connection, doorbells: Sequence[Doorbell]) -> None:
    """Lock the doorbells before some are answered and others postponed, in the order in which `ring` locks them.

    Whoever rings several of them meanwhile would otherwise dead-lock with us.
    """
    await conn.execute(
        """
        SELECT FROM doorbells
        WHERE (tenant_id, xero_invoice_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))
        ORDER BY tenant_id COLLATE "C", xero_invoice_id COLLATE "C"
        FOR UPDATE
        """,
        [one.tenant_id for one in doorbells],
        [one.xero_invoice_id for one in doorbells],
    )


async def answer(conn: Connection, doorbells: Sequence[Doorbell]) -> None:
    """Take down the doorbells that nobody rang again since they were claimed."""
    await conn.execute(
        """
        DELETE FROM doorbells USING unnest($1::text[], $2::text[], $3::bigint[])
            AS answered (tenant_id, xero_invoice_id, generation)
        WHERE doorbells.tenant_id = answered.tenant_id
          AND doorbells.xero_invoice_id = answered.xero_invoice_id
          AND doorbells.generation = answered.generation
        """,
        [one.tenant_id for one in doorbells],
        [one.xero_invoice_id for one in doorbells],
        [one.generation for one in doorbells],
    )


async def postpone(conn: Connection, late: Sequence[tuple[Doorbell, timedelta]]) -> None:
    """Look again after each one's delay, unless somebody rings before."""
    await conn.execute(
        """
        UPDATE doorbells SET attempts = attempts + 1, next_at = now() + late.delay
        FROM unnest($1::text[], $2::text[], $3::bigint[], $4::interval[])
            AS late (tenant_id, xero_invoice_id, generation, delay)
        WHERE doorbells.tenant_id = late.tenant_id
          AND doorbells.xero_invoice_id = late.xero_invoice_id
          AND doorbells.generation = late.generation
        """,
        [one.tenant_id for one, _ in late],
        [one.xero_invoice_id for one, _ in late],
        [one.generation for one, _ in late],
        [delay for _, delay in late],
    )


async def next_time(conn: Connection, tenant_id: str) -> datetime | None:
    """When the tenant's next doorbell is due; None when none is ringing."""
    at: datetime | None = await conn.fetchval(
        "SELECT min(next_at) FROM doorbells WHERE tenant_id = $1", tenant_id
    )
    return at


async def oldest_ring_age(conn: Connection) -> float:
    """Seconds since the longest-waiting doorbell of a connected tenant rang; 0 when none is ringing."""
    age: float = await conn.fetchval(
        """
        SELECT coalesce(extract(epoch FROM now() - min(rung_at)), 0)::float8 FROM doorbells
        WHERE tenant_id IN (SELECT tenant_id FROM connections WHERE status = 'CONNECTED')
        """
    )
    return age
