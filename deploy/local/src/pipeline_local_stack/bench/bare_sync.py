"""The least that a sync can do and still keep what ours keeps: the baseline of what ours costs above the unavoidable.

A bare loop does the same reads, writes and calls as invoice-sync, each once and in its cheapest form, a statement for
a whole batch. It reads a batch from Kafka and stores, in one transaction, that each event was seen, the row of its
invoice and its arrival on the timeline; commits the offsets; stores an intent for each call, calls Xero with 50 at
once, and stores in one transaction the link with Xero's rendition, the second entry of the timeline and the event to
publish, in place of the intent; publishes, and forgets what is published. No gateway, no limits, no leases, no state
of an invoice, nothing checked or compared, nobody reads Xero's webhooks, and nothing for what goes wrong: a failure
ends it.
"""

import asyncio
import json
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import httpx
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from pipeline_contracts.envelope import encode, stable_id
from pipeline_contracts.sync import InvoiceSynced
from pipeline_contracts.topics import Topic
from pipeline_local_stack.bench.direct import DirectXero
from pipeline_messaging.outbox import pack_headers, unpack_headers

INVOICES = Topic("bench.bare.invoices.v1", "invoice_id")
SYNCED = Topic("bench.bare.synced.v1", "invoice_id")
CREATE_TABLES = """
CREATE TABLE contacts (customer_id text PRIMARY KEY, contact_id text NOT NULL);
CREATE TABLE bare_inbox (event_id text PRIMARY KEY);
CREATE TABLE bare_invoices (invoice_id text PRIMARY KEY, body bytea NOT NULL);
CREATE TABLE bare_intents (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea NOT NULL);
CREATE TABLE bare_links (invoice_id text PRIMARY KEY, xero_invoice_id text NOT NULL UNIQUE, base bytea NOT NULL);
CREATE TABLE bare_timeline (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, invoice_id text NOT NULL, at timestamptz NOT NULL,
    kind text NOT NULL);
CREATE INDEX bare_timeline_of_invoice ON bare_timeline (invoice_id, id);
CREATE TABLE bare_outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key bytea NOT NULL, value bytea NOT NULL,
    headers bytea NOT NULL)
"""
_PER_READ, _PER_CALL = 500, 50
_ENTER = "INSERT INTO bare_timeline (invoice_id, at, kind) SELECT unnest($1::text[]), now(), $2"


async def store_batch(
    conn: asyncpg.Connection, records: Sequence[ConsumerRecord], wanted: Sequence[dict[str, Any]]
) -> None:
    """One read's invoices, durable."""
    ids = [each["invoice_id"] for each in wanted]
    async with conn.transaction():
        await conn.execute(
            "INSERT INTO bare_inbox (event_id) SELECT unnest($1::text[])",
            [dict(record.headers)["ce_id"].decode() for record in records],
        )
        await conn.execute(
            "INSERT INTO bare_invoices (invoice_id, body) SELECT * FROM unnest($1::text[], $2::bytea[])",
            ids,
            [record.value for record in records],
        )
        await conn.execute(_ENTER, ids, "InvoiceCreated")


async def send_call(
    conn: asyncpg.Connection,
    xero: DirectXero,
    producer: AIOKafkaProducer,
    contacts: dict[str, str],
    part: Sequence[dict[str, Any]],
) -> None:
    """As many invoices as fit into one call, from their intent to their published results."""
    rows = [as_element(each, contacts[each["customer_id"]]) for each in part]
    body = json.dumps({"Invoices": rows}).encode()
    intent = await conn.fetchval("INSERT INTO bare_intents (body) VALUES ($1) RETURNING id", body)
    created = (await xero.put_bytes("Invoices", body)).json()["Invoices"]
    now = datetime.now(UTC)
    told = [_synced(each, made, xero.tenant_id) for each, made in zip(part, created, strict=True)]
    records = [encode(event, id=stable_id(event), source="bare", time=now) for event in told]
    ids = [each["invoice_id"] for each in part]
    async with conn.transaction():
        await conn.execute(
            "INSERT INTO bare_links SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[])",
            ids,
            [each["InvoiceID"] for each in created],
            [json.dumps(each).encode() for each in created],
        )
        await conn.execute(_ENTER, ids, "synced")
        await conn.execute(
            "INSERT INTO bare_outbox (key, value, headers) SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[])",
            [record.key for record in records],
            [record.value for record in records],
            [pack_headers(record.headers) for record in records],
        )
        await conn.execute("DELETE FROM bare_intents WHERE id = $1", intent)
    await publish_waiting(conn, producer)


async def publish_waiting(conn: asyncpg.Connection, producer: AIOKafkaProducer) -> None:
    """Publish what the outbox holds, and forget it."""
    waiting = await conn.fetch("SELECT id, key, value, headers FROM bare_outbox ORDER BY id")
    sent = [
        await producer.send(
            SYNCED.name, row["value"], key=row["key"], headers=list(unpack_headers(row["headers"]))
        )
        for row in waiting
    ]
    await asyncio.gather(*sent)
    await conn.execute(
        "DELETE FROM bare_outbox WHERE id = ANY($1::bigint[])", [row["id"] for row in waiting]
    )


def as_element(invoice: dict[str, Any], contact_id: str) -> dict[str, Any]:
    """An invoice's event as Xero's API takes it."""
    return {
        "Type": "ACCREC", "Status": "AUTHORISED", "Contact": {"ContactID": contact_id},
        "InvoiceNumber": invoice["invoice_number"], "Reference": invoice["reference"],
        "Date": invoice["issue_date"], "DueDate": invoice["due_date"],
        "CurrencyCode": invoice["currency"], "LineAmountTypes": "Inclusive",
        "LineItems": [
            {
                "Description": line["description"], "Quantity": float(line["quantity"]),
                "UnitAmount": float(line["unit_amount"]), "AccountCode": line["account_code"],
            }
            for line in invoice["lines"]
        ],
    }  # fmt: skip


def _synced(invoice: dict[str, Any], made: dict[str, Any], tenant_id: str) -> InvoiceSynced:
    return InvoiceSynced(
        account_id=invoice["account_id"], invoice_id=invoice["invoice_id"], version=1, sequence=1,
        tenant_id=tenant_id, xero_invoice_id=made["InvoiceID"],
        invoice_number=invoice["invoice_number"], xero_status="AUTHORISED", total=invoice["total"],
        currency=invoice["currency"], deep_link="-",
    )  # fmt: skip


async def serve() -> None:
    """Sync until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    kafka = os.environ["BENCH_KAFKA"]
    consumer = AIOKafkaConsumer(
        INVOICES.name, bootstrap_servers=kafka, group_id="bench-bare", enable_auto_commit=False,
        auto_offset_reset="earliest",
    )  # fmt: skip
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all")
    conn = await asyncpg.connect(os.environ["BENCH_DSN"])
    async with httpx.AsyncClient(base_url=os.environ["BENCH_XERO_URL"], timeout=30) as http:
        xero = DirectXero(http, os.environ["BENCH_TENANT_ID"], os.environ["BENCH_XERO_TOKEN"])
        contacts = {row[0]: row[1] for row in await conn.fetch("SELECT * FROM contacts")}
        await consumer.start()
        await producer.start()
        try:
            while not stopped.is_set():
                found = await consumer.getmany(timeout_ms=200, max_records=_PER_READ)
                if not (records := [each for batch in found.values() for each in batch]):
                    continue
                wanted = [json.loads(each.value, parse_float=Decimal) for each in records]
                await store_batch(conn, records, wanted)
                await consumer.commit()
                for first in range(0, len(wanted), _PER_CALL):
                    part = wanted[first : first + _PER_CALL]
                    await send_call(conn, xero, producer, contacts, part)
        finally:
            await producer.stop()
            await consumer.stop()
            await conn.close()


def main() -> None:
    """Run with what the environment says."""
    with suppress(KeyboardInterrupt):
        uvloop.run(serve())


if __name__ == "__main__":
    main()
