"""The invoice sync that is usually written first: the baseline that ours is measured against.

A FastStream handler takes one event at a time, looks up the contact, calls Xero once for the invoice, stores the link
and publishes the result. No outbox, no inbox, no durable intent, no batches, no limits: killed between two steps it
loses or doubles.
"""

import asyncio
import os
import signal
from contextlib import suppress
from datetime import UTC, datetime

import asyncpg
import httpx
import uvloop
from faststream import AckPolicy
from faststream.kafka import KafkaBroker

from pipeline_contracts.envelope import encode, stable_id
from pipeline_contracts.invoice import InvoiceCreated
from pipeline_contracts.sync import InvoiceSynced
from pipeline_contracts.topics import Topic
from pipeline_local_stack.bench.direct import DirectXero

INVOICES = Topic("bench.plain.invoices.v1", "invoice_id")
SYNCED = Topic("bench.plain.synced.v1", "invoice_id")
CREATE_TABLES = """
CREATE TABLE contacts (customer_id text PRIMARY KEY, contact_id text NOT NULL);
CREATE TABLE links (invoice_id text PRIMARY KEY, xero_invoice_id text NOT NULL)
"""


def create_plain_sync(broker: KafkaBroker, pool: asyncpg.Pool, xero: DirectXero) -> None:
    """Subscribe the handler to the broker."""

    @broker.subscriber(
        INVOICES.name,
        group_id="bench-plain",
        auto_offset_reset="earliest",
        ack_policy=AckPolicy.ACK,
    )
    async def sync_invoice(invoice: InvoiceCreated) -> None:
        contact_id = await pool.fetchval(
            "SELECT contact_id FROM contacts WHERE customer_id = $1", invoice.customer_id
        )
        (xero_id,) = await xero.create_invoices([invoice], {invoice.customer_id: contact_id})
        await pool.execute(
            "INSERT INTO links (invoice_id, xero_invoice_id) VALUES ($1, $2)",
            invoice.invoice_id,
            xero_id,
        )
        synced = InvoiceSynced(
            account_id=invoice.account_id, invoice_id=invoice.invoice_id, version=1, sequence=1,
            tenant_id=xero.tenant_id, xero_invoice_id=xero_id, invoice_number=invoice.invoice_number,
            xero_status="AUTHORISED", total=invoice.total, currency=invoice.currency, deep_link="-",
        )  # fmt: skip
        record = encode(synced, id=stable_id(synced), source="plain", time=datetime.now(UTC))
        headers = {name: (value or b"").decode() for name, value in record.headers}
        await broker.publish(record.value, SYNCED.name, key=record.key, headers=headers)


async def serve() -> None:
    """Sync until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    broker = KafkaBroker(os.environ["BENCH_KAFKA"], logger=None)
    async with (
        asyncpg.create_pool(os.environ["BENCH_DSN"], min_size=2, max_size=4) as pool,
        httpx.AsyncClient(base_url=os.environ["BENCH_XERO_URL"], timeout=30) as http,
        broker,
    ):
        xero = DirectXero(http, os.environ["BENCH_TENANT_ID"], os.environ["BENCH_XERO_TOKEN"])
        create_plain_sync(broker, pool, xero)
        await broker.start()
        await stopped.wait()


def main() -> None:
    """Run with what the environment says."""
    with suppress(KeyboardInterrupt):
        uvloop.run(serve())


if __name__ == "__main__":
    main()
