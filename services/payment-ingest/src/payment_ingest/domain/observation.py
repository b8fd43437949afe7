"""From Xero's invoice to what the ledger compares and what the other services are told."""

import hashlib
import re
from datetime import datetime
from decimal import Decimal

from pydantic import ValidationError

from payment_ingest.domain.ledger import Kind, Observation, Settlement
from pipeline_contracts.invoice import TrackingOption
from pipeline_contracts.observed import ObservedInvoice, ObservedLine, XeroInvoiceObserved
from pipeline_xero.wire import XeroAllocation, XeroInvoice, XeroLine, XeroPayment

RECEIVABLE = "ACCREC"
"""Xero's type of a sales invoice; the other, ACCPAY, is a bill and never comes from Pipeline."""

_ZERO = Decimal(0)
_MAX_REFERENCE = 1_000
# What the payment events can carry (pipeline_contracts.money): far beyond any real amount.
_TOO_MUCH = Decimal(10) ** 15
_PLACES = 10
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_AMOUNTS_ARE = {"Exclusive": "tax_exclusive", "Inclusive": "tax_inclusive", "NoTax": "no_tax"}


class UnusableInvoiceError(ValueError):
    """Xero's answer names an invoice in a way the ledger cannot keep; its text says what is wrong."""


def observe(tenant_id: str, invoice: XeroInvoice) -> Observation:
    """Reduce an invoice to what moves its balance.

    Deleted payments, which some of Xero's answers still list, are left out.

    Raises:
        UnusableInvoiceError: Its currency, status or balance is missing, or an id is no UUID.
    """
    if invoice.status is None or invoice.currency is None:
        raise UnusableInvoiceError("the invoice has no status or no currency")
    if invoice.amount_paid is None or invoice.amount_due is None:
        raise UnusableInvoiceError("the invoice does not state AmountPaid and AmountDue")
    amounts = [invoice.amount_paid, invoice.amount_due, invoice.amount_credited or _ZERO]
    amounts += [one.amount for one in invoice.payments or ()]
    amounts += [one.amount for one in invoice.allocations or ()]
    if any(abs(amount) >= _TOO_MUCH or amount != round(amount, _PLACES) for amount in amounts):
        raise UnusableInvoiceError("an amount is no amount of money")
    payments = [_payment(one) for one in invoice.payments or () if not one.is_deleted]
    credits_ = [_allocation(one) for one in invoice.allocations or () if not one.is_deleted]
    return Observation(
        tenant_id=tenant_id,
        xero_invoice_id=_checked_id(invoice.invoice_id),
        updated_at=invoice.updated_at,
        status=_clean(invoice.status)[:64],
        currency=_clean(invoice.currency)[:64],
        amount_paid=invoice.amount_paid,
        amount_due=invoice.amount_due,
        amount_credited=invoice.amount_credited or _ZERO,
        settlements=(*payments, *credits_),
    )


def snapshot(
    account_id: str, tenant_id: str, invoice: XeroInvoice, observed_at: datetime
) -> XeroInvoiceObserved | None:
    """The event that tells others how the invoice looks in Xero.

    None when the answer left its lines or total out, or holds something the contract cannot carry.
    """
    if invoice.lines is None or invoice.total is None:
        return None
    if invoice.status is None or invoice.currency is None:
        return None
    contact = invoice.contact
    try:
        return XeroInvoiceObserved(
            account_id=account_id,
            xero_invoice_id=invoice.invoice_id,
            tenant_id=tenant_id,
            observed_at=observed_at,
            invoice=ObservedInvoice(
                invoice_number=_optional(invoice.invoice_number),
                reference=_optional(invoice.reference),
                status=invoice.status,
                contact_id=contact.contact_id if contact else None,
                contact_name=_optional(contact.name) if contact else None,
                issue_date=invoice.issue_date,
                due_date=invoice.due_date,
                currency=invoice.currency,
                currency_rate=invoice.currency_rate,
                amounts_are=_AMOUNTS_ARE.get(
                    invoice.line_amount_types or "Exclusive", "tax_exclusive"
                ),
                lines=tuple(_line(one) for one in invoice.lines),
                sub_total=invoice.sub_total,
                total_tax=invoice.total_tax,
                total=invoice.total,
                amount_due=invoice.amount_due,
                amount_paid=invoice.amount_paid,
                amount_credited=invoice.amount_credited,
                updated_at=invoice.updated_at,
            ),
        )
    except ValidationError:
        return None


def fingerprint(observed: XeroInvoiceObserved) -> bytes:
    """A hash of what the invoice looks like, whenever and through whichever account it was read."""
    return hashlib.sha256(observed.invoice.model_dump_json().encode()).digest()


def _payment(payment: XeroPayment) -> Settlement:
    return Settlement(
        kind=Kind.PAYMENT,
        xero_id=_checked_id(payment.payment_id),
        amount=payment.amount,
        paid_on=payment.paid_on,
        reference=_reference(payment.reference),
    )


def _allocation(allocation: XeroAllocation) -> Settlement:
    return Settlement(
        kind=Kind(allocation.kind),
        xero_id=_checked_id(allocation.document_id),
        amount=allocation.amount,
        paid_on=allocation.allocated_on,
        reference=_reference(allocation.document_number),
    )


def _line(line: XeroLine) -> ObservedLine:
    return ObservedLine(
        line_item_id=line.line_item_id,
        description=_optional(line.description),
        quantity=line.quantity,
        unit_amount=line.unit_amount,
        discount_rate=line.discount_rate,
        account_code=_optional(line.account_code),
        tax_type=_optional(line.tax_type),
        tax_amount=line.tax_amount,
        line_amount=line.line_amount,
        item_code=_optional(line.item_code),
        tracking=tuple(
            TrackingOption(category=_clean(one.name), option=_clean(one.option))
            for one in line.tracking
            if one.name and one.option
        ),
    )


def is_xero_id(value: str) -> bool:
    """Whether this is an id of Xero in the form we keep them: a UUID in lower case."""
    return _UUID.fullmatch(value) is not None


def _checked_id(value: str) -> str:
    if not is_xero_id(value):
        raise UnusableInvoiceError(f"{value[:60]!r} is not an id of Xero")
    return value


def _reference(value: str | None) -> str | None:
    return None if value is None else _clean(value)[:_MAX_REFERENCE]


def _optional(value: str | None) -> str | None:
    return None if value is None else _clean(value)


def _clean(value: str) -> str:
    # Postgres stores neither U+0000 nor lone surrogates, and a reference is not worth losing a payment.
    return value.replace("\x00", "").encode("utf-8", "replace").decode()
