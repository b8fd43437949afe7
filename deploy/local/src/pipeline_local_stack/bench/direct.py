"""Xero's API called directly, with a token of its own: what the baselines use instead of this system."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from pipeline_contracts.customer import CustomerCreated
from pipeline_contracts.invoice import Invoice
from pipeline_local_stack.paths import StackError
from pipeline_local_stack.stack import Stack
from pipeline_local_stack.xero_admin import XeroAdmin

ORGANISATION, _USER = "Kiwi Records Ltd", "single@example.com"
"""Not the organisation of the demo account: the baselines must not find each other's invoices."""
_REDIRECT_URI = "http://localhost:9/never-visited"
_SCOPES = "openid offline_access accounting.invoices accounting.contacts accounting.settings"
_FOUND = 302


@dataclass(frozen=True, slots=True)
class DirectXero:
    """An authorised client of one organisation, without a gateway in between."""

    http: httpx.AsyncClient
    tenant_id: str
    token: str

    async def get(self, path: str) -> httpx.Response:
        """GET a path of the Accounting API."""
        return await self._call("GET", path, b"")

    async def put(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        """PUT a JSON body, every element reported by itself."""
        return await self.put_bytes(path, to_json(body))

    async def put_bytes(self, path: str, body: bytes) -> httpx.Response:
        """PUT a body as it is, every element reported by itself."""
        return await self._call("PUT", f"{path}?summarizeErrors=false&unitdp=4", body)

    async def create_contacts(self, customers: Sequence[CustomerCreated]) -> dict[str, str]:
        """Create a contact for each customer; ContactID by customer id."""
        rows = [
            {"Name": customer.name, "ContactNumber": customer.customer_id} for customer in customers
        ]
        reply = await self.put("Contacts", {"Contacts": rows})
        return {row["ContactNumber"]: row["ContactID"] for row in reply.json()["Contacts"]}

    async def create_invoices(
        self, invoices: Sequence[Invoice], contacts: Mapping[str, str]
    ) -> list[str]:
        """Create these invoices in one call; their InvoiceIDs.

        Raises:
            StackError: Xero refused one of them.
        """
        rows = [as_xero(invoice, contacts[invoice.customer_id]) for invoice in invoices]
        reply = await self.put("Invoices", {"Invoices": rows})
        created = reply.json()["Invoices"]
        if refused := [row for row in created if row.get("HasErrors")]:
            raise StackError(f"A baseline's invoice was refused: {json.dumps(refused[0])[:600]}")
        return [row["InvoiceID"] for row in created]

    async def _call(self, method: str, path: str, body: bytes) -> httpx.Response:
        reply = await self.http.request(
            method, f"/api.xro/2.0/{path}", content=body,
            headers={
                "Authorization": f"Bearer {self.token}", "xero-tenant-id": self.tenant_id,
                "Accept": "application/json", "Content-Type": "application/json",
            },
        )  # fmt: skip
        reply.raise_for_status()
        return reply


def as_xero(invoice: Invoice, contact_id: str) -> dict[str, Any]:
    """An invoice as Xero's API takes it, in the few fields that the bench's invoices have."""
    return {
        "Type": "ACCREC", "Status": "AUTHORISED", "Contact": {"ContactID": contact_id},
        "InvoiceNumber": invoice.invoice_number, "Reference": invoice.reference,
        "Date": invoice.issue_date.isoformat(), "DueDate": invoice.due_date.isoformat(),
        "CurrencyCode": invoice.currency, "LineAmountTypes": "Inclusive",
        "LineItems": [
            {
                "Description": line.description, "Quantity": line.quantity,
                "UnitAmount": line.unit_amount, "AccountCode": line.account_code,
            }
            for line in invoice.lines
        ],
    }  # fmt: skip


def to_json(body: Mapping[str, Any]) -> bytes:
    """JSON with amounts as numbers; at these sizes a double carries every cent."""
    return json.dumps(body, default=_number).encode()


def _number(value: object) -> float:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


async def connect_directly(
    stack: Stack, http: httpx.AsyncClient, organisation: str = ORGANISATION, user: str = _USER
) -> DirectXero:
    """Obtain a token by Xero's own OAuth flow; the simulator answers its consent page by itself, once.

    Raises:
        StackError: the flow ended without a token.
    """
    url, environment = stack.urls["simulator"], stack.children["simulator"].env
    admin = XeroAdmin(url, organisation)
    admin.http.post("/redirect-uris", params={"uri": _REDIRECT_URI}).raise_for_status()
    admin.http.put("/consent", json={"user": user, "times": 1}).raise_for_status()
    query = {
        "response_type": "code", "client_id": environment["SIM_CLIENT_ID"], "scope": _SCOPES,
        "redirect_uri": _REDIRECT_URI, "state": secrets.token_urlsafe(16),
    }  # fmt: skip
    page = await http.get(f"/identity/connect/authorize?{urlencode(query)}", follow_redirects=False)
    codes = parse_qs(urlsplit(page.headers.get("location", "")).query).get("code")
    if page.status_code != _FOUND or not codes:
        raise StackError(f"Xero's simulator gave no code: {page.status_code} {page.text[-600:]}")
    reply = await http.post(
        "/connect/token",
        data={"grant_type": "authorization_code", "code": codes[0], "redirect_uri": _REDIRECT_URI},
        auth=(environment["SIM_CLIENT_ID"], environment["SIM_CLIENT_SECRET"]),
    )
    if reply.is_error:
        raise StackError(f"Xero's simulator gave no token: {reply.status_code} {reply.text[-600:]}")
    return DirectXero(http, admin.tenant_id, reply.json()["access_token"])
