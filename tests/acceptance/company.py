"""One company that uses Pipeline and Xero: what it and its services can do, and what they can see."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
from acceptance_support import healthy_invoice

from pipeline_contracts.customer import CustomerCreated
from pipeline_contracts.event import Event
from pipeline_contracts.invoice import Invoice, InvoiceCreated, InvoiceUpdated, InvoiceVoided
from pipeline_contracts.producer import EventPublisher
from pipeline_contracts.sync import SyncEvent
from pipeline_contracts.topics import SYNC
from pipeline_local_stack.connect import (
    connect_account,
    connect_as,
    connection_of,
    disconnect_account,
)
from pipeline_local_stack.stack import Stack
from pipeline_local_stack.watcher import Watcher
from pipeline_local_stack.xero_admin import XeroAdmin

PATIENCE_SECONDS = 90
_LOOK_SECONDS = 0.05


class Company:
    """An account of Pipeline, connected to an organisation of its own."""

    def __init__(self, stack: Stack, seen: Watcher, name: str) -> None:
        self.stack, self.seen, self.account_id = stack, seen, name
        self.email = f"{name}@example.com"
        connect_account(stack, name, self.email, f"{name} Ltd")
        self.xero = XeroAdmin(stack.urls["simulator"], f"{name} Ltd")
        self.service = httpx.Client(
            base_url=f"{stack.urls['invoice-sync']}/v1/accounts/{name}",
            auth=self._signed,
            timeout=30,
        )

    def close(self) -> None:
        self.xero.close()
        self.service.close()

    def _signed(self, request: httpx.Request) -> httpx.Request:
        """Anew each time: a service's token lives for minutes, and a long campaign for longer."""
        token = self.stack.identities.service_token("pipeline-backend", "invoice-sync")
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    # In Pipeline.

    def customer(self, name: str) -> CustomerCreated:
        return CustomerCreated(
            account_id=self.account_id,
            customer_id=f"{self.account_id}-{name}",
            version=1,
            name=f"{name.title()} of {self.account_id}",
            email=f"{name}@{self.account_id}.example.com",
        )

    def invoice(self, name: str, customer: str = "buyer", **changes: object) -> InvoiceCreated:
        return healthy_invoice(
            f"{self.account_id}-{name}",
            account_id=self.account_id,
            customer_id=f"{self.account_id}-{customer}",
            **changes,
        )

    async def publish(self, *events: Event) -> None:
        """As other services of Pipeline do."""
        servers = self.stack.broker.bootstrap_servers
        async with EventPublisher(servers, source="billing") as publisher:
            for event in events:
                await publisher.publish(event)

    async def know(self, name: str = "buyer") -> None:
        """Pipeline announces a customer, and it is linked to a contact."""
        customer = self.customer(name)
        await self.publish(customer)
        mapping = f"/contact-mappings/{customer.customer_id}"
        await self.wait_for(
            lambda: self.service.get(mapping).is_success, lambda: f"the contact of {name}"
        )

    async def issue(self, name: str, **changes: object) -> InvoiceCreated:
        """An invoice of a known customer, and in Xero."""
        invoice = self.invoice(name, **changes)
        await self.know()
        await self.publish(invoice)
        await self.until(invoice, "synced")
        return invoice

    def connection(self) -> dict[str, Any]:
        return connection_of(self.stack, self.account_id)

    async def disconnect(self) -> None:
        await asyncio.to_thread(disconnect_account, self.stack, self.account_id)

    async def connect(self) -> None:
        await asyncio.to_thread(connect_as, self.stack, self.account_id, self.email)

    # What can be asked.

    def sync(self, invoice: Invoice) -> dict[str, Any]:
        """Why is this invoice not in Xero? Empty before anything was heard of it."""
        reply = self.service.get(f"/invoices/{invoice.invoice_id}/sync")
        return {} if reply.status_code == httpx.codes.NOT_FOUND else reply.raise_for_status().json()

    async def until(
        self, invoice: Invoice, state: str, version: int | None = None
    ) -> dict[str, Any]:
        """The answer, once the invoice is in this state (and of this version, where one is named)."""

        def is_there() -> dict[str, Any] | None:
            found = self.sync(invoice)
            wanted = version in {None, found.get("version")}
            return found if found.get("state") == state and wanted else None

        return await self.wait_for(is_there, lambda: f"{state}: {self.sync(invoice)}")

    async def wait_for(self, condition: Callable[[], Any], what: Callable[[], str]) -> Any:
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while not (found := await asyncio.to_thread(condition)):
            assert asyncio.get_running_loop().time() < deadline, f"never came: {what()}"
            await asyncio.sleep(_LOOK_SECONDS)
        return found

    def told(self, invoice: Invoice, kind: type[SyncEvent] = SyncEvent) -> list[Any]:
        """The events of this kind about the invoice, each once."""
        envelopes = self.seen.envelopes[SYNC.name]
        return list(
            {
                each.id: each.event
                for each in envelopes
                if isinstance(each.event, kind) and each.subject == invoice.invoice_id
            }.values()
        )

    async def until_told(self, invoice: Invoice, kind: type[SyncEvent], count: int = 1) -> Any:
        """The last of so many events of this kind about the invoice, once they were read."""
        found = await self.wait_for(
            lambda: len(self.told(invoice, kind)) >= count and self.told(invoice, kind),
            lambda: f"{count} {kind.__name__}, only {self.told(invoice)}",
        )
        return found[-1]

    # In Xero.

    def in_xero(self, invoice: Invoice) -> list[dict[str, Any]]:
        """What counts in Xero's books under the invoice's number."""
        return [
            row
            for row in self.xero.ledger()["invoices"]
            if row["number"] == invoice.invoice_number
            and row["status"] not in {"VOIDED", "DELETED"}
        ]

    def edit_in_xero(self, invoice: Invoice, **fields: object) -> None:
        """What a person changes on the invoice's page in Xero."""
        self._do(f"/invoices/{invoice.invoice_number}", fields)

    def make_contact(self, **fields: object) -> str:
        """A person makes a contact in Xero; its ContactID."""
        return str(self._do("/contacts", fields)["contact_id"])

    def edit_contact(self, contact_id: str, **fields: object) -> None:
        """What a person changes on a contact's page in Xero."""
        self._do(f"/contacts/{contact_id}", fields)

    def contacts(self) -> dict[str, dict[str, Any]]:
        """The contacts in Xero by the number that Pipeline gave them."""
        return {row["number"]: row for row in self.xero.ledger()["contacts"] if row["number"]}

    def _do(self, path: str, body: dict[str, object]) -> dict[str, Any]:
        reply = self.xero.http.post(f"/tenants/{self.xero.tenant_id}{path}", json=body)
        assert reply.is_success, reply.text
        found: dict[str, Any] = reply.json()
        return found


def changed(invoice: Invoice, **changes: object) -> InvoiceUpdated:
    """The invoice's next version."""
    body = invoice.model_dump() | {"version": invoice.version + 1} | changes
    return InvoiceUpdated.model_validate(body)


def cancelled(invoice: Invoice) -> InvoiceVoided:
    """The invoice's cancellation."""
    return InvoiceVoided(
        account_id=invoice.account_id,
        invoice_id=invoice.invoice_id,
        version=invoice.version + 1,
    )
