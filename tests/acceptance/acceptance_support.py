"""What several acceptance tests do: publish records, wait for what comes out."""

import asyncio
from datetime import date
from decimal import Decimal

from pipeline_contracts.customer import CustomerCreated
from pipeline_contracts.envelope import Record
from pipeline_contracts.invoice import InvoiceCreated, InvoiceLine
from pipeline_contracts.producer import EventPublisher
from pipeline_local_stack.watcher import Watcher
from pipeline_messaging.broker import KafkaSettings, make_producer

CUSTOMER = "cust-acceptance"


def healthy_invoice(name: str, **changes) -> InvoiceCreated:
    """An invoice with nothing wrong, of a customer that `announce_customer` made known."""
    fields = {
        "account_id": "demo",
        "invoice_id": f"inv-{name}",
        "version": 1,
        "invoice_number": f"A-{name}",
        "customer_id": CUSTOMER,
        "issue_date": date(2026, 3, 1),
        "due_date": date(2026, 3, 21),
        "currency": "NZD",
        "amounts_are": "tax_inclusive",
        "lines": (
            InvoiceLine(
                line_id="1",
                description="Services",
                quantity=Decimal(1),
                unit_amount=Decimal("115.00"),
                account_code="200",
            ),
        ),
        "total": Decimal("115.00"),
    }
    return InvoiceCreated(**{**fields, **changes})


async def announce_customer(bootstrap_servers: str) -> None:
    async with EventPublisher(bootstrap_servers, source="crm") as publisher:
        await publisher.publish(
            CustomerCreated(
                account_id="demo", customer_id=CUSTOMER, version=1, name="Acceptance Ltd"
            )
        )


async def send(stack, *records: Record) -> None:
    """Publish raw records, however broken, in this order."""
    producer = make_producer(KafkaSettings(stack.broker.bootstrap_servers, client_id="test"))
    await producer.start()
    try:
        for record in records:
            await producer.send_and_wait(
                record.topic, key=record.key, value=record.value, headers=list(record.headers)
            )
    finally:
        await producer.stop()


async def until(watcher: Watcher, condition, what: str, seconds: float = 60):
    """Wait until the condition gives something; fail saying what never came."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not (found := condition()):
        assert asyncio.get_running_loop().time() < deadline, (
            f"never came: {what}; dead letters: {watcher.dead_letters[-3:]}"
        )
        await watcher.changed(0.5)
    return found
