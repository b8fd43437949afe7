"""The dashboard as one ASGI application: what starts, and in which order it stops."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import httpx
from fastapi import FastAPI

from ops_dashboard.clients.api import PaymentIngest
from ops_dashboard.clients.invoice_sync import InvoiceSync
from ops_dashboard.deps import Deps
from ops_dashboard.forget_history import keep_forgetting
from ops_dashboard.handlers import assets, routers
from ops_dashboard.measure_lag import keep_measuring
from ops_dashboard.project_records import READ, project_records
from ops_dashboard.settings import Settings
from ops_dashboard.watch_accounts import AccountWatch
from pipeline_contracts.topics import Topic
from pipeline_messaging.broker import KafkaSettings, consuming, make_broker
from pipeline_messaging.subscriber import subscribe_raw
from pipeline_messaging.unreachable import why_unreachable
from pipeline_service_defaults.api import create_api
from pipeline_service_defaults.auth import Authenticator
from pipeline_service_defaults.background import run_beside
from pipeline_service_defaults.database import check_database, create_pool, require_schema
from pipeline_service_defaults.health import Check
from pipeline_service_defaults.migrate import versions

SERVICE: Final = "ops-dashboard"
DESCRIPTION: Final = (
    "Shows what goes on between Pipeline and Xero, from the public topics alone. It changes nothing by itself: what "
    "people decide here is asked of invoice-sync with their own rights."
)
_FETCH_BYTES: Final = 1024 * 1024
"""Of a partition at once: there are many, and being far behind must not fill the memory."""
_RECORDS: Final = 500


def create_app(settings: Settings, *, read: Sequence[Topic] = READ) -> FastAPI:
    """The application. `read` takes the place of the public topics, for tests."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, object]]:
        async with AsyncExitStack() as stack:
            app.state.deps, app.state.tasks = await _start(settings, read, stack)
            yield {}

    def checks() -> Mapping[str, Check]:
        # Kafka is no part of being ready: what was read before is shown, and that it is old is said.
        deps: Deps = app.state.deps
        return {"database": lambda: check_database(deps.pool)}

    async def check_tasks() -> None:
        tasks: Sequence[asyncio.Task[None]] = app.state.tasks
        if any(task.done() for task in tasks):
            raise RuntimeError("a background task has ended")

    app = create_api(
        title="Ops dashboard",
        description=DESCRIPTION,
        authenticator=Authenticator.from_file(
            settings.auth_issuers_file,
            service_name=SERVICE,
            max_service_token_seconds=settings.auth_max_service_token_seconds,
        ),
        lifespan=lifespan,
        checks=checks,
        alive={"tasks": check_tasks},
    )
    for router in (assets.router, *routers()):
        app.include_router(router)
    return app


async def _start(
    settings: Settings, read: Sequence[Topic], stack: AsyncExitStack
) -> tuple[Deps, Sequence[asyncio.Task[None]]]:
    """Start everything; give back what the pages need, and the tasks that never end.

    The stack stops it in the opposite order: intake first, the database last.
    """
    pool = await create_pool(settings)
    stack.push_async_callback(pool.close)
    await require_schema(pool, versions("ops_dashboard"))
    http = await stack.enter_async_context(
        httpx.AsyncClient(trust_env=False, follow_redirects=False)
    )
    watch = AccountWatch(pool, most=settings.most_streams)
    watching = await run_beside(stack, watch.run(), None)
    kafka = KafkaSettings.of(SERVICE, settings)
    measuring = await run_beside(stack, keep_measuring(pool, kafka, read), None)
    keep = timedelta(days=settings.history_days)
    forgetting = await run_beside(stack, keep_forgetting(pool, keep), None)
    broker = make_broker(kafka)
    for topic in read:
        subscribe_raw(
            broker,
            topic.name,
            # A group of its own for each topic: members of one group rebalance whenever any of them comes or goes.
            group_id=f"{SERVICE}.{topic.name}",
            store=partial(project_records, pool),
            max_records=_RECORDS,
            max_partition_fetch_bytes=_FETCH_BYTES,
        )
    await stack.enter_async_context(consuming(broker, why=partial(why_unreachable, kafka)))
    invoice_sync = InvoiceSync(http, settings.invoice_sync_url)
    payments_url = settings.payment_ingest_url
    payment_ingest = PaymentIngest(http, payments_url) if payments_url else None
    deps = Deps(settings, pool, invoice_sync, payment_ingest, watch, _clock)
    return deps, (watching, measuring, forgetting)


def _clock() -> datetime:
    return datetime.now(UTC)
