"""One process of payment-ingest, as `payment_ingest.app` puts it together; without its API, gauges and retention."""

from datetime import timedelta
from functools import partial
from typing import Any

import httpx

from payment_ingest.accept_delivery import DeliveryWriter
from payment_ingest.deps import Deps
from payment_ingest.domain.sweeping import SweepTimes
from payment_ingest.follow_connections import follow_connections
from payment_ingest.handlers.webhooks import AsgiApp, WebhookGate
from payment_ingest.link_invoices import link_invoices
from payment_ingest.notice_gaps import sweep_everybody, watch_for_gaps
from payment_ingest.process_account import process_account
from payment_ingest.read_documents import DocumentReader
from payment_ingest.read_invoices import InvoiceReader
from payment_ingest.read_payments import PaymentReader
from payment_ingest.ring_doorbells import DoorbellRinger
from payment_ingest.store import retention
from pipeline_contracts import topics
from pipeline_messaging.batch import store_batch
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.relay import Relay
from pipeline_messaging.worker import AccountWorker
from pipeline_xero.client import GatewayClient
from simulated.database import Database, OwnSession, Pool
from simulated.kafka import Kafka
from simulated.network import Gateway
from simulated.seams import Life, Seams

WEBHOOK_KEY = "webhook key of the simulation"
SWEEPS = SweepTimes(
    interval=timedelta(minutes=15), overlap=timedelta(minutes=10), pause=timedelta(minutes=1)
)


def start(life: Life, seams: Seams, database: Database, kafka: Kafka, gateway: Gateway) -> AsgiApp:
    """Start its loops and its reading; gives back what answers Xero's webhooks."""
    pool: Any = Pool(database, seams)
    clock = seams.loop.utc
    relay = Relay(database.dsn, KafkaSettings("simulated", "payment-ingest"), poll_seconds=20)
    client = httpx.AsyncClient(transport=gateway)
    xero = GatewayClient(client, "http://gateway.test", lambda: "payment-ingest")
    deps = Deps(
        pool,
        InvoiceReader(xero, clock),
        PaymentReader(xero, clock),
        SWEEPS,
        clock,
        on_told=relay.wake,
        documents=DocumentReader(xero),
    )
    worker = AccountWorker(pool, partial(process_account, deps), poll_seconds=20)
    connect: Any = partial(OwnSession.open, database, seams)

    def stored() -> None:
        ringer.wake()

    writer = DeliveryWriter(connect, on_stored=stored)
    ringer = DoorbellRinger(pool, on_rung=worker.wake, is_busy=lambda: writer.busy)

    def linked() -> None:
        relay.wake()
        worker.wake()

    for work in (
        relay.run(),
        sweep_everybody(pool, SWEEPS),
        worker.run(),
        ringer.run(),
        watch_for_gaps(pool, SWEEPS, worker.wake),
        writer.run(),
    ):
        seams.start(work, life)
    for topic, handle in (
        (topics.CONNECTIONS, follow_connections),
        (topics.SYNC, partial(link_invoices, clock=clock)),
    ):
        kafka.start_reading(
            life,
            f"payment-ingest.{topic.name}",
            topic.name,
            partial(store_batch, pool, handle=handle),
            linked,
        )
    return WebhookGate(_nothing_else, (WEBHOOK_KEY.encode(),), writer.accept)


async def make_days(database: Database) -> None:
    """The partitions that a running service has made ahead: no life makes any, so none differs by being the first."""
    session: Any = await database.take()
    await retention.make_partitions(session, days_ahead=1)
    database.give_back(session)


async def _nothing_else(*_connection: Any) -> None:
    raise AssertionError("only webhooks come here")
