"""Take in what another service read in Xero: an invoice of ours that looks different is noted or compared again."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from invoice_sync.domain import observing
from invoice_sync.domain.observing import Look, Verdict
from invoice_sync.domain.state import Link, Step
from invoice_sync.store import accounts, invoice_links, invoices, steps
from pipeline_contracts.envelope import Envelope
from pipeline_contracts.observed import XeroInvoiceObserved
from pipeline_messaging.connection import Connection
from pipeline_messaging.worker import mark_due

Key = tuple[str, str]
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


async def observe_invoices(conn: Connection, envelopes: Sequence[Envelope]) -> None:
    """Note what was changed in Xero alone, and make due what needs a look of our own.

    The echo of our own writes looks exactly as we stored it and costs nothing. What became of a payment is kept with
    the link, and is no difference. An observation that is known to be older than what we saw is passed over.
    """
    newest: dict[Key, XeroInvoiceObserved] = {}
    for envelope in envelopes:
        event = envelope.event
        if not isinstance(event, XeroInvoiceObserved):
            continue
        key = (event.tenant_id, event.xero_invoice_id.lower())
        if key not in newest or _is_later(event, newest[key]):
            newest[key] = event
    links = await invoice_links.links_by_xero(conn, sorted(newest))
    if links:
        await _take_in(conn, newest, links)


def _is_later(one: XeroInvoiceObserved, other: XeroInvoiceObserved) -> bool:
    return _times(one) > _times(other)


def _times(event: XeroInvoiceObserved) -> tuple[datetime, datetime]:
    return event.invoice.updated_at or _LONG_AGO, event.observed_at


async def _take_in(
    conn: Connection, events: Mapping[Key, XeroInvoiceObserved], links: Mapping[Key, Link]
) -> None:
    """Judge each under its invoice's lock. The accounts' leases come first: so is the order of locks."""
    different = {key for key, link in links.items() if observing.looks_different(events[key], link)}
    await mark_due(conn, sorted({links[key].account_id for key in different}))
    ours = [(link.account_id, link.invoice_id) for link in links.values()]
    rows = {(row.account_id, row.invoice_id): row for row in await invoices.lock_many(conn, ours)}
    current = await invoice_links.links_by_xero(conn, sorted(links))
    verdicts: list[Verdict] = []
    looks: list[tuple[str, str]] = []
    for key, link in current.items():
        if key not in different and link != links[key]:
            continue  # somebody has just seen it anew
        row = rows[link.account_id, link.invoice_id]
        verdict = observing.judge(events[key], link, row)
        verdicts.append(verdict)
        if isinstance(verdict, Look):
            looks.append((link.account_id, link.invoice_id))
    if noted := [each for each in verdicts if isinstance(each, Step)]:
        _, now = await accounts.find(conn, noted[0].row.account_id)
        await steps.save(conn, noted, now)
    await invoice_links.save(conn, [each for each in verdicts if isinstance(each, Link)])
    if looks:
        await invoices.compare_again(conn, looks)
