"""The service put together: what starts, in which order it stops, and the one ASGI application."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import asyncpg
import httpx
import structlog
from fastapi import FastAPI

from invoice_sync import metrics
from invoice_sync.accept_events import accept_customers, accept_invoices, track_connections
from invoice_sync.deps import Deps
from invoice_sync.domain.mapping import WriteSettings
from invoice_sync.handlers import (
    account_settings,
    budget,
    code_mappings,
    contact_mappings,
    failures,
    imports,
    preview,
    reconciliations,
    resolve,
    summary,
    sync_status,
)
from invoice_sync.observe_invoices import observe_invoices
from invoice_sync.settings import InvoiceSyncSettings
from invoice_sync.store.steps import SOURCE
from invoice_sync.sync_account import sync_account
from pipeline_contracts import topics
from pipeline_messaging.broker import KafkaSettings, consuming, make_broker
from pipeline_messaging.relay import Relay
from pipeline_messaging.subscriber import Handle, Subscription, subscribe
from pipeline_messaging.taking_up import OwnLetters
from pipeline_messaging.unreachable import why_unreachable
from pipeline_messaging.worker import AccountWorker
from pipeline_service_defaults.api import create_api
from pipeline_service_defaults.auth import Authenticator, TokenMinter
from pipeline_service_defaults.background import run_beside
from pipeline_service_defaults.database import check_database, create_pool, require_schema
from pipeline_service_defaults.dead_letters import dead_letter_routes
from pipeline_service_defaults.migrate import versions
from pipeline_xero.client import GatewayClient
from pipeline_xero.connections import OwnedConnections

log = structlog.get_logger(__name__)

_CONNECTION = {
    "application_name": SOURCE,
    "timezone": "UTC",
    "statement_timeout": "60000",
    # No transaction here waits for anything but Postgres. One left open by a frozen replica holds its accounts' rows
    # until the server ends it, and nobody can take them over before.
    "idle_in_transaction_session_timeout": "15000",
    "transaction_timeout": "20000",
}
_GAUGES_SECONDS = 15.0
_HANDLERS: tuple[tuple[topics.Topic, Handle], ...] = (
    (topics.CONNECTIONS, track_connections),
    (topics.CUSTOMERS, accept_customers),
    (topics.INVOICES, accept_invoices),
    (topics.CHANGES, observe_invoices),
)
TAKEN_UP: Final = MappingProxyType(
    # Not the connections: payment-ingest reads them, too, and a letter does not say which of both could not use it.
    {topic: handle for topic, handle in _HANDLERS if topic != topics.CONNECTIONS}
)
"""Whose dead letters are taken up again when somebody asks."""


def create_app(settings: InvoiceSyncSettings) -> FastAPI:
    """The service as one ASGI application."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await _start(app, settings, stack)
            yield

    api: FastAPI = create_api(
        title="invoice-sync",
        description=(
            "Brings Pipeline's invoices to Xero, and says of each one that is not there why not and whose move it is."
        ),
        authenticator=Authenticator.from_file(
            settings.auth_issuers_file,
            service_name=SOURCE,
            max_service_token_seconds=settings.auth_max_service_token_seconds,
        ),
        lifespan=lifespan,
        # Kafka is no part of being ready: questions about invoices are answered while it is away.
        checks=lambda: {
            "database": lambda: check_database(api.state.deps.pool),
            "worker": lambda: _check_worker(api.state.worker),
        },
    )
    api.include_router(sync_status.router)
    api.include_router(resolve.router)
    api.include_router(preview.router)
    api.include_router(failures.router)
    api.include_router(dead_letter_routes(SOURCE))
    api.include_router(summary.router)
    api.include_router(budget.router)
    api.include_router(contact_mappings.router)
    api.include_router(account_settings.router)
    api.include_router(code_mappings.router)
    api.include_router(reconciliations.router)
    api.include_router(imports.router)
    return api


async def _start(app: FastAPI, settings: InvoiceSyncSettings, stack: AsyncExitStack) -> None:
    """Start everything; the stack stops it in the opposite order: intake first, the database last."""
    pool = await create_pool(settings, server_settings=_CONNECTION)
    stack.push_async_callback(pool.close)
    await require_schema(pool, versions("invoice_sync"))
    http = await stack.enter_async_context(
        httpx.AsyncClient(
            transport=OwnedConnections(most=2 * settings.worker_concurrency + 10), trust_env=False
        )
    )
    kafka = KafkaSettings.of(SOURCE, settings)
    relay = await stack.enter_async_context(
        Relay(
            settings.database_url.get_secret_value(),
            kafka,
            inbox_keep=timedelta(days=settings.retention_days),
        )
    )
    gateway = GatewayClient(http, settings.connector_url, _token(settings))
    deps = Deps(
        pool=pool,
        gateway=gateway,
        write=WriteSettings(settings.pipeline_web_url, settings.default_account_code),
        xero_web_url=settings.xero_web_url,
        batch_size=settings.batch_size,
        reconcile_every=timedelta(seconds=settings.reconcile_interval_seconds),
        on_recorded=relay.wake,
    )
    worker = AccountWorker(
        pool,
        partial(sync_account, deps),
        concurrency=settings.worker_concurrency,
        lease_seconds=settings.worker_lease_seconds,
        poll_seconds=settings.worker_poll_seconds,
    )

    def taken_up() -> None:
        relay.wake()
        worker.wake()

    app.state.deps, app.state.worker = deps, worker
    app.state.own_letters = OwnLetters(kafka, pool, TAKEN_UP, taken_up)
    await run_beside(stack, worker.run(), worker.stop)
    await run_beside(stack, _measure(pool), None)
    broker = make_broker(kafka)
    app.state.subscriptions = [
        _subscribe(broker, topic, handle, settings, pool, worker) for topic, handle in _HANDLERS
    ]
    await stack.enter_async_context(consuming(broker, why=partial(why_unreachable, kafka)))


def _subscribe(
    broker: Any,
    topic: topics.Topic,
    handle: Handle,
    settings: InvoiceSyncSettings,
    pool: asyncpg.Pool,
    worker: AccountWorker,
) -> Subscription:
    return subscribe(
        broker,
        topic.name,
        # A group of its own for each topic: members of one group rebalance whenever any of them comes or goes.
        group_id=f"{settings.consumer_group}.{topic.name}",
        pool=pool,
        handle=handle,
        on_committed=worker.wake,
    )


async def _check_worker(worker: AccountWorker) -> None:
    if problem := worker.problem():
        raise RuntimeError(problem)


async def _measure(pool: asyncpg.Pool) -> None:
    while True:
        try:
            async with pool.acquire() as conn:
                await metrics.measure(conn)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("not_measured", error=type(error).__name__)
        await asyncio.sleep(_GAUGES_SECONDS)


def _token(settings: InvoiceSyncSettings) -> Callable[[], str]:
    minter = TokenMinter(
        SOURCE,
        settings.service_key_file.read_bytes(),
        lifetime_seconds=min(300, settings.auth_max_service_token_seconds),
    )
    return minter.for_audience("connector")
