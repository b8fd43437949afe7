"""Read from Xero what a credit note, prepayment, overpayment or payment is applied to, one at a time."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from payment_ingest import metrics
from payment_ingest.domain.applied import Applied
from payment_ingest.domain.ledger import Kind
from payment_ingest.domain.observation import is_xero_id
from pipeline_messaging.failpoints import failpoint
from pipeline_xero.client import GatewayClient
from pipeline_xero.documents import XeroCreditDocument, XeroPayment
from pipeline_xero.errors import NotFound, UnexpectedAnswer
from pipeline_xero.wire import elements

_COLLECTIONS = {
    Kind.PAYMENT: "Payments",
    Kind.CREDIT_NOTE: "CreditNotes",
    Kind.PREPAYMENT: "Prepayments",
    Kind.OVERPAYMENT: "Overpayments",
}
_SALES_INVOICE = "ACCRECPAYMENT"


@dataclass(frozen=True, slots=True)
class ReadDocument:
    """What Xero shows of one document: how much of it goes to which invoice, and whether it is there at all."""

    applied: Applied
    is_there: bool = True
    calls_left: int | None = None
    """Calls Xero says are left to the tenant in this minute."""


class DocumentReader:
    """Reads single documents of one tenant at a time, where sweeps have room: they find the same, later."""

    def __init__(self, xero: GatewayClient) -> None:
        self._xero = xero

    async def read(
        self, account_id: str, tenant_id: str, kind: Kind, document_id: str
    ) -> ReadDocument:
        """What the document is applied to; nothing where Xero has no such document.

        Raises:
            NotConnected, TenantChanged, RateLimited, NotSent, XeroUnavailable: As `GatewayClient.get` does.
            NotAllowed, RequestRejected, UnexpectedAnswer: The question is refused, or the answer does not say.
        """
        collection = _COLLECTIONS[kind]
        try:
            reply = await self._xero.get(
                account_id, f"{collection}/{document_id}", tenant_id=tenant_id, lane="sweeps"
            )
        except NotFound:
            return ReadDocument({}, is_there=False)
        metrics.FETCHES.labels("document", "ok").inc()
        failpoint("document:after_fetch")
        for element in elements(reply.json(), collection):
            applied = _applied(kind, document_id, element)
            if applied is not None:
                return ReadDocument(applied, calls_left=reply.calls_left)
        raise UnexpectedAnswer(f"{collection}: not what was asked for")


def _applied(kind: Kind, document_id: str, element: Mapping[str, Any]) -> Applied | None:
    """What the element says, if it is the document that was asked for and says it."""
    if kind is Kind.PAYMENT:
        payment = XeroPayment.from_json(element)
        return _of_payment(payment) if payment.payment_id == document_id else None
    document = XeroCreditDocument.from_json(kind, element)
    if document.document_id != document_id or "Allocations" not in element:
        return None
    return _of_credit(document)


def _of_payment(payment: XeroPayment) -> Applied:
    is_of_invoice = payment.payment_type in {None, _SALES_INVOICE}
    invoice_id = payment.invoice_id or ""
    if payment.is_deleted or not is_of_invoice or not is_xero_id(invoice_id):
        return {}
    return {invoice_id: payment.amount}


def _of_credit(document: XeroCreditDocument) -> Applied:
    applied: dict[str, Decimal] = defaultdict(Decimal)
    for one in document.allocations:
        if one.invoice_id is not None and is_xero_id(one.invoice_id) and not one.is_deleted:
            applied[one.invoice_id] += one.amount
    return applied
