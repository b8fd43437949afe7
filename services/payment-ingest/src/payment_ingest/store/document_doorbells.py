"""Doorbells of documents that are no invoices: one row each, however often it was said that it changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from payment_ingest.domain.delivery import DocumentRing
from payment_ingest.domain.ledger import Kind
from pipeline_messaging.connection import Connection


@dataclass(frozen=True, slots=True)
class DocumentDoorbell:
    """One doorbell as read. `generation` tells a ring during the look from the ring that caused it."""

    tenant_id: str
    kind: Kind
    document_id: str
    generation: int
    rung_at: datetime
    attempts: int
    delivery: bytes | None


async def ring(
    conn: Connection, rings: Sequence[tuple[DocumentRing, datetime, bytes | None]]
) -> None:
    """Ring for each document (ring, time heard, delivery), none twice in one call; the first time and delivery stay.

    One already ringing loses any delay that an earlier failure gave it.
    """
    ordered = sorted(rings, key=lambda one: (one[0].tenant_id, one[0].kind, one[0].document_id))
    await conn.execute(
        """
        INSERT INTO document_doorbells (tenant_id, kind, document_id, rung_at, delivery)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bytea[])
        ON CONFLICT (tenant_id, kind, document_id)
        DO UPDATE SET generation = nextval('doorbell_generation'), next_at = now(), attempts = 0
        """,
        [one.tenant_id for one, _, _ in ordered],
        [one.kind for one, _, _ in ordered],
        [one.document_id for one, _, _ in ordered],
        [at for _, at, _ in ordered],
        [delivery for _, _, delivery in ordered],
    )


async def due(conn: Connection, tenant_id: str, limit: int) -> list[DocumentDoorbell]:
    """The tenant's doorbells whose time has come, longest waiting first; the account's lease keeps others away."""
    rows = await conn.fetch(
        """
        SELECT tenant_id, kind, document_id, generation, rung_at, attempts, delivery
        FROM document_doorbells WHERE tenant_id = $1 AND next_at <= now()
        ORDER BY rung_at, kind, document_id LIMIT $2
        """,
        tenant_id,
        limit,
    )
    return [DocumentDoorbell(**{**row, "kind": Kind(row["kind"])}) for row in rows]


async def answer(conn: Connection, one: DocumentDoorbell) -> None:
    """Take the doorbell down, unless somebody rang it again since it was read."""
    await conn.execute(
        """
        DELETE FROM document_doorbells
        WHERE tenant_id = $1 AND kind = $2 AND document_id = $3 AND generation = $4
        """,
        one.tenant_id,
        one.kind,
        one.document_id,
        one.generation,
    )


async def answer_all(conn: Connection, tenant_id: str) -> int:
    """Take down whatever rings for the tenant and is due; how many those were. A look around begins after that."""
    status: str = await conn.execute(
        """
        DELETE FROM document_doorbells USING (
            SELECT kind, document_id FROM document_doorbells WHERE tenant_id = $1 AND next_at <= now()
            ORDER BY kind COLLATE "C", document_id COLLATE "C" FOR UPDATE
        ) AS due
        WHERE document_doorbells.tenant_id = $1 AND document_doorbells.kind = due.kind
          AND document_doorbells.document_id = due.document_id
        """,
        tenant_id,
    )
    return int(status.rpartition(" ")[2])


async def put_off(conn: Connection, one: DocumentDoorbell, pause: timedelta) -> None:
    """Look again after the pause, unless somebody rings before."""
    await conn.execute(
        """
        UPDATE document_doorbells SET attempts = attempts + 1, next_at = now() + $5
        WHERE tenant_id = $1 AND kind = $2 AND document_id = $3 AND generation = $4
        """,
        one.tenant_id,
        one.kind,
        one.document_id,
        one.generation,
        pause,
    )


async def next_time(conn: Connection, tenant_id: str) -> datetime | None:
    """When the tenant's next doorbell is due; None when none rings."""
    at: datetime | None = await conn.fetchval(
        "SELECT min(next_at) FROM document_doorbells WHERE tenant_id = $1", tenant_id
    )
    return at


async def applied(
    conn: Connection, tenant_id: str, kind: Kind, document_id: str
) -> dict[str, Decimal]:
    """How much of the document the ledger has applied to which invoice."""
    rows = await conn.fetch(
        """
        SELECT xero_invoice_id, sum(amount) AS amount FROM payments
        WHERE xero_payment_id = $3 AND tenant_id = $1 AND kind = $2 AND NOT reversed GROUP BY xero_invoice_id
        """,
        tenant_id,
        kind,
        document_id,
    )
    return {row["xero_invoice_id"]: row["amount"] for row in rows}
