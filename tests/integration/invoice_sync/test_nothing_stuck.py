"""No invoice is left without a word, and no release slips between a look and its commit."""

import asyncio
import json
from datetime import timedelta

import httpx
import pytest

from invoice_sync import choose_work as choosing
from invoice_sync import sync_account as turning
from invoice_sync.map_contact import map_contact
from invoice_sync.retry_sync import retry_cause
from pipeline_contracts.sync import InvoiceSynced, SyncFailed

INVOICES = "/api.xro/2.0/Invoices*"


def rewritten(ready, method, path, change):
    """Let the gateway's stand-in change what Xero answers to such calls."""
    passed_on = ready.gateway._pass_on

    async def pass_on(request, asked, tenant_id):
        answer = await passed_on(request, asked, tenant_id)
        if (request.method, asked) != (method, path):
            return answer
        body = json.loads(answer.content)
        change(body)
        return httpx.Response(answer.status_code, json=body)

    ready.gateway._pass_on = pass_on


async def in_between(monkeypatch, module, name, happens):
    """Let something happen beside the transaction that is about to call ``module.name``; it may have to wait for it."""
    original = getattr(module, name)
    running = []

    async def called(*args, **kwargs):
        if not running:
            running.append(asyncio.ensure_future(happens()))
            await asyncio.wait(running, timeout=0.3)
        return await original(*args, **kwargs)

    monkeypatch.setattr(module, name, called)
    return running


async def test_a_connection_heard_of_while_parking_releases_what_is_being_parked(
    service, monkeypatch
):
    await service.want(service.invoice("inv-1"))
    running = await in_between(monkeypatch, choosing.steps, "save", service.connect)
    await service.turn()
    await asyncio.gather(*running)
    await service.know("cust-1")
    await service.settle()
    assert await service.state("inv-1") == "synced"


async def test_a_mapping_made_while_parking_releases_what_is_being_parked(ready, monkeypatch):
    contact = (await ready.books.ledger())["contacts"][0]["contact_id"]
    await ready.want(ready.invoice("inv-1", customer_id="cust-9"))

    async def link():
        await map_contact(ready.deps, ready.account_id, "cust-9", contact, "user:1")

    running = await in_between(monkeypatch, choosing.steps, "save", link)
    await ready.turn()
    await asyncio.gather(*running)
    await ready.settle()
    assert await ready.state("inv-1") == "synced"


@pytest.mark.parametrize("lost", [0, 1])
async def test_an_answer_shorter_than_the_batch_links_no_invoice_to_another(ready, lost):
    rewritten(ready, "PUT", "Invoices", lambda body: body["Invoices"].pop(lost))
    await ready.want(*(ready.invoice(f"inv-{number}") for number in range(3)))
    await ready.settle()
    assert len(await ready.books.invoices()) == 3
    for number in range(3):
        (synced,) = await ready.told(f"inv-{number}")
        assert isinstance(synced, InvoiceSynced)
        (invoice,) = await ready.books.invoices(f"INV-{number}")
        assert synced.xero_invoice_id == invoice["document_id"]


async def test_an_answer_in_another_order_links_no_invoice_to_another(ready):
    rewritten(ready, "PUT", "Invoices", lambda body: body["Invoices"].reverse())
    await ready.want(*(ready.invoice(f"inv-{number}") for number in range(2)))
    await ready.settle()
    for number in range(2):
        (synced,) = await ready.told(f"inv-{number}")
        (invoice,) = await ready.books.invoices(f"INV-{number}")
        assert synced.xero_invoice_id == invoice["document_id"]


async def test_a_shorter_or_reordered_answer_maps_no_customer_to_another(service):
    await service.connect()
    rewritten(service, "PUT", "Contacts", lambda body: body["Contacts"].reverse())
    await service.know("cust-1", "cust-2", "cust-3")
    await service.settle()
    contacts = {each["number"]: each for each in (await service.books.ledger())["contacts"]}
    rows = await service.pool.fetch("SELECT customer_id, contact_id FROM contact_mappings")
    assert {row["customer_id"]: row["contact_id"] for row in rows} == {
        number: contacts[number]["contact_id"] for number in ("cust-1", "cust-2", "cust-3")
    }


async def test_a_contact_in_an_unreadable_answer_is_looked_up(service):
    await service.connect()

    def spoil(body):
        body["Contacts"][0]["UpdatedDateUTC"] = "yesterday"

    rewritten(service, "PUT", "Contacts", spoil)
    await service.know("cust-1")
    await service.want(service.invoice("inv-1"))
    await service.settle()
    assert await service.state("inv-1") == "synced"


async def test_an_invoice_that_xero_fails_on_every_time_is_told(ready):
    ready.books.fault("error_500_before", method="PUT", path=INVOICES, times=0)
    await ready.want(ready.invoice("inv-1"))
    for _ in range(12):
        await ready.hurry()
        await ready.turn()
    assert [each.code for each in await ready.told("inv-1")] == ["OUTCOME_UNKNOWN"]
    ready.books.world.faults.faults.clear()
    await ready.settle(12)
    assert await ready.kinds("inv-1") == ["SyncFailed", "InvoiceSynced"]


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_write_left_open_by_a_disconnection_is_told_and_settled_on_return(ready, elsewhere):
    ready.books.fault("commit_then_reset", method="PUT", path=INVOICES)
    await ready.want(ready.invoice("inv-1"))
    await ready.turn()
    await ready.connect("DISCONNECTED")
    if elsewhere:
        other = next(each for each in ready.books.world.books if each != ready.books.tenant_id)
        await ready.connect(tenant_id=other)
    for _ in range(3):
        await ready.hurry()
        await ready.turn()
    code = "TENANT_CHANGED" if elsewhere else "NOT_CONNECTED"
    assert [each.code for each in await ready.told("inv-1")] == [code]
    assert await ready.state("inv-1") == "syncing"
    await ready.connect()
    await ready.settle()
    assert await ready.kinds("inv-1") == ["SyncFailed", "InvoiceSynced"]
    assert len(await ready.books.invoices("INV-1")) == 1


async def test_an_invoice_whose_contact_was_being_made_is_told_of_a_disconnection(service):
    await service.connect()
    service.books.fault("error_500_before", method="PUT", path="*/Contacts*", times=0)
    await service.know("cust-1")
    await service.want(service.invoice("inv-1"))
    for _ in range(4):  # the customer waits for its next attempt, the invoice for the customer
        await service.pool.execute("UPDATE accounts SET paused_until = NULL")
        await service.pool.execute("UPDATE intents SET due_at = now()")
        await service.turn()
    assert await service.state("inv-1") == "waiting_for_contact"
    assert await service.told("inv-1") == []
    await service.connect("DISCONNECTED")
    await service.hurry()
    await service.turn()
    assert [each.code for each in await service.told("inv-1")] == ["NOT_CONNECTED"]
    service.books.world.faults.faults.clear()
    await service.connect()
    await service.settle(10)
    assert await service.kinds("inv-1") == ["SyncFailed", "InvoiceSynced"]


async def test_a_customer_whose_contact_met_a_disconnection_is_taken_up_on_return(service):
    """The gateway knew of it before the event was read: the customer's next try is a while off by then."""
    await service.connect()
    tenant_id = service.gateway.tenants.pop(service.account_id)
    await service.know("cust-1")
    await service.want(service.invoice("inv-1"))
    for _ in range(3):
        await service.turn()
    await service.connect("DISCONNECTED")
    await service.turn()
    service.gateway.tenants[service.account_id] = tenant_id
    await service.connect()
    for _ in range(3):
        await service.turn()
    assert (await service.kinds("inv-1"))[-1:] == ["InvoiceSynced"]


@pytest.mark.parametrize("change", ["void", "number"])
async def test_a_write_that_may_still_land_is_awaited_before_its_number_is_given_up(
    ready, kinds_of_event, change
):
    """Nothing would collide with it any more: a void sends nothing, and another number is free."""
    held = []

    def hold(request):
        if request.method == "PUT" and not held:
            held.append(request)
            raise httpx.ReadTimeout("stalled", request=request)

    ready.gateway.before = hold
    await ready.want(ready.invoice("inv-1"))
    await ready.turn()
    if change == "void":
        newer = kinds_of_event["voided"](account_id=ready.account_id, invoice_id="inv-1", version=2)
    else:
        updated = kinds_of_event["updated"]
        newer = ready.invoice("inv-1", kind=updated, version=2, invoice_number="OTHER")
    await ready.want(newer)
    await ready.age_intents(timedelta(minutes=6))
    await ready.hurry()
    await ready.turn()
    assert await ready.books.invoices() == []
    assert await ready.state("inv-1") == "syncing"

    # The stalled request lands at last.
    tenant = ready.books.tenant_id
    await ready.gateway._pass_on(held[0], "Invoices", tenant)
    await ready.settle()
    (invoice,) = await ready.books.invoices()
    assert invoice["status"] == ("VOIDED" if change == "void" else "AUTHORISED")
    assert invoice["number"] == ("INV-1" if change == "void" else "OTHER")


@pytest.mark.parametrize("change", ["void", "number"])
async def test_a_write_that_can_land_no_more_is_given_up(ready, kinds_of_event, change):
    ready.books.fault("reset_before", method="PUT", path=INVOICES)
    await ready.want(ready.invoice("inv-1"))
    await ready.turn()
    if change == "void":
        newer = kinds_of_event["voided"](account_id=ready.account_id, invoice_id="inv-1", version=2)
    else:
        updated = kinds_of_event["updated"]
        newer = ready.invoice("inv-1", kind=updated, version=2, invoice_number="OTHER")
    await ready.want(newer)
    await ready.age_intents(timedelta(minutes=20))
    await ready.settle()
    found = await ready.books.invoices()
    assert [each["number"] for each in found] == ([] if change == "void" else ["OTHER"])


async def test_a_renaming_during_the_call_is_tried_before_the_old_name_is_refused(
    service, monkeypatch
):
    await service.connect()
    await service.books.act("POST", "contacts", {"Name": "Ridgeway"})
    await service.know("cust-1", name="Ridgeway")
    await service.want(service.invoice("inv-1"))
    renamed = []

    def rename(request):
        if not renamed and request.method == "PUT":
            renamed.append(
                asyncio.ensure_future(service.know("cust-1", name="Ridgeway Ltd", version=2))
            )

    service.gateway.before = rename
    await service.settle()
    await asyncio.gather(*renamed)
    await service.settle()
    assert await service.kinds("inv-1") == ["InvoiceSynced"]


async def test_a_number_with_space_around_it_is_found_again_after_an_unknown_outcome(ready):
    ready.books.fault("commit_then_reset", method="PUT", path=INVOICES)
    await ready.want(ready.invoice("inv-1", invoice_number=" N-1 "))
    await ready.turn()
    await ready.age_intents(timedelta(minutes=6))
    await ready.settle()
    assert await ready.kinds("inv-1") == ["InvoiceSynced"]


async def test_retrying_a_taken_name_tries_the_contact_again(service):
    await service.connect()
    made = await service.books.act("POST", "contacts", {"Name": "Ridgeway"})
    await service.know("cust-1", name="Ridgeway")
    await service.want(service.invoice("inv-1"))
    await service.settle()
    (failed,) = await service.told("inv-1")
    assert failed.code == "CONTACT_NAME_TAKEN"
    contact = made.get("contact_id") or made["ContactID"]
    await service.books.act("POST", f"contacts/{contact}", {"Name": "Ridgeway of Old"})
    assert await retry_cause(service.deps, service.account_id, "CONTACT_NAME_TAKEN", "user:1") == 1
    await service.settle()
    assert (await service.kinds("inv-1"))[-1] == "InvoiceSynced"


async def test_an_account_that_gives_way_goes_to_the_end_of_the_queue(ready, monkeypatch):
    monkeypatch.setattr(turning, "TURN_SECONDS", 0.0)
    await ready.want(ready.invoice("inv-1"))
    await ready.pool.execute("UPDATE invoices SET due_at = now() - interval '1 hour'")
    before = await ready.pool.fetchval("SELECT now()")
    assert await ready.turn() >= before


async def test_an_account_whose_connection_is_not_heard_of_yet_is_not_told_so(service):
    service.gateway.tenants[service.account_id] = service.books.tenant_id
    await service.want(service.invoice("inv-1"))
    assert await service.turn() is not None
    assert await service.told("inv-1") == []
    assert await service.state("inv-1") == "pending"
    await service.know("cust-1")
    await service.connect()
    await service.settle()
    assert await service.kinds("inv-1") == ["InvoiceSynced"]


async def test_an_account_never_connected_is_told_to_connect(service):
    await service.want(service.invoice("inv-1"))
    assert await service.turn() is None
    (failed,) = await service.told("inv-1")
    assert isinstance(failed, SyncFailed)
    assert failed.code == "NOT_CONNECTED"
    assert "never connected" in failed.message
    assert "Connect to Xero" in failed.hint
    assert "Refresh" not in failed.hint


async def test_a_contact_chosen_while_the_old_one_is_being_refused_is_used_at_once(ready):
    made = await ready.books.act("POST", "contacts", {"Name": "Other"})
    other = made.get("contact_id") or made["ContactID"]
    (mapped,) = await ready.pool.fetch("SELECT contact_id FROM contact_mappings")
    await ready.books.act("POST", f"contacts/{mapped['contact_id']}", {"ContactStatus": "ARCHIVED"})
    await ready.want(ready.invoice("inv-1"))
    passed_on = ready.gateway._pass_on

    async def pass_on(request, path, tenant_id):
        answer = await passed_on(request, path, tenant_id)
        if request.method == "PUT":
            ready.gateway._pass_on = passed_on
            await map_contact(ready.deps, ready.account_id, "cust-1", other, "user:1")
        return answer

    ready.gateway._pass_on = pass_on
    await ready.turn()
    assert await ready.kinds("inv-1") == ["SyncFailed", "InvoiceSynced"]
    assert (await ready.books.invoices("INV-1"))[0]["contact_id"] == other


async def test_one_invoice_that_cannot_be_read_does_not_hold_up_the_others(ready):
    ready.books.fault("commit_then_reset", method="PUT", path=INVOICES)

    def spoil(body):
        for invoice in body["Invoices"]:
            if invoice["InvoiceNumber"] == "INV-1":
                invoice["Total"] = "a lot"

    rewritten(ready, "GET", "Invoices", spoil)
    await ready.want(ready.invoice("inv-1"), ready.invoice("inv-2"))
    await ready.turn()
    await ready.age_intents(timedelta(minutes=6))
    await ready.hurry()
    await ready.turn()
    assert await ready.state("inv-1") == "syncing"
    assert await ready.state("inv-2") == "synced"
    assert [each.code for each in await ready.told("inv-1")] == ["OUTCOME_UNKNOWN"]
    await ready.want(ready.invoice("inv-3"))
    await ready.turn()
    assert await ready.state("inv-3") == "synced"
    assert len(await ready.books.invoices()) == 3


async def test_a_repeat_is_not_sent_either_after_a_standstill(ready):
    from invoice_sync.send_intent import send_intent
    from invoice_sync.store import intents
    from pipeline_messaging import leases

    ready.books.fault("reset_before", method="PUT", path=INVOICES)
    await ready.want(ready.invoice("inv-1"))
    await ready.turn()
    ready.gateway.calls.clear()
    await ready.hurry()
    async with ready.pool.acquire() as conn:
        await leases.mark_due(conn, [ready.account_id])
        (claim,) = await leases.claim(conn, limit=1, seconds=60)
        (intent,) = await intents.due(conn, ready.account_id)
        work = await choosing.choose_work(ready.deps, claim.lease)
        await send_intent(
            ready.deps, claim.lease, work.account, intent, chosen_at=-60.0, is_first=False
        )
        assert ready.gateway.calls == []
        await leases.give_back(conn, claim.lease)
    await ready.turn()
    assert await ready.kinds("inv-1") == ["InvoiceSynced"]


async def test_a_contact_that_is_gone_from_xero_is_not_called_unlinked(ready):
    await ready.pool.execute(
        "UPDATE contact_mappings SET contact_id = '5a3ff8c8-1c1e-4c52-9b0e-0c1f2d3e4f50'"
    )
    await ready.want(ready.invoice("inv-1"))
    await ready.turn()
    assert [each.code for each in await ready.told("inv-1")] == ["CONTACT_NOT_FOUND"]
    assert await ready.state("inv-1") == "waiting_for_contact"


async def test_a_body_this_release_cannot_read_is_not_called_gone_from_xero(ready, kinds_of_event):
    await ready.want(ready.invoice("inv-1"))
    await ready.turn()
    void = kinds_of_event["voided"](account_id=ready.account_id, invoice_id="inv-1", version=2)
    await ready.want(void)
    await ready.pool.execute("UPDATE invoices SET desired = '{}'")
    await ready.turn()
    assert (await ready.told("inv-1"))[-1].code == "INTERNAL_ERROR"


@pytest.mark.parametrize(
    ("status", "code"), [(422, "NOT_CONNECTED"), (404, "NOT_CONNECTED"), (503, None)]
)
async def test_an_account_the_connector_cannot_name_was_never_connected(
    service, monkeypatch, status, code
):
    answer = httpx.Response(status, headers={"X-Gateway-Error": "X"}, json={"detail": "no"})

    async def handle(request):
        return answer

    monkeypatch.setattr(service.gateway, "handle_async_request", handle)
    await service.want(service.invoice("inv-1"))
    back = await service.turn()
    assert [each.code for each in await service.told("inv-1")] == ([code] if code else [])
    assert (back is None) == (code is not None)
