"""Compares the three ledgers: what Pipeline published, what Xero holds, what came out on the topics."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from pipeline_contracts.envelope import Envelope
from pipeline_contracts.event import Event
from pipeline_contracts.invoice import InvoiceCreated
from pipeline_contracts.payment import Payment, PaymentRecorded
from pipeline_contracts.sync import InvoiceSynced, SyncFailed
from pipeline_local_stack.ledgers import broken_sequences, distinct


@dataclass(frozen=True, slots=True)
class XeroInvoice:
    """An invoice in Xero's own books."""

    invoice_id: str
    number: str
    status: str
    total: Decimal
    amount_paid: Decimal


@dataclass(frozen=True, slots=True)
class XeroPayment:
    """A payment in Xero's own books."""

    payment_id: str
    invoice_id: str
    amount: Decimal
    status: str


@dataclass(slots=True)
class Verdict:
    """What the comparison found; `complaints` is empty when everything adds up."""

    published: int
    in_xero: int = 0
    waiting: dict[str, int] = field(default_factory=dict)
    payments_made: int = 0
    payments_recorded: int = 0
    payments_reversed: int = 0
    credits_recorded: int = 0
    found_by_sweep: int = 0
    doubled: int = 0
    lost: int = 0
    complaints: list[str] = field(default_factory=list)


def compare_books(
    published: Sequence[InvoiceCreated],
    xero_invoices: Iterable[XeroInvoice],
    xero_payments: Iterable[XeroPayment],
    sync_events: Sequence[Envelope],
    payment_events: Sequence[Envelope],
) -> Verdict:
    """Count what is missing, doubled or different, to the cent.

    Copies of one event (same source and id) are one event, as every consumer must read them; two events
    with different ids for one fact are a double.
    """
    verdict = Verdict(published=len(published))
    in_books: dict[str, list[XeroInvoice]] = defaultdict(list)
    for invoice in xero_invoices:
        if invoice.status not in ("DELETED", "VOIDED"):
            in_books[invoice.number].append(invoice)
    sync = distinct(sync_events)
    synced: dict[str, list[InvoiceSynced]] = defaultdict(list)
    failed: dict[str, SyncFailed] = {}
    for event in sync:
        if isinstance(event, InvoiceSynced):
            synced[event.invoice_id].append(event)
        elif isinstance(event, SyncFailed):
            failed[event.invoice_id] = event
    for expected in published:
        _check_invoice(verdict, expected, in_books[expected.invoice_number], synced, failed)
    unknown = set(in_books) - {invoice.invoice_number for invoice in published}
    if any(in_books[number] for number in unknown):
        verdict.complaints.append(f"in Xero, never published: {sorted(unknown)[:5]}")
    verdict.complaints += broken_sequences(sync)
    _check_payments(verdict, list(xero_payments), synced, distinct(payment_events))
    return verdict


def _check_invoice(
    verdict: Verdict,
    expected: InvoiceCreated,
    found: list[XeroInvoice],
    synced: Mapping[str, list[InvoiceSynced]],
    failed: Mapping[str, SyncFailed],
) -> None:
    events = synced.get(expected.invoice_id, [])
    if len(found) > 1:
        verdict.doubled += len(found) - 1
        verdict.complaints.append(f"{expected.invoice_number} is {len(found)} times in Xero")
    if len(events) > 1:
        verdict.doubled += len(events) - 1
        verdict.complaints.append(f"{expected.invoice_id} was announced {len(events)} times")
    if found:
        verdict.in_xero += 1
        if found[0].total != expected.total:
            verdict.complaints.append(
                f"{expected.invoice_number} is {found[0].total} in Xero and {expected.total} in Pipeline"
            )
        if not events:
            verdict.lost += 1
            verdict.complaints.append(f"{expected.invoice_number} is in Xero, but nobody was told")
        elif events[0].xero_invoice_id != found[0].invoice_id:
            verdict.complaints.append(f"{expected.invoice_id} was announced with another Xero id")
    elif events:
        verdict.lost += 1
        verdict.complaints.append(f"{expected.invoice_id} was announced, but is not in Xero")
    elif expected.invoice_id in failed:
        code = str(failed[expected.invoice_id].code)
        verdict.waiting[code] = verdict.waiting.get(code, 0) + 1
    else:
        verdict.lost += 1
        verdict.complaints.append(f"{expected.invoice_id} is neither in Xero nor explained")


def _check_payments(
    verdict: Verdict,
    made: list[XeroPayment],
    synced: Mapping[str, list[InvoiceSynced]],
    events: Sequence[Event],
) -> None:
    ours = {event.xero_invoice_id: event.invoice_id for list_ in synced.values() for event in list_}
    recorded, taken_back = _told_payments(verdict, events)
    deleted = {payment.payment_id for payment in made if payment.status == "DELETED"}
    # One that was deleted before anybody looked was never to be told of.
    expected = {
        payment.payment_id: payment
        for payment in made
        if payment.payment_id not in deleted or payment.payment_id in recorded
    }
    verdict.payments_made, verdict.payments_recorded = len(expected), len(recorded)
    verdict.payments_reversed = len(taken_back)
    for payment_id, payment in expected.items():
        copies = recorded.pop(payment_id, [])
        if not copies:
            verdict.lost += 1
            verdict.complaints.append(f"payment {payment_id} was made in Xero and never recorded")
            continue
        if len(copies) > 1:
            verdict.doubled += len(copies) - 1
            verdict.complaints.append(f"payment {payment_id} was recorded {len(copies)} times")
        if copies[0].amount != payment.amount or copies[0].invoice_id != ours.get(
            payment.invoice_id
        ):
            verdict.complaints.append(
                f"payment {payment_id} was recorded with another amount or invoice"
            )
    for payment_id in recorded:
        verdict.doubled += 1
        verdict.complaints.append(f"payment {payment_id} was recorded, but is not in Xero")
    for payment_id in deleted | taken_back.keys():
        told, due = taken_back[payment_id], int(payment_id in deleted & expected.keys())
        if told != due:
            verdict.complaints.append(
                f"payment {payment_id} was reversed {told} times, and {due} is right"
            )
    verdict.complaints += broken_sequences(events)


def _told_payments(
    verdict: Verdict, events: Sequence[Event]
) -> tuple[dict[str, list[PaymentRecorded]], Counter[str]]:
    """By Xero's id: how each payment was recorded, and how often it was reversed."""
    recorded: dict[str, list[PaymentRecorded]] = defaultdict(list)
    taken_back: Counter[str] = Counter()
    for event in events:
        if not isinstance(event, Payment):
            continue
        if event.kind != "payment":
            # Credits are allocations and no payments: the invariants compare their sums.
            verdict.credits_recorded += isinstance(event, PaymentRecorded)
        elif isinstance(event, PaymentRecorded):
            recorded[event.xero_payment_id].append(event)
            verdict.found_by_sweep += event.found_by == "sweep"
        else:
            taken_back[event.xero_payment_id] += 1
    return recorded, taken_back
