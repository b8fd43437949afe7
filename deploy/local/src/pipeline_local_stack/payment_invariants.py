"""What must hold of webhooks and payments once everything has come to rest; the judge in `invariants` asks it.

3. Each webhook that was acknowledged, and tells something, is kept.
5. What stands as paid on an invoice of Pipeline in Xero was recorded, under one id and once; nothing else stands as
   recorded.
6. The sequence of an invoice's payments is 1, 2, … n in the order of the topic.
9. No payment is told from an organisation to which its account was never connected.
10. What is not genuine is neither acknowledged nor kept.
11. What was recorded less what was reversed is, by organisation and currency, what Xero says is settled.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

from pipeline_contracts.payment import Payment, PaymentRecorded
from pipeline_contracts.sync import InvoiceSynced
from pipeline_local_stack.ledgers import (
    InvoiceKey,
    Ledgers,
    Webhook,
    broken_sequences,
    connected_now,
    distinct,
    readable,
    tenants_of,
)

_OK = range(200, 300)


class Place(NamedTuple):
    """An invoice in Xero."""

    tenant_id: str
    document_id: str


class SettledBy(NamedTuple):
    """What settles a part of an invoice: a payment, or a credit allocated to it."""

    kind: str
    xero_id: str


def _acknowledged(ledgers: Ledgers) -> Iterator[str]:
    for webhook in ledgers.webhooks:
        is_due = webhook.is_genuine and webhook.has_events and webhook.status in _OK
        if is_due and webhook.body_hash not in ledgers.kept:
            yield f"webhook {webhook.body_hash} was answered {webhook.status}, and is not kept"


def _forged(ledgers: Ledgers) -> Iterator[str]:
    genuine = {webhook.body_hash for webhook in ledgers.webhooks if webhook.is_genuine}
    for webhook in ledgers.webhooks:
        yield from () if webhook.is_genuine else _believed(webhook, ledgers.kept - genuine)


def _believed(webhook: Webhook, kept: frozenset[str]) -> Iterator[str]:
    if webhook.status in _OK:
        yield f"webhook {webhook.body_hash} is not genuine, and was answered {webhook.status}"
    if webhook.body_hash in kept:
        yield f"webhook {webhook.body_hash} is not genuine, and is kept"


def _once_each(ledgers: Ledgers) -> Iterator[str]:
    standing: dict[Place, dict[SettledBy, Payment]] = defaultdict(dict)
    last: dict[Place, Payment] = {}
    owners: dict[str, tuple[Place, SettledBy]] = {}
    links = _links(ledgers)
    for event in _payments(ledgers):
        place, settled_by = _place(event), SettledBy(event.kind, event.xero_payment_id.lower())
        last[place] = event
        if links.get(place) != InvoiceKey(event.account_id, event.invoice_id):
            yield f"{_words(event)} is on an invoice that was never announced as {event.invoice_id}"
        if owners.setdefault(event.payment_id, (place, settled_by)) != (place, settled_by):
            yield f"{_words(event)} has the id of another payment"
        before = standing[place].pop(settled_by, None)
        if isinstance(event, PaymentRecorded):
            standing[place][settled_by] = event
            if before is not None:
                yield f"{_words(event)} was recorded while it stood as {before.payment_id}"
        elif before is None:
            yield f"{_words(event)} was reversed, and did not stand"
        elif (before.payment_id, before.amount) != (event.payment_id, event.amount):
            yield f"{_words(event)} was reversed, and stood as {before.payment_id} over {before.amount}"
    yield from _unlike_xero(ledgers, standing)
    yield from _last_words(ledgers, last)


def _unlike_xero(
    ledgers: Ledgers, standing: Mapping[Place, Mapping[SettledBy, Payment]]
) -> Iterator[str]:
    """What stands as recorded against what Xero holds, on invoices whose account can be read now."""
    settled: dict[Place, dict[SettledBy, Decimal]] = defaultdict(dict)
    for one in ledgers.settlements:
        place = Place(one.tenant_id.lower(), one.document_id.lower())
        by = SettledBy(one.kind, one.xero_id.lower())
        settled[place][by] = settled[place].get(by, Decimal(0)) + one.amount
    for place, key in _readable_now(ledgers).items():
        told = {by: event.amount for by, event in standing.get(place, {}).items()}
        for by in sorted(told.keys() | settled[place].keys()):
            in_xero = settled[place].get(by)
            if told.get(by) != in_xero:
                yield f"{by.kind} {by.xero_id} on {key} is {in_xero} in Xero, and {told.get(by)} by what was recorded"


def _last_words(ledgers: Ledgers, last: Mapping[Place, Payment]) -> Iterator[str]:
    current = _readable_now(ledgers)
    for document in ledgers.documents:
        place = Place(document.tenant_id.lower(), document.document_id.lower())
        event = last.get(place) if place in current else None
        if event is not None and event.amount_paid != document.paid:
            yield f"{current[place]} has {document.paid} paid in Xero, and {event.amount_paid} by the last that was told"


def _sequences(ledgers: Ledgers) -> Iterator[str]:
    yield from broken_sequences(_payments(ledgers))


def _organisations(ledgers: Ledgers) -> Iterator[str]:
    tenants = tenants_of(ledgers.connections)
    for event in _payments(ledgers):
        own = {tenant_id.lower() for tenant_id in tenants.get(event.account_id, ())}
        if _place(event).tenant_id not in own:
            yield f"{_words(event)} is from organisation {event.tenant_id}, to which {event.account_id} was never connected"


def _sums(ledgers: Ledgers) -> Iterator[str]:
    current = _readable_now(ledgers)
    told: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    settled: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for event in _payments(ledgers):
        if _place(event) in current:
            sign = 1 if isinstance(event, PaymentRecorded) else -1
            told[_place(event).tenant_id, event.currency] += sign * event.amount
    for one in ledgers.settlements:
        if Place(one.tenant_id.lower(), one.document_id.lower()) in current:
            settled[one.tenant_id.lower(), one.currency] += one.amount
    for tenant_id, currency in sorted(told.keys() | settled.keys()):
        ours, theirs = told[tenant_id, currency], settled[tenant_id, currency]
        if ours != theirs:
            yield f"{theirs} {currency} are settled in organisation {tenant_id}, and {ours} by what was recorded"


CHECKS: Mapping[int, Callable[[Ledgers], Iterable[str]]] = {
    3: _acknowledged,
    5: _once_each,
    6: _sequences,
    9: _organisations,
    10: _forged,
    11: _sums,
}


def _payments(ledgers: Ledgers) -> list[Payment]:
    return [event for event in distinct(readable(ledgers.payments)) if isinstance(event, Payment)]


def _place(event: Payment) -> Place:
    return Place((event.tenant_id or "").lower(), (event.xero_invoice_id or "").lower())


def _words(event: Payment) -> str:
    return f"{event.kind} {event.xero_payment_id} of {event.invoice_id}"


def _links(ledgers: Ledgers) -> dict[Place, InvoiceKey]:
    """Which invoice each one in Xero was first announced as."""
    found: dict[Place, InvoiceKey] = {}
    for event in distinct(readable(ledgers.announced)):
        if isinstance(event, InvoiceSynced):
            place = Place(event.tenant_id.lower(), event.xero_invoice_id.lower())
            found.setdefault(place, InvoiceKey(event.account_id, event.invoice_id))
    return found


def _readable_now(ledgers: Ledgers) -> dict[Place, InvoiceKey]:
    """The linked invoices in organisations to which their account is connected: of others nothing new can be known."""
    connected = {
        account_id: tenant_id.lower()
        for account_id, tenant_id in connected_now(ledgers.connections).items()
    }
    return {
        place: key
        for place, key in _links(ledgers).items()
        if connected.get(key.account_id) == place.tenant_id
    }
