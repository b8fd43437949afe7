"""What the figures about Xero share: a connected account, a direct client, a producer, a reader, and how to wait."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg
import httpx
from aiokafka import AIOKafkaProducer

from pipeline_contracts import topics
from pipeline_contracts.event import Event
from pipeline_contracts.invoice import InvoiceCreated
from pipeline_contracts.sync import ContactMapped
from pipeline_local_stack.bench import bare_sync, plain_sync
from pipeline_local_stack.bench.direct import DirectXero, connect_directly
from pipeline_local_stack.bench.workload import Workload, make_workload, publish_all
from pipeline_local_stack.connect import connect_to_xero
from pipeline_local_stack.kafka import create_topics
from pipeline_local_stack.paths import StackError
from pipeline_local_stack.processes import wait_until_listening
from pipeline_local_stack.stack import Stack, wait_until_ready
from pipeline_local_stack.watcher import Watcher, watching
from pipeline_local_stack.xero_admin import XeroAdmin

PATIENCE_SECONDS = 30.0
_CALLS_A_MINUTE, _CALLS_A_MINUTE_OF_THE_APP = "6000", "100000"
_LOOK_SECONDS = 0.01
_OF_BASELINES = (
    plain_sync.INVOICES, plain_sync.SYNCED, bare_sync.INVOICES, bare_sync.SYNCED
)  # fmt: skip
_WATCHED = [topics.SYNC, topics.PAYMENTS, plain_sync.SYNCED, bare_sync.SYNCED]
_UNFINISHED = {
    "connector": "SELECT count(*) FROM outbox",
    "invoice_sync": """
        SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM invoices WHERE due_at IS NOT NULL)
             + (SELECT count(*) FROM intents)
    """,
    "payment_ingest": """
        SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM doorbells JOIN connections USING (tenant_id) WHERE created_at IS NULL)
             + (SELECT count(*) FROM unread_deliveries)
    """,
}


@dataclass(slots=True)
class Surroundings:
    """Everything that a measurement about Xero uses."""

    stack: Stack
    xero: XeroAdmin
    http: httpx.AsyncClient
    direct: DirectXero
    direct_contacts: dict[str, str]
    producer: AIOKafkaProducer
    seen: Watcher
    workload: Workload
    published: list[InvoiceCreated]
    """Every invoice that this system was given."""
    connections: dict[str, asyncpg.Connection]
    books: list[XeroAdmin]
    """Every organisation that holds what was published."""

    async def publish(self, invoices: list[InvoiceCreated]) -> None:
        """Publish invoices for this system."""
        self.published += invoices
        await publish_all(self.producer, invoices)

    async def wait_for(
        self,
        topic: str,
        event_type: type[Event],
        subjects: set[str],
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> float:
        """Wait until an event of the type was read for every subject; `time.perf_counter()` at that moment.

        Raises:
            StackError: nothing more came for a long time.
        """
        envelopes = self.seen.envelopes[topic]
        missing, position, news = set(subjects), 0, time.perf_counter()
        while True:
            for envelope in envelopes[position:]:
                if isinstance(envelope.event, event_type):
                    missing.discard(envelope.subject)
            if not missing:
                return time.perf_counter()
            if len(envelopes) > position:
                position, news = len(envelopes), time.perf_counter()
            elif time.perf_counter() - news > patience:
                raise StackError(
                    f"{len(missing)} of {len(subjects)} {event_type.__name__} did not come within "
                    f"{patience:.0f} s on {topic}; the last event there: {envelopes[-1:]}"
                )
            await self.seen.changed(1)

    async def until_idle(self, *, look_seconds: float = _LOOK_SECONDS) -> None:
        """Wait until nothing is under way: no webhook unread or unanswered, no invoice due, no event unpublished.

        Each look costs the database some processor time; who measures that looks seldom.

        Raises:
            StackError: it does not come to rest, and gets no nearer to it either.
        """
        last, news = await self._unfinished(), time.monotonic()
        while time.monotonic() - news < PATIENCE_SECONDS:
            webhooks = await self.http.get("/admin/health")
            left = await self._unfinished()
            if webhooks.json()["webhooks_idle"] and not left:
                return
            if left != last:
                last, news = left, time.monotonic()
            await asyncio.sleep(look_seconds)
        raise StackError(f"The system does not come to rest; left to do: {last}")

    async def _unfinished(self) -> dict[str, int]:
        counts = {}
        for database, query in _UNFINISHED.items():
            counts[database] = await self.connections[database].fetchval(query)
        return {database: count for database, count in counts.items() if count}


@contextlib.asynccontextmanager
async def connected(stack: Stack, say: Callable[[str], None]) -> AsyncIterator[Surroundings]:
    """Connect the account, lift all call limits, and announce the customers.

    Raises:
        StackError: one of these did not succeed.
    """
    # First of all: their partitions get their leaders while the account is being connected.
    await create_topics(stack.broker.bootstrap_servers, _OF_BASELINES)
    await asyncio.to_thread(_lift_limits, stack)
    await asyncio.to_thread(connect_to_xero, stack.urls["portal"])
    producer = AIOKafkaProducer(
        bootstrap_servers=stack.broker.bootstrap_servers, acks="all",
        enable_idempotence=stack.broker.supports_idempotence,
    )  # fmt: skip
    async with contextlib.AsyncExitStack() as undo:
        http = await undo.enter_async_context(
            httpx.AsyncClient(base_url=stack.urls["simulator"], timeout=30)
        )
        await producer.start()
        undo.push_async_callback(producer.stop)
        seen = await undo.enter_async_context(watching(stack.broker.bootstrap_servers, _WATCHED))
        connections = {}
        for database, dsn in stack.dsns.items():
            connections[database] = await asyncpg.connect(dsn)
            undo.push_async_callback(connections[database].close)
        direct = await connect_directly(stack, http)
        workload = make_workload()
        xero = XeroAdmin(stack.urls["simulator"])
        around = Surroundings(
            stack=stack, xero=xero, books=[xero], http=http, direct=direct,
            direct_contacts=await direct.create_contacts(workload.customers), producer=producer,
            seen=seen, workload=workload, published=[], connections=connections,
        )  # fmt: skip
        customers = {customer.customer_id for customer in workload.customers}
        await publish_all(producer, workload.customers)
        await around.wait_for(topics.SYNC.name, ContactMapped, customers)
        say(f"Connected; {len(customers)} customers have their contact in Xero.")
        yield around


def _lift_limits(stack: Stack) -> None:
    """No limit in Xero's simulator, and as good as none a minute in the gateway, which keeps its five at once."""
    admin = XeroAdmin(stack.urls["simulator"])
    admin.http.put("/limits", json={"unlimited": True}).raise_for_status()
    restart_connector(
        stack, XERO_MINUTE_LIMIT=_CALLS_A_MINUTE, XERO_APP_MINUTE_LIMIT=_CALLS_A_MINUTE_OF_THE_APP
    )


def restart_connector(stack: Stack, **settings: str) -> None:
    """Start the connector anew with some of its settings changed.

    Raises:
        StackError: it does not come up.
    """
    connector, url = stack.children["connector"], stack.urls["connector"]
    connector.stop()
    connector.env = {**connector.env, **settings}
    connector.start()
    wait_until_listening(connector, urlsplit(url).port or 80)
    wait_until_ready(connector, url)
