"""The last release and this one side by side on the same topics and databases, under load, there and back again.

The first phase of the migrations, one replica of each service on the new release, back to the former, the new one for
all, the second phase. Invoices are published and paid all the while; the ledgers are compared at the end.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count, cycle

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaProducer

from pipeline_contracts.envelope import encode, stable_id
from pipeline_contracts.event import Event
from pipeline_contracts.payment import PaymentRecorded
from pipeline_contracts.sync import InvoiceSynced
from pipeline_local_stack.connect import connect_account
from pipeline_local_stack.databases import as_superuser
from pipeline_local_stack.invariants import violations
from pipeline_local_stack.paths import StackError
from pipeline_local_stack.read_ledgers import read_ledgers
from pipeline_local_stack.releases import THIS, Release
from pipeline_local_stack.sales import customer_of, invoice_of, read_sales
from pipeline_local_stack.stack import (
    DASHBOARD,
    SERVICES,
    Stack,
    running_stack,
    wait_until_ready,
)
from pipeline_local_stack.watcher import Watcher, watching
from pipeline_local_stack.xero_admin import XeroAdmin
from pipeline_service_defaults.migrate import migrate

EVERYTHING = SERVICES | DASHBOARD
ACCOUNTS = ("north", "south", "east", "west")
CUSTOMERS = 4
INVOICES_A_SECOND = 12
PAYMENTS_A_SECOND = 3
PATIENCE_SECONDS = 120
SHOWN = """
    SELECT (SELECT count(*) FROM invoices JOIN generations USING (generation)
             WHERE is_current AND state = 'synced'),
           (SELECT count(*) FROM payments JOIN generations USING (generation) WHERE is_current),
           (SELECT count(*) FROM odd_records JOIN generations USING (generation) WHERE is_current)
    """
"""What the dashboard shows: synced invoices, payments, and what could not be read."""


@pytest.fixture(scope="module")
def stack(former_release: Release) -> Iterator[Stack]:
    """The former release, two replicas of each service, four accounts connected; Xero's limits are lifted."""
    lifted = {
        "connector": {"XERO_MINUTE_LIMIT": "6000"},
        "payment-ingest": {"SWEEP_INTERVAL_SECONDS": "5", "SWEEP_PAUSE_SECONDS": "1"},
    }
    with running_stack(
        environment=lifted,
        replicas=dict.fromkeys(EVERYTHING, 2),
        release=former_release,
        dashboard=True,
    ) as running:
        unlimited = {"unlimited": True}
        httpx.put(f"{running.urls['simulator']}/admin/limits", json=unlimited).raise_for_status()
        for account in ACCOUNTS:
            connect_account(running, account, f"{account}@example.com", f"{account} Ltd")
        yield running


class Load:
    """Invoices published and paid at a steady pace, for as long as the block lasts."""

    def __init__(self, stack: Stack, seen: Watcher) -> None:
        self.stack, self.seen = stack, seen
        self.published = 0
        self.paid: set[str] = set()
        self._enough = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        work = asyncio.gather(self._publish(), self._pay())
        try:
            yield
        finally:
            self._enough.set()
            await work

    def synced(self) -> dict[str, InvoiceSynced]:
        return {e.invoice_id: e for e in self._told(InvoiceSynced)}

    def recorded(self) -> set[str]:
        return {e.xero_payment_id for e in self._told(PaymentRecorded)}

    def _told(self, kind: type[Event]) -> list[Event]:
        found = (envelope.event for envelope in self.seen.envelopes[kind.TOPIC])
        return [event for event in found if isinstance(event, kind)]

    async def _publish(self) -> None:
        sales = (sale for sale in read_sales() if sale.amount >= 1)
        buyers = [next(sales) for _ in range(CUSTOMERS)]
        producer = AIOKafkaProducer(
            bootstrap_servers=self.stack.broker.bootstrap_servers,
            acks="all",
            enable_idempotence=True,
        )
        await producer.start()

        async def publish(event: Event) -> None:
            record = encode(event, id=stable_id(event), source="billing", time=datetime.now(UTC))
            await producer.send_and_wait(
                record.topic, record.value, key=record.key, headers=list(record.headers)
            )

        try:
            for account in ACCOUNTS:
                for buyer in buyers:
                    await publish(customer_of(buyer, account))
            for sale, account, number in zip(sales, cycle(ACCOUNTS), count(), strict=False):
                if self._enough.is_set():
                    return
                buyer = buyers[number // len(ACCOUNTS) % CUSTOMERS]
                invoice = invoice_of(sale, account)
                await publish(invoice.model_copy(update={"customer_id": buyer.customer_id}))
                self.published += 1
                await asyncio.sleep(1 / INVOICES_A_SECOND)
        finally:
            await producer.stop()

    async def _pay(self) -> None:
        done: set[str] = set()
        books = {
            account: XeroAdmin(self.stack.urls["simulator"], f"{account} Ltd")
            for account in ACCOUNTS
        }
        try:
            while not self._enough.is_set():
                for invoice_id, told in self.synced().items():
                    if invoice_id in done or self._enough.is_set():
                        continue
                    done.add(invoice_id)
                    pay = books[told.account_id].pay
                    amount = Decimal("0.25")
                    self.paid.add(await asyncio.to_thread(pay, told.xero_invoice_id, amount))
                    await asyncio.sleep(1 / PAYMENTS_A_SECOND)
                await self.seen.changed(0.2)
        finally:
            for each in books.values():
                each.close()


@pytest.mark.timeout(420)
async def test_two_releases_work_side_by_side_and_back_again(stack: Stack, former_release: Release):
    its_code_runs(former_release)
    first = [stack.replicas(service)[0] for service in EVERYTHING]
    others = [stack.replicas(service)[1] for service in EVERYTHING]
    async with watching(stack.broker.bootstrap_servers) as seen:
        load = Load(stack, seen)
        async with load.running():
            await goes_on(load, "the former release")
            await asyncio.to_thread(migrated, stack, "pre")
            await goes_on(load, "the former release on the new tables")
            await run(stack, THIS, first)
            await both_work(stack)
            await goes_on(load, "side by side")
            await run(stack, former_release, first)
            await goes_on(load, "back on the former release")
            await run(stack, THIS, first)
            await run(stack, THIS, others)
            await asyncio.to_thread(migrated, stack, "all")
            await goes_on(load, "the new release")
        await at_rest(load)
        assert seen.dead_letters == []
    ledgers = await read_ledgers(stack, accounts=ACCOUNTS)
    assert [str(violation) for violation in violations(ledgers)] == []
    synced = sum(ledgers.counts[account]["synced"] for account in ACCOUNTS)
    assert synced == load.published > 100
    assert len(load.paid) > 20
    assert load.recorded() == load.paid
    await shown(stack, synced, len(load.paid))


async def shown(stack: Stack, invoices: int, payments: int) -> None:
    """Until the dashboard shows all of it, and nothing that it could not read."""
    conn = await asyncpg.connect(stack.dsns["ops_dashboard"])
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (found := tuple(await conn.fetchrow(SHOWN))) != (invoices, payments, 0):  # noqa: ASYNC110 - rows
                await asyncio.sleep(0.3)
    except TimeoutError:
        pytest.fail(f"shown {found}, expected {(invoices, payments, 0)}")
    finally:
        await conn.close()


def its_code_runs(release: Release) -> None:
    """A release that quietly ran this checkout's code would prove nothing."""
    packages = [*EVERYTHING.values(), "pipeline_messaging", "pipeline_contracts", "pipeline_xero"]
    packages += ["pipeline_service_defaults"]
    asked = "; ".join(f"import {package}; print({package}.__file__)" for package in packages)
    found = subprocess.run(
        [sys.executable, "-c", asked],
        env=release.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    files = found.stdout.split()
    assert len(files) == len(packages)
    assert [file for file in files if not file.startswith(str(release.folder))] == []


def migrated(stack: Stack, phase: str) -> None:
    for package in EVERYTHING.values():
        owner = as_superuser(stack.postgres.dsn, package)
        migrate(owner, *THIS.migrations(package), phase=phase)


async def run(stack: Stack, release: Release, names: Sequence[str]) -> None:
    """Replace some replicas, as a rolling update does: each stops gracefully, and the next one is ready in its place."""

    def replace(name: str) -> None:
        child = stack.children[name]
        child.stop()
        kept = {key: value for key, value in child.env.items() if key != "PYTHONPATH"}
        child.env = kept | release.environment
        child.start()
        wait_until_ready(child, stack.own_url(name))

    await asyncio.gather(*(asyncio.to_thread(replace, name) for name in names))


async def both_work(stack: Stack) -> None:
    """Until each replica of the two services that consume has stored events and worked since it started."""
    replicas = [
        r for service in ("invoice-sync", "payment-ingest") for r in stack.replicas(service)
    ]
    async with httpx.AsyncClient() as http:

        async def idle() -> list[str]:
            pages = [(await http.get(f"{stack.own_url(r)}/metrics")).text for r in replicas]
            wanted = ("inbox_accepted_total", "worker_runs_total")
            return [
                f"{replica}: {name}"
                for replica, page in zip(replicas, pages, strict=True)
                for name in wanted
                if not total(page, name)
            ]

        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while left := await idle():
            assert asyncio.get_running_loop().time() < deadline, f"never worked: {left}"
            await asyncio.sleep(0.3)


def total(page: str, name: str) -> float:
    lines = (line for line in page.splitlines() if line.startswith((f"{name}{{", f"{name} ")))
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def goes_on(load: Load, when: str) -> None:
    """Until what is published from here on is in Xero, and what is paid from here on is recorded."""
    synced, recorded = len(load.synced()), len(load.recorded())
    await until(load, lambda: len(load.synced()) >= synced + 15, f"{when}: invoices")
    await until(load, lambda: len(load.recorded()) >= recorded + 3, f"{when}: payments")


async def at_rest(load: Load) -> None:
    await until(load, lambda: len(load.synced()) >= load.published, "every invoice in Xero")
    await until(load, lambda: load.recorded() >= load.paid, "every payment recorded")
    await load.seen.read_to_the_end()


async def until(load: Load, condition: Callable[[], bool], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, (
            f"{what}: never; {len(load.synced())} of {load.published} synced,"
            f" {len(load.recorded())} of {len(load.paid)} recorded,"
            f" dead letters {load.seen.dead_letters[:3]}"
        )
        await load.seen.changed(0.5)


def test_a_release_that_is_not_in_the_history_is_said(tmp_path, monkeypatch):
    from pipeline_local_stack import releases

    marker = tmp_path / "last-release"
    monkeypatch.setattr(releases, "MARKER", marker)
    marker.write_text("f" * 40)
    with pytest.raises(StackError, match="git fetch --unshallow"):
        releases.last_release()
    marker.write_text("v1.0")
    with pytest.raises(StackError, match="expected a commit"):
        releases.last_release()
