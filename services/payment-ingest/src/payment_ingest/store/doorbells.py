"""Doorbells: invoices that somebody said had changed, one row each however often it was said."""

from collections.abc import Collection, Sequence
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
    created_at: datetime | None = None
    """When Xero says the invoice was created, if nothing else was said of it."""


CREATED_WAITS = timedelta(minutes=1)
"""How long an invoice rests of which only its creation was told: nobody has paid it yet, and mostly invoice-sync made it
and says so within seconds. Whatever happens to it meanwhile rings anew."""

_OWN_WITHIN = timedelta(seconds=2)
"""Xero dates a change in the invoice and in the webhook; how far apart the two may be is not documented."""


async def ring(
    conn: Connection,
    rings: Sequence[tuple[Ring, datetime, bytes | None]],
    found_by: str,
) -> None:
    """Ring for each invoice (ring, time heard, delivery), no invoice twice in one call.

    A doorbell already ringing keeps its first time and delivery, since that is the one whose payment is
    being waited for, and loses any delay an earlier failure gave it. News of nothing but a creation can wait, and
    changes nothing for a doorbell that rings already; whoever rings after it has the payment to tell of.
    """
    # One order for everybody: two replicas ringing the same invoices must not deadlock.
    ordered = sorted(rings, key=lambda one: (one[0].tenant_id, one[0].xero_invoice_id))
    await conn.execute(
        """
        INSERT INTO doorbells (tenant_id, xero_invoice_id, rung_at, next_at, found_by, delivery, created_at)
        SELECT tenant_id, xero_invoice_id, rung_at,
               now() + CASE WHEN created_at IS NULL THEN interval '0' ELSE $7::interval END,
               $5, delivery, created_at
        FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::bytea[], $6::timestamptz[])
            AS rung (tenant_id, xero_invoice_id, rung_at, delivery, created_at)
        ON CONFLICT (tenant_id, xero_invoice_id)
        DO UPDATE SET generation = nextval('doorbell_generation'),
               next_at = CASE WHEN excluded.created_at IS NULL THEN now() ELSE doorbells.next_at END,
               attempts = CASE WHEN excluded.created_at IS NULL THEN 0 ELSE doorbells.attempts END,
               rung_at = CASE WHEN doorbells.created_at IS NOT NULL AND excluded.created_at IS NULL
                              THEN excluded.rung_at ELSE doorbells.rung_at END,
               found_by = CASE WHEN doorbells.created_at IS NOT NULL AND excluded.created_at IS NULL
                               THEN excluded.found_by ELSE doorbells.found_by END,
               delivery = CASE WHEN doorbells.created_at IS NOT NULL AND excluded.created_at IS NULL
                               THEN excluded.delivery ELSE doorbells.delivery END,
               -- A NULL of either wins.
               created_at = CASE WHEN doorbells.created_at > excluded.created_at THEN doorbells.created_at
                                 WHEN doorbells.created_at IS NOT NULL THEN excluded.created_at END
        """,
        [one.tenant_id for one, _, _ in ordered],
        [one.xero_invoice_id for one, _, _ in ordered],
        [at for _, at, _ in ordered],
        [delivery for _, _, delivery in ordered],
        found_by,
        [one.created_at for one, _, _ in ordered],
        CREATED_WAITS,
    )


async def dismiss_own(conn: Connection, invoices: Collection[tuple[str, str]]) -> int:
    """Take down the doorbells that tell of nothing but a creation by invoice-sync; how many those were.

    `invoices` are (tenant, InvoiceID). InvoiceSynced has told when Xero created them, and an invoice is created unpaid:
    asking Xero would bring nothing. A doorbell that rang for anything else is left, and so is one dated later.
    """
    if not invoices:
        return 0
    status: str = await conn.execute(
        """
        DELETE FROM doorbells USING (
            SELECT tenant_id, xero_invoice_id FROM doorbells rung
            JOIN xero_invoices USING (tenant_id, xero_invoice_id)
            WHERE (tenant_id, xero_invoice_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))
              AND rung.created_at <= xero_invoices.created_at + $3::interval
            ORDER BY tenant_id COLLATE "C", xero_invoice_id COLLATE "C"
            FOR UPDATE OF rung
        ) AS own
        WHERE doorbells.tenant_id = own.tenant_id AND doorbells.xero_invoice_id = own.xero_invoice_id
        """,
        [tenant_id for tenant_id, _ in invoices],
        [xero_invoice_id for _, xero_invoice_id in invoices],
        _OWN_WITHIN,
    )
    return int(status.rpartition(" ")[2])


async def due(conn: Connection, tenant_id: str, limit: int) -> list[Doorbell]:
    """The tenant's doorbells whose time has come, longest waiting first; of creations last, where places are left.

    No row is locked: the account's lease keeps others away, and a ring meanwhile changes `generation`.
    """
    rows = await conn.fetch(
        """
        SELECT tenant_id, xero_invoice_id, generation, rung_at, attempts, found_by, delivery, created_at
        FROM doorbells
        WHERE tenant_id = $1 AND next_at <= now()
        ORDER BY created_at IS NOT NULL, rung_at, xero_invoice_id
        LIMIT $2
        """,
        tenant_id,
        limit,
    )
    return [Doorbell(**row) for row in rows]


async def rung_by_webhook(
    conn: Connection, tenant_id: str, xero_invoice_ids: Collection[str]
) -> set[str]:
    """Those of the invoices for which a webhook's ring has not been answered yet."""
    rows = await conn.fetch(
        """
        SELECT xero_invoice_id FROM doorbells
        WHERE tenant_id = $1 AND xero_invoice_id = ANY($2::text[]) AND found_by = 'webhook' AND created_at IS NULL
        """,
        tenant_id,
        list(xero_invoice_ids),
    )
    return {row["xero_invoice_id"] for row in rows}


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


async def put_off(conn: Connection, doorbells: Sequence[Doorbell], delay: timedelta) -> None:
    """Look after the delay, unless somebody rings before; this was no look."""
    await conn.execute(
        """
        UPDATE doorbells SET next_at = now() + $4
        FROM unnest($1::text[], $2::text[], $3::bigint[]) AS late (tenant_id, xero_invoice_id, generation)
        WHERE doorbells.tenant_id = late.tenant_id
          AND doorbells.xero_invoice_id = late.xero_invoice_id
          AND doorbells.generation = late.generation
        """,
        [one.tenant_id for one in doorbells],
        [one.xero_invoice_id for one in doorbells],
        [one.generation for one in doorbells],
        delay,
    )


async def next_time(conn: Connection, tenant_id: str) -> datetime | None:
    """When the tenant's next doorbell is due; None when none is ringing."""
    at: datetime | None = await conn.fetchval(
        "SELECT min(next_at) FROM doorbells WHERE tenant_id = $1", tenant_id
    )
    return at


async def oldest_ring_age(conn: Connection) -> float:
    """Seconds since the longest-waiting doorbell of a connected tenant rang; 0 when none is due.

    What waits on purpose is left out: Xero did not show it yet, or has no room for it in the lane of sweeps.
    """
    age: float = await conn.fetchval(
        """
        SELECT coalesce(extract(epoch FROM now() - min(rung_at)), 0)::float8
        FROM (SELECT tenant_id, rung_at FROM doorbells WHERE next_at <= now()
              UNION ALL SELECT tenant_id, rung_at FROM document_doorbells WHERE next_at <= now()) AS ringing
        WHERE tenant_id IN (SELECT tenant_id FROM connections WHERE status = 'CONNECTED')
        """
    )
    return age
