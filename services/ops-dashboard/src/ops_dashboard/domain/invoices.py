"""An invoice as three services speak of it: in any order, and again and again, it comes to the same."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Final

from ops_dashboard.domain.facts import Details, short, told_of
from pipeline_contracts.envelope import Envelope
from pipeline_contracts.invoice import Invoice, InvoiceEvent
from pipeline_contracts.payment import Payment
from pipeline_contracts.sync import InvoiceSynced, OutOfSync, SyncEvent, SyncFailed, SyncResumed

STATES: Final = {
    "waiting": "On its way",
    "retrying": "Trying again",
    "failed": "Failed",
    "out_of_sync": "Out of sync",
    "synced": "In Xero",
    "voided": "Voided",
}
"""The states the table derives, in the order in which people want to see them, in words."""

InvoiceKey = tuple[str, str]
"""Account and invoice."""


@dataclass(frozen=True, slots=True)
class Issued:
    """What Pipeline says: the newest version, and the newest content, which a cancellation does not repeat."""

    at: datetime
    version: int
    is_voided: bool
    content_version: int = 0
    invoice_number: str | None = None
    customer_id: str | None = None
    due_date: date | None = None
    currency: str | None = None
    total: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What invoice-sync says: the newest event by its sequence, and the newest link to Xero."""

    at: datetime
    sequence: int
    outcome: str
    version: int
    told: Details
    code: str | None = None
    retryable: bool | None = None
    link_sequence: int = 0
    xero_invoice_id: str | None = None
    deep_link: str | None = None


@dataclass(frozen=True, slots=True)
class Paid:
    """What payment-ingest says: how much is paid and due after its newest event."""

    at: datetime
    sequence: int
    amount_paid: Decimal
    amount_due: Decimal


def issued(envelopes: Iterable[Envelope]) -> dict[InvoiceKey, Issued]:
    """What a batch says of Pipeline's invoices."""
    found: dict[InvoiceKey, Issued] = {}
    for envelope in envelopes:
        if isinstance(event := envelope.event, InvoiceEvent):
            key = (event.account_id, event.invoice_id)
            told = _issued(envelope.time, event)
            found[key] = newer_issued(found[key], told) if key in found else told
    return found


def newer_issued(one: Issued, other: Issued) -> Issued:
    """Both, merged: the same whichever is named first."""
    newest = one if one.version >= other.version else other
    content = one if one.content_version >= other.content_version else other
    return replace(
        content,
        at=max(one.at, other.at),
        version=newest.version,
        is_voided=newest.is_voided,
    )


def outcomes(envelopes: Iterable[Envelope]) -> dict[InvoiceKey, Outcome]:
    """What a batch says of invoices on their way to Xero."""
    found: dict[InvoiceKey, Outcome] = {}
    for envelope in envelopes:
        if isinstance(event := envelope.event, SyncEvent):
            key = (event.account_id, event.invoice_id)
            told = _outcome(envelope.time, event)
            if told is not None:
                found[key] = newer_outcome(found[key], told) if key in found else told
    return found


def newer_outcome(one: Outcome, other: Outcome) -> Outcome:
    """Both, merged: the same whichever is named first."""
    newest = one if one.sequence >= other.sequence else other
    link = one if one.link_sequence >= other.link_sequence else other
    return replace(
        newest,
        at=max(one.at, other.at),
        link_sequence=link.link_sequence,
        xero_invoice_id=link.xero_invoice_id,
        deep_link=link.deep_link,
    )


def paid(envelopes: Iterable[Envelope]) -> dict[InvoiceKey, Paid]:
    """What a batch says of invoices' payments."""
    found: dict[InvoiceKey, Paid] = {}
    for envelope in envelopes:
        if isinstance(event := envelope.event, Payment):
            key = (event.account_id, event.invoice_id)
            told = Paid(envelope.time, event.sequence, event.amount_paid, event.amount_due)
            if (known := found.get(key)) is not None:
                newest = known if known.sequence >= told.sequence else told
                told = replace(newest, at=max(known.at, told.at))
            found[key] = told
    return found


def _issued(at: datetime, event: InvoiceEvent) -> Issued:
    if not isinstance(event, Invoice):
        return Issued(at, event.version, is_voided=True)
    return Issued(
        at,
        event.version,
        is_voided=False,
        content_version=event.version,
        invoice_number=short(event.invoice_number),
        customer_id=event.customer_id,
        due_date=event.due_date,
        currency=event.currency,
        total=event.total,
    )


def _outcome(at: datetime, event: SyncEvent) -> Outcome | None:
    match event:
        case InvoiceSynced():
            return Outcome(
                at,
                event.sequence,
                "synced",
                event.version,
                told_of(event),
                link_sequence=event.sequence,
                xero_invoice_id=event.xero_invoice_id,
                deep_link=short(event.deep_link),
            )
        case SyncFailed():
            told = told_of(event)
            return Outcome(
                at,
                event.sequence,
                "failed",
                event.version,
                told,
                code=event.code,
                retryable=event.retryable,
            )
        case OutOfSync():
            return Outcome(at, event.sequence, "out_of_sync", event.version, told_of(event))
        case SyncResumed():
            return Outcome(at, event.sequence, "synced", event.version, told_of(event))
        case _:
            return None
