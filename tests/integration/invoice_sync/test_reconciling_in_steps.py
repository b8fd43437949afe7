"""Reconciliation step by step: pages while invoices change, kills, a schedule, and trouble with Xero."""

import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from reconciling import ask, outcome, reconciled

from invoice_sync import reconcile_account as module
from invoice_sync.domain import reconciliation
from invoice_sync.domain.mapping import marker
from invoice_sync.reconcile_account import ask_reconciliation
from invoice_sync.store import accounts
from pipeline_contracts.reconciled import AccountReconciled
from pipeline_messaging import leases
from pipeline_messaging.worker import LeaseLost
from pipeline_xero.client import CallLimits


async def test_five_thousand_invoices_are_read_in_pages_and_each_is_accounted_for(
    ready, line_of, kinds_of_event
):
    """Against Xero's ledger, to the cent."""
    service = ready
    amounts = [f"{(number * 37) % 900 + 1}.{number % 100:02d}" for number in range(5_000)]
    for start in range(0, 5_000, 1_000):
        await service.want(
            *(
                service.invoice(
                    f"inv-{number}",
                    lines=[line_of("1", quantity="1", unit_amount=amounts[number])],
                    customer_id="cust-1" if number % 50 else "nobody",
                )
                for number in range(start, start + 1_000)
            )
        )
    service.gateway.patience = 60.0
    await service.settle(40)
    counted = Counter(
        {
            row["state"]: row["n"]
            for row in await service.pool.fetch(
                "SELECT state, count(*) AS n FROM invoices GROUP BY 1"
            )
        }
    )
    assert counted == {"synced": 4_900, "waiting_for_contact": 100}
    service.gateway.calls.clear()
    run, totals = await reconciled(service)
    assert run.outcome == "clean"
    assert len(service.gateway.calls) == 5
    (nzd,) = reconciliation.by_currency(totals)
    ledger = await service.books.invoices()
    assert nzd.total == sum(Decimal(each) for each in amounts)
    assert (nzd.in_xero, nzd.xero_total) == (
        4_900,
        sum(Decimal(each["total"]) for each in ledger),
    )
    assert nzd.difference == sum(Decimal(each) for each in amounts[::50])


async def test_invoices_that_come_or_change_between_two_pages_are_neither_missed_nor_doubled(
    books_of_five, monkeypatch, kinds_of_event
):
    service = books_of_five
    monkeypatch.setattr("invoice_sync.store.reconciliations.PAGE_SIZE", 2)
    number = await ask(service)
    wanted = iter(range(10, 30))

    async def meanwhile(request):
        if request.url.params.get("order"):
            await service.want(service.invoice(f"inv-{next(wanted)}"))
            await service.books.act("POST", "invoices/INV-0", {"Reference": f"r{next(wanted)}"})

    original = service.gateway.handle_async_request

    async def between(request):
        answer = await original(request)
        await meanwhile(request)
        return answer

    monkeypatch.setattr(service.gateway, "handle_async_request", between)
    for _ in range(20):
        await service.turn()
        run, totals = await outcome(service, number)
        if run.finished_at is not None:
            break
    assert set(run.findings) <= {"changed_in_xero", "edited_in_xero"}
    (nzd,) = reconciliation.by_currency(totals)
    rows = await service.pool.fetchval("SELECT count(*) FROM invoices")
    assert nzd.invoices == nzd.in_xero == rows
    assert nzd.difference == 0


async def test_an_invoice_touched_between_two_pages_hides_no_other(ready, monkeypatch):
    """Those without a link could not be missed otherwise: nothing here knows that they should be there."""
    monkeypatch.setattr("invoice_sync.store.reconciliations.PAGE_SIZE", 2)
    contact = await ready.pool.fetchval("SELECT contact_id FROM contact_mappings")
    line = {"Description": "x", "Quantity": "1", "UnitAmount": "7.77", "AccountCode": "200"}
    for number in range(8):
        copy = {
            "InvoiceNumber": f"C-{number}",
            "Contact": {"ContactID": contact},
            "LineItems": [line],
            "Url": marker("https://app.pipeline.example", ready.account_id, f"inv-{number}"),
        }
        await ready.books.act("POST", "invoices", copy)
    send = ready.gateway.handle_async_request

    async def touched(request):
        answer = await send(request)
        shown = json.loads(answer.content)["Invoices"]
        for each in shown[:1]:
            await ready.books.act("POST", f"invoices/{each['InvoiceID']}", {"Reference": "x"})
        return answer

    monkeypatch.setattr(ready.gateway, "handle_async_request", touched)
    run, _ = await reconciled(ready)
    assert run.findings == {"unknown_in_xero": 8}


async def turns(service, count) -> None:
    for _ in range(count):
        await service.turn()


STEPS = [
    "reconcile:after_read",
    "reconcile:before_commit",
    "reconcile:after_page",
    "reconcile:after_asking",
    "reconcile:before_finish",
    "reconcile:before_finish_commit",
    "reconcile:after_finish",
]


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_any_step_it_goes_on_and_tells_once(books_of_five, step, died, monkeypatch):
    service = books_of_five
    monkeypatch.setattr("invoice_sync.store.reconciliations.PAGE_SIZE", 2)
    gone = (await service.books.invoices("INV-3"))[0]["document_id"]
    service.books.world.books[service.books.tenant_id].documents.pop(gone)
    number = await ask(service)
    passed = []

    def die(name):
        passed.append(name)
        if name == step:
            raise died

    with monkeypatch.context() as patched:
        patched.setattr(module, "failpoint", die)
        with pytest.raises(died):
            await turns(service, 10)
    await turns(service, 10)
    run, totals = await outcome(service, number)
    assert (run.outcome, run.findings) == ("findings", {"gone_from_xero": 1})
    events = [each for each in await service.told() if isinstance(each, AccountReconciled)]
    assert [each.reconciliation for each in events] == [number]
    (nzd,) = reconciliation.by_currency(totals)
    assert (nzd.invoices, nzd.in_xero, nzd.difference) == (5, 4, Decimal(100))


async def test_a_replica_that_was_taken_over_writes_nothing_more(books_of_five, monkeypatch):
    """The other one finishes while the first still waits for its page."""
    service = books_of_five
    number = await ask(service)

    async with service.pool.acquire() as conn:
        await leases.mark_due(conn, [service.account_id])
        (claim,) = await leases.claim(conn, limit=1, seconds=60)
        account, _ = await accounts.find(conn, service.account_id)
    read = module._sightings

    async def slowly(*args):
        seen = await read(*args)
        monkeypatch.setattr(module, "_sightings", read)
        await service.pool.execute("UPDATE account_leases SET lease_until = now()")
        await service.turn()
        return seen

    monkeypatch.setattr(module, "_sightings", slowly)
    with pytest.raises(LeaseLost):
        await module.reconcile_account(service.deps, claim.lease, account)
    run, _ = await outcome(service, number)
    assert (run.outcome, run.xero_invoices) == ("clean", 5)
    events = [each for each in await service.told() if isinstance(each, AccountReconciled)]
    assert len(events) == 1


async def test_by_schedule_each_account_gets_its_place_and_the_next_one_after_it(books_of_five):
    service = books_of_five
    every = timedelta(hours=6)
    deps = replace(service.deps, reconcile_every=every)
    service.deps = deps
    planned = "SELECT reconcile_due_at - now() FROM accounts"
    come_back = await service.turn()
    assert come_back == await service.pool.fetchval("SELECT reconcile_due_at FROM accounts")
    assert timedelta(0) < await service.pool.fetchval(planned) <= every * 1.03
    assert await service.pool.fetchval("SELECT count(*) FROM reconciliations") == 0
    await service.pool.execute("UPDATE accounts SET reconcile_due_at = now()")
    await service.turn()
    run, _ = await outcome(service, 1)
    assert (run.asked_by, run.outcome) == ("schedule", "clean")
    assert timedelta(0) < await service.pool.fetchval(planned) <= every * 1.03


async def test_an_account_that_never_rests_is_compared_all_the_same(books_of_five, monkeypatch):
    service = books_of_five
    wanted = iter(range(100, 1_000))

    async def another(*args):
        await service.want(service.invoice(f"inv-{next(wanted)}"))
        return False

    number = await ask(service)
    await another()
    send = service.gateway.handle_async_request

    async def and_another(request):
        answer = await send(request)
        if request.method == "PUT":
            await another()
        return answer

    monkeypatch.setattr(service.gateway, "handle_async_request", and_another)
    monkeypatch.setattr("invoice_sync.sync_account.TURN_SECONDS", 0.5)
    await service.turn()
    assert (await outcome(service, number))[0].xero_invoices == 0
    await service.pool.execute(
        "UPDATE accounts SET reconcile_due_at = now() - interval '6 minutes'"
    )
    await service.turn()
    assert (await outcome(service, number))[0].xero_invoices > 0


async def test_trouble_with_xero_puts_it_off_and_nothing_is_called_gone(books_of_five):
    service = books_of_five
    number = await ask(service)
    service.books.fault("rate_limit_minute", method="GET", seconds=26)
    await service.turn()
    assert await service.pool.fetchval("SELECT reconcile_due_at > now() FROM accounts")
    assert await service.pool.fetchval("SELECT paused_until IS NULL FROM accounts")
    service.books.fault("unavailable_503", method="GET")
    await service.pool.execute("UPDATE accounts SET reconcile_due_at = now()")
    await service.turn()
    assert await service.pool.fetchval("SELECT paused_until > now() FROM accounts")
    await service.hurry()
    await service.pool.execute("UPDATE accounts SET reconcile_due_at = now()")
    await service.turn()
    assert (await outcome(service, number))[0].outcome == "clean"


async def test_a_page_that_is_too_large_is_read_in_smaller_ones(books_of_five, monkeypatch):
    service = books_of_five
    small = CallLimits(response_bytes=6_000)
    monkeypatch.setattr(service.deps.gateway, "_limits", small)
    monkeypatch.setattr("invoice_sync.domain.reconciliation._SMALLEST_PAGE", 1)
    run, totals = await reconciled(service)
    assert (run.outcome, run.page_size) == ("clean", 1)
    assert sum(each.in_xero for each in totals) == 5
    monkeypatch.setattr(service.deps.gateway, "_limits", CallLimits(response_bytes=100))
    run, _ = await reconciled(service)
    assert run.outcome == "stopped"
    assert run.message.startswith("Xero did not show its invoices")


async def test_another_organisation_ends_it_and_no_connection_makes_it_wait(books_of_five):
    service = books_of_five
    number = await ask(service)
    await service.connect("DISCONNECTED")
    await service.turn()
    assert (await outcome(service, number))[0].finished_at is None
    assert await ask_reconciliation(service.pool, service.account_id, "x") is None
    other = list(service.books.world.books)[1]
    await service.connect(tenant_id=other)
    await service.turn()
    run, _ = await outcome(service, number)
    assert run.outcome == "stopped"
    assert "another organisation" in run.message
