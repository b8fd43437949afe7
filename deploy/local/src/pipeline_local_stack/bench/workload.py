"""The invoices that are measured with: real sales, spread over a fixed number of customers."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count as count_from
from itertools import islice

from aiokafka import AIOKafkaProducer

from pipeline_contracts.customer import CustomerCreated
from pipeline_contracts.envelope import encode, stable_id
from pipeline_contracts.event import Event
from pipeline_contracts.invoice import InvoiceCreated
from pipeline_local_stack.identities import ACCOUNT
from pipeline_local_stack.sales import Sale, customer_of, invoice_of, read_sales

CUSTOMERS = 50


@dataclass(slots=True)
class Workload:
    """Hands out invoices, none of them twice."""

    customers: Sequence[CustomerCreated]
    _invoices: Iterator[InvoiceCreated]

    def take(self, count: int) -> list[InvoiceCreated]:
        """The next invoices."""
        return list(islice(self._invoices, count))


def make_workload() -> Workload:
    """The sales of the record, again and again, as invoices to the first customers in it."""
    # The record has free CDs too; nobody pays an invoice of nothing.
    sales = [sale for sale in read_sales() if sale.amount >= 1]
    customers = {sale.customer_id: customer_of(sale, ACCOUNT) for sale in sales[: 4 * CUSTOMERS]}
    ids = list(customers)[:CUSTOMERS]
    return Workload([customers[customer_id] for customer_id in ids], _invoices(sales, ids))


def _invoices(sales: Sequence[Sale], customer_ids: Sequence[str]) -> Iterator[InvoiceCreated]:
    for lap in count_from(1):
        for sale in sales:
            invoice = invoice_of(sale, ACCOUNT)
            yield invoice.model_copy(
                update={
                    "customer_id": customer_ids[sale.row % len(customer_ids)],
                    "invoice_id": f"{invoice.invoice_id}-{lap}",
                    "invoice_number": f"{invoice.invoice_number}-{lap}",
                }
            )


async def publish_all(
    producer: AIOKafkaProducer, events: Sequence[Event], topic: str | None = None
) -> None:
    """Publish events as fast as the producer batches them; returns once Kafka has them all for good.

    Args:
        producer: started; `acks="all"`.
        events: each goes to its own topic unless `topic` is given.
        topic: another topic.
    """
    now = datetime.now(UTC)
    pending = []
    for event in events:
        record = encode(event, id=stable_id(event), source="billing", time=now)
        pending.append(
            await producer.send(
                topic or record.topic, record.value, key=record.key, headers=list(record.headers)
            )
        )
    await asyncio.gather(*pending)
