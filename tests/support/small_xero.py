"""A small Xero behind the gateway, for tests that want to script each answer; and webhooks as Xero signs them."""

import base64
import hashlib
import hmac
import json
import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from urllib.parse import parse_qs, unquote

KEY = b"webhook-key-of-the-tests"
_DOCUMENT = re.compile(r"/(CreditNote|Prepayment|Overpayment|Payment)s/([0-9a-f-]{36})$")
OTHER_KEY = b"the-next-webhook-key"


def signed(body: bytes, key: bytes = KEY) -> dict[str, str]:
    digest = hmac.new(key, body, hashlib.sha256).digest()
    return {"x-xero-signature": base64.b64encode(digest).decode()}


def webhook(
    *rings: tuple[str, str],
    category: str = "INVOICE",
    sequence: int = 1,
    kind: str = "UPDATE",
    at: datetime = datetime(2026, 11, 22, 1, 15, 39, 902000, UTC),
) -> bytes:
    """A body as Xero sends it: (tenant, resource) each."""
    events = [
        {
            "resourceUrl": f"https://api.xero.com/api.xro/2.0/Invoices/{resource}",
            "resourceId": resource,
            "eventDateUtc": at.replace(tzinfo=None).isoformat(timespec="milliseconds"),
            "eventType": kind,
            "eventCategory": category,
            "tenantId": tenant,
            "tenantType": "ORGANISATION",
        }
        for tenant, resource in rings
    ]
    return json.dumps(
        {
            "events": events,
            "firstEventSequence": sequence,
            "lastEventSequence": sequence + max(len(events) - 1, 0),
            "entropy": uuid.uuid4().hex,
        }
    ).encode()


@dataclass
class SmallXero:
    """What the gateway shows of one organisation, with Xero's forms and a few faults."""

    tenant_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    now: datetime = datetime(2026, 11, 22, 10, tzinfo=UTC)
    invoices: dict[str, dict] = field(default_factory=dict)
    calls: list[dict[str, list[str]]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    """Scripted answers, used up before real ones."""
    headers: dict[str, str] = field(default_factory=dict)
    refused_ids: set[str] = field(default_factory=set)
    before_answer: object = None
    without_pagination: bool = False
    documents: set[str] = field(default_factory=set)
    """Payments and credits that were ever made."""

    def add(self, total="100.00", **more) -> str:
        invoice_id = str(uuid.uuid4())
        self.invoices[invoice_id] = {
            "Type": "ACCREC",
            "InvoiceID": invoice_id,
            "InvoiceNumber": f"INV-{len(self.invoices) + 1}",
            "Reference": "",
            "Status": "AUTHORISED",
            "Contact": {"ContactID": str(uuid.uuid4()), "Name": "Ridgeway University"},
            "DateString": "2026-11-01T00:00:00",
            "DueDateString": "2026-11-30T00:00:00",
            "LineAmountTypes": "Exclusive",
            "CurrencyCode": "NZD",
            "LineItems": [
                {
                    "LineItemID": str(uuid.uuid4()),
                    "Description": "Work",
                    "Quantity": 1,
                    "UnitAmount": total,
                }
            ],
            "Total": Decimal(total),
            "Payments": [],
            "CreditNotes": [],
            "Prepayments": [],
            "Overpayments": [],
            **more,
        }
        self._touch(invoice_id)
        return invoice_id

    def pay(self, invoice_id: str, amount: str, reference="ref") -> str:
        payment_id = str(uuid.uuid4())
        self.documents.add(payment_id)
        self.invoices[invoice_id]["Payments"].append(
            {
                "PaymentID": payment_id,
                "Date": "/Date(1795305600000+0000)/",
                "Amount": Decimal(amount),
                "Reference": reference,
                "CurrencyRate": 1,
            }
        )
        self._touch(invoice_id)
        return payment_id

    def unpay(self, invoice_id: str, payment_id: str) -> None:
        invoice = self.invoices[invoice_id]
        invoice["Payments"] = [one for one in invoice["Payments"] if one["PaymentID"] != payment_id]
        self._touch(invoice_id)

    def allocate(self, invoice_id: str, amount: str, kind="CreditNote") -> str:
        document_id = str(uuid.uuid4())
        self.documents.add(document_id)
        self.invoices[invoice_id][f"{kind}s"].append(
            {
                f"{kind}ID": document_id,
                "AppliedAmount": Decimal(amount),
                "DateString": "2026-11-20T00:00:00",
            }
        )
        self._touch(invoice_id)
        return document_id

    def _touch(self, invoice_id: str) -> None:
        self.now += timedelta(seconds=1)
        invoice = self.invoices[invoice_id]
        paid = sum((one["Amount"] for one in invoice["Payments"]), Decimal(0))
        lists = ("CreditNotes", "Prepayments", "Overpayments")
        credited = sum(
            (one["AppliedAmount"] for name in lists for one in invoice[name]), Decimal(0)
        )
        invoice["AmountPaid"], invoice["AmountCredited"] = paid, credited
        invoice["AmountDue"] = invoice["Total"] - paid - credited
        invoice["Status"] = "AUTHORISED" if invoice["AmountDue"] else "PAID"
        invoice["UpdatedDateUTC"] = f"/Date({int(self.now.timestamp() * 1000)}+0000)/"
        invoice["_updated"] = self.now

    async def __call__(self, scope, receive, send) -> None:
        date = format_datetime(self.now, usegmt=True)
        status, headers, body = await self._answer(scope)
        headers = {"date": date, **headers}
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            }
        )
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope):
        query = parse_qs(unquote(scope["query_string"].decode()).replace("+", " "))
        self.calls.append(query)
        if self.answers:
            return self.answers.pop(0)
        asked = {name.decode(): value.decode() for name, value in scope["headers"]}
        if asked.get("x-expected-tenant") != self.tenant_id:
            return 409, {"x-gateway-error": "TENANT_CHANGED"}, b'{"code":"TENANT_CHANGED"}'
        if document := _DOCUMENT.search(scope["path"]):
            return self._document(*document.groups())
        if scope["path"].endswith("/Payments"):
            found, paging = self._paged(self._payments(), query)
            answer = {"Status": "OK", "pagination": paging, "Payments": found}
            body = json.dumps(answer, default=float)
            return 200, {"content-type": "application/json"}, body.encode()
        found, paging = self._paged(self._select(query, asked), query)
        if self.refused_ids & {one["InvoiceID"] for one in found}:
            return 400, {"content-type": "application/json"}, b'{"ErrorNumber":16,"Message":"odd"}'
        body = self._render(found, paging)
        if self.before_answer is not None:
            await self.before_answer()
        return 200, {"content-type": "application/json", **self.headers}, body

    def _document(self, kind: str, document_id: str):
        """A credit document with what it is applied to, or a payment."""
        if document_id not in self.documents:
            return 404, {"content-type": "text/html"}, b"not found"
        if kind == "Payment":
            found = next((one for one in self._payments() if one["PaymentID"] == document_id), None)
            found = found or {"PaymentID": document_id, "Status": "DELETED", "Amount": 1}
        else:
            applied = [
                {"Amount": one["AppliedAmount"], "Invoice": {"InvoiceID": invoice_id}}
                for invoice_id, invoice in self.invoices.items()
                for one in invoice[f"{kind}s"]
                if one[f"{kind}ID"] == document_id
            ]
            found = {f"{kind}ID": document_id, "Allocations": applied}
        body = json.dumps({"Status": "OK", f"{kind}s": [found]}, default=float)
        return 200, {"content-type": "application/json"}, body.encode()

    def _payments(self) -> list[dict]:
        """Every payment, whatever was asked for: the sweep must not mind too many."""
        return [
            payment | {"Invoice": {"InvoiceID": invoice_id}, "Status": "AUTHORISED"}
            for invoice_id, invoice in self.invoices.items()
            for payment in invoice["Payments"]
        ]

    def _select(self, query, asked) -> list[dict]:
        found = sorted(self.invoices.values(), key=lambda one: one["InvoiceID"])
        if "IDs" in query:
            wanted = set(query["IDs"][0].split(","))
            found = [one for one in found if one["InvoiceID"] in wanted]
        if since := asked.get("if-modified-since"):
            moment = datetime.fromisoformat(since).replace(tzinfo=UTC)
            found = [one for one in found if one["_updated"] >= moment]
        return found

    @staticmethod
    def _paged(found, query) -> tuple[list[dict], dict]:
        size, page = int(query["pageSize"][0]), int(query["page"][0])
        paging = {
            "page": page,
            "pageSize": size,
            "pageCount": -(-len(found) // size),
            "itemCount": len(found),
        }
        return found[(page - 1) * size : page * size], paging

    def _render(self, found, paging) -> bytes:
        shown = [{name: one[name] for name in one if name != "_updated"} for one in found]
        answer = {"Status": "OK", "pagination": paging, "Invoices": shown}
        if self.without_pagination:
            del answer["pagination"]
        return json.dumps(answer, default=float).encode()
