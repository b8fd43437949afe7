"""Two connector replicas, both other services and a crowd at work on them, and kill -9 twice: Xero's log decides.

Xero's minutes are real ones here: the services keep them by their database's clock. The windows that the judge looks at
begin at every single call, so a run of somewhat more than a minute holds hundreds of them.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from datetime import date, datetime
from decimal import Decimal

import httpx
import pytest

from pipeline_contracts import topics
from pipeline_contracts.customer import CustomerCreated
from pipeline_contracts.invoice import InvoiceCreated, InvoiceLine
from pipeline_contracts.payment import PaymentRecorded
from pipeline_contracts.producer import EventPublisher
from pipeline_contracts.sync import InvoiceSynced
from pipeline_local_stack.bench.callers import CallResult, CallSpec, call, get_request
from pipeline_local_stack.books import compare_books
from pipeline_local_stack.call_log import (
    Call,
    Limits,
    broken_limits,
    by_tenant,
    most_at_once,
    most_in_a_minute,
    unconnected_calls,
)
from pipeline_local_stack.connect import connect_account, connection_of, disconnect_account
from pipeline_local_stack.stack import Stack, running_stack
from pipeline_local_stack.watcher import Watcher, watching
from pipeline_local_stack.xero_admin import XeroAdmin

LIMITS = Limits(at_once=5, per_minute=60, app_per_minute=240)
"""Xero's own for a tenant; the app's so low that five tenants would break it."""
ACCOUNTS = ("load-1", "load-2", "load-3", "load-4")
LEAVING = "load-5"
"""Is disconnected in the middle; nothing of it may be called from then on."""
CROWDED = ACCOUNTS[0]
INVOICES, A_SECOND, PAYMENTS = 60, 2, 8
AWAY_SECONDS = 1  # how long a killed replica is missing: part of the load, not a wait for something
CROWD_SECONDS, LATER_SECONDS = 75.0, 10.0
SECONDS_OF_A_CALL = 0.15
"""Long enough that five calls at once are the limit that counts in a rush."""
PATIENCE_SECONDS = 150

SERVICES = {
    "connector": {
        "XERO_APP_MINUTE_LIMIT": str(LIMITS.app_per_minute),
        # A killed replica's calls hold their places until nobody can be answering them any more.
        "GATEWAY_CONNECT_SECONDS": "2",
        "GATEWAY_READ_SECONDS": "5",
        "GATEWAY_TOTAL_SECONDS": "6",
    },
    "payment-ingest": {"SWEEP_INTERVAL_SECONDS": "20", "SWEEP_PAUSE_SECONDS": "5"},
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The whole system, with two connectors behind one address."""
    with running_stack(replicas={"connector": 2}, environment=SERVICES) as running:
        yield running


@pytest.fixture(scope="module")
def xero(stack: Stack) -> Iterator[dict[str, XeroAdmin]]:
    """Somebody at work in each account's organisation; every account is connected, Xero's limits are on."""
    url = stack.urls["simulator"]
    with httpx.Client(base_url=f"{url}/admin") as admin:
        admin.put("/limits", json={"app_minute": LIMITS.app_per_minute}).raise_for_status()
        admin.patch(
            "/switches", json={"base_latency_seconds": SECONDS_OF_A_CALL}
        ).raise_for_status()
    people = {}
    for account in (*ACCOUNTS, LEAVING):
        connect_account(stack, account, f"{account}@example.com", f"{account} Ltd")
        people[account] = XeroAdmin(url, f"{account} Ltd")
    yield people
    for person in people.values():
        person.close()


def customer(account: str) -> CustomerCreated:
    return CustomerCreated(
        account_id=account, customer_id=f"{account}-customer", version=1, name=f"Buyer of {account}"
    )


def invoice(account: str, number: int) -> InvoiceCreated:
    price = Decimal(100 + number)
    line = InvoiceLine(
        line_id="1",
        description="Services",
        quantity=Decimal(1),
        unit_amount=price,
        account_code="200",
    )
    return InvoiceCreated(
        account_id=account,
        invoice_id=f"{account}-{number}",
        version=1,
        invoice_number=f"{account}-{number}",
        customer_id=f"{account}-customer",
        issue_date=date(2026, 3, 1),
        due_date=date(2026, 3, 21),
        currency="NZD",
        amounts_are="tax_inclusive",
        lines=(line,),
        total=price,
    )


async def publish(stack: Stack, invoices: list[InvoiceCreated]) -> None:
    """A trickle of invoices to every account, as a working day brings them."""
    by_number: dict[str, list[InvoiceCreated]] = {}
    for each in invoices:
        by_number.setdefault(each.invoice_id.rpartition("-")[2], []).append(each)
    async with EventPublisher(stack.broker.bootstrap_servers, source="billing") as publisher:
        for account in (*ACCOUNTS, LEAVING):
            await publisher.publish(customer(account))
        for of_all_accounts in by_number.values():
            for each in of_all_accounts:
                await publisher.publish(each)
            await asyncio.sleep(1 / A_SECOND)


async def crowd(
    stack: Stack, accounts: tuple[str, ...], until: float, *, after: float = 0
) -> CallResult:
    """More callers than any limit allows, with both services' identities, in the lane that gives way to their work."""
    await asyncio.sleep(after)
    port = int(stack.urls["connector"].rpartition(":")[2])
    targets = []
    for account in accounts:
        for service in ("invoice-sync", "payment-ingest"):
            token = stack.identities.service_token(service, "connector")
            headers = {"Authorization": f"Bearer {token}", "X-Lane": "sweeps"}
            path = f"/v1/accounts/{account}/xero/Organisation"
            targets.append(get_request(port, path, headers))
    return await call(CallSpec(targets, until - after, callers=4))


async def pay(seen: Watcher, xero: dict[str, XeroAdmin]) -> None:
    """A bookkeeper in every organisation pays the first invoices as they come."""
    wanted = {f"{account}-{number}" for account in ACCOUNTS for number in range(PAYMENTS)}
    while wanted:
        await seen.changed(1)
        for event in events(seen, InvoiceSynced):
            if event.invoice_id in wanted:
                wanted.discard(event.invoice_id)
                person = xero[event.account_id]
                await asyncio.to_thread(person.pay, event.xero_invoice_id, Decimal("50.00"))


async def kill_when(stack: Stack, xero: XeroAdmin, name: str, calls: int) -> None:
    """SIGKILL one replica when the organisation has had so many calls; start it again soon after."""
    async with asyncio.timeout(CROWD_SECONDS):
        while len(by_tenant(await asyncio.to_thread(xero.calls)).get(xero.tenant_id, ())) < calls:  # noqa: ASYNC110 - a log offers nothing to wait on
            await asyncio.sleep(0.2)
    stack.children[name].kill()
    await asyncio.sleep(AWAY_SECONDS)
    assert name in stack.restart_what_died()


def disconnected_at(stack: Stack, account: str) -> float:
    found = connection_of(stack, account)
    assert (found["status"], found["reason"]) == ("DISCONNECTED", "DISCONNECTED_BY_USER")
    return datetime.fromisoformat(found["since"]).timestamp()


def events(seen: Watcher, kind):
    found = (envelope.event for envelope in seen.envelopes[kind.TOPIC])
    return [event for event in found if isinstance(event, kind)]


async def until_done(seen: Watcher) -> None:
    """Every invoice and every payment of the accounts that stay has come out."""
    invoices, payments = len(ACCOUNTS) * INVOICES, len(ACCOUNTS) * PAYMENTS
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        synced = {e.invoice_id for e in events(seen, InvoiceSynced) if e.account_id in ACCOUNTS}
        paid = {e.xero_payment_id for e in events(seen, PaymentRecorded)}
        if len(synced) >= invoices and len(paid) >= payments:
            return
        assert time.monotonic() < deadline, (
            f"{len(synced)} of {invoices}, {len(paid)} of {payments}"
        )
        await seen.changed(1)


@contextlib.asynccontextmanager
async def meanwhile(*work) -> AsyncIterator[list[asyncio.Task]]:
    """Run these beside the block; what they raise comes out at its end."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield tasks
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


@pytest.mark.timeout(300)
async def test_two_replicas_under_load_keep_every_limit_and_get_everything_done(stack, xero):
    began = time.time() - 60  # the organisations were connected just before
    published = [invoice(a, n) for n in range(INVOICES) for a in (*ACCOUNTS, LEAVING)]
    async with (
        watching(stack.broker.bootstrap_servers) as seen,
        meanwhile(
            publish(stack, published),
            pay(seen, xero),
            crowd(stack, (CROWDED, LEAVING), CROWD_SECONDS),
            crowd(stack, ACCOUNTS, CROWD_SECONDS, after=LATER_SECONDS),
        ) as (*_, first, second),
    ):
        await kill_when(stack, xero[CROWDED], "connector-2", LIMITS.per_minute // 3)
        await asyncio.to_thread(disconnect_account, stack, LEAVING)
        await kill_when(stack, xero[CROWDED], "connector", LIMITS.per_minute * 3 // 4)
        await until_done(seen)
        answers = await first, await second
        await seen.read_to_the_end()

    calls = await asyncio.to_thread(xero[CROWDED].calls)
    assert broken_limits(calls, LIMITS) == []
    always = [(began, time.time())]
    connected = {xero[account].tenant_id: always for account in ACCOUNTS}
    connected[xero[LEAVING].tenant_id] = [(began, disconnected_at(stack, LEAVING))]
    assert unconnected_calls(calls, connected) == []
    the_limits_were_reached(calls, xero, *answers)
    for account in ACCOUNTS:
        books_agree(account, published, xero[account], seen)
    assert seen.dead_letters == []


def the_limits_were_reached(
    calls: list[Call], xero: dict[str, XeroAdmin], first: CallResult, second: CallResult
) -> None:
    """Otherwise the run proved nothing.

    Not to the last call: what a killed replica had claimed counts, whether it left or not, and so do the app's calls
    that a replica takes in blocks.
    """
    crowded = by_tenant(calls)[xero[CROWDED].tenant_id]
    assert most_in_a_minute([each.time for each in crowded]) >= LIMITS.per_minute * 0.7
    assert most_at_once(crowded) == LIMITS.at_once
    assert {"minute", "appminute"} <= first.limits.keys() | second.limits.keys()
    assert first.statuses["409"] > 0  # turned away from the account that left


def books_agree(account: str, published: list[InvoiceCreated], xero: XeroAdmin, seen: Watcher):
    """Everything is in Xero once, to the cent, and was announced once; every payment was recorded once."""
    own = {
        topic.name: [e for e in seen.envelopes[topic.name] if e.event.account_id == account]
        for topic in (topics.SYNC, topics.PAYMENTS)
    }
    verdict = compare_books(
        [each for each in published if each.account_id == account],
        xero.invoices(),
        xero.payments(),
        own[topics.SYNC.name],
        own[topics.PAYMENTS.name],
    )
    assert verdict.complaints == []
    assert (verdict.in_xero, verdict.payments_recorded) == (INVOICES, PAYMENTS)
    assert (verdict.lost, verdict.doubled, verdict.waiting) == (0, 0, {})
