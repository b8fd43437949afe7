"""Take in what another service read in Xero: an invoice of ours that looks different is compared again."""

from collections.abc import Sequence

from invoice_sync.domain import mapping
from invoice_sync.domain.state import Link
from invoice_sync.store import invoice_links, invoices
from pipeline_contracts.envelope import Envelope
from pipeline_contracts.observed import XeroInvoiceObserved
from pipeline_messaging.connection import Connection
from pipeline_messaging.worker import mark_due

Key = tuple[str, str]


async def observe_invoices(conn: Connection, envelopes: Sequence[Envelope]) -> None:
    """Make due those synced invoices whose fields differ from what we last saw in Xero.

    Payments, credit and time stamps are no part of the comparison, and neither is the echo of our own writes: they
    look exactly as we stored them. The comparison itself reads the invoice afresh, so an observation that is late
    or out of order costs a call and nothing more.
    """
    newest: dict[Key, XeroInvoiceObserved] = {}
    for envelope in envelopes:
        event = envelope.event
        if not isinstance(event, XeroInvoiceObserved):
            continue
        key = (event.tenant_id, event.xero_invoice_id.lower())
        if key not in newest or event.observed_at > newest[key].observed_at:
            newest[key] = event
    links = await invoice_links.links_by_xero(conn, sorted(newest))
    changed = [link for key, link in links.items() if _looks_different(newest[key], link)]
    if not changed:
        return
    await mark_due(conn, sorted({link.account_id for link in changed}))
    await invoices.compare_again(conn, [(link.account_id, link.invoice_id) for link in changed])


def _looks_different(event: XeroInvoiceObserved, link: Link) -> bool:
    if event.account_id != link.account_id:
        return False
    return mapping.observed_snapshot(event.invoice, link.line_item_ids) != link.observed
