"""One process of invoice-sync, as `invoice_sync.app` puts it together."""

from contextlib import suppress
from functools import partial
from typing import Any

import httpx

from invoice_sync.accept_events import accept_customers, accept_invoices, track_connections
from invoice_sync.deps import Deps
from invoice_sync.domain.account_settings import AccountSettings, MappingPolicy
from invoice_sync.domain.mapping import WriteSettings
from invoice_sync.import_invoices import ask_import
from invoice_sync.observe_invoices import observe_invoices
from invoice_sync.reconcile_account import ask_reconciliation
from invoice_sync.store import account_settings
from invoice_sync.sync_account import sync_account
from pipeline_contracts import topics
from pipeline_messaging.batch import store_batch
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.relay import Relay
from pipeline_messaging.worker import AccountWorker
from pipeline_service_defaults.problems import Problem
from pipeline_xero.client import GatewayClient
from simulated.database import Database, Pool
from simulated.kafka import Kafka
from simulated.network import Gateway
from simulated.seams import Life, Seams

WEB = "https://app.pipeline.example"
ASKED_BY = "somebody"
READS = (
    (topics.CONNECTIONS, track_connections),
    (topics.CUSTOMERS, accept_customers),
    (topics.INVOICES, accept_invoices),
    (topics.CHANGES, observe_invoices),
)


def start(life: Life, seams: Seams, database: Database, kafka: Kafka, gateway: Gateway) -> None:
    """Start its loops and its reading."""
    pool: Any = Pool(database, seams)
    relay = Relay(database.dsn, KafkaSettings("simulated", "invoice-sync"), poll_seconds=20)
    client = httpx.AsyncClient(transport=gateway)
    deps = Deps(
        pool=pool,
        gateway=GatewayClient(client, "http://gateway.test", lambda: "invoice-sync"),
        write=WriteSettings(WEB, "200"),
        chance=lambda: 0.5,
        on_recorded=relay.wake,
    )
    worker = AccountWorker(pool, partial(sync_account, deps), poll_seconds=20)
    seams.start(relay.run(), life)
    seams.start(worker.run(), life)
    for topic, handle in READS:
        kafka.start_reading(
            life,
            f"invoice-sync.{topic.name}",
            topic.name,
            partial(store_batch, pool, handle=handle),
            worker.wake,
        )


async def ask(what: str, database: Database, seams: Seams, account_id: str) -> None:
    """What a person asks for by the service's API; refused where the account is not known yet, or asked twice."""
    pool: Any = Pool(database, seams)
    with suppress(Problem):
        if what == "import":
            await ask_import(pool, account_id, dry_run=False, asked_by=ASKED_BY)
        else:
            await ask_reconciliation(pool, account_id, ASKED_BY)


async def choose_matching(database: Database, account_id: str) -> None:
    """A customer that is not linked is linked to the one contact in Xero that it must be."""
    session: Any = await database.take()
    try:
        async with session.transaction():
            chosen = AccountSettings(mapping_policy=MappingPolicy.MATCH, version=1)
            await account_settings.save(session, account_id, chosen)
    finally:
        database.give_back(session)
