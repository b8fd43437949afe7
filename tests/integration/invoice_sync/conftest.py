"""invoice-sync's verbs on real Postgres, against the real simulator; between them a small stand-in for the gateway."""

import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial

import asyncpg
import httpx
import pytest
from emptying import EMPTY
from judging import violations_of
from serving import serving
from sync_wire import Wire

from invoice_sync.accept_events import accept_customers, accept_invoices, track_connections
from invoice_sync.deps import Deps
from invoice_sync.domain.mapping import WriteSettings
from invoice_sync.observe_invoices import observe_invoices
from invoice_sync.sync_account import sync_account
from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.customer import CustomerCreated, CustomerUpdated
from pipeline_contracts.envelope import Envelope, decode
from pipeline_contracts.invoice import InvoiceCreated, InvoiceLine, InvoiceUpdated, InvoiceVoided
from pipeline_messaging import leases
from pipeline_messaging.outbox import unpack_headers
from pipeline_service_defaults.keys import new_private_key, public_jwk
from pipeline_service_defaults.migrate import directories_of
from pipeline_xero.client import GatewayClient
from xero_simulator.app import XeroSimulator
from xero_simulator.app import create_app as create_simulator
from xero_simulator.config import Settings as SimulatorSettings
from xero_simulator.grants import SCOPES, Access

WEB = "https://app.pipeline.example"


class Died(BaseException):
    """The process ends here, as a kill would end it: no `except Exception` may see it."""


@dataclass
class Gateway(httpx.AsyncBaseTransport):
    """The gateway's HTTP form over a simulator: token, tenant, and the words for what went wrong on the way."""

    xero_url: str
    http: httpx.AsyncClient
    tenants: dict[str, str] = field(default_factory=dict)
    patience: float = 1.0
    calls: list[tuple[str, str]] = field(default_factory=list)
    before: object = None
    """Called with each request before it goes on to Xero; may raise."""
    after: object = None
    """Called after Xero answered, before the caller hears of it; may raise."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/connection"):
            account_id = request.url.path.split("/")[3]
            return httpx.Response(200, json={"sequence": int(account_id in self.tenants)})
        _, _, _, account_id, _, path = request.url.path.split("/", 5)
        self.calls.append((request.method, path))
        if self.before is not None:
            self.before(request)
        tenant_id = self.tenants.get(account_id)
        if tenant_id is None:
            return problem(
                409,
                "NOT_CONNECTED",
                status_name="DISCONNECTED",
                reason="REVOKED",
                message="Access was revoked.",
                hint="Connect.",
            )
        if request.headers.get("x-expected-tenant", tenant_id) != tenant_id:
            return problem(409, "TENANT_CHANGED")
        answer = await self._pass_on(request, path, tenant_id)
        if self.after is not None:
            self.after(request)
        return answer

    async def _pass_on(self, request, path, tenant_id) -> httpx.Response:
        passed = ("content-type", "accept", "idempotency-key", "if-modified-since")
        headers = {name: request.headers[name] for name in passed if name in request.headers}
        headers |= {"authorization": "Bearer test-token", "xero-tenant-id": tenant_id}
        raw_path = request.url.raw_path.decode().split("/xero/", 1)[1]
        try:
            answer = await self.http.request(
                request.method,
                f"{self.xero_url}/api.xro/2.0/{raw_path}",
                headers=headers,
                content=request.content,
                timeout=self.patience,
            )
        except httpx.ConnectError:
            return problem(502, "XERO_UNREACHABLE", outcome="not_sent")
        except httpx.TimeoutException:
            return problem(504, "XERO_TIMEOUT", outcome="unknown")
        except httpx.HTTPError:
            return problem(502, "XERO_CONNECTION_LOST", outcome="unknown")
        kept = {
            name: value
            for name, value in answer.headers.items()
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}
        }
        return httpx.Response(answer.status_code, headers=kept, content=answer.content)


def problem(status, code, **members) -> httpx.Response:
    return httpx.Response(
        status,
        headers={"X-Gateway-Error": code, "Content-Type": "application/problem+json"},
        content=json.dumps({"code": code, **members}).encode(),
    )


@dataclass
class Books:
    """An organisation in the simulator, and the hands of a person working in it."""

    simulator: XeroSimulator
    url: str
    http: httpx.AsyncClient
    tenant_id: str
    edited: set[str] = field(default_factory=set)
    """The InvoiceIDs of what somebody worked on."""

    @property
    def world(self):
        return self.simulator.world

    async def ledger(self) -> dict:
        reply = await self.http.get(f"{self.url}/admin/tenants/{self.tenant_id}/ledger")
        return reply.json()

    async def invoices(self, number: str | None = None) -> list[dict]:
        found = (await self.ledger())["invoices"]
        return [each for each in found if number in {None, each["number"]}]

    async def act(self, method: str, path: str, body: dict | None = None) -> dict:
        reply = await self.http.request(
            method, f"{self.url}/admin/tenants/{self.tenant_id}/{path}", json=body or {}
        )
        assert reply.status_code < 300, reply.text
        found: dict = reply.json()
        self.edited |= {found[key] for key in ("document_id", "invoice_id") if key in found}
        return found

    def fault(self, kind: str, **fields) -> None:
        self.world.faults.add(kind=kind, **fields)


@dataclass
class Service:
    """invoice-sync without its loops: each step is called by the test, in any order it likes."""

    pool: asyncpg.Pool
    gateway: Gateway
    deps: Deps
    books: Books
    account_id: str
    connection_sequence: int = 0
    taken_in: list[Envelope] = field(default_factory=list)
    """Every event it was given, for the judge."""

    async def connect(
        self, status="CONNECTED", *, tenant_id=None, account_id=None, reason="TEST"
    ) -> None:
        account_id = account_id or self.account_id
        tenant_id = tenant_id or self.books.tenant_id
        self.connection_sequence += 1
        if status == "CONNECTED":
            self.gateway.tenants[account_id] = tenant_id
        else:
            self.gateway.tenants.pop(account_id, None)
        event = ConnectionStatusChanged(
            account_id=account_id,
            status=status,
            reason=reason,
            since=datetime.now(UTC),
            message="Access was revoked." if status != "CONNECTED" else "Connected.",
            hint="",
            can_refresh=False,
            tenant_id=tenant_id if status == "CONNECTED" else None,
            short_code="!Abc1D" if status == "CONNECTED" else None,
            sequence=self.connection_sequence,
        )
        await self._take_in(track_connections, [event])

    async def want(self, *events) -> None:
        await self._take_in(accept_invoices, events)

    async def know(self, *customer_ids, name=None, version=1, **fields) -> None:
        kind = CustomerCreated if version == 1 else CustomerUpdated
        events = [
            kind(
                account_id=self.account_id,
                customer_id=each,
                version=version,
                name=name or f"Customer {each}",
                **fields,
            )
            for each in customer_ids
        ]
        await self._take_in(accept_customers, events)

    async def observe(self, *events) -> None:
        await self._take_in(observe_invoices, events)

    async def _take_in(self, handle, events) -> None:
        envelopes = [envelope(event) for event in events]
        async with self.pool.acquire() as conn, conn.transaction():
            await handle(conn, envelopes)
        self.taken_in += envelopes

    def invoice(self, invoice_id: str, **fields) -> InvoiceCreated:
        return make_invoice(self.account_id, invoice_id, **fields)

    async def turn(self, account_id=None):
        """One turn of the account worker; returns when it wants to come back."""
        account_id = account_id or self.account_id
        async with self.pool.acquire() as conn:
            await leases.mark_due(conn, [account_id])
            claims = await leases.claim(conn, limit=100, seconds=60)
        (claim,) = [one for one in claims if one.lease.account_id == account_id]
        try:
            return await sync_account(self.deps, claim.lease)
        finally:
            async with self.pool.acquire() as conn:
                for one in claims:
                    await leases.give_back(conn, one.lease)

    async def hurry(self) -> None:
        """Everything that waits for a moment is due now."""
        await self.pool.execute("UPDATE accounts SET paused_until = NULL")
        await self.pool.execute("UPDATE intents SET due_at = now()")
        await self.pool.execute("UPDATE invoices SET due_at = now() WHERE due_at IS NOT NULL")
        await self.pool.execute("UPDATE customers SET due_at = now() WHERE due_at IS NOT NULL")
        await self.pool.execute(
            "UPDATE contact_mappings SET check_at = now() WHERE check_at IS NOT NULL"
        )

    async def settle(self, turns: int = 6) -> None:
        """Turns until nothing is due and nothing is open."""
        for _ in range(turns):
            await self.hurry()
            if await self.turn() is None:
                return

    async def state(self, invoice_id: str) -> str:
        return await self.pool.fetchval(
            "SELECT state FROM invoices WHERE account_id = $1 AND invoice_id = $2",
            self.account_id,
            invoice_id,
        )

    async def row(self, invoice_id: str):
        return await self.pool.fetchrow(
            "SELECT * FROM invoices WHERE account_id = $1 AND invoice_id = $2",
            self.account_id,
            invoice_id,
        )

    async def told(self, invoice_id: str | None = None) -> list:
        """The events in the outbox, in order; of one invoice if named, whose sequence must then be 1..n."""
        rows = await self.pool.fetch(
            "SELECT key, value, headers FROM outbox WHERE topic NOT LIKE '%.dlq' ORDER BY id"
        )
        events = [
            decode(key=row["key"], value=row["value"], headers=unpack_headers(row["headers"])).event
            for row in rows
        ]
        if invoice_id is None:
            return events
        mine = [each for each in events if getattr(each, "invoice_id", None) == invoice_id]
        assert [each.sequence for each in mine] == list(range(1, len(mine) + 1))
        return mine

    async def kinds(self, invoice_id: str) -> list[str]:
        return [type(each).__name__ for each in await self.told(invoice_id)]

    async def age_intents(self, age: timedelta) -> None:
        await self.pool.execute("UPDATE intents SET first_sent_at = now() - $1::interval", age)


def make_invoice(account_id: str, invoice_id: str, **fields):
    kind = fields.pop("kind", InvoiceCreated)
    lines = fields.pop("lines", None) or [line("1")]
    values = {
        "version": 1,
        "invoice_number": invoice_id.upper(),
        "customer_id": "cust-1",
        "issue_date": date(2026, 3, 1),
        "due_date": date(2026, 3, 31),
        "currency": "NZD",
        "amounts_are": "no_tax",
        "total": sum((each.quantity * each.unit_amount for each in lines), Decimal(0)),
    }
    return kind(account_id=account_id, invoice_id=invoice_id, lines=lines, **(values | fields))


def line(line_id: str, **fields) -> InvoiceLine:
    values = {"description": f"Work {line_id}", "quantity": "2", "unit_amount": "50.00"}
    return InvoiceLine(line_id=line_id, **(values | fields))


def envelope(event) -> Envelope:
    return Envelope(
        id=uuid.uuid4().hex,
        source="billing",
        type=event.TYPE,
        subject=event.subject,
        time=datetime.now(UTC),
        traceparent=None,
        event=event,
    )


@pytest.fixture(scope="session")
async def sync_dsn(make_database) -> str:
    return await make_database(*directories_of("invoice_sync"))


@pytest.fixture
async def sync_pool(sync_dsn) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(sync_dsn, min_size=1, max_size=10) as opened:
        await opened.execute(EMPTY)
        yield opened


@pytest.fixture
async def books() -> AsyncIterator[Books]:
    """A fresh simulator on a socket, without limits, connected to its first organisation."""
    simulator = create_simulator(SimulatorSettings())
    world = simulator.world
    async with serving(simulator) as url, httpx.AsyncClient(timeout=30, trust_env=False) as http:
        user = next(iter(world.users.values()))
        tenant_id = user.tenant_ids[0]
        until = world.clock.now() + timedelta(days=30)
        world.grants.accesses["test-token"] = Access(user.user_id, SCOPES, "event", until)
        for each in user.tenant_ids:
            world.grants._connect(user.user_id, each, "event", world.clock.now())
        await http.put(f"{url}/admin/limits", json={"unlimited": True})
        yield Books(simulator, url, http, tenant_id)


@pytest.fixture
async def service(sync_pool, books) -> AsyncIterator[Service]:
    gateway = Gateway(books.url, books.http)
    async with httpx.AsyncClient(transport=gateway) as client:
        deps = Deps(
            pool=sync_pool,
            gateway=GatewayClient(client, "http://gateway.test", lambda: "token"),
            write=WriteSettings(WEB, "200"),
            chance=lambda: 0.5,
        )
        yield Service(sync_pool, gateway, deps, books, f"acc-{uuid.uuid4().hex[:8]}")


@pytest.fixture
async def ready(service) -> Service:
    """Connected, and customer cust-1 mapped to a contact made in Xero."""
    await service.connect()
    await service.know("cust-1")
    await service.settle()
    service.gateway.calls.clear()
    return service


@pytest.fixture
async def books_of_five(ready) -> Service:
    """Five invoices that are in Xero."""
    await ready.want(*(ready.invoice(f"inv-{number}") for number in range(5)))
    await ready.settle()
    return ready


@pytest.fixture
async def judged(service) -> AsyncIterator[None]:
    """Whatever the test did: in the end the promises hold that a program can check against Xero's own books."""
    yield
    assert await violations_of(service) == []


@pytest.fixture
async def wire(kafka, monkeypatch):
    wire = Wire(kafka)
    await wire.open()
    wire.divert(monkeypatch)
    yield wire
    await wire.close()


@pytest.fixture(scope="module")
def identities(tmp_path_factory):
    """Keys of people and services as the issuers file lists them."""
    folder = tmp_path_factory.mktemp("identities")
    person, own, backend = new_private_key(), new_private_key(), new_private_key()
    issuers = {
        "pipeline": {"kind": "person", "keys": [public_jwk(person)]},
        "pipeline-backend": {"kind": "service", "keys": [public_jwk(backend)]},
        "payment-ingest": {"kind": "service", "keys": [public_jwk(own)]},
    }
    (folder / "issuers.json").write_text(json.dumps(issuers))
    (folder / "own.pem").write_text(own)
    return folder, person, backend, own


# Test modules are imported by path and cannot import this one, so what they call comes as fixtures.


@pytest.fixture
def line_of():
    return line


@pytest.fixture
def died():
    return Died


@pytest.fixture
def invoice_of():
    return make_invoice


@pytest.fixture
def envelopes_of():
    return lambda events: [envelope(event) for event in events]


@pytest.fixture
def customers_of():
    def make(account_id, customer_ids, *, version):
        kind = CustomerCreated if version == 1 else CustomerUpdated
        return [
            kind(account_id=account_id, customer_id=each, version=version, name=f"Customer {each}")
            for each in customer_ids
        ]

    return make


@pytest.fixture
def kinds_of_event():
    return {"updated": InvoiceUpdated, "voided": InvoiceVoided, "created": InvoiceCreated}


@pytest.fixture
def serve():
    return serving


@pytest.fixture
def serve_with_lifespan():
    return partial(serving, lifespan="on")
