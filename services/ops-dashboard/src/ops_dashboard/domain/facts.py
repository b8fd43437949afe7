"""What each event says, reduced to what the pages show of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.customer import Customer
from pipeline_contracts.envelope import Envelope
from pipeline_contracts.invoice import Invoice, InvoiceVoided
from pipeline_contracts.observed import XeroInvoiceObserved
from pipeline_contracts.payment import Payment
from pipeline_contracts.reconciled import AccountReconciled
from pipeline_contracts.sync import (
    ContactMapped,
    InvoiceSynced,
    OutOfSync,
    SyncFailed,
    SyncResumed,
)

LONGEST: Final = 1_000
"""Of a text that is kept for a timeline."""
MOST_DIFFERENCES: Final = 200
MOST_XERO_ERRORS: Final = 20
MOST_FINDINGS: Final = 20

Details = dict[str, Any]


class Kept(dict[str, Any]):
    """Details as they were stored: by an earlier release perhaps, so that whatever is missing is None."""

    def __missing__(self, name: str) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of a timeline.

    Attributes:
        subject_kind: `invoice`, `xero_invoice`, `customer`, `connection` or `account`.
        subject: its id.
        number: the version or sequence in the event, 0 where it has none: order among events of one time.
        details: what a page needs to tell it in words.
    """

    subject_kind: str
    subject: str
    number: int
    details: Details


def short(text: str | None) -> str | None:
    """A text as a timeline keeps it."""
    if text is None or len(text) <= LONGEST:
        return text
    return text[:LONGEST] + "…"


def fact_of(envelope: Envelope) -> Fact:  # noqa: PLR0911 - one case for each kind of event
    """The line for an event; a kind that is newer than this code becomes a line of its account."""
    details: Details
    match envelope.event:
        case Invoice() as event:
            details = {
                "version": event.version,
                "invoice_number": short(event.invoice_number),
                "total": f"{event.total}",
                "currency": event.currency,
                "due_date": event.due_date.isoformat(),
                "lines": len(event.lines),
            }
            return Fact("invoice", event.invoice_id, event.version, details)
        case InvoiceVoided() as event:
            details = {"version": event.version, "why": short(event.reason)}
            return Fact("invoice", event.invoice_id, event.version, details)
        case InvoiceSynced() | SyncFailed() | OutOfSync() | SyncResumed() as event:
            details = {"version": event.version} | told_of(event)
            details.pop("differences", None)
            return Fact("invoice", event.invoice_id, event.sequence, details)
        case Payment() as event:
            details = {
                "kind": event.kind,
                "amount": f"{event.amount}",
                "currency": event.currency,
                "amount_due": f"{event.amount_due}",
                "paid_on": event.paid_on.isoformat(),
                "found_by": event.found_by,
                "reference": short(event.reference),
            }
            return Fact("invoice", event.invoice_id, event.sequence, details)
        case XeroInvoiceObserved() as event:
            details = {
                "status": event.invoice.status,
                "total": f"{event.invoice.total}",
                "currency": event.invoice.currency,
                "amount_due": _amount(event.invoice.amount_due),
            }
            return Fact("xero_invoice", event.xero_invoice_id, 0, details)
        case Customer() as event:
            details = {"version": event.version, "name": short(event.name)}
            return Fact("customer", event.customer_id, event.version, details)
        case ContactMapped() as event:
            details = {
                "contact_name": short(event.contact_name),
                "contact_id": event.contact_id,
                "mapped_by": short(event.mapped_by),
            }
            return Fact("customer", event.customer_id, 0, details)
        case ConnectionStatusChanged() as event:
            details = {
                "status": event.status,
                "reason": event.reason,
                "message": short(event.message),
                "hint": short(event.hint),
                "changed_by": short(event.changed_by),
                "tenant_name": short(event.tenant_name),
            }
            return Fact("connection", event.account_id, event.sequence, details)
        case AccountReconciled() as event:
            findings = [
                {"message": short(each.message), "hint": short(each.hint)}
                for each in event.findings[:MOST_FINDINGS]
            ]
            details = {"is_clean": event.is_clean, "findings": findings}
            return Fact("account", event.account_id, event.reconciliation, details)
        case other:
            return Fact("account", other.account_id, 0, {})


def told_of(event: InvoiceSynced | SyncFailed | OutOfSync | SyncResumed) -> Details:
    """What a page says of an invoice's newest outcome."""
    match event:
        case InvoiceSynced():
            return {
                "xero_number": short(event.invoice_number),
                "xero_status": event.xero_status,
                "total": f"{event.total}",
                "currency": event.currency,
            }
        case SyncFailed():
            return {
                "code": event.code,
                "message": short(event.message),
                "hint": short(event.hint),
                "retryable": event.retryable,
                "next_attempt_at": event.next_attempt_at and event.next_attempt_at.isoformat(),
                "xero_errors": _texts(event.xero_errors[:MOST_XERO_ERRORS]),
            }
        case OutOfSync():
            return {
                "message": short(event.message),
                "hint": short(event.hint),
                "kind": event.kind,
                "xero_updated_at": event.xero_updated_at and event.xero_updated_at.isoformat(),
                "differences_in_all": len(event.differences),
                "differences": [
                    {
                        "field": short(each.field),
                        "base": short(each.base),
                        "pipeline": short(each.pipeline),
                        "xero": short(each.xero),
                    }
                    for each in event.differences[:MOST_DIFFERENCES]
                ],
            }
        case SyncResumed():
            return {"resolved_by": event.resolved_by}


def _texts(texts: Iterable[str]) -> list[str | None]:
    return [short(text) for text in texts]


def _amount(value: object | None) -> str | None:
    return None if value is None else f"{value}"
