"""One running stack for all acceptance tests: real processes, real Kafka, real Postgres, Xero simulated."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count

import httpx
import pytest
from acceptance_support import announce_customer
from company import Company
from otlp_receiver import OtlpReceiver, receiving

from pipeline_local_stack.connect import connect_to_xero
from pipeline_local_stack.stack import Stack, running_stack
from pipeline_local_stack.watcher import Watcher, watching
from pipeline_local_stack.xero_admin import XeroAdmin

_NUMBERS = count(1)


@pytest.fixture(scope="package")
def collector() -> Iterator[OtlpReceiver]:
    """Where the services' traces go."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="package")
def stack(collector: OtlpReceiver) -> Iterator[Stack]:
    """The whole system, empty, with the demo account connected to Xero, whose limits are lifted."""
    # With Xero's limits, what guards them: an organisation need not rest a minute between two looks at it.
    lifted_here = {
        "connector": {"XERO_MINUTE_LIMIT": "6000", "PUBLIC_REQUESTS_PER_MINUTE": "1000000"},
        "payment-ingest": {"SWEEP_PAUSE_SECONDS": "1"},
    }
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    environment = {
        name: {**traced, **lifted_here.get(name, {})}
        for name in ("connector", "invoice-sync", "payment-ingest")
    }
    with running_stack(environment=environment, dashboard=True) as running:
        lifted = {"unlimited": True}
        httpx.put(f"{running.urls['simulator']}/admin/limits", json=lifted).raise_for_status()
        connect_to_xero(running.urls["portal"])
        yield running


@pytest.fixture(scope="package")
def xero(stack: Stack) -> Iterator[XeroAdmin]:
    """Somebody at work inside Xero."""
    admin = XeroAdmin(stack.urls["simulator"])
    yield admin
    admin.close()


@pytest.fixture(scope="package")
async def seen(stack: Stack) -> AsyncIterator[Watcher]:
    """Everything that comes out on the topics; the customer of the tests' invoices is known."""
    await announce_customer(stack.broker.bootstrap_servers)
    async with watching(stack.broker.bootstrap_servers) as watcher:
        yield watcher


@pytest.fixture
async def company(stack: Stack, seen: Watcher) -> AsyncIterator[Company]:
    """A company of its own: what it does to its connection or in its books meets no other test's."""
    made = await asyncio.to_thread(Company, stack, seen, f"co{next(_NUMBERS)}")
    yield made
    made.close()


@pytest.fixture
def as_admin(stack: Stack) -> Iterator[httpx.Client]:
    """A client with an administrator's session of the demo account."""
    token = stack.identities.person_token("demo", "admin", name="Ada Admin", user_id="user-ada")
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
        yield client
