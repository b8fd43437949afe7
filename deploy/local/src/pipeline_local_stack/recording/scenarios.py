"""What happens to a company that uses Pipeline and Xero: each scenario from its connection on."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import httpx

from pipeline_contracts import (
    ConnectionStatusChanged,
    ContactMapped,
    CustomerCreated,
    Event,
    InvoiceCreated,
    InvoiceLine,
    InvoiceSynced,
    InvoiceUpdated,
    InvoiceVoided,
    OutOfSync,
    PaymentRecorded,
    PaymentReversed,
    SyncFailed,
    SyncResumed,
)
from pipeline_contracts.producer import EventPublisher
from pipeline_contracts.topics import CONNECTIONS, CUSTOMERS, Topic
from pipeline_local_stack.connect import connect_account, connect_as, disconnect_account
from pipeline_local_stack.recording.tape import Tape
from pipeline_local_stack.stack import Stack
from pipeline_local_stack.xero_admin import XeroAdmin
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.history import lag_of


@dataclass(slots=True)
class Scene:
    """One account of its own on the running system."""

    stack: Stack
    tape: Tape
    account_id: str

    @property
    def _email(self) -> str:
        return f"{self.account_id}@example.com"

    @property
    def _organisation(self) -> str:
        return f"{self.account_id} Ltd"

    async def connect(self) -> None:
        """The account is connected to an organisation of its own."""
        await asyncio.to_thread(
            connect_account, self.stack, self.account_id, self._email, self._organisation
        )
        await self.until(ConnectionStatusChanged)
        await self._known(CONNECTIONS)

    async def connect_again(self) -> None:
        """The account is connected to the same organisation once more."""
        await asyncio.to_thread(connect_as, self.stack, self.account_id, self._email)

    async def disconnect(self) -> None:
        """An administrator disconnects it."""
        await asyncio.to_thread(disconnect_account, self.stack, self.account_id)

    async def publish(self, *events: Event) -> None:
        """Pipeline's billing tells."""
        servers = self.stack.broker.bootstrap_servers
        async with EventPublisher(servers, source="billing") as publisher:
            for event in events:
                await publisher.publish(event)

    async def tell_customer(self) -> None:
        """Pipeline's billing tells of the customer, and invoice-sync has heard of it."""
        await self.publish(self.customer())
        await self._known(CUSTOMERS)

    async def _known(self, topic: Topic) -> None:
        # No order holds between topics: an invoice that is read first is told as waiting for what it overtook.
        kafka = KafkaSettings(self.stack.broker.bootstrap_servers)
        group = f"invoice-sync.{topic.name}"
        while await lag_of(kafka, topic, group):  # noqa: ASYNC110 - a broker tells nobody that a group got on
            await asyncio.sleep(0.1)

    async def until(self, kind: type[Event], count: int = 1) -> None:
        """Return when the system has told so many of a kind."""
        await self.tape.until(self.account_id, kind, count)

    def customer(self) -> CustomerCreated:
        """The customer of the account's invoices."""
        return CustomerCreated(
            account_id=self.account_id,
            customer_id=f"{self.account_id}-customer",
            version=1,
            name="Ridgeway University",
            email="accounts@ridgeway.example",
        )

    def invoice(self, **changes: Any) -> InvoiceCreated:
        """An invoice of 115.00, tax included."""
        line = InvoiceLine(
            line_id="1",
            description="Consulting, February",
            quantity=Decimal(2),
            unit_amount=Decimal("57.50"),
            account_code="200",
        )
        fields = {
            "account_id": self.account_id,
            "invoice_id": f"{self.account_id}-invoice",
            "version": 1,
            "invoice_number": "INV-1001",
            "customer_id": self.customer().customer_id,
            "issue_date": date(2026, 3, 1),
            "due_date": date(2026, 3, 31),
            "currency": "NZD",
            "amounts_are": "tax_inclusive",
            "lines": (line,),
            "total": Decimal("115.00"),
        }
        return InvoiceCreated(**{**fields, **changes})

    async def synced(self) -> InvoiceCreated:
        """A connected account with an invoice in Xero."""
        await self.connect()
        await self.tell_customer()
        invoice = self.invoice()
        await self.publish(invoice)
        await self.until(InvoiceSynced)
        return invoice

    def xero(self) -> XeroAdmin:
        """Somebody at work in its books."""
        return XeroAdmin(self.stack.urls["simulator"], self._organisation)

    def invoice_sync(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Pipeline's backend calls invoice-sync about the account."""
        token = self.stack.identities.service_token("pipeline-backend", "invoice-sync")
        reply = httpx.request(
            method,
            f"{self.stack.urls['invoice-sync']}/v1/accounts/{self.account_id}{path}",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        )
        reply.raise_for_status()
        return reply.json()


def changed(invoice: InvoiceCreated | InvoiceUpdated, **changes: Any) -> InvoiceUpdated:
    """The invoice's next version."""
    body = invoice.model_dump() | {"version": invoice.version + 1} | changes
    return InvoiceUpdated.model_validate(body)


async def connect(scene: Scene) -> None:
    """An account is connected to Xero."""
    await scene.connect()


async def sync(scene: Scene) -> None:
    """An invoice reaches Xero, is changed, and is voided."""
    invoice = await scene.synced()
    update = changed(invoice, reference="PO 4711")
    await scene.publish(update)
    await scene.until(InvoiceSynced, 2)
    voided = InvoiceVoided(
        account_id=invoice.account_id,
        invoice_id=invoice.invoice_id,
        version=update.version + 1,
        reason="Billed to the wrong customer",
    )
    await scene.publish(voided)
    await scene.until(InvoiceSynced, 3)


async def fail(scene: Scene) -> None:
    """An invoice whose total does not add up is refused, and put right."""
    await scene.connect()
    await scene.tell_customer()
    invoice = scene.invoice(total=Decimal("120.00"))
    await scene.publish(invoice)
    await scene.until(SyncFailed)
    await scene.publish(changed(invoice, total=Decimal("115.00")))
    await scene.until(InvoiceSynced)


async def map_customer(scene: Scene) -> None:
    """An invoice waits for its customer, who is linked to a contact that is in Xero already."""
    await scene.connect()
    await scene.publish(scene.invoice())
    await scene.until(SyncFailed)
    xero = scene.xero()
    made = xero.http.post(
        f"/tenants/{xero.tenant_id}/contacts", json={"Name": "Ridgeway University"}
    )
    xero.close()
    contact_id = str(made.raise_for_status().json()["contact_id"])
    customer_id = scene.customer().customer_id
    scene.invoice_sync("PUT", f"/contact-mappings/{customer_id}", {"contact_id": contact_id})
    await scene.until(ContactMapped)
    await scene.until(InvoiceSynced)


async def out_of_sync(scene: Scene) -> None:
    """An invoice is changed in Pipeline and in Xero; a person keeps Xero's version."""
    invoice = await scene.synced()
    xero = scene.xero()
    edit = xero.http.post(
        f"/tenants/{xero.tenant_id}/invoices/{invoice.invoice_number}",
        json={"Reference": "From Xero", "DueDate": "2026-04-30"},
    )
    xero.close()
    edit.raise_for_status()
    await scene.publish(changed(invoice, reference="From Pipeline", due_date=date(2026, 4, 15)))
    await scene.until(OutOfSync)
    path = f"/invoices/{invoice.invoice_id}/sync/resolve"
    shown = scene.invoice_sync("GET", path)
    scene.invoice_sync("POST", path, {"keep": "xero", "fingerprint": shown["fingerprint"]})
    await scene.until(SyncResumed)


async def pay(scene: Scene) -> None:
    """An invoice is paid in Xero, in two parts."""
    await scene.synced()
    await _paid(scene, Decimal("40.00"), 1)
    await _paid(scene, Decimal("75.00"), 2)


async def reverse(scene: Scene) -> None:
    """A payment is recorded in Xero and taken back there."""
    await scene.synced()
    payment_id = await _paid(scene, Decimal("115.00"), 1)
    xero = scene.xero()
    xero.take_back(payment_id)
    xero.close()
    await scene.until(PaymentReversed)


async def credit_note(scene: Scene) -> None:
    """A credit note of Xero pays a part of an invoice."""
    invoice = await scene.synced()
    xero = scene.xero()
    (row,) = [each for each in xero.invoices() if each.number == invoice.invoice_number]
    xero.credit(row.invoice_id, Decimal("15.00"))
    xero.close()
    await scene.until(PaymentRecorded)


async def disconnect(scene: Scene) -> None:
    """An account is disconnected; an invoice waits until it is connected again."""
    await scene.connect()
    await scene.disconnect()
    await scene.until(ConnectionStatusChanged, 2)
    await scene.tell_customer()
    await scene.publish(scene.invoice())
    await scene.until(SyncFailed)
    await scene.connect_again()
    await scene.until(InvoiceSynced)


async def _paid(scene: Scene, amount: Decimal, count: int) -> str:
    xero = scene.xero()
    (row,) = xero.invoices()
    payment_id = xero.pay(row.invoice_id, amount)
    xero.close()
    await scene.until(PaymentRecorded, count)
    return payment_id


SCENARIOS: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "connect": connect,
    "sync": sync,
    "fail": fail,
    "map": map_customer,
    "out-of-sync": out_of_sync,
    "pay": pay,
    "reverse": reverse,
    "credit-note": credit_note,
    "disconnect": disconnect,
}
