"""Invoices in Xero: their link to a Pipeline invoice, and what was last seen of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from payment_ingest.domain.ledger import Observation
from pipeline_messaging.connection import Connection


@dataclass(frozen=True, slots=True)
class Link:
    """The Pipeline invoice a Xero invoice was made from."""

    account_id: str
    invoice_id: str


@dataclass(frozen=True, slots=True)
class KnownInvoice:
    """A Xero invoice as far as it is known, locked until the transaction ends."""

    xero_invoice_id: str
    link: Link | None
    observations: int
    snapshot_hash: bytes | None
    updated_at: datetime | None
    observed_at: datetime | None
    """Xero's clock when it was last read."""


async def know(conn: Connection, tenant_id: str, xero_invoice_ids: Collection[str]) -> None:
    """Have a row for each invoice, so that it can be locked."""
    # Sorted, here and in `lock`: two transactions meeting on several invoices must not deadlock.
    await conn.execute(
        """
        INSERT INTO xero_invoices (tenant_id, xero_invoice_id)
        SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING
        """,
        tenant_id,
        sorted(xero_invoice_ids),
    )


async def add(
    conn: Connection,
    tenant_id: str,
    links: Mapping[str, Link],
    created_at: Mapping[tuple[str, str], datetime],
) -> set[str]:
    """Have a row for each invoice, in the order of `know`; the ids of those new here, which are linked with it."""
    ordered = sorted(links.items())
    rows = await conn.fetch(
        """
        INSERT INTO xero_invoices (tenant_id, xero_invoice_id, account_id, invoice_id, linked_at, created_at)
        SELECT $1, new.xero_invoice_id, new.account_id, new.invoice_id, now(), new.created_at
        FROM unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[])
            AS new (xero_invoice_id, account_id, invoice_id, created_at)
        ON CONFLICT DO NOTHING
        RETURNING xero_invoice_id
        """,
        tenant_id,
        [xero_invoice_id for xero_invoice_id, _ in ordered],
        [link.account_id for _, link in ordered],
        [link.invoice_id for _, link in ordered],
        [created_at.get((tenant_id, xero_invoice_id)) for xero_invoice_id, _ in ordered],
    )
    return {row["xero_invoice_id"] for row in rows}


async def lock(
    conn: Connection, tenant_id: str, xero_invoice_ids: Collection[str]
) -> dict[str, KnownInvoice]:
    """Lock the invoices' rows and read them."""
    rows = await conn.fetch(
        """
        SELECT xero_invoice_id, account_id, invoice_id, observations, snapshot_hash, updated_at, observed_at
        FROM xero_invoices WHERE tenant_id = $1 AND xero_invoice_id = ANY($2::text[])
        ORDER BY xero_invoice_id FOR UPDATE
        """,
        tenant_id,
        list(xero_invoice_ids),
    )
    return {
        row["xero_invoice_id"]: KnownInvoice(
            xero_invoice_id=row["xero_invoice_id"],
            link=Link(row["account_id"], row["invoice_id"]) if row["invoice_id"] else None,
            observations=row["observations"],
            snapshot_hash=row["snapshot_hash"],
            updated_at=row["updated_at"],
            observed_at=row["observed_at"],
        )
        for row in rows
    }


async def link(conn: Connection, tenant_id: str, links: Mapping[str, Link]) -> None:
    """Write down whose invoices these are; the caller holds their rows and saw that they had no link."""
    if not links:
        return
    await conn.execute(
        """
        UPDATE xero_invoices SET account_id = ours.account_id, invoice_id = ours.invoice_id, linked_at = now()
        FROM unnest($2::text[], $3::text[], $4::text[]) AS ours (xero_invoice_id, account_id, invoice_id)
        WHERE tenant_id = $1 AND xero_invoices.xero_invoice_id = ANY($2::text[])
          AND xero_invoices.xero_invoice_id = ours.xero_invoice_id
        """,
        tenant_id,
        list(links),
        [one.account_id for one in links.values()],
        [one.invoice_id for one in links.values()],
    )


async def created(conn: Connection, at: Mapping[tuple[str, str], datetime]) -> None:
    """Write down when Xero created these (tenant, InvoiceID); the caller holds their rows."""
    if not at:
        return
    await conn.execute(
        """
        UPDATE xero_invoices SET created_at = ours.created_at
        FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS ours (tenant_id, xero_invoice_id, created_at)
        WHERE xero_invoices.tenant_id = ours.tenant_id AND xero_invoices.xero_invoice_id = ours.xero_invoice_id
        """,
        [tenant_id for tenant_id, _ in at],
        [xero_invoice_id for _, xero_invoice_id in at],
        list(at.values()),
    )


async def record_observations(
    conn: Connection,
    seen: Sequence[tuple[Observation, bytes, int]],
    observed_at: datetime,
) -> None:
    """Write down what was read of invoices just now: (observation, hash of the snapshot, snapshots so far)."""
    await conn.executemany(
        """
        UPDATE xero_invoices
        SET snapshot_hash = $3, observations = $4, updated_at = $5, observed_at = $6, read_at = now(), status = $7,
            currency = $8, amount_paid = $9, amount_due = $10, amount_credited = $11
        WHERE tenant_id = $1 AND xero_invoice_id = $2
        """,
        [
            (
                one.tenant_id,
                one.xero_invoice_id,
                snapshot_hash,
                observations,
                one.updated_at,
                observed_at,
                one.status,
                one.currency,
                one.amount_paid,
                one.amount_due,
                one.amount_credited,
            )
            for one, snapshot_hash, observations in seen
        ],
    )


async def is_known(conn: Connection, account_id: str, invoice_id: str) -> bool:
    """Whether the account has such an invoice in Xero."""
    found = await conn.fetchval(
        "SELECT true FROM xero_invoices WHERE account_id = $1 AND invoice_id = $2 LIMIT 1",
        account_id,
        invoice_id,
    )
    return found is not None
