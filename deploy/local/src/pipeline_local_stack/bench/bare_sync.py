"""The least that a sync can do and still be one: the baseline of what ours costs above the unavoidable.

A bare loop does the same reads, writes and calls as invoice-sync, each in its cheapest form: read a batch from Kafka,
store a row for each invoice and an intent for each call, call Xero with 50 at once, store each result in place of the
intent, publish each result, commit the offsets. No gateway, no limits, no leases, no inbox, no comparison, no timeline,
nothing for what goes wrong: a failure ends it.
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
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from pipeline_contracts.envelope import encode, stable_id
from pipeline_contracts.sync import InvoiceSynced
from pipeline_contracts.topics import Topic
from pipeline_local_stack.bench.direct import DirectXero

INVOICES = Topic("bench.bare.invoices.v1", "invoice_id")
SYNCED = Topic("bench.bare.synced.v1", "invoice_id")
CREATE_TABLES = """
CREATE TABLE contacts (customer_id text PRIMARY KEY, contact_id text NOT NULL);
CREATE TABLE bare_invoices (invoice_id text PRIMARY KEY, body bytea NOT NULL, xero_invoice_id text);
CREATE TABLE bare_intents (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea NOT NULL)
"""
_PER_READ, _PER_CALL = 500, 50


async def sync_batch(
    conn: asyncpg.Connection,
    xero: DirectXero,
    producer: AIOKafkaProducer,
    contacts: dict[str, str],
    values: Sequence[bytes],
) -> None:
    """One read's invoices, from their bytes to their published results."""
    wanted = [json.loads(value, parse_float=Decimal) for value in values]
    await conn.execute(
        "INSERT INTO bare_invoices (invoice_id, body) SELECT * FROM unnest($1::text[], $2::bytea[])",
        [each["invoice_id"] for each in wanted],
        values,
    )
    for first in range(0, len(wanted), _PER_CALL):
        part = wanted[first : first + _PER_CALL]
        rows = [as_element(each, contacts[each["customer_id"]]) for each in part]
        body = json.dumps({"Invoices": rows}).encode()
        intent = await conn.fetchval(
            "INSERT INTO bare_intents (body) VALUES ($1) RETURNING id", body
        )
        created = (await xero.put_bytes("Invoices", body)).json()["Invoices"]
        async with conn.transaction():
            await conn.execute(
                """
                UPDATE bare_invoices SET xero_invoice_id = made.xero_invoice_id
                  FROM unnest($1::text[], $2::text[]) AS made (invoice_id, xero_invoice_id)
                 WHERE bare_invoices.invoice_id = made.invoice_id
                """,
                [each["invoice_id"] for each in part],
                [each["InvoiceID"] for each in created],
            )
            await conn.execute("DELETE FROM bare_intents WHERE id = $1", intent)
        now = datetime.now(UTC)
        told = [
            _synced(each, made, xero.tenant_id) for each, made in zip(part, created, strict=True)
        ]
        records = [encode(event, id=stable_id(event), source="bare", time=now) for event in told]
        sent = [
            await producer.send(
                SYNCED.name, record.value, key=record.key, headers=list(record.headers)
            )
            for record in records
        ]
        await asyncio.gather(*sent)


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
                if values := [record.value for records in found.values() for record in records]:
                    await sync_batch(conn, xero, producer, contacts, values)
                    await consumer.commit()
        finally:
            await producer.stop()
            await consumer.stop()
            await conn.close()


def main() -> None:
    """Run with what the environment says."""
    with suppress(KeyboardInterrupt):
        asyncio.run(serve())


if __name__ == "__main__":
    main()
