"""The dashboard on real Kafka and Postgres, with topics of its own, and scripted services behind it."""

import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pydantic import SecretStr
from service_processes import until
from serving import serving

from ops_dashboard.app import create_app
from ops_dashboard.project_records import READ
from ops_dashboard.settings import Settings
from ops_dashboard.store.generations import PROJECTED
from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.customer import CustomerCreated
from pipeline_contracts.envelope import Record, encode
from pipeline_contracts.invoice import InvoiceCreated, InvoiceLine, InvoiceUpdated, InvoiceVoided
from pipeline_contracts.payment import PaymentRecorded, PaymentReversed
from pipeline_contracts.sync import Difference, InvoiceSynced, OutOfSync, SyncFailed, SyncResumed
from pipeline_contracts.topics import Topic
from pipeline_service_defaults.keys import new_private_key, public_jwk, sign

START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
STAFF = "pipeline-staff"
TENANT = "9b8f2f6e-4d0c-4a5a-9d55-2f5d2f4cb9c1"


@dataclass
class Telling:
    """Events of one account, each later than the one before."""

    account_id: str
    text: str = ""
    minutes: int = 0
    sequences: dict[str, int] = field(default_factory=dict)

    def record(self, event: Any, *, source: str = "test") -> Record:
        self.minutes += 1
        at = START + timedelta(minutes=self.minutes)
        return encode(event, id=uuid.uuid4().hex, source=source, time=at)

    def next(self, name: str) -> int:
        self.sequences[name] = self.sequences.get(name, 0) + 1
        return self.sequences[name]

    def connected(self, status="CONNECTED", reason="CONNECTED_BY_USER", **more) -> Record:
        event = ConnectionStatusChanged(
            account_id=self.account_id,
            status=status,
            reason=reason,
            since=START,
            message=self.text or "Invoices and payments are kept in step with Xero.",
            hint=self.text or "Nothing to do.",
            can_refresh=False,
            tenant_id=TENANT,
            tenant_name=self.text or "Demo Company (NZ)",
            base_currency="NZD",
            changed_by=self.text or "user-3",
            sequence=self.next("connection"),
            **more,
        )
        return self.record(event, source="connector")

    def customer(self, customer_id="cust-1", name="Ridgeway University") -> Record:
        event = CustomerCreated(
            account_id=self.account_id,
            customer_id=customer_id,
            version=self.next(customer_id),
            name=self.text or name,
        )
        return self.record(event, source="crm")

    def issued(self, invoice_id, total="287.50", currency="NZD", number=None, **more) -> Record:
        version = self.next(f"version {invoice_id}")
        event = (InvoiceCreated if version == 1 else InvoiceUpdated)(
            account_id=self.account_id,
            invoice_id=invoice_id,
            version=version,
            invoice_number=number or self.text or f"INV-{invoice_id}",
            customer_id=more.get("customer_id", "cust-1"),
            issue_date=date(2026, 3, 1),
            due_date=date(2026, 3, 31),
            currency=currency,
            amounts_are="no_tax",
            lines=(
                InvoiceLine(
                    line_id="1",
                    description=self.text or "Consulting",
                    quantity=Decimal(1),
                    unit_amount=Decimal(total),
                ),
            ),
            total=Decimal(total),
        )
        return self.record(event, source="billing")

    def voided(self, invoice_id) -> Record:
        version = self.next(f"version {invoice_id}")
        event = InvoiceVoided(
            account_id=self.account_id,
            invoice_id=invoice_id,
            version=version,
            reason=self.text or "Billed to the wrong customer",
        )
        return self.record(event, source="billing")

    def _sync(self, invoice_id) -> dict[str, Any]:
        return {
            "account_id": self.account_id,
            "invoice_id": invoice_id,
            "version": max(self.sequences.get(f"version {invoice_id}", 1), 1),
            "sequence": self.next(f"sync {invoice_id}"),
        }

    def synced(self, invoice_id, **more) -> Record:
        event = InvoiceSynced(
            **self._sync(invoice_id),
            tenant_id=TENANT,
            xero_invoice_id=f"xero-{invoice_id}",
            invoice_number=self.text or f"INV-{invoice_id}",
            xero_status=more.get("xero_status", "AUTHORISED"),
            total=Decimal("287.50"),
            currency="NZD",
            deep_link=more.get("deep_link", "https://go.xero.com/app/!Abc1D/invoicing/view/x"),
        )
        return self.record(event, source="invoice-sync")

    def failed(self, invoice_id, code="CUSTOMER_NOT_MAPPED", *, retryable=False) -> Record:
        event = SyncFailed(
            **self._sync(invoice_id),
            code=code,
            message=self.text or "Customer cust-1 is not linked to a contact in Xero.",
            hint=self.text or "Link the customer; the invoice then follows by itself.",
            retryable=retryable,
            generation=1,
            xero_errors=(self.text or "Account code '9' is not valid",),
        )
        return self.record(event, source="invoice-sync")

    def out_of_sync(self, invoice_id) -> Record:
        event = OutOfSync(
            **self._sync(invoice_id),
            tenant_id=TENANT,
            xero_invoice_id=f"xero-{invoice_id}",
            differences=(
                Difference(
                    field="due_date",
                    base="2026-03-31",
                    pipeline=self.text or "2026-04-15",
                    xero=self.text or "2026-04-30",
                ),
                Difference(
                    field=self.text or "lines[1].quantity", base="1", pipeline="2", xero="3"
                ),
            ),
            message=self.text or "The invoice was changed both in Pipeline and in Xero.",
            hint=self.text or "Make the invoice the same in both; syncing resumes by itself.",
            kind="edited",
        )
        return self.record(event, source="invoice-sync")

    def resumed(self, invoice_id) -> Record:
        event = SyncResumed(
            **self._sync(invoice_id),
            tenant_id=TENANT,
            xero_invoice_id=f"xero-{invoice_id}",
            resolved_by="person",
        )
        return self.record(event, source="invoice-sync")

    def paid(self, invoice_id, payment_id="pay-1", *, found_by="webhook", reverse=False) -> Record:
        event = (PaymentReversed if reverse else PaymentRecorded)(
            account_id=self.account_id,
            payment_id=payment_id,
            xero_payment_id=f"xero-{payment_id}"[:255],
            invoice_id=invoice_id,
            kind="payment",
            amount=Decimal("100.00"),
            currency="NZD",
            paid_on=date(2026, 3, 20),
            reference=self.text or "Bank transfer",
            amount_paid=Decimal(0 if reverse else "100.00"),
            amount_due=Decimal("287.50" if reverse else "187.50"),
            invoice_status="AUTHORISED",
            found_by=found_by,
            sequence=self.next(f"payments {invoice_id}"),
        )
        return self.record(event, source="payment-ingest")


class Keys:
    """Pipeline's sign-in."""

    def __init__(self, folder: Path) -> None:
        self.person, self.service = new_private_key(), new_private_key()
        self.issuers_file = folder / "issuers.json"
        issuers = {
            "pipeline": {"kind": "person", "keys": [public_jwk(self.person)]},
            "pipeline-backend": {"kind": "service", "keys": [public_jwk(self.service)]},
        }
        self.issuers_file.write_text(json.dumps(issuers))

    def token(self, account_id: str, role: str = "operator", name: str = "Otto Operator") -> str:
        now = int(time.time())
        claims = {
            "iss": "pipeline",
            "aud": "pipeline-xero",
            "sub": "user-otto",
            "name": name,
            "account_id": account_id,
            "role": role,
            "iat": now,
            "exp": now + 3600,
        }
        return sign(self.person, claims)

    def service_token(self) -> str:
        now = int(time.time())
        who = {"iss": "pipeline-backend", "sub": "pipeline-backend", "aud": "ops-dashboard"}
        return sign(self.service, who | {"iat": now, "exp": now + 300})


@dataclass
class ScriptedService:
    """Answers as the test says, and remembers what it was asked, with which token."""

    answers: dict[tuple[str, str], tuple[int, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str, str, Any]] = field(default_factory=list)

    async def __call__(self, scope, receive, send) -> None:
        body = b""
        while (message := await receive()).get("more_body") or message.get("body"):
            body += message["body"]
            if not message.get("more_body"):
                break
        path = scope["raw_path"].decode()
        token = dict(scope["headers"]).get(b"authorization", b"").decode()
        self.asked.append((scope["method"], path, token, json.loads(body) if body else None))
        status, answer = self.answers.get((scope["method"], path), (404, {"detail": "Unknown."}))
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


@dataclass
class World:
    """One database, topics of its own, the applications, and people to look at them."""

    bootstrap: str
    dsn: str
    keys: Keys
    pool: asyncpg.Pool
    producer: AIOKafkaProducer
    invoice_sync: ScriptedService
    invoice_sync_url: str
    payment_ingest: ScriptedService
    payment_ingest_url: str
    prefix: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:10]}")
    sent: int = 0

    @property
    def topics(self) -> list[Topic]:
        """The public topics, under this world's names."""
        return [Topic(f"{self.prefix}.{t.name}", t.key, partitions=2) for t in READ]

    def settings(self, **more: Any) -> Settings:
        given: dict[str, Any] = {
            "database_url": SecretStr(self.dsn),
            "kafka_bootstrap_servers": self.bootstrap,
            "http_port": 0,
            "auth_issuers_file": self.keys.issuers_file,
            "invoice_sync_url": self.invoice_sync_url,
            "payment_ingest_url": self.payment_ingest_url,
            "pipeline_web_url": "http://localhost:1",
            "staff_account_id": STAFF,
            "secure": False,
        }
        return Settings(**(given | more))

    @asynccontextmanager
    async def running(self, **settings: Any) -> AsyncIterator[str]:
        """One replica; gives its address."""
        app = create_app(self.settings(**settings), read=self.topics)
        async with serving(app, lifespan="on") as url:
            yield url

    async def send(self, *records: Record) -> None:
        for record in records:
            await self.raw(record.topic, record.key, record.value, record.headers)

    async def raw(self, topic: str, key, value, headers=()) -> None:
        await self.producer.send_and_wait(
            f"{self.prefix}.{topic}", value, key=key, headers=list(headers)
        )
        self.sent += 1

    async def all_stored(self, seconds: float = 40) -> None:
        async def stored() -> bool:
            found = await self.pool.fetchval("SELECT sum(next_offset) FROM positions")
            return (found or 0) >= self.sent

        await until(stored, f"{self.sent} records are stored", seconds)

    def client(self, url: str, token: str | None) -> httpx.AsyncClient:
        cookies = {"pipeline_session": token} if token else {}
        return httpx.AsyncClient(
            base_url=url,
            cookies=cookies,
            headers={"Accept": "text/html"},
            timeout=20,
            trust_env=False,
        )


@asynccontextmanager
async def dashboard_world(kafka: str, dsn: str, folder: Path) -> AsyncIterator[World]:
    """Everything around the dashboard, ready."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, max_request_size=4_000_000)
    await producer.start()
    scripted = [ScriptedService(), ScriptedService()]
    async with (
        asyncpg.create_pool(dsn, min_size=1, max_size=5) as pool,
        serving(scripted[0]) as sync_url,
        serving(scripted[1]) as payments_url,
    ):
        world = World(
            kafka, dsn, Keys(folder), pool, producer,
            scripted[0], sync_url, scripted[1], payments_url,
        )  # fmt: skip
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        new = [
            NewTopic(t.name, 2, 1, topic_configs={"max.message.bytes": "4000000"})
            for t in world.topics
        ]
        await admin.create_topics(new)
        try:
            yield world
        finally:
            await admin.delete_topics([topic.name for topic in world.topics])
            await admin.close()
            await producer.stop()


STRANGE = [("ce_specversion", b"1.0"), ("ce_type", b"pipeline.strange.v9"), ("ce_id", b"1"),
           ("ce_source", b"x"), ("ce_time", b"2026-03-01T09:30:00Z")]  # fmt: skip


async def tell_everything(world, account="acc-1", text=""):
    """An account in which everything happens, and what is around it on the topics."""
    told = Telling(account, text)
    await world.send(
        told.connected(),
        told.customer(),
        told.issued("in-xero"),
        told.synced("in-xero"),
        told.paid("in-xero"),
        told.paid("in-xero", "pay-2", found_by="sweep"),
        told.paid("in-xero", "pay-2", found_by="sweep", reverse=True),
        told.issued("stuck", "50.00", "EUR"),
        told.failed("stuck"),
        told.issued("both", "10.00"),
        told.synced("both"),
        told.out_of_sync("both"),
        told.issued("waits"),
        told.issued("gone"),
        told.voided("gone"),
        told.issued("again"),
        told.failed("again", "XERO_UNAVAILABLE", retryable=True),
    )
    body = json.dumps({"account_id": account, "oops": text}).encode()
    await world.raw("pipeline.invoices.v1", b"k", body, STRANGE)
    await world.raw(
        "pipeline.invoices.v1.dlq",
        b"k",
        body,
        [("x-dlq-code", b"HEADER_MISSING"), ("x-dlq-reason", text.encode() or b"ce_id: missing"),
         ("x-\xff-dlq", b"\xff\x00"), ("x-dlq-topic", b"pipeline.invoices.v1"), ("x-dlq-partition", b"0"), ("x-dlq-offset", b"7")],
    )  # fmt: skip
    await world.raw(
        "pipeline.customers.v1.dlq", None, body, [("x-dlq-code", (text or "X").encode()[:64])]
    )
    await world.raw("pipeline.payments.v1", b"inv-1", None)
    return told


async def snapshot(conn, generation: int) -> dict[str, list]:
    """All that a generation says, without its number."""
    found = {}
    for table in PROJECTED:
        select = "SELECT to_jsonb(t) - 'generation' AS row FROM {} t WHERE generation = $1"
        rows = await conn.fetch(select.format(table), generation)
        found[table] = sorted(row["row"] for row in rows)
    return found
