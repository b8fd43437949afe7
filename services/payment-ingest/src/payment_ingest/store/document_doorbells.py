"""Doorbells of documents that are no invoices: one row each, however often it was said that it changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
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
    delivery: bytes | None


async def ring(
    conn: Connection, rings: Sequence[tuple[DocumentRing, datetime, bytes | None]]
) -> None:
    """Ring for each document (ring, time heard, delivery), none twice in one call; the first time and delivery stay."""
    ordered = sorted(rings, key=lambda one: (one[0].tenant_id, one[0].kind, one[0].document_id))
    await conn.execute(
        """
        INSERT INTO document_doorbells (tenant_id, kind, document_id, rung_at, delivery)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bytea[])
        ON CONFLICT (tenant_id, kind, document_id) DO UPDATE SET generation = nextval('doorbell_generation')
        """,
        [one.tenant_id for one, _, _ in ordered],
        [one.kind for one, _, _ in ordered],
        [one.document_id for one, _, _ in ordered],
        [at for _, at, _ in ordered],
        [delivery for _, _, delivery in ordered],
    )


async def waiting(conn: Connection, tenant_id: str, limit: int) -> list[DocumentDoorbell]:
    """The tenant's doorbells, longest waiting first; the account's lease keeps others from answering them."""
    rows = await conn.fetch(
        """
        SELECT tenant_id, kind, document_id, generation, rung_at, delivery
        FROM document_doorbells WHERE tenant_id = $1 ORDER BY rung_at, kind, document_id LIMIT $2
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


async def oldest(conn: Connection, tenant_id: str) -> datetime | None:
    """Since when the longest-waiting doorbell of the tenant rings; None when none does."""
    at: datetime | None = await conn.fetchval(
        "SELECT min(rung_at) FROM document_doorbells WHERE tenant_id = $1", tenant_id
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
