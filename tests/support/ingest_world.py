"""Replicas of payment-ingest behind one address, between a bookkeeper's Xero and a real broker; and the judge of it all.

Whatever a test does to the processes, the bookkeeper goes on, Xero's webhooks come and come again, and somebody forges
some. Once all is at rest, three ledgers are compared: what Xero was answered, its books, and the topics.
"""

import asyncio
import base64
import hashlib
import hmac
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

import asyncpg
import httpx
from aiokafka import AIOKafkaProducer
from bookkeeping import ThinGateway, Xero, simulated
from ingest_processes import environment_of, running_ingest
from service_processes import until
from serving import serving
from small_xero import KEY, webhook

from payment_ingest.follow_connections import follow_connections
from payment_ingest.link_invoices import link_invoices
from payment_ingest.store import sweeps
from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.envelope import Envelope, Record, decode, encode
from pipeline_contracts.sync import InvoiceSynced
from pipeline_contracts.topics import CONNECTIONS, PAYMENTS, SYNC
from pipeline_local_stack.invariants import violations
from pipeline_local_stack.ledgers import Ledgers, Webhook, documents_of, only, settlements_of
from pipeline_local_stack.read_ledgers import read_topics

PATH = "/webhooks/xero"
XERO_WAITS = 5.0
"""Seconds until Xero gives a webhook up (its page on configuring your server)."""


class Front:
    """One address for all replicas, as a load balancer has; it notes what each post was answered and when."""

    def __init__(self) -> None:
        self.replicas: list[str] = []
        self.posts: list[Webhook] = []
        self.seconds: list[float] = []
        self._http = httpx.AsyncClient(timeout=2 * XERO_WAITS, trust_env=False)
        self._turn = 0

    async def __call__(self, scope, receive, send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        status = await self.post(body, dict(scope["headers"]).get(b"x-xero-signature", b""))
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def post(self, body: bytes, signature: bytes) -> int:
        """To the next replica; 502 when there is none, or it dies over it."""
        started = time.monotonic()
        try:
            self._turn += 1
            replica = self.replicas[self._turn % len(self.replicas)]
            headers = {"x-xero-signature": signature}
            answer = await self._http.post(replica + PATH, content=body, headers=headers)
            status = answer.status_code
        except (httpx.TransportError, ZeroDivisionError):
            status = 502
        self.seconds.append(time.monotonic() - started)
        is_genuine = hmac.compare_digest(signature, signature_of(body))
        self.posts.append(
            Webhook(hashlib.sha256(body).hexdigest(), is_genuine, b'"eventDateUtc"' in body, status)
        )
        return status

    async def close(self) -> None:
        await self._http.aclose()


def signature_of(body: bytes, key: bytes = KEY) -> bytes:
    return base64.b64encode(hmac.new(key, body, hashlib.sha256).digest())


@dataclass
class IngestWorld:
    """One account, connected, with some invoices in Xero; the invoices' links and the connection are in the topics."""

    pool: asyncpg.Pool
    xero: Xero
    front: Front
    kafka: str
    environment: Callable[..., dict[str, str]]
    account_id: str = field(default_factory=lambda: f"acc-{secrets.token_hex(4)}")
    invoices: list[str] = field(default_factory=list)
    made_at: dict[str, float] = field(default_factory=dict)
    """When each payment or credit note was made, by its id in Xero, on the clock of the machine."""
    payments: list[str] = field(default_factory=list)
    allocations: list[str] = field(default_factory=list)

    async def begin(self, invoices: int) -> None:
        """Connect, and make invoices in Xero that are linked already."""
        connected = ConnectionStatusChanged(
            account_id=self.account_id,
            status="CONNECTED",
            reason="TEST",
            since=datetime.now(UTC) - timedelta(hours=1),
            message="m",
            hint="",
            can_refresh=False,
            tenant_id=self.xero.tenant_id,
            sequence=1,
        )
        links = [await self._linked(f"inv-{number}") for number in range(invoices)]
        # Heard in Kafka once more by the first replica whom the topics are given to: that changes nothing.
        async with self.pool.acquire() as conn, conn.transaction():
            await follow_connections(conn, [envelope_of(connected)])
            await link_invoices(
                conn, [envelope_of(one) for one in links], lambda: datetime.now(UTC)
            )
        await self._publish(connected, *links)

    async def link_by_kafka(self) -> None:
        """One more invoice, which payment-ingest hears of in the topic alone."""
        await self._publish(await self._linked(f"inv-{len(self.invoices)}"))

    async def _linked(self, invoice_id: str) -> InvoiceSynced:
        self.invoices.append(await self.xero.invoice("1000.00"))
        return InvoiceSynced(
            account_id=self.account_id,
            invoice_id=invoice_id,
            version=1,
            sequence=1,
            tenant_id=self.xero.tenant_id,
            xero_invoice_id=self.invoices[-1],
            invoice_number=invoice_id,
            xero_status="AUTHORISED",
            total=Decimal("1000.00"),
            currency="NZD",
            deep_link="https://go.xero.com/x",
        )

    async def _publish(self, *events) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self.kafka) as producer:
            for event in events:
                record = record_of(event)
                await producer.send_and_wait(
                    record.topic, record.value, record.key, headers=list(record.headers)
                )

    @asynccontextmanager
    async def replica(self, *, failpoint: str | None = None, **more: str):
        """One more process of the service, which takes its share of the webhooks once it is ready."""
        async with running_ingest(self.environment(**more), failpoint=failpoint) as (
            process,
            client,
        ):
            address = str(client.base_url).rstrip("/")
            self.front.replicas.append(address)
            try:
                yield process, client
            finally:
                self.front.replicas.remove(address)

    @asynccontextmanager
    async def busy(self, pause: float = 0.1) -> AsyncIterator[None]:
        """Somebody keeps the books, and somebody else knocks with genuine and forged webhooks, until the block ends."""
        work = [asyncio.create_task(each) for each in (self._keep_books(pause), self._knock(pause))]
        try:
            yield
        finally:
            for task in work:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _keep_books(self, pause: float) -> None:
        chance = random.Random(7)
        while True:
            await self.keep_books(chance)
            await asyncio.sleep(pause)

    async def keep_books(self, chance: random.Random) -> None:
        """One thing that a bookkeeper does."""
        invoice, amount = chance.choice(self.invoices), str(chance.randint(1, 9))
        match chance.choice(["pay", "pay", "pay", "unpay", "credit", "uncredit"]):
            case "unpay" if self.payments:
                gone = self.payments.pop(chance.randrange(len(self.payments)))
                await self.xero.act("DELETE", f"/payments/{gone}")
            case "credit":
                kind = chance.choice(["credit_note", "prepayment", "overpayment"])
                made = await self.xero.act(
                    "POST", "/credits", invoice=invoice, kind=kind, amount=amount
                )
                self.allocations.append(made["allocation_id"])
            case "uncredit" if self.allocations:
                gone = self.allocations.pop(chance.randrange(len(self.allocations)))
                await self.xero.act("DELETE", f"/allocations/{gone}")
            case _:
                await self.pay(invoice, amount)

    async def pay(self, invoice: str, amount: str) -> str:
        now = time.time()
        made = await self.xero.act("POST", "/payments", invoice=invoice, amount=amount)
        payment_id: str = made["payment_id"]
        self.made_at[payment_id] = now
        self.payments.append(payment_id)
        return payment_id

    async def _knock(self, pause: float) -> None:
        chance = random.Random(8)
        while True:
            body = webhook((self.xero.tenant_id, chance.choice(self.invoices)))
            key = KEY if chance.random() < 0.8 else b"somebody's key"
            await self.front.post(body, signature_of(body, key))
            await asyncio.sleep(pause)

    async def sweep_all_now(self) -> None:
        """Have every organisation read whole by whoever is next, as the operator's command does."""
        async with self.pool.acquire() as conn:
            await sweeps.deepen(conn)

    async def forge(self) -> int:
        """What is answered to a webhook that somebody else signed."""
        body = webhook((self.xero.tenant_id, self.invoices[0]))
        return await self.front.post(body, signature_of(body, b"somebody's key"))

    async def come_to_rest(self, seconds: float = 60) -> None:
        """All is told; only what a mere creation rings for may still wait, as it does for a minute."""
        await until(self._is_at_rest, "nothing is left to do", seconds)

    async def _is_at_rest(self) -> bool:
        if not self.xero.simulator.world.webhooks.idle:
            return False
        waiting: bool = await self.pool.fetchval(
            """
            SELECT EXISTS (SELECT FROM unread_deliveries)
                OR EXISTS (SELECT FROM doorbells WHERE created_at IS NULL)
                OR EXISTS (SELECT FROM outbox) OR EXISTS (SELECT FROM tenant_sweeps WHERE next_at <= now())
                OR (SELECT count(*) FROM xero_invoices WHERE invoice_id IS NOT NULL) < $1
            """,
            len(self.invoices),
        )
        return not waiting

    async def judge(self) -> Ledgers:
        """Everything that was promised holds; gives back the ledgers for what a test wants to know besides."""
        topics = await read_topics(self.kafka, (PAYMENTS, SYNC, CONNECTIONS))
        books = await self.xero.act("GET", "/ledger")
        kept = await self.pool.fetch("SELECT encode(body_hash, 'hex') AS hash FROM raw_deliveries")
        ledgers = only(
            Ledgers(
                published=(),
                announced=topics[SYNC.name],
                connections=topics[CONNECTIONS.name],
                documents=documents_of(books, self.xero.tenant_id),
                calls=(),
                payments=topics[PAYMENTS.name],
                settlements=settlements_of(books, self.xero.tenant_id),
                webhooks=self.front.posts,
                kept=frozenset(row["hash"] for row in kept),
            ),
            [self.account_id],
        )
        assert [str(each) for each in violations(ledgers)] == []
        assert ledgers.payments, "nothing was told, so nothing was judged"
        assert {post.status for post in ledgers.webhooks} <= {200, 401, 502, 503}
        return ledgers


def record_of(event) -> Record:
    return encode(event, id=secrets.token_hex(8), source="test", time=datetime.now(UTC))


def envelope_of(event) -> Envelope:
    record = record_of(event)
    return decode(key=record.key, value=record.value, headers=record.headers)


@asynccontextmanager
async def ingest_world(
    dsn: str, kafka: str, identities, *, invoices: int = 4
) -> AsyncIterator[IngestWorld]:
    """The world around a database of payment-ingest, in which no replica runs yet."""
    front = Front()
    async with (
        serving(front) as address,
        simulated(webhook_url=address, webhook_key=KEY.decode()) as (xero, token),
        asyncpg.create_pool(dsn, min_size=1, max_size=4) as pool,
    ):
        # Xero comes again at once, and then after 15 minutes; here nobody waits that long.
        await xero.disturb(retry_seconds=0.5)
        gateway = ThinGateway(xero.http, token, xero.tenant_id)
        async with serving(gateway) as gateway_url:
            world = IngestWorld(
                pool,
                xero,
                front,
                kafka,
                partial(environment_of, dsn, gateway_url, identities, kafka),
            )
            await world.begin(invoices)
            yield world
    await front.close()
