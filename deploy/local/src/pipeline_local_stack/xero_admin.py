"""What a person does in Xero's own screens, and what Xero's books hold: the simulator's admin API."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import httpx

from pipeline_local_stack.books import XeroInvoice, XeroPayment
from pipeline_local_stack.call_log import Call
from pipeline_local_stack.ledgers import Document, document_of, documents_of
from pipeline_local_stack.plain_http import NOBODY

ORGANISATION = "Demo Company (NZ)"


@dataclass(frozen=True, slots=True)
class ApiUse:
    """What one organisation's share of Xero's API was used for, by Xero's own log."""

    calls: int
    refused: int
    most_in_a_minute: int
    most_at_once: int


class XeroAdmin:
    """The simulator, seen by somebody who works in one organisation."""

    def __init__(self, url: str, organisation: str = ORGANISATION) -> None:
        """Given the simulator's base address and the organisation's name."""
        self.http = httpx.Client(base_url=f"{url}/admin", timeout=30, verify=NOBODY)
        self.tenant_id: str = next(
            row["tenant_id"] for row in self.organisations() if row["name"] == organisation
        )

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def organisations(self) -> list[dict[str, Any]]:
        """All organisations there are."""
        found: list[dict[str, Any]] = self._get("/organisations")
        return found

    def invoices(self) -> list[XeroInvoice]:
        """All invoices in the books."""
        return [
            XeroInvoice(
                row["document_id"],
                row["number"],
                row["status"],
                Decimal(row["total"]),
                Decimal(row["amount_paid"]),
            )
            for row in self.ledger()["invoices"]
        ]

    def payments(self) -> list[XeroPayment]:
        """All payments in the books."""
        return [
            XeroPayment(
                row["payment_id"], row["document_id"], Decimal(row["amount"]), row["status"]
            )
            for row in self.ledger()["payments"]
        ]

    def ledger(self) -> dict[str, Any]:
        """Everything in the books, as the simulator tells it."""
        books: dict[str, Any] = self._get(f"/tenants/{self.tenant_id}/ledger")
        return books

    def documents(self) -> list[Document]:
        """All sales invoices in the books, whole."""
        return documents_of(self.ledger(), self.tenant_id)

    def pay(self, invoice_id: str, amount: Decimal) -> str:
        """Record a payment in Xero; its PaymentID."""
        reply = self.http.post(
            f"/tenants/{self.tenant_id}/payments",
            json={"invoice": invoice_id, "amount": str(amount)},
        )
        reply.raise_for_status()
        return str(reply.json()["payment_id"])

    def take_back(self, payment_id: str) -> None:
        """Delete a payment in Xero."""
        self.http.delete(f"/tenants/{self.tenant_id}/payments/{payment_id}").raise_for_status()

    def credit(self, invoice_id: str, amount: Decimal) -> None:
        """Write a credit note in Xero and allocate it to an invoice."""
        self.http.post(
            f"/tenants/{self.tenant_id}/credits",
            json={"invoice": invoice_id, "kind": "credit_note", "amount": str(amount)},
        ).raise_for_status()

    def enter(self, number: str, customer: str, amount: Decimal) -> Document:
        """Enter an invoice by hand, as people do in Xero."""
        line = {
            "Description": "By hand",
            "Quantity": "1",
            "UnitAmount": str(amount),
            "AccountCode": "200",
        }
        reply = self.http.post(
            f"/tenants/{self.tenant_id}/invoices",
            json={
                "InvoiceNumber": number,
                "Contact": {"Name": customer},
                "LineAmountTypes": "NoTax",
                "LineItems": [line],
            },
        )
        return document_of(reply.raise_for_status().json(), self.tenant_id)

    def move_due_date(self, invoice_id: str, due_date: date) -> None:
        """Change an invoice by hand."""
        self.http.post(
            f"/tenants/{self.tenant_id}/invoices/{invoice_id}",
            json={"DueDate": due_date.isoformat()},
        ).raise_for_status()

    @contextlib.contextmanager
    def webhooks_lost(self) -> Iterator[None]:
        """Nothing that Xero tells meanwhile ever arrives."""
        self._lose(1.0)
        try:
            yield
        finally:
            self._lose(0.0)

    def _lose(self, share: float) -> None:
        self.http.patch("/webhooks", json={"drop_probability": share}).raise_for_status()

    def api_use(self) -> ApiUse:
        """How the API was used so far."""
        row = self._get("/calls/summary")["tenants"].get(self.tenant_id, {})
        return ApiUse(
            calls=row.get("calls", 0),
            refused=row.get("limited", 0),
            most_in_a_minute=row.get("max_per_minute", 0),
            most_at_once=row.get("max_in_flight", 0),
        )

    def calls(self, since: int = 0) -> list[Call]:
        """Every call of the Accounting API in the log, of all organisations, after the first `since` log entries.

        Their times are the machine's: Xero's clock may have been moved, and that of what calls it has not.
        """
        rows = self._get("/calls", since=since, path="/api.xro/", limit=1_000_000)["calls"]
        return [
            Call(
                row["tenant_id"],
                row["real_time"],
                row["seconds"],
                row["status"],
                row["limited"],
                row["method"],
                row["path"],
                is_scripted=row["fault"].startswith("rate_limit"),
                query=row["query"],
            )
            for row in rows
        ]

    def calls_so_far(self) -> int:
        """How many entries the log has had."""
        return int(self._get("/calls", limit=0)["count"])

    def _get(self, resource: str, /, **query: str | int) -> Any:
        reply = self.http.get(resource, params=query)
        reply.raise_for_status()
        return reply.json()
