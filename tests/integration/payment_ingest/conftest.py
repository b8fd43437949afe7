"""The real service on real Postgres and real sockets; beyond the gateway stands a small Xero of our own."""

import asyncio
import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from functools import partial
from urllib.parse import parse_qs, unquote

import asyncpg
import httpx
import pytest
from serving import serving

from payment_ingest.accept_delivery import DeliveryWriter
from payment_ingest.deps import Deps
from payment_ingest.domain.sweeping import SweepTimes
from payment_ingest.follow_connections import follow_connections
from payment_ingest.handlers.webhooks import WebhookGate
from payment_ingest.link_invoices import link_invoices
from payment_ingest.process_account import process_account
from payment_ingest.read_invoices import InvoiceReader
from payment_ingest.read_payments import PaymentReader
from payment_ingest.ring_doorbells import ring_doorbells
from payment_ingest.store import deliveries
from payment_ingest.store.deliveries import Delivery
from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.envelope import Envelope, decode
from pipeline_contracts.sync import InvoiceSynced
from pipeline_messaging import leases
from pipeline_messaging.outbox import unpack_headers
from pipeline_service_defaults.migrate import directories_of
from pipeline_xero.client import GatewayClient

KEY = b"webhook-key-of-the-tests"
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


@pytest.fixture
async def dsn(make_database) -> str:
    return await make_database(*directories_of("payment_ingest"))


@pytest.fixture
async def pool(dsn) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=10) as opened:
        yield opened


@asynccontextmanager
async def open_gate(dsn: str, *, connect=None, limits=None) -> AsyncIterator[str]:
    """The webhook endpoint as it runs in the service, on a socket of its own."""
    connect = connect or partial(asyncpg.connect, dsn, timeout=2)
    writer = DeliveryWriter(connect, on_stored=lambda: None, limits=limits)
    writing = asyncio.create_task(writer.run())

    async def nothing_else(scope, receive, send):
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    try:
        async with serving(WebhookGate(nothing_else, (KEY, OTHER_KEY), writer.accept)) as url:
            yield url + "/webhooks/xero"
    finally:
        writer.stop()
        await writing


@pytest.fixture
async def endpoint(dsn) -> AsyncIterator[str]:
    async with open_gate(dsn) as url:
        yield url


# Test modules are imported by path and cannot import this one, so what they call comes as fixtures.


@pytest.fixture
def gate_on():
    return open_gate


@pytest.fixture
def serve():
    return serving


@pytest.fixture
def new_service():
    return make_service


@pytest.fixture
def webhook_of():
    return webhook


@pytest.fixture(name="signed")
def signed_fixture():
    return signed


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
        yield client


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
        status, headers, body = await self._answer(scope)
        headers = {"date": format_datetime(self.now, usegmt=True), **headers}
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


@dataclass
class Service:
    """payment-ingest without its loops: each step is called by the test, in any order it likes."""

    pool: asyncpg.Pool
    xero: SmallXero
    deps: Deps
    account_id: str = field(default_factory=lambda: f"acc-{uuid.uuid4().hex[:8]}")
    sequence: int = 0
    versions: int = 0

    async def connect(
        self,
        status="CONNECTED",
        *,
        since=datetime(2026, 11, 22, 9, tzinfo=UTC),
        reason="TEST",
    ) -> None:
        event = self.connected(status, since=since, reason=reason)
        async with self.pool.acquire() as conn, conn.transaction():
            await follow_connections(conn, [_envelope(event)])

    def connected(
        self,
        status="CONNECTED",
        *,
        since=datetime(2026, 11, 22, 9, tzinfo=UTC),
        reason="TEST",
    ) -> ConnectionStatusChanged:
        self.sequence += 1
        return ConnectionStatusChanged(
            account_id=self.account_id,
            status=status,
            reason=reason,
            since=since,
            message="m",
            hint="",
            can_refresh=False,
            tenant_id=self.xero.tenant_id.upper(),
            sequence=self.sequence,
        )

    async def link(self, xero_invoice_id: str, invoice_id: str, **more) -> None:
        event = self.synced(xero_invoice_id, invoice_id, **more)
        async with self.pool.acquire() as conn, conn.transaction():
            await link_invoices(conn, [_envelope(event)], self.deps.clock)

    def synced(self, xero_invoice_id: str, invoice_id: str, **more) -> InvoiceSynced:
        self.versions += 1
        return InvoiceSynced(
            account_id=more.get("account_id", self.account_id),
            invoice_id=invoice_id,
            version=self.versions,
            sequence=self.versions,
            tenant_id=self.xero.tenant_id,
            xero_invoice_id=xero_invoice_id,
            invoice_number="INV-1",
            xero_status="AUTHORISED",
            total=Decimal("100.00"),
            currency="NZD",
            deep_link="https://go.xero.com/x",
            xero_created_at=more.get("created_at"),
        )

    async def store(self, *bodies: bytes) -> None:
        """Store deliveries as the endpoint does."""
        async with self.pool.acquire() as conn:
            await deliveries.keep(
                conn, [Delivery(hashlib.sha256(body).digest(), body, 0) for body in bodies]
            )

    async def hear(self, *bodies: bytes) -> None:
        """Store deliveries, and ring."""
        await self.store(*bodies)
        async with self.pool.acquire() as conn:
            while await ring_doorbells(conn):
                pass

    async def ring(self, *xero_invoice_ids: str, **more) -> None:
        await self.hear(webhook(*((self.xero.tenant_id, one) for one in xero_invoice_ids), **more))

    async def turn(self):
        """One turn of the account worker; returns when it wants to come back."""
        async with self.pool.acquire() as conn:
            await leases.mark_due(conn, [self.account_id])
            claims = await leases.claim(conn, limit=100, seconds=60)
        (claim,) = [one for one in claims if one.lease.account_id == self.account_id]
        try:
            return await process_account(self.deps, claim.lease)
        finally:
            async with self.pool.acquire() as conn:
                for one in claims:
                    await leases.give_back(conn, one.lease)

    async def sweep(self, kind="recent") -> None:
        """A whole sweep, turn by turn."""
        await self.pool.execute(
            "UPDATE tenant_sweeps SET next_at = now() WHERE tenant_id = $1 AND kind = $2",
            self.xero.tenant_id,
            kind,
        )
        while await self.sweep_is_due(kind):
            await self.turn()

    async def sweep_is_due(self, kind="recent") -> bool:
        return await self.pool.fetchval(
            "SELECT next_at <= now() FROM tenant_sweeps WHERE tenant_id = $1 AND kind = $2",
            self.xero.tenant_id,
            kind,
        )

    async def told(self, *types: str) -> list[Envelope]:
        """What the outbox holds, in order."""
        rows = await self.pool.fetch("SELECT topic, key, value, headers FROM outbox ORDER BY id")
        envelopes = [
            decode(key=row["key"], value=row["value"], headers=unpack_headers(row["headers"]))
            for row in rows
        ]
        wanted = types or ("pipeline.payment.recorded.v1", "pipeline.payment.reversed.v1")
        return [one for one in envelopes if one.type in wanted]

    async def payments_sum(self) -> Decimal:
        sign = {"pipeline.payment.recorded.v1": 1, "pipeline.payment.reversed.v1": -1}
        return sum((sign[one.type] * one.event.amount for one in await self.told()), Decimal(0))

    async def doorbells(self) -> int:
        return await self.pool.fetchval("SELECT count(*) FROM doorbells")


def _envelope(event) -> Envelope:
    return Envelope(
        id=uuid.uuid4().hex,
        source="test",
        type=event.TYPE,
        subject=event.subject,
        time=datetime.now(UTC),
        traceparent=None,
        event=event,
    )


def make_service(pool, xero, client, url="http://gateway.test") -> Service:
    def clock():
        return datetime.now(UTC)

    gateway = GatewayClient(client, url, lambda: "token")
    times = SweepTimes(timedelta(minutes=15), timedelta(minutes=10), timedelta(minutes=1))
    deps = Deps(
        pool,
        InvoiceReader(gateway, clock),
        PaymentReader(gateway, clock),
        times,
        clock,
        on_told=lambda: None,
    )
    return Service(pool, xero, deps)


@pytest.fixture
async def service(pool) -> AsyncIterator[Service]:
    """A connected account whose first sweep is done."""
    xero = SmallXero()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=xero)) as client:
        made = make_service(pool, xero, client)
        await made.connect()
        await made.sweep()
        await made.sweep("deep")
        xero.calls.clear()
        yield made
