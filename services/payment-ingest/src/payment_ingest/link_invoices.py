"""Learn which Xero invoice is which Pipeline invoice, and release the payments that waited for it."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

import structlog

from payment_ingest import metrics
from payment_ingest.publish_movements import publish_movements
from payment_ingest.store import doorbells, ledger, xero_invoices
from payment_ingest.store.xero_invoices import Link
from pipeline_contracts.envelope import Envelope
from pipeline_contracts.sync import InvoiceSynced
from pipeline_messaging.connection import Connection

log = structlog.get_logger(__name__)


async def link_invoices(
    conn: Connection, envelopes: list[Envelope], clock: Callable[[], datetime]
) -> None:
    """Handle a batch of the sync topic in its transaction; events other than InvoiceSynced do not concern us.

    Payments already in the ledger are told at once, from what was read then: Xero is not asked again.
    """
    await ledger.write(conn)
    by_tenant: dict[str, dict[str, Link]] = {}
    created: dict[tuple[str, str], datetime] = {}
    traceparents: dict[str, str | None] = {}
    for envelope in envelopes:
        event = envelope.event
        if isinstance(event, InvoiceSynced):
            links = by_tenant.setdefault(event.tenant_id.lower(), {})
            links.setdefault(
                event.xero_invoice_id.lower(), Link(event.account_id, event.invoice_id)
            )
            traceparents.setdefault(event.xero_invoice_id.lower(), envelope.traceparent)
            if event.xero_created_at is not None:
                key = (event.tenant_id.lower(), event.xero_invoice_id.lower())
                created[key] = event.xero_created_at
    for tenant_id, links in sorted(by_tenant.items()):
        added = await xero_invoices.add(conn, tenant_id, links, created)
        if known := {each: link for each, link in links.items() if each not in added}:
            await _link_known(conn, tenant_id, known, clock(), traceparents)
            await xero_invoices.created(conn, _of(created, tenant_id, known))
    metrics.OWN_CREATIONS.inc(await doorbells.dismiss_own(conn, created.keys()))


def _of(
    created: Mapping[tuple[str, str], datetime], tenant_id: str, known: Collection[str]
) -> dict[tuple[str, str], datetime]:
    keys = [(tenant_id, each) for each in known]
    return {key: created[key] for key in keys if key in created}


async def _link_known(
    conn: Connection,
    tenant_id: str,
    links: Mapping[str, Link],
    now: datetime,
    traceparents: Mapping[str, str | None],
) -> None:
    # The row is locked before the link is written: an ingest of the same invoice either committed its movements before
    # this lock, and they are told here, or sees the link after it and tells them itself. A row just made has none.
    known = await xero_invoices.lock(conn, tenant_id, links)
    new: dict[str, Link] = {}
    for xero_invoice_id, link in links.items():
        before = known[xero_invoice_id].link
        if before is None:
            new[xero_invoice_id] = link
        elif before != link:
            metrics.LINK_CONFLICTS.inc()
            log.error("link_conflict", xero_invoice_id=xero_invoice_id, invoice_id=link.invoice_id)
    await xero_invoices.link(conn, tenant_id, new)
    await publish_movements(conn, tenant_id, new, now, traceparents)
