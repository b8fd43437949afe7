"""Read from Xero what a credit note, prepayment, overpayment or payment is applied to, one at a time."""

from collections import defaultdict
from decimal import Decimal

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


class DocumentReader:
    """Reads single documents of one tenant at a time."""

    def __init__(self, xero: GatewayClient) -> None:
        self._xero = xero

    async def applied(
        self, account_id: str, tenant_id: str, kind: Kind, document_id: str
    ) -> Applied:
        """How much of the document goes to which invoice; nothing where Xero has it no more.

        Raises:
            NotConnected, TenantChanged, RateLimited, NotSent, XeroUnavailable: As `GatewayClient.get` does.
            RequestRejected, UnexpectedAnswer: Xero refused the question, or its answer does not say.
        """
        collection = _COLLECTIONS[kind]
        try:
            reply = await self._xero.get(
                account_id, f"{collection}/{document_id}", tenant_id=tenant_id
            )
        except NotFound:
            return {}
        metrics.FETCHES.labels("document", "ok").inc()
        failpoint("document:after_fetch")
        for element in elements(reply.json(), collection):
            if kind is Kind.PAYMENT:
                payment = XeroPayment.from_json(element)
                if payment.payment_id == document_id:
                    return _of_payment(payment)
            else:
                document = XeroCreditDocument.from_json(kind, element)
                if document.document_id == document_id and "Allocations" in element:
                    return _of_credit(document)
        raise UnexpectedAnswer(f"{collection}: not what was asked for")


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
