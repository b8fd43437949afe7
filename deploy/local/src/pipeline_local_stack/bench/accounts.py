"""Accounts of the bench beside the demo's: each with an organisation of its own, and customers that are mapped."""

import asyncio
from dataclasses import dataclass

from pipeline_contracts import topics
from pipeline_contracts.invoice import InvoiceCreated
from pipeline_contracts.sync import ContactMapped
from pipeline_local_stack.bench.surroundings import Surroundings
from pipeline_local_stack.bench.workload import publish_all
from pipeline_local_stack.connect import connect_account
from pipeline_local_stack.xero_admin import XeroAdmin

_CUSTOMERS = 5


@dataclass(frozen=True, slots=True)
class BenchAccount:
    """A connected account, and the hand in its organisation's books."""

    account_id: str
    tenant_id: str
    xero: XeroAdmin
    customer_ids: tuple[str, ...]

    def own(self, invoices: list[InvoiceCreated]) -> list[InvoiceCreated]:
        """These invoices as this account's, to its customers in turn."""
        return [
            invoice.model_copy(
                update={
                    "account_id": self.account_id,
                    "customer_id": self.customer_ids[place % len(self.customer_ids)],
                }
            )
            for place, invoice in enumerate(invoices)
        ]


async def connect_accounts(around: Surroundings, prefix: str, count: int) -> list[BenchAccount]:
    """Connect new accounts, and have their customers' contacts made; their books are checked in the end.

    Raises:
        StackError: one is not connected, or has no contacts.
    """
    made, customers = [], []
    for number in range(1, count + 1):
        account_id, name = f"{prefix}-{number}", f"{prefix.capitalize()} {number}"
        tenant_id = await asyncio.to_thread(
            connect_account, around.stack, account_id, f"{account_id}@example.com", name
        )
        own = [
            customer.model_copy(
                update={
                    "account_id": account_id,
                    "customer_id": f"{account_id}-{customer.customer_id}",
                }
            )
            for customer in around.workload.customers[:_CUSTOMERS]
        ]
        customers += own
        xero = XeroAdmin(around.stack.urls["simulator"], name)
        ids = tuple(customer.customer_id for customer in own)
        made.append(BenchAccount(account_id, tenant_id, xero, ids))
        around.books.append(xero)
    await publish_all(around.producer, customers)
    ids_of_all = {customer.customer_id for customer in customers}
    await around.wait_for(topics.SYNC.name, ContactMapped, ids_of_all)
    return made
