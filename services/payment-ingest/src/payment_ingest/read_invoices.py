"""Read invoices from Xero through the connector's gateway: many per call, each judged by itself."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from payment_ingest import metrics
from payment_ingest.domain.ledger import Observation
from payment_ingest.domain.observation import (
    RECEIVABLE,
    UnusableInvoiceError,
    is_xero_id,
    observe,
)
from payment_ingest.domain.sweeping import is_last_page
from pipeline_messaging.failpoints import failpoint
from pipeline_xero.client import GatewayClient, Lane, Reply
from pipeline_xero.errors import RequestRejected, UnexpectedAnswer
from pipeline_xero.queries import ids
from pipeline_xero.wire import XeroInvoice, elements

log = structlog.get_logger(__name__)

_MOST_REFUSALS = 20
"""Enough to single out three odd invoices among 50, and at most 41 of the minute's 60 calls."""
# With `page`, Xero sends whole invoices; without, it leaves members out. Without `unitdp=4` it shows unit amounts
# rounded to two decimals, and every invoice with four would look changed by somebody.
WHOLE_INVOICES = {"unitdp": "4"}


@dataclass(slots=True)
class Read:
    """What one read brought.

    `invoices` are sales invoices that can be kept; `settled` are ids about which there is nothing to keep (bills);
    `unreadable` are ids Xero answered with something that cannot be used now.
    """

    observed_at: datetime
    fetched_at: datetime
    invoices: list[tuple[XeroInvoice, Observation]] = field(default_factory=list)
    settled: set[str] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)
    is_last_page: bool = True
    calls_left: int | None = None
    """Calls Xero says are left to the tenant in this minute."""


class InvoiceReader:
    """Reads invoices of one tenant at a time.

    Every method raises NotConnected, TenantChanged, RateLimited, NotSent or XeroUnavailable as `GatewayClient.get` does.
    """

    def __init__(self, xero: GatewayClient, clock: Callable[[], datetime]) -> None:
        self._xero = xero
        self._clock = clock

    async def by_ids(
        self,
        account_id: str,
        tenant_id: str,
        xero_invoice_ids: Sequence[str],
        *,
        lane: Lane | None = None,
    ) -> Read:
        """The named invoices; what Xero does not know is simply not in the answer.

        If Xero refuses the whole request it is asked in halves, so that one odd invoice cannot hold up the others;
        the one that is refused alone is `unreadable`. When it goes on refusing, so is everything not read by then:
        asking for each would use up the minute, and end in a refusal that postpones none of them.
        """
        now = self._clock()
        read = Read(now, now)
        parts, refusals = [list(xero_invoice_ids)], 0
        while parts:
            part = parts.pop()
            if refusals == _MOST_REFUSALS:
                read.unreadable.update(part)
                continue
            try:
                found = await self._read_together(account_id, tenant_id, part, lane)
            except (RequestRejected, UnexpectedAnswer) as error:
                refusals += 1
                metrics.FETCHES.labels("doorbell", "refused").inc()
                log.warning("invoices_refused", count=len(part), error=str(error)[:200])
                if len(part) == 1:
                    read.unreadable.update(part)
                else:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
            else:
                read = _joined(read, found)
        return read

    async def _read_together(
        self, account_id: str, tenant_id: str, xero_invoice_ids: Sequence[str], lane: Lane | None
    ) -> Read:
        params = {
            **WHOLE_INVOICES,
            "IDs": ids(xero_invoice_ids),
            "page": "1",
            "pageSize": str(len(xero_invoice_ids)),
        }
        reply = await self._xero.get(
            account_id, "Invoices", params=params, tenant_id=tenant_id, lane=lane
        )
        answer = elements(reply.json(), "Invoices")
        metrics.FETCHES.labels("doorbell", "ok").inc()
        failpoint("payment:after_fetch")
        now = self._clock()
        read = Read(reply.date or now, now, calls_left=reply.calls_left)
        return _sorted_out(read, tenant_id, answer)

    async def changed_since(
        self, account_id: str, tenant_id: str, since: datetime | None, page: int, size: int
    ) -> Read:
        """One page of the sales invoices changed since a moment of Xero's clock, or of all.

        Ordered by id and not by time of change: an invoice changing meanwhile would move to the end of a list ordered
        by time and pull another one over a page boundary, unseen. In an order that never changes, newcomers only push
        others onto later pages.

        Raises:
            RequestRejected, UnexpectedAnswer: Xero refused the question or answered something else.
        """
        reply = await self._xero.get(
            account_id,
            "Invoices",
            params={
                **WHOLE_INVOICES,
                "where": f'Type=="{RECEIVABLE}"',
                "order": "InvoiceID ASC",
                "page": str(page),
                "pageSize": str(size),
            },
            if_modified_since=since,
            tenant_id=tenant_id,
            lane="sweeps",
        )
        now = self._clock()
        empty = Read(reply.date or now, now)
        # A thousand whole invoices take a while to decode: webhooks are answered meanwhile.
        read = await asyncio.to_thread(_page, empty, tenant_id, reply, page)
        metrics.FETCHES.labels("sweep", "ok").inc()
        failpoint("sweep:after_fetch")
        return read


def _page(empty: Read, tenant_id: str, reply: Reply, page: int) -> Read:
    document = reply.json()
    answer = elements(document, "Invoices")
    read = _sorted_out(empty, tenant_id, answer)
    read.is_last_page = is_last_page(document.get("pagination"), page, len(answer))
    return read


def _joined(read: Read, more: Read) -> Read:
    """Both reads as one, dated as the earlier of them, since what holds for that holds for both."""
    first = read if read.invoices or read.settled else more
    return Read(
        observed_at=first.observed_at,
        fetched_at=first.fetched_at,
        invoices=read.invoices + more.invoices,
        settled=read.settled | more.settled,
        unreadable=read.unreadable | more.unreadable,
        calls_left=more.calls_left,
    )


def _sorted_out(read: Read, tenant_id: str, answer: Sequence[Any]) -> Read:
    seen: set[str] = set()
    for element in answer:
        try:
            invoice = XeroInvoice.from_json(element)
            if invoice.invoice_id in seen:
                continue
            seen.add(invoice.invoice_id)
            if invoice.type not in {None, RECEIVABLE}:
                read.settled.add(invoice.invoice_id)
            else:
                read.invoices.append((invoice, observe(tenant_id, invoice)))
        except (UnexpectedAnswer, UnusableInvoiceError) as error:
            xero_invoice_id = str(element.get("InvoiceID", "")).lower()
            log.warning(
                "invoice_unreadable", xero_invoice_id=xero_invoice_id[:64], error=str(error)[:200]
            )
            # Only what is an id can be asked for again.
            if is_xero_id(xero_invoice_id):
                read.unreadable.add(xero_invoice_id)
    return read
