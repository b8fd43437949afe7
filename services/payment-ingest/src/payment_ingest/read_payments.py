"""Read Xero's list of payments through the connector's gateway, to see what the list of invoices does not show."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from payment_ingest import metrics
from payment_ingest.domain.observation import is_xero_id
from payment_ingest.domain.sweeping import ListedPayment, is_last_page
from pipeline_messaging.failpoints import failpoint
from pipeline_xero.client import GatewayClient
from pipeline_xero.errors import UnexpectedAnswer
from pipeline_xero.wire import XeroPayment, elements

log = structlog.get_logger(__name__)

_OF_A_SALES_INVOICE = "ACCRECPAYMENT"
"""Payments on credit notes, over- and prepayments name those where the invoice should stand, and move no invoice."""


@dataclass(frozen=True, slots=True)
class PaymentPage:
    """One page of the list; `observed_at` is Xero's clock."""

    observed_at: datetime
    payments: tuple[ListedPayment, ...]
    is_last_page: bool


class PaymentReader:
    """Reads the payments of one tenant at a time."""

    def __init__(self, xero: GatewayClient, clock: Callable[[], datetime]) -> None:
        self._xero = xero
        self._clock = clock

    async def changed_since(
        self, account_id: str, tenant_id: str, since: datetime | None, page: int, size: int
    ) -> PaymentPage:
        """One page of the payments on sales invoices made or deleted since a moment of Xero's clock.

        Ordered by id for the same reason as `InvoiceReader.changed_since`.

        Raises:
            NotConnected, TenantChanged, RateLimited, NotSent, XeroUnavailable, RequestRejected, UnexpectedAnswer: As
                `GatewayClient.get` does.
        """
        reply = await self._xero.get(
            account_id,
            "Payments",
            params={
                "where": f'PaymentType=="{_OF_A_SALES_INVOICE}"',
                "order": "PaymentID ASC",
                "page": str(page),
                "pageSize": str(size),
            },
            if_modified_since=since,
            tenant_id=tenant_id,
            lane="sweeps",
        )
        document = reply.json()
        answer = elements(document, "Payments")
        metrics.FETCHES.labels("sweep", "ok").inc()
        failpoint("sweep:after_fetch")
        listed = (_listed(element) for element in answer)
        return PaymentPage(
            observed_at=reply.date or self._clock(),
            payments=tuple(one for one in listed if one is not None),
            is_last_page=is_last_page(document.get("pagination"), page, len(answer)),
        )


def _listed(element: Any) -> ListedPayment | None:
    """None for what is no payment of a sales invoice, and for what cannot be read: its invoice was swept as well."""
    try:
        payment = XeroPayment.from_json(element)
    except UnexpectedAnswer as error:
        log.warning("payment_unreadable", error=str(error)[:200])
        return None
    if payment.invoice_id is None or not is_xero_id(payment.invoice_id):
        return None
    if payment.payment_type not in {None, _OF_A_SALES_INVOICE}:
        return None
    return ListedPayment(
        xero_payment_id=payment.payment_id,
        xero_invoice_id=payment.invoice_id,
        amount=payment.amount,
        is_deleted=payment.is_deleted,
    )
