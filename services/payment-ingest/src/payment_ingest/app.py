"""The service put together: what starts, in which order it stops, and the one ASGI callable."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import asyncpg
import httpx
import structlog
from fastapi import FastAPI

from payment_ingest import metrics
from payment_ingest.accept_delivery import DeliveryWriter
from payment_ingest.deps import Deps
from payment_ingest.domain.sweeping import SweepTimes
from payment_ingest.follow_connections import follow_connections
from payment_ingest.handlers import deliveries as delivery_routes
from payment_ingest.handlers import payments as payment_routes
from payment_ingest.handlers import sweeps as sweep_routes
from payment_ingest.handlers.webhooks import AsgiApp, WebhookGate, describe
from payment_ingest.link_invoices import link_invoices
from payment_ingest.notice_gaps import sweep_everybody, watch_for_gaps
from payment_ingest.process_account import process_account
from payment_ingest.publish_movements import SOURCE
from payment_ingest.read_documents import DocumentReader
from payment_ingest.read_invoices import InvoiceReader
from payment_ingest.read_payments import PaymentReader
from payment_ingest.ring_doorbells import DoorbellRinger
from payment_ingest.settings import Settings
from payment_ingest.store import deliveries, doorbells, ledger, reconciliations, sweeps
from payment_ingest.tend_deliveries import keep_tending
from pipeline_contracts import topics
from pipeline_messaging.broker import KafkaSettings, consuming, make_broker
from pipeline_messaging.relay import Relay
from pipeline_messaging.subscriber import subscribe
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

_GAUGES_SECONDS = 5.0
_COUNT_SECONDS = 60.0
"""Less often: it reads all that waits, and an organisation may have years of invoices that never were Pipeline's."""
_WRITER_CONNECTION = {
    "application_name": "delivery-writer",
    "timezone": "UTC",
    # Xero waits five seconds: a commit that takes two is answered 503 and comes again.
    "statement_timeout": "2000",
}


@dataclass(slots=True)
class _Running:
    """What exists only between start and stop."""

    pool: asyncpg.Pool
    tasks: tuple[asyncio.Task[None], ...]


def create_app(settings: Settings) -> AsgiApp:
    """The service as one ASGI application: the webhook gate, and FastAPI behind it."""

    def wake_ringer() -> None:
        # Looked up late: the ringer exists once the application has started, and so do deliveries.
        api.state.wake_ringer()

    writer = DeliveryWriter(partial(_connect_writer, settings), on_stored=wake_ringer)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            running = await _start(app, settings, writer, stack)
            app.state.pool = running.pool
            app.state.running = running
            yield

    api: FastAPI = create_api(
        title="payment-ingest",
        description="Turns what Xero tells about payments into PaymentRecorded and PaymentReversed, each once.",
        authenticator=Authenticator.from_file(
            settings.auth_issuers_file,
            service_name=SOURCE,
            max_service_token_seconds=settings.auth_max_service_token_seconds,
        ),
        lifespan=lifespan,
        # Kafka is no part of being ready: webhooks must be accepted while it is away.
        checks=lambda: {
            "database": lambda: check_database(api.state.pool),
            "tasks": lambda: _check_tasks(api),
        },
    )
    api.include_router(payment_routes.router)
    api.include_router(delivery_routes.router)
    api.include_router(sweep_routes.router)
    api.include_router(dead_letter_routes(SOURCE))
    describe(api)
    return WebhookGate(api, settings.webhook_keys, writer.accept)


async def _start(
    app: FastAPI, settings: Settings, writer: DeliveryWriter, stack: AsyncExitStack
) -> _Running:
    """Start everything; the stack stops it in the opposite order: intake first, the database last."""
    pool = await create_pool(settings)
    stack.push_async_callback(pool.close)
    await require_schema(pool, versions("payment_ingest"))
    http = await stack.enter_async_context(
        httpx.AsyncClient(transport=OwnedConnections(most=50), trust_env=False)
    )
    kafka = KafkaSettings.of(SOURCE, settings)
    relay = await stack.enter_async_context(Relay(settings.database_url.get_secret_value(), kafka))
    xero = GatewayClient(http, settings.connector_url, _token(settings))
    times = _sweep_times(settings)
    deps = Deps(
        pool,
        InvoiceReader(xero, _clock),
        PaymentReader(xero, _clock),
        times,
        _clock,
        on_told=relay.wake,
        documents=DocumentReader(xero),
    )
    await sweep_everybody(pool, times)
    worker = AccountWorker(
        pool,
        partial(process_account, deps),
        concurrency=settings.account_concurrency,
        lease_seconds=settings.worker_lease_seconds,
    )
    working = await run_beside(stack, worker.run(), worker.stop)
    ringer = DoorbellRinger(pool, on_rung=worker.wake, is_busy=lambda: writer.busy)
    app.state.wake_ringer = ringer.wake
    ringing = await run_beside(stack, ringer.run(), ringer.stop)
    measuring = await run_beside(stack, _measure(pool), None)
    watching = await run_beside(stack, watch_for_gaps(pool, times, worker.wake), None)
    tending = await run_beside(
        stack, keep_tending(pool, settings.delivery_retention_days, ringer.wake), None
    )
    writing = await run_beside(stack, writer.run(), writer.stop)
    broker = make_broker(kafka)

    def linked() -> None:
        relay.wake()
        worker.wake()

    link = partial(link_invoices, clock=_clock)
    # Not the connections: invoice-sync reads them, too, and a letter does not say which of both could not use it.
    app.state.own_letters = OwnLetters(kafka, pool, {topics.SYNC: link}, linked)
    subscribe(
        broker,
        topics.CONNECTIONS.name,
        # A group of its own for each topic: members of one group rebalance whenever any of them comes or goes.
        group_id=f"{SOURCE}.{topics.CONNECTIONS.name}",
        pool=pool,
        handle=follow_connections,
        on_committed=linked,
    )
    subscribe(
        broker,
        topics.SYNC.name,
        group_id=f"{SOURCE}.{topics.SYNC.name}",
        pool=pool,
        handle=link,
        on_committed=linked,
    )
    await stack.enter_async_context(consuming(broker, why=partial(why_unreachable, kafka)))
    return _Running(pool, (writing, ringing, working, measuring, watching, tending))


async def _connect_writer(settings: Settings) -> asyncpg.Connection:
    return await asyncpg.connect(
        settings.database_url.get_secret_value(), timeout=2, server_settings=_WRITER_CONNECTION
    )


async def _check_tasks(api: FastAPI) -> None:
    running: _Running = api.state.running
    for task in running.tasks:
        if task.done():
            raise RuntimeError(f"{task.get_name()} has ended")


async def _measure(pool: asyncpg.Pool) -> None:
    count_at = time.monotonic()
    while True:
        try:
            async with pool.acquire() as conn:
                metrics.OLDEST_UNPROCESSED.set(await deliveries.oldest_unprocessed_age(conn))
                metrics.OLDEST_DOORBELL.set(await doorbells.oldest_ring_age(conn))
                if time.monotonic() >= count_at:
                    metrics.OLDEST_SWEEP.set(await sweeps.oldest_age(conn))
                    metrics.UNMATCHED.set(await ledger.count_unmatched(conn))
                    metrics.DIFFERING.set(await reconciliations.count_differing(conn))
                    count_at = time.monotonic() + _COUNT_SECONDS
        except Exception as error:  # gauges must come back when the database does
            log.warning("not_measured", error=type(error).__name__, exc_info=error)
        await asyncio.sleep(_GAUGES_SECONDS)


def _token(settings: Settings) -> Callable[[], str]:
    minter = TokenMinter(
        SOURCE,
        settings.service_key_file.read_bytes(),
        lifetime_seconds=min(300, settings.auth_max_service_token_seconds),
    )
    return minter.for_audience("connector")


def _sweep_times(settings: Settings) -> SweepTimes:
    return SweepTimes(
        interval=timedelta(seconds=settings.sweep_interval_seconds),
        overlap=timedelta(seconds=settings.sweep_overlap_seconds),
        pause=timedelta(seconds=settings.sweep_pause_seconds),
        night_begins=settings.deep_sweep_hour,
        night_lasts=timedelta(seconds=settings.deep_sweep_spread_seconds),
    )


def _clock() -> datetime:
    return datetime.now(UTC)
