"""The connector as one ASGI application: its parts built, started and stopped here."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

import httpx
import structlog
from fastapi import Depends, FastAPI

from connector.background import check_background, keep_house
from connector.clients.identity import XeroIdentity
from connector.clients.invoice_sync import InvoiceSync
from connector.clients.xero_api import XeroApi
from connector.deps import Deps
from connector.handlers import (
    assets,
    card,
    connection,
    disconnect,
    gateway,
    oauth,
    problem_pages,
    switch,
)
from connector.rotate_keys import require_keys
from connector.settings import Settings
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.relay import Relay
from pipeline_messaging.unreachable import warn_until_reachable
from pipeline_service_defaults.api import create_api
from pipeline_service_defaults.auth import Authenticator, TokenMinter
from pipeline_service_defaults.database import Pool, check_database, create_pool, require_schema
from pipeline_service_defaults.health import Check
from pipeline_service_defaults.migrate import versions
from pipeline_service_defaults.source_limit import SourceLimit
from pipeline_xero.connections import OwnedConnections

log = structlog.get_logger(__name__)

SERVICE: Final = "connector"
DESCRIPTION: Final = (
    "Holds each account's connection to Xero. People connect, refresh and disconnect on the Xero card; other services "
    "call Xero through the gateway, under its limits, and never see a token."
)


def create_app(
    settings: Settings, *, xero_transport: httpx.AsyncBaseTransport | None = None
) -> FastAPI:
    """The application. `xero_transport` takes the place of the network towards Xero, for tests."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, object]]:
        pool = await create_pool(settings)
        kafka = KafkaSettings.of(SERVICE, settings)
        try:
            await require_schema(pool, versions("connector"))
            async with (
                xero_client(xero_transport) as http,
                invoice_sync_client(settings) as invoice_sync,
                Relay(settings.database_url.get_secret_value(), kafka) as relay,
            ):
                deps = app.state.deps = build(settings, pool, http, relay, invoice_sync)
                async with pool.acquire() as conn:
                    await require_keys(conn, deps.ring)
                background = asyncio.create_task(keep_house(deps), name="connector-background")
                # Nothing is consumed here, and events are rare: a wrong password would show with the first of them.
                entering = asyncio.create_task(warn_until_reachable(kafka), name="kafka-entry")
                try:
                    yield {}
                finally:
                    entering.cancel()
                    await wind_down(deps, background)
        finally:
            await pool.close()

    def checks() -> Mapping[str, Check]:
        deps: Deps = app.state.deps
        return {
            "database": lambda: check_database(deps.pool),
            "schema": lambda: require_schema(deps.pool, versions("connector")),
        }

    def alive() -> Mapping[str, Check]:
        deps: Deps = app.state.deps
        return {"background": lambda: check_background(deps)}

    app = create_api(
        title="Connector",
        description=DESCRIPTION,
        authenticator=Authenticator.from_file(
            settings.auth_issuers_file,
            service_name=SERVICE,
            max_service_token_seconds=settings.auth_max_service_token_seconds,
        ),
        lifespan=lifespan,
        checks=checks,
        alive=alive,
        max_body_bytes=settings.gateway_max_request_bytes,
    )
    # The gateway first: routes are tried in this order, and it is asked a hundred times a second.
    for inner in (gateway, connection):
        app.include_router(inner.router)
    limit = SourceLimit(
        settings.public_requests_per_minute, trusted_proxies=settings.trusted_proxies
    )
    for public in (assets, card, disconnect, oauth, switch, problem_pages):
        app.include_router(public.router, dependencies=[Depends(limit)])
    return app


def xero_client(transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    """The connections to Xero. Addresses come from settings alone: no proxy variables, no redirects."""
    return httpx.AsyncClient(
        transport=transport
        or OwnedConnections(most=400, tls=httpx.create_ssl_context(trust_env=False)),
        trust_env=False,
        follow_redirects=False,
    )


@asynccontextmanager
async def invoice_sync_client(settings: Settings) -> AsyncIterator[InvoiceSync | None]:
    """The client of invoice-sync, with its own connections; None where its address is not configured."""
    if settings.invoice_sync_url is None or settings.service_key_file is None:
        yield None
        return
    minter = TokenMinter(
        SERVICE,
        settings.service_key_file.read_bytes(),
        lifetime_seconds=min(300, settings.auth_max_service_token_seconds),
    )
    async with httpx.AsyncClient(
        transport=OwnedConnections(most=20), trust_env=False, follow_redirects=False
    ) as http:
        yield InvoiceSync(http, settings.invoice_sync_url, minter.for_audience("invoice-sync"))


def build(
    settings: Settings,
    pool: Pool,
    http: httpx.AsyncClient,
    relay: Relay,
    invoice_sync: InvoiceSync | None,
) -> Deps:
    """Wire the ports together."""
    ring = settings.key_ring()
    return Deps(
        settings=settings,
        pool=pool,
        http=http,
        identity=XeroIdentity(http, settings),
        api=XeroApi(http, settings),
        ring=ring,
        form_keys=ring,
        invoice_sync=invoice_sync,
        wake=relay.wake,
    )


async def wind_down(deps: Deps, background: asyncio.Task[None]) -> None:
    """Stop the background, but let a refresh under way end: its answer exists only in this process."""
    background.cancel()
    with suppress(asyncio.CancelledError):
        await background
    if deps.tasks:
        await asyncio.wait(set(deps.tasks), timeout=deps.settings.shutdown_seconds)
