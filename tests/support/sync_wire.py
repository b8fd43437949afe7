"""invoice-sync on a real broker, with topics of its own for one test."""

import asyncio
import uuid
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from invoice_sync import app as app_module
from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.envelope import encode
from pipeline_contracts.sync import ContactMapped, SyncEvent
from pipeline_contracts.topics import Topic


def connected(account_id: str, tenant_id: str) -> ConnectionStatusChanged:
    """What the connector tells of an account that was just connected."""
    return ConnectionStatusChanged(
        account_id=account_id,
        status="CONNECTED",
        reason="TEST",
        since=datetime.now(UTC),
        message="Connected.",
        hint="",
        can_refresh=False,
        tenant_id=tenant_id,
        short_code="!Abc1D",
        sequence=1,
    )


class Wire:
    """The topics of one test on the shared broker."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.prefix = f"t{uuid.uuid4().hex[:10]}"

    def name(self, of: str) -> str:
        return f"{self.prefix}.{of}"

    async def open(self) -> None:
        names = [
            self.name(each) for each in ("invoices", "customers", "connections", "changes", "sync")
        ]
        names += [f"{each}.dlq" for each in names]
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(each, 2, 1) for each in names])
        finally:
            await admin.close()
        self.producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
        await self.producer.start()

    async def close(self) -> None:
        await self.producer.stop()

    async def publish(self, of: str, event) -> None:
        record = encode(event, id=uuid.uuid4().hex, source="billing", time=datetime.now(UTC))
        await self.raw(of, record.key, record.value, record.headers)

    async def raw(self, of: str, key, value, headers=()) -> None:
        await self.producer.send_and_wait(self.name(of), value, key=key, headers=list(headers))

    async def read(self, topic: str, count: int) -> list:
        """The first `count` records of a topic."""
        consumer = AIOKafkaConsumer(
            self.name(topic),
            bootstrap_servers=self.bootstrap,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            async with asyncio.timeout(40):
                return [await consumer.getone() for _ in range(count)]
        finally:
            await consumer.stop()

    def divert(self, monkeypatch) -> None:
        """Have the service read and write these topics instead of its own."""
        monkeypatch.setattr(SyncEvent, "TOPIC", self.name("sync"))
        monkeypatch.setattr(ContactMapped, "TOPIC", self.name("sync"))
        handlers = tuple(
            (Topic(self.name(topic.name.split(".")[-2]), topic.key), handle)
            for topic, handle in app_module._HANDLERS
        )
        monkeypatch.setattr(app_module, "_HANDLERS", handlers)


@asynccontextmanager
async def running_app(settings, serve_with_lifespan):
    application = app_module.create_app(settings)
    async with (
        serve_with_lifespan(application) as url,
        httpx.AsyncClient(base_url=url, timeout=15, trust_env=False) as client,
    ):
        yield client
