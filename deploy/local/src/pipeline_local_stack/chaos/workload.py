"""What goes in while faults strike: what Pipeline publishes."""

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from pipeline_contracts.envelope import Record, encode, stable_id
from pipeline_contracts.event import Event
from pipeline_contracts.invoice import InvoiceCreated, InvoiceUpdated, InvoiceVoided
from pipeline_contracts.producer import EventPublisher, PublishUnconfirmed
from pipeline_contracts.topics import INVOICES
from pipeline_local_stack.sales import Sale, customer_of, invoice_of, read_sales

_CUSTOMERS = 5
_UPDATED, _VOIDED, _REPEATED, _EARLY = 0.08, 0.04, 0.1, 0.05
"""The shares of invoices that are changed, cancelled, published twice, and published a version too early."""
_POISON = 3
_PUBLISHING_AT_ONCE = 10


@dataclass(frozen=True, slots=True)
class Publication:
    """A record and the share of the time for publishing after which it is due."""

    due: float
    record: Record


def publications(seed: int, accounts: Sequence[str], invoices: int) -> list[Publication]:
    """What Pipeline publishes in a run, in the order of time: a pure function of the seed.

    Customers first; then invoices with their changes, some twice, some in the wrong order; and a few records that
    nobody can read.
    """
    chance = random.Random(seed)  # noqa: S311 - must be repeatable, not secret
    sales = list(islice((sale for sale in read_sales() if sale.amount >= 1), invoices + _CUSTOMERS))
    buyers, sold = sales[:_CUSTOMERS], sales[_CUSTOMERS:]
    found = [
        Publication(0, _record(customer_of(buyer, account)))
        for account in accounts
        for buyer in buyers
    ]
    for number, sale in enumerate(sold):
        account = accounts[number % len(accounts)]
        found += _invoice(sale, account, buyers[number % _CUSTOMERS].customer_id, chance)
    for number in range(_POISON):
        name = f"poison-{seed}-{number}".encode()
        # Not even a CloudEvent: it must be set aside, and what comes after it read.
        found.append(Publication(chance.random(), Record(INVOICES.name, name, name, ())))
    return sorted(found, key=lambda each: each.due)


def _invoice(
    sale: Sale, account: str, customer_id: str, chance: random.Random
) -> list[Publication]:
    first = invoice_of(sale, account).model_copy(update={"customer_id": customer_id})
    due = chance.random()
    versions: list[Event] = [first]
    drawn = chance.random()
    if drawn < _UPDATED:
        versions.append(_changed(first))
    elif drawn < _UPDATED + _VOIDED:
        voided = InvoiceVoided(
            account_id=account, invoice_id=first.invoice_id, version=2, reason="ordered twice"
        )
        versions.append(voided)
    dues = [min(1.0, due + 0.1 * number) for number in range(len(versions))]
    if chance.random() < _EARLY:
        dues.reverse()
    found = [Publication(d, _record(v)) for d, v in zip(dues, versions, strict=True)]
    if chance.random() < _REPEATED:
        found.append(Publication(min(1.0, due + 0.15), found[0].record))
    return found


def _changed(first: InvoiceCreated) -> InvoiceUpdated:
    fields = first.model_dump(exclude={"version", "reference"})
    return InvoiceUpdated(**fields, version=2, reference=f"{first.reference}, changed")


def _record(event: Event) -> Record:
    return encode(event, id=stable_id(event), source="billing", time=datetime.now(UTC))


async def publish(bootstrap_servers: str, wanted: Sequence[Publication], seconds: float) -> None:
    """Publish everything at its time, the same record again until Kafka has confirmed it, as a producer must."""
    started = time.monotonic()
    turns = asyncio.Semaphore(_PUBLISHING_AT_ONCE)
    async with EventPublisher(bootstrap_servers, source="billing") as publisher:

        async def send(one: Publication) -> None:
            await asyncio.sleep(started + one.due * seconds - time.monotonic())
            async with turns:
                while True:
                    with contextlib.suppress(PublishUnconfirmed):
                        await publisher.send(one.record)
                        return

        await asyncio.gather(*map(send, wanted))
