"""The real service on real Postgres and real sockets; each step is called by the test."""

import asyncio
import hashlib
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

import asyncpg
import httpx
import pytest
from serving import serving
from small_xero import KEY, OTHER_KEY, SmallXero, signed, webhook

from payment_ingest.accept_delivery import DeliveryWriter
from payment_ingest.deps import Deps
from payment_ingest.domain.sweeping import SweepTimes
from payment_ingest.follow_connections import follow_connections
from payment_ingest.handlers.webhooks import WebhookGate
from payment_ingest.link_invoices import link_invoices
from payment_ingest.process_account import process_account
from payment_ingest.read_documents import DocumentReader
from payment_ingest.read_invoices import InvoiceReader
from payment_ingest.read_payments import PaymentReader
from payment_ingest.ring_doorbells import ring_doorbells
from payment_ingest.store import deliveries
from payment_ingest.store.deliveries import Delivery
from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.envelope import Envelope, decode
from pipeline_contracts.sync import InvoiceSynced
from pipeline_local_stack.kafka import Broker, create_topics, start_kafka
from pipeline_messaging import leases
from pipeline_messaging.outbox import unpack_headers
from pipeline_service_defaults.keys import new_private_key, public_jwk
from pipeline_service_defaults.migrate import directories_of
from pipeline_xero.client import GatewayClient


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


@pytest.fixture(scope="session")
def identities(tmp_path_factory):
    """Keys of people and services as the issuers file lists them."""
    folder = tmp_path_factory.mktemp("identities")
    person, own, backend = new_private_key(), new_private_key(), new_private_key()
    (folder / "issuers.json").write_text(
        json.dumps(
            {
                "pipeline": {"kind": "person", "keys": [public_jwk(person)]},
                "pipeline-backend": {"kind": "service", "keys": [public_jwk(backend)]},
                "invoice-sync": {"kind": "service", "keys": [public_jwk(backend)]},
            }
        )
    )
    (folder / "own.pem").write_text(own)
    return folder, person, backend


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
            tenant_name="Books of the tests" if status == "CONNECTED" else None,
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

    async def documents(self) -> int:
        return await self.pool.fetchval("SELECT count(*) FROM document_doorbells")

    async def next_sweep(self) -> datetime:
        return await self.pool.fetchval(
            "SELECT next_at FROM tenant_sweeps WHERE tenant_id = $1 AND kind = 'recent'",
            self.xero.tenant_id,
        )

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
        documents=DocumentReader(gateway),
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


@pytest.fixture(scope="session")
async def own_kafka(tmp_path_factory) -> AsyncIterator[Broker]:
    """A broker with all topics that tests may stop: nobody else's work is on it."""
    broker = start_kafka("kafka-of-payments", tmp_path_factory.mktemp("kafka"))
    broker.wait_until_ready()
    await create_topics(broker.bootstrap_servers)
    yield broker
    broker.stop()
