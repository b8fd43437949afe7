"""The initial import: what is in Xero already is linked if it is the same, told if it is not, and never touched."""

from datetime import date
from decimal import Decimal

import httpx
import pytest
from invoice_sync_api import Callers, app_over

from invoice_sync import import_invoices as module
from invoice_sync.change_settings import change_settings
from invoice_sync.domain.account_settings import AccountSettings, MappingPolicy
from invoice_sync.import_invoices import ask_import
from invoice_sync.store import accounts, imports
from pipeline_contracts.sync import InvoiceSynced, SyncFailed
from pipeline_messaging import leases
from pipeline_messaging.worker import LeaseLost
from pipeline_service_defaults.problems import Problem

pytestmark = pytest.mark.usefixtures("judged")


async def contact_id(service, customer_id="cust-1") -> str:
    return await service.pool.fetchval(
        "SELECT contact_id FROM contact_mappings WHERE customer_id = $1", customer_id
    )


async def typed_in(service, number, **fields) -> dict:
    """An invoice somebody entered in Xero by hand, long before Pipeline was connected."""
    line = {"Description": "Work 1", "Quantity": "2", "UnitAmount": "50.00", "AccountCode": "200"}
    values = {
        "InvoiceNumber": number,
        "Contact": {"ContactID": await contact_id(service)},
        "Date": "2026-03-01",
        "DueDate": "2026-03-31",
        "LineAmountTypes": "NoTax",
        "LineItems": [line],
    }
    return await service.books.act("POST", "invoices", values | fields)


async def order(service, *, dry_run=False) -> int:
    run, _ = await ask_import(
        service.pool, service.account_id, dry_run=dry_run, asked_by="user:ann"
    )
    return run.number


async def imported(service, *, dry_run=False) -> dict[str, tuple]:
    number = await order(service, dry_run=dry_run)
    return await done(service, number)


async def done(service, number, turns=10) -> dict[str, tuple]:
    for _ in range(turns):
        await service.turn()
        run, *_ = [each for each in await runs(service) if each.number == number]
        if run.finished_at is not None:
            return await results(service, number)
    return pytest.fail("the import does not end")


async def runs(service):
    async with service.pool.acquire() as conn:
        return await imports.newest(conn, service.account_id, limit=50)


async def results(service, number) -> dict[str, tuple]:
    async with service.pool.acquire() as conn:
        found = await imports.results(
            conn, service.account_id, number, outcome=None, after=0, limit=10_000
        )
    return {each.invoice_id: (each.outcome, each.message) for each in found}


async def writes(service) -> list:
    return [call for call in service.gateway.calls if call[0] != "GET"]


async def test_the_same_invoice_is_linked_told_and_left_as_it_is(ready, line_of, kinds_of_event):
    before = await typed_in(ready, "INV-1")
    await ready.want(ready.invoice("inv-1"), ready.invoice("inv-2"))
    ready.gateway.calls.clear()
    found = await imported(ready)
    assert found["inv-1"][0] == "linked"
    assert found["inv-2"] == ("absent", "Xero has no live invoice with the number INV-2.")
    (told,) = await ready.told("inv-1")
    assert isinstance(told, InvoiceSynced)
    assert told.xero_invoice_id == before["document_id"]
    # What is not in Xero was created after the import, in the same turn; what is there was not touched.
    assert await writes(ready) == [("PUT", "Invoices")]
    (after,) = await ready.books.invoices("INV-1")
    assert after == before
    notes = await ready.pool.fetch("SELECT detail FROM timeline WHERE kind = 'imported'")
    assert [each["detail"] for each in notes] == [
        "linked to INV-1, which was in Xero already, by user:ann"
    ]
    audited = await ready.pool.fetchrow("SELECT actor, action FROM audit WHERE action = 'import'")
    assert tuple(audited) == ("user:ann", "import")
    # From here on it lives like any other: changed in place, its line kept.
    lines = [line_of("1", quantity="3")]
    updated = kinds_of_event["updated"]
    await ready.want(ready.invoice("inv-1", kind=updated, version=2, lines=lines))
    await ready.settle()
    (changed,) = await ready.books.invoices("INV-1")
    assert Decimal(changed["total"]) == Decimal(150)
    assert [each["line_id"] for each in changed["lines"]] == [
        each["line_id"] for each in before["lines"]
    ]
    assert await ready.state("inv-1") == "synced"


async def test_one_refused_for_its_number_is_linked_afterwards_and_twice_is_harmless(ready):
    await typed_in(ready, "INV-1")
    await ready.want(ready.invoice("inv-1"))
    await ready.settle()
    assert await ready.state("inv-1") == "failed"
    assert (await imported(ready))["inv-1"][0] == "linked"
    assert await ready.kinds("inv-1") == ["SyncFailed", "InvoiceSynced"]
    assert await imported(ready) == {}
    assert await ready.kinds("inv-1") == ["SyncFailed", "InvoiceSynced"]
    assert len(await ready.books.invoices("INV-1")) == 1


DIFFERENT = {
    "reference": ({"Reference": "theirs"}, "the reference is not set in Pipeline and “theirs” in Xero"),
    "due date": ({"DueDate": "2026-04-30"}, "the due date is “2026-03-31” in Pipeline"),
    "amount": (
        {"LineItems": [{"Description": "Work 1", "Quantity": "2", "UnitAmount": "50.01", "AccountCode": "200"}]},
        "the total is 100.00 in Pipeline and 100.02 in Xero (a difference of 0.02)",
    ),
    "a line more": (
        {"LineItems": [
            {"Description": "Work 1", "Quantity": "2", "UnitAmount": "50.00", "AccountCode": "200"},
            {"Description": "Gift", "Quantity": "1", "UnitAmount": "0.00", "AccountCode": "200"},
        ]},
        "Gift",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DIFFERENT)
async def test_a_different_one_is_not_linked_and_says_what_differs(ready, case):
    fields, words = DIFFERENT[case]
    before = await typed_in(ready, "INV-1", **fields)
    await ready.want(ready.invoice("inv-1"))
    outcome, message = (await imported(ready))["inv-1"]
    assert outcome == "different"
    assert words in message
    (failed,) = await ready.told("inv-1")
    assert isinstance(failed, SyncFailed)
    assert failed.code == "INVOICE_IN_XERO_DIFFERS"
    assert failed.message in message
    assert "import again" in failed.hint
    # Ordered again it says the same, and tells nobody twice.
    assert (await imported(ready))["inv-1"] == (outcome, message)
    assert len(await ready.told("inv-1")) == 1
    assert await ready.books.invoices() == [before]
    assert await writes(ready) == []


async def test_made_the_same_it_is_linked(ready, kinds_of_event):
    await typed_in(ready, "INV-1", Reference="theirs")
    await ready.want(ready.invoice("inv-1"))
    assert (await imported(ready))["inv-1"][0] == "different"
    await ready.books.act("POST", "invoices/INV-1", {"Reference": ""})
    assert (await imported(ready))["inv-1"][0] == "linked"
    assert await ready.state("inv-1") == "synced"


async def test_a_dry_run_says_it_all_and_does_nothing(ready):
    await typed_in(ready, "INV-1")
    await typed_in(ready, "INV-2", Reference="theirs")
    await ready.want(ready.invoice("inv-1"), ready.invoice("inv-2"))
    await ready.settle()
    before = await ready.pool.fetch("SELECT * FROM invoices ORDER BY invoice_id")
    found = await imported(ready, dry_run=True)
    assert {key: outcome for key, (outcome, _) in found.items()} == {
        "inv-1": "linked",
        "inv-2": "different",
    }
    assert await ready.pool.fetch("SELECT * FROM invoices ORDER BY invoice_id") == before
    (run,) = await runs(ready)
    assert run.message.startswith("Of 2 invoices, 1 would be linked, 1 are different in Xero")


async def test_what_is_ambiguous_is_left_to_a_person(ready):
    """Two of Pipeline's for one of Xero's; voided ones, bills and another's invoice do not count."""
    await typed_in(ready, "SAME-1")
    await typed_in(ready, "GONE-1")
    await ready.books.act("POST", "invoices/GONE-1", {"Status": "VOIDED"})
    await typed_in(ready, "BILL-1", Type="ACCPAY")
    await ready.want(
        ready.invoice("inv-1", invoice_number="SAME-1"),
        ready.invoice("inv-2", invoice_number=" same-1 "),
        ready.invoice("inv-3", invoice_number="GONE-1"),
        ready.invoice("inv-4", invoice_number="BILL-1"),
    )
    found = await imported(ready)
    assert {key: outcome for key, (outcome, _) in found.items()} == {
        "inv-1": "ambiguous",
        "inv-2": "ambiguous",
        "inv-3": "absent",
        "inv-4": "absent",
    }
    assert "2 invoices" in found["inv-1"][1]
    assert (
        await ready.pool.fetchval(
            "SELECT count(*) FROM invoice_links WHERE invoice_id IN ('inv-1', 'inv-2')"
        )
        == 0
    )


async def test_one_that_is_linked_to_another_invoice_is_not_linked_again(ready):
    await ready.want(ready.invoice("inv-1", invoice_number="SAME-1"))
    await ready.settle()
    await ready.want(ready.invoice("inv-2", invoice_number="SAME-1"))
    outcome, message = (await imported(ready))["inv-2"]
    assert outcome == "different"
    assert "linked to the invoice inv-1" in message
    assert await ready.state("inv-1") == "synced"
    assert await ready.state("inv-2") == "failed"


async def test_a_customer_without_a_contact_is_linked_first_and_by_nobody_else(ready):
    await typed_in(ready, "INV-1")
    await ready.want(ready.invoice("inv-1", customer_id="nobody"))
    outcome, message = (await imported(ready))["inv-1"]
    assert outcome == "different"
    assert "the customer nobody is linked to no contact" in message
    assert "Customer cust-1" in message
    assert await ready.state("inv-1") == "waiting_for_contact"


async def test_before_the_start_date_too_and_the_others_stay_out(ready):
    """A later start date holds, an import links what is there, an earlier one releases the rest."""
    await typed_in(ready, "INV-1")
    day = date(2026, 6, 1)
    wanted = AccountSettings(start_date=day, mapping_policy=MappingPolicy.CREATE)
    await change_settings(ready.deps, ready.account_id, wanted, version=0, actor="x")
    await ready.want(ready.invoice("inv-1"), ready.invoice("inv-2"))
    await ready.settle()
    assert [(each.code) for each in await ready.told("inv-2")] == ["BEFORE_START_DATE"]
    found = await imported(ready)
    assert (found["inv-1"][0], found["inv-2"][0]) == ("linked", "absent")
    assert await ready.state("inv-1") == "synced"
    assert await ready.state("inv-2") == "failed"
    earlier = AccountSettings(start_date=date(2026, 1, 1))
    changed = await change_settings(ready.deps, ready.account_id, earlier, version=1, actor="x")
    assert changed.released == 1
    await ready.settle()
    assert await ready.state("inv-2") == "synced"
    assert len(await ready.books.invoices()) == 2


async def test_the_number_it_would_be_sent_under_is_looked_for(ready):
    await typed_in(ready, "PL-INV-1")
    await typed_in(ready, "INV-2")
    prefixed = AccountSettings(number_prefix="PL-")
    await change_settings(ready.deps, ready.account_id, prefixed, version=0, actor="x")
    await ready.want(ready.invoice("inv-1"), ready.invoice("inv-2"))
    found = await imported(ready)
    assert (found["inv-1"][0], found["inv-2"][0]) == ("linked", "absent")
    await ready.settle()
    assert {each["number"] for each in await ready.books.invoices()} == {
        "PL-INV-1",
        "INV-2",
        "PL-INV-2",
    }
    assert (await ready.row("inv-1"))["number_prefix"] == "PL-"


async def test_one_being_sent_is_passed_over_and_nothing_is_doubled(ready):
    ready.books.fault("commit_then_reset", method="PUT", path="/api.xro/2.0/Invoices*")
    await ready.want(ready.invoice("inv-1"))
    await ready.turn()
    assert await ready.state("inv-1") == "syncing"
    await ready.pool.execute("UPDATE intents SET due_at = now() + interval '1 hour'")
    await ready.pool.execute("UPDATE accounts SET paused_until = NULL")
    outcome, message = (await imported(ready))["inv-1"]
    assert outcome == "skipped"
    assert "being sent" in message
    await ready.settle()
    assert await ready.state("inv-1") == "synced"
    assert len(await ready.books.invoices("INV-1")) == 1


STEPS = ["import:after_read", "import:before_commit", "import:after_commit"]


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_any_step_it_goes_on_and_links_once(ready, step, died, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    for number in range(5):
        await typed_in(ready, f"INV-{number}")
    await ready.want(*(ready.invoice(f"inv-{number}") for number in range(5)))
    number = await order(ready)

    def die(name):
        if name == step:
            raise died

    with monkeypatch.context() as patched:
        patched.setattr(module, "failpoint", die)
        with pytest.raises(died):
            await ready.turn()
    found = await done(ready, number)
    assert {outcome for outcome, _ in found.values()} == {"linked"}
    for each in range(5):
        assert await ready.kinds(f"inv-{each}") == ["InvoiceSynced"]
    assert len(await ready.books.invoices()) == 5


async def test_a_replica_that_was_taken_over_links_nothing(ready, monkeypatch):
    await typed_in(ready, "INV-1")
    await ready.want(ready.invoice("inv-1"))
    number = await order(ready)
    async with ready.pool.acquire() as conn:
        await leases.mark_due(conn, [ready.account_id])
        (claim,) = await leases.claim(conn, limit=1, seconds=60)
        account, _ = await accounts.find(conn, ready.account_id)
    look_up = module._look_up

    async def slowly(*args):
        found = await look_up(*args)
        monkeypatch.setattr(module, "_look_up", look_up)
        await ready.pool.execute("UPDATE account_leases SET lease_until = now()")
        await done(ready, number)
        return found

    monkeypatch.setattr(module, "_look_up", slowly)
    with pytest.raises(LeaseLost):
        await module.import_invoices(ready.deps, claim.lease, account)
    assert await ready.kinds("inv-1") == ["InvoiceSynced"]


async def test_trouble_with_xero_puts_it_off_and_a_refused_number_is_one_of_many(
    ready, monkeypatch
):
    await typed_in(ready, "INV-1")
    await typed_in(ready, "INV-3")
    await ready.want(*(ready.invoice(f"inv-{each}") for each in (1, 2, 3)))
    number = await order(ready)
    ready.books.fault("unavailable_503", method="GET")
    await ready.turn()
    assert await ready.pool.fetchval(
        "SELECT paused_until > now() AND import_due_at > now() FROM accounts"
    )
    await ready.pool.execute("UPDATE accounts SET paused_until = NULL, import_due_at = now()")
    answer = ready.gateway.handle_async_request

    async def refusing(request):
        if "INV-2" in request.url.params.get("InvoiceNumbers", ""):
            body = b'{"ErrorNumber":16,"Type":"QueryParseException","Message":"no"}'
            return httpx.Response(400, headers={"content-type": "application/json"}, content=body)
        return await answer(request)

    monkeypatch.setattr(ready.gateway, "handle_async_request", refusing)
    found = await done(ready, number)
    assert {key: outcome for key, (outcome, _) in found.items()} == {
        "inv-1": "linked",
        "inv-2": "skipped",
        "inv-3": "linked",
    }


async def test_thousands_are_linked_in_few_calls(ready):
    count = 1_200
    for number in range(count):
        await typed_in(
            ready, f"INV-{number}", DueDate="2026-03-31" if number % 100 else "2026-05-01"
        )
    await ready.want(*(ready.invoice(f"inv-{number}") for number in range(count)))
    ready.gateway.calls.clear()
    ready.gateway.patience = 60.0
    found = await imported(ready)
    outcomes = [outcome for outcome, _ in found.values()]
    assert (outcomes.count("linked"), outcomes.count("different")) == (1_188, 12)
    assert len(ready.gateway.calls) == 12
    assert await writes(ready) == []


async def test_another_organisation_ends_it_and_without_a_connection_none_begins(ready):
    await ready.want(ready.invoice("inv-1"))
    number = await order(ready)
    with pytest.raises(Problem, match="IMPORT_UNDER_WAY"):
        await order(ready)
    await ready.connect("DISCONNECTED")
    with pytest.raises(Problem, match="NOT_CONNECTED"):
        await order(ready)
    await ready.turn()
    other = list(ready.books.world.books)[1]
    await ready.connect(tenant_id=other)
    await ready.turn()
    (run,) = await runs(ready)
    assert (run.number, run.outcome) == (number, "stopped")


async def test_over_http(ready, sync_dsn, tmp_path):
    await typed_in(ready, "INV-1")
    await ready.want(ready.invoice("inv-1"), ready.invoice("inv-2"))
    callers = Callers()
    app = app_over(ready.deps, sync_dsn, tmp_path, callers)
    root = f"/v1/accounts/{ready.account_id}/imports"
    viewer, operator = (callers.person(ready.account_id, role) for role in ("viewer", "operator"))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://invoice-sync") as client:
        order_it = {"dry_run": False}
        assert (await client.post(root, json=order_it)).status_code == 401
        assert (await client.post(root, headers=viewer, json=order_it)).status_code == 403
        foreign = callers.person("another-account", "operator")
        assert (await client.post(root, headers=foreign, json=order_it)).status_code == 404
        for rubbish in ({}, {"dry_run": "false"}, {"dry_run": None}, {"dry_run": True, "x": 1}, []):
            refused = await client.post(root, headers=operator, json=rubbish)
            assert refused.status_code == 422, rubbish
        asked = await client.post(root, headers=operator, json=order_it)
        assert (asked.status_code, asked.json()["left"]) == (202, 2)
        again = await client.post(root, headers=operator, json=order_it)
        assert (again.status_code, again.json()["code"]) == (409, "IMPORT_UNDER_WAY")
        await ready.turn()
        (only,) = (await client.get(root, headers=viewer)).json()["imports"]
        assert (only["outcome"], only["linked"], only["absent"], only["left"]) == ("done", 1, 1, 0)
        linked = await client.get(f"{root}/1/results?outcome=linked", headers=viewer)
        assert [each["invoice_id"] for each in linked.json()["results"]] == ["inv-1"]
        page = (await client.get(f"{root}/1/results?limit=1", headers=viewer)).json()
        assert (len(page["results"]), page["next_after"]) == (1, 1)
        assert (await client.get(f"{root}/1/results?outcome=x", headers=viewer)).status_code == 422
        unknown = await client.get(f"{root}/2/results", headers=viewer)
        assert (unknown.status_code, unknown.json()["code"]) == (404, "IMPORT_UNKNOWN")


async def test_what_was_found_before_a_switch_of_organisations_says_nothing_about_the_new_one(
    ready, monkeypatch
):
    await typed_in(ready, "INV-1")
    await ready.want(ready.invoice("inv-1"))
    await order(ready)
    other = list(ready.books.world.books)[1]
    look_up = module._look_up

    async def switched(*args):
        found = await look_up(*args)
        await ready.connect("DISCONNECTED")
        await ready.connect(tenant_id=other)
        return found

    monkeypatch.setattr(module, "_look_up", switched)
    await ready.turn()
    (run,) = await runs(ready)
    assert run.outcome == "stopped"
    assert await results(ready, run.number) == {}
    assert await ready.pool.fetchval("SELECT count(*) FROM invoice_links") == 0
    assert await ready.state("inv-1") != "failed"


async def test_two_that_come_to_one_number_do_not_share_an_invoice(ready):
    """Their own numbers differ; with the prefix each had when it was sent they are the same."""
    await typed_in(ready, "PL-1")
    await ready.want(ready.invoice("inv-1", invoice_number="PL-1"))
    await ready.want(ready.invoice("inv-2", invoice_number="1"))
    await ready.pool.execute(
        "UPDATE invoices SET number_prefix = CASE invoice_id WHEN 'inv-1' THEN '' ELSE 'PL-' END"
    )
    found = await imported(ready)
    assert [found[each][0] for each in ("inv-1", "inv-2")] == ["linked", "different"]
    assert "linked to the invoice inv-1" in found["inv-2"][1]


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("{account}", "Pipeline's own invoice inv-7"),
        ("acc-other", "an invoice of another account in Pipeline"),
    ],
)
async def test_one_that_was_sent_for_another_invoice_is_not_linked(ready, folder, told):
    """Its own look-up is still to come, and it would find its invoice taken."""
    account = folder.format(account=ready.account_id)
    url = f"{ready.deps.write.pipeline_web_url}/accounts/{account}/invoices/inv-7"
    await typed_in(ready, "INV-1", Url=url)
    await ready.want(ready.invoice("inv-1"))
    found = await imported(ready)
    assert found["inv-1"][0] == "different"
    assert told in found["inv-1"][1]
