"""The two topics the service follows, on the real broker: good records, odd ones, and copies."""

import asyncio
import secrets
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from payment_ingest.follow_connections import follow_connections
from payment_ingest.link_invoices import link_invoices
from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.envelope import encode
from pipeline_contracts.sync import InvoiceSynced, SyncFailed
from pipeline_messaging.broker import KafkaSettings, consuming, make_broker
from pipeline_messaging.subscriber import subscribe

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


@pytest.fixture
async def topics(kafka):
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    names = [f"test.{secrets.token_hex(6)}.{kind}" for kind in ("connections", "sync")]
    await admin.create_topics([NewTopic(name, 2, 1) for name in names])
    try:
        yield names
    finally:
        await admin.delete_topics(names)
        await admin.close()


@pytest.fixture
async def following(kafka, topics, pool):
    broker = make_broker(KafkaSettings(kafka, client_id="test"))
    group = secrets.token_hex(6)
    handlers = (follow_connections, partial(link_invoices, clock=lambda: datetime.now(UTC)))
    for topic, handle in zip(topics, handlers, strict=True):
        subscribe(broker, topic, group_id=group, pool=pool, handle=handle)
    async with consuming(broker):
        yield


async def publish(kafka, topic, *records) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for record in records:
            await producer.send_and_wait(
                topic, key=record.key, value=record.value, headers=list(record.headers)
            )


async def until(pool, query, expected) -> None:
    found = None
    try:
        async with asyncio.timeout(30):
            while (found := await pool.fetchval(query)) != expected:  # noqa: ASYNC110 - in a database
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"{query} stayed {found}")


def synced(account_id, tenant_id, xero_invoice_id, invoice_id, sequence=1):
    event = InvoiceSynced(
        account_id=account_id,
        invoice_id=invoice_id,
        version=1,
        sequence=sequence,
        tenant_id=tenant_id,
        xero_invoice_id=xero_invoice_id.upper(),
        invoice_number="INV-1",
        xero_status="AUTHORISED",
        total=Decimal("100.00"),
        currency="NZD",
        deep_link="https://go.xero.com/x",
    )
    return encode(event, id=f"{invoice_id}-{sequence}", source="invoice-sync", time=NOW)


async def test_connections_and_links_arrive_over_kafka(kafka, topics, following, pool, service):
    invoice = service.xero.add()
    service.xero.pay(invoice, "10.00")
    await service.ring(invoice)
    await service.turn()
    connections, sync = topics
    told = ConnectionStatusChanged(
        account_id="acc-new",
        status="CONNECTED",
        reason="CONSENT_GIVEN",
        since=NOW,
        message="m",
        hint="",
        can_refresh=False,
        tenant_id="9B8F2F6E-4d0c-4a5a-9d55-2f5d2f4cb9c1",
        sequence=1,
    )
    await publish(kafka, connections, encode(told, id="c-1", source="connector", time=NOW))
    await until(
        pool,
        "SELECT tenant_id FROM connections WHERE account_id = 'acc-new'",
        "9b8f2f6e-4d0c-4a5a-9d55-2f5d2f4cb9c1",
    )
    await until(pool, "SELECT count(*) FROM tenant_sweeps WHERE kind = 'recent'", 2)

    good = synced(service.account_id, service.xero.tenant_id, invoice, "inv-1")
    failed = SyncFailed(
        account_id=service.account_id,
        invoice_id="inv-2",
        version=1,
        sequence=1,
        code="CUSTOMER_NOT_MAPPED",
        message="m",
        hint="h",
        retryable=False,
        generation=1,
        xero_errors=(),
    )
    await publish(
        kafka,
        sync,
        replace(good, value=b"not json"),
        replace(good, headers=()),
        replace(good, value=None),
        encode(failed, id="f-1", source="invoice-sync", time=NOW),
        good,
        good,
        synced(service.account_id, service.xero.tenant_id, invoice, "inv-1", sequence=2),
        synced(service.account_id, service.xero.tenant_id, invoice, "inv-other", sequence=3),
    )
    await until(pool, "SELECT count(*) FROM inbox WHERE event_id LIKE 'inv-%'", 3)
    await until(pool, "SELECT count(*) FROM outbox WHERE topic LIKE 'test.%.dlq'", 3)
    # What dead letters hold cannot be decoded, which is why they are there.
    await pool.execute("DELETE FROM outbox WHERE topic LIKE 'test.%.dlq'")
    (envelope,) = await service.told()
    assert (envelope.event.invoice_id, envelope.event.sequence) == ("inv-1", 1)
    assert await pool.fetchval("SELECT invoice_id FROM xero_invoices") == "inv-1"
