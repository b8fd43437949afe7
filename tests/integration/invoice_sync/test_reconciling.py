"""Reconciliation: every accepted invoice accounted for, both books added up, and what is out of place found."""

import asyncio
from datetime import timedelta
from decimal import Decimal

import httpx
import pytest
from invoice_sync_api import Callers, app_over
from reconciling import ask, found, outcome, reconciled

from invoice_sync import reconcile_account as module
from invoice_sync.domain import reconciliation
from invoice_sync.domain.reconciliation import FindingKind
from invoice_sync.watch_reconciliations import watch_reconciliations
from pipeline_contracts.reconciled import AccountReconciled

XERO = "https://go.xero.com"


async def test_equal_books_are_clean_and_add_up(books_of_five, kinds_of_event):
    service = books_of_five
    await service.want(
        kinds_of_event["voided"](account_id=service.account_id, invoice_id="inv-4", version=2),
        service.invoice("inv-5", currency="EUR", customer_id="nobody"),
    )
    await service.settle()
    service.gateway.calls.clear()
    run, totals = await reconciled(service)
    assert (run.outcome, run.findings) == ("clean", {})
    assert [call for call in service.gateway.calls if call[1] == "Invoices"] == [
        ("GET", "Invoices")
    ]
    assert {(each.state, each.currency): each for each in totals} == {
        ("synced", "NZD"): reconciliation.Total("synced", "NZD", 4, Decimal(400), 4, Decimal(400)),
        ("voided", "NZD"): reconciliation.Total("voided", "NZD", 1, Decimal(0), 0, Decimal(0)),
        ("waiting_for_contact", "EUR"): reconciliation.Total(
            "waiting_for_contact", "EUR", 1, Decimal(100), 0, Decimal(0)
        ),
    }
    event = (await service.told())[-1]
    assert isinstance(event, AccountReconciled)
    assert (event.is_clean, event.asked_by, event.reconciliation) == (True, "user:ann", run.number)
    assert {each.currency: each.difference for each in event.totals} == {
        "NZD": Decimal(0),
        "EUR": Decimal(100),
    }
    assert await service.pool.fetchval("SELECT count(*) FROM reconciled_invoices") == 0
    # Asked again, it begins anew; asked while one is under way, it is the same one.
    assert await ask(service) == await ask(service) == run.number + 1


async def test_what_is_out_of_place_in_xero_is_found_and_left_to_the_sync(
    books_of_five, monkeypatch
):
    monkeypatch.setattr(reconciliation, "WORD_TAKES", timedelta(0))
    service = books_of_five
    documents = service.books.world.books[service.books.tenant_id].documents
    by_number = {each["number"]: each for each in await service.books.invoices()}
    ours = {number: documents[each["document_id"]] for number, each in by_number.items()}
    # Changed without a word to us; gone altogether; and a second one of inv-2 and one of nobody's.
    await service.books.act("POST", "invoices/INV-0", {"Reference": "theirs"})
    service.books.world.books[service.books.tenant_id].documents.pop(ours["INV-1"].document_id)
    copy = {
        "Contact": {"ContactID": ours["INV-2"].contact_id},
        "LineItems": [
            {"Description": "x", "Quantity": "1", "UnitAmount": "7.77", "AccountCode": "200"}
        ],
        "LineAmountTypes": "NoTax",
        "Date": "2026-03-01",
    }
    double = await service.books.act(
        "POST", "invoices", copy | {"InvoiceNumber": "C-1", "Url": ours["INV-2"].url}
    )
    stranger = ours["INV-2"].url.replace("inv-2", "inv-77")
    unknown = await service.books.act(
        "POST", "invoices", copy | {"InvoiceNumber": "C-2", "Url": stranger}
    )
    await service.books.act("POST", "invoices", copy | {"InvoiceNumber": "C-3"})
    service.gateway.calls.clear()
    run, totals = await reconciled(service)
    assert run.outcome == "findings"
    assert run.findings == {
        "gone_from_xero": 1,
        "changed_in_xero": 1,
        "doubled_in_xero": 1,
        "unknown_in_xero": 1,
    }
    assert await found(service, run) == {
        "gone_from_xero": {"inv-1"},
        "changed_in_xero": {"inv-0"},
        "doubled_in_xero": {"inv-2"},
        "unknown_in_xero": {"inv-77"},
    }
    assert {each["document_id"] for each in (double, unknown)} == {
        row["xero_invoice_id"]
        for row in await service.pool.fetch(
            "SELECT xero_invoice_id FROM reconciliation_findings WHERE kind ~ 'doubled|unknown'"
        )
    }
    # The sync looked for itself and said so; nothing was written to Xero.
    assert all(method == "GET" for method, _ in service.gateway.calls)
    await service.settle()
    assert (await service.told("inv-1"))[-1].code == "INVOICE_GONE_FROM_XERO"
    assert await service.state("inv-0") == "synced"
    (nzd,) = reconciliation.by_currency(totals)
    ledger = [each for each in await service.books.invoices() if each["number"] != "C-3"]
    assert nzd.xero_total == sum(Decimal(each["total"]) for each in ledger)
    assert nzd.in_xero == len(ledger)
    assert nzd.difference == Decimal(500) - nzd.xero_total
    # The edit is known now, and named each time until both agree again.
    again, _ = await reconciled(service)
    assert again.findings == {
        "gone_from_xero": 1,
        "edited_in_xero": 1,
        "doubled_in_xero": 1,
        "unknown_in_xero": 1,
    }


STUCK = {
    FindingKind.OVERDUE: "UPDATE invoices SET state = 'waiting_for_budget', block_code = 'RATE_LIMITED', due_at = now() - interval '2 hours' WHERE invoice_id = 'inv-0'",
    FindingKind.NEVER_DUE: "UPDATE invoices SET state = 'pending' WHERE invoice_id = 'inv-0'",
    FindingKind.SYNCING_WITHOUT_WRITE: "UPDATE invoices SET state = 'syncing', intent_id = 4711 WHERE invoice_id = 'inv-0'",
    FindingKind.WRITE_WITHOUT_INVOICE: "INSERT INTO intents (account_id, tenant_id, kind, method, path, body, idempotency_key, first_sent_at, due_at)"
    " SELECT account_id, 't', 'create', 'PUT', 'Invoices', '', 'k', now(), now() + interval '1 hour' FROM accounts",
    FindingKind.WAITS_THOUGH_MAPPED: "UPDATE invoices SET state = 'waiting_for_contact', block_code = 'CUSTOMER_NOT_MAPPED' WHERE invoice_id = 'inv-0'",
    FindingKind.WAITS_THOUGH_CONNECTED: "UPDATE invoices SET state = 'waiting_for_connection', block_code = 'NOT_CONNECTED' WHERE invoice_id = 'inv-0'",
    FindingKind.WITHOUT_REASON: "UPDATE invoices SET state = 'failed' WHERE invoice_id = 'inv-0'",
    FindingKind.SETTLED_WITHOUT_LINK: "DELETE FROM invoice_links WHERE invoice_id = 'inv-0'",
    FindingKind.LIVE_THOUGH_VOIDED: "UPDATE invoices SET state = 'voided' WHERE invoice_id = 'inv-0'",
}


@pytest.mark.parametrize("kind", STUCK)
async def test_each_way_of_being_stuck_is_found(books_of_five, kind, monkeypatch):
    """Planted by hand, because none of them must ever come about."""
    service = books_of_five
    await service.pool.execute(STUCK[kind])
    # An overdue invoice would be taken up before the reconciliation's turn; then there is nothing to find.
    monkeypatch.setattr(reconciliation, "PATIENCE", timedelta(0))
    monkeypatch.setattr("invoice_sync.choose_work.PATIENCE", timedelta(0))
    run, totals = await reconciled(service)
    expected = {kind.value: 1}
    if kind is FindingKind.SETTLED_WITHOUT_LINK:
        expected["unknown_in_xero"] = 1
    assert run.findings == expected
    assert sum(each.invoices for each in totals) == 5


async def test_asked_for_after_a_switch_it_is_a_new_one_and_tells_what_was_left_behind(
    books_of_five,
):
    service = books_of_five
    await service.want(service.invoice("inv-5", customer_id="nobody"))
    await service.settle()
    number = await ask(service)
    await service.connect("DISCONNECTED")
    await service.connect(tenant_id=list(service.books.world.books)[1])
    assert await ask(service) == number + 1
    assert (await outcome(service, number))[0].outcome == "stopped"
    run, totals = await reconciled(service)
    assert run.number == number + 1
    assert {(each.state, each.invoices, each.difference) for each in totals} == {
        ("left_behind", 5, Decimal(500)),
        ("waiting_for_contact", 1, Decimal(100)),
    }
    assert run.message == (
        "Every invoice is accounted for, and nothing is out of place: 6 invoices of 600.00 NZD in Pipeline, "
        "0 of 0.00 in Xero, a difference of 600.00 (100.00 among 1 invoice on the way to Xero, "
        "500.00 among 5 invoices left in an organisation connected before)."
    )


async def test_an_edit_of_a_moment_ago_is_compared_and_no_finding(books_of_five):
    service = books_of_five
    await service.books.act("POST", "invoices/INV-0", {"Reference": "theirs"})
    run, _ = await reconciled(service)
    assert (run.outcome, run.findings) == ("clean", {})
    await service.settle()
    assert (
        await service.pool.fetchval(
            "SELECT observed::jsonb ->> 'reference' FROM invoice_links WHERE invoice_id = 'inv-0'"
        )
    ) == "theirs"


async def test_the_command_asks_the_services_and_tells_in_words(books_of_five):
    service = books_of_five

    async def serve():
        while not await service.pool.fetchval("SELECT count(*) FROM reconciliations"):  # noqa: ASYNC110 - another's row
            await asyncio.sleep(0.01)
        await service.turn()

    serving = asyncio.create_task(serve())
    told = await watch_reconciliations(service.pool, None, XERO, wait_seconds=30)
    await serving
    assert told.is_clean
    (only,) = told.sentences
    assert only.startswith(f"{service.account_id}: Every invoice is accounted for")
    assert "a difference of 0.00" in only
    told = await watch_reconciliations(service.pool, "nobody", XERO, wait_seconds=30)
    assert not told.is_clean
    assert "not connected" in told.sentences[0]
    told = await watch_reconciliations(service.pool, service.account_id, XERO, wait_seconds=0)
    assert not told.is_clean
    assert "not done" in told.sentences[0]


async def test_over_http(books_of_five, sync_dsn, tmp_path):
    service = books_of_five
    callers = Callers()
    app = app_over(service.deps, sync_dsn, tmp_path, callers)
    root = f"/v1/accounts/{service.account_id}/reconciliations"
    transport = httpx.ASGITransport(app)
    viewer = callers.person(service.account_id)
    operator = callers.person(service.account_id, "operator")
    async with httpx.AsyncClient(transport=transport, base_url="http://invoice-sync") as client:
        assert (await client.post(root)).status_code == 401
        assert (await client.post(root, headers=viewer)).status_code == 403
        foreign = callers.person("another-account", "operator")
        assert (await client.post(root, headers=foreign)).status_code == 404
        asked = await client.post(root, headers=operator)
        assert (asked.status_code, asked.json()["outcome"]) == (202, None)
        assert (await client.post(root, headers=operator)).json()["number"] == 1
        await service.pool.execute(
            "UPDATE invoices SET state = 'failed' WHERE invoice_id = 'inv-0'"
        )
        await service.turn()
        (only,) = (await client.get(root, headers=viewer)).json()["reconciliations"]
        assert (only["outcome"], only["asked_by"]) == ("findings", "user:u")
        assert [each["kind"] for each in only["findings"]] == ["without_reason"]
        assert only["totals"][0]["difference"] == "0.00"
        assert sum(each["invoices"] for each in only["states"]) == 5
        named = (await client.get(f"{root}/1/findings", headers=viewer)).json()
        (found,) = named["found"]
        assert (found["kind"], found["invoice_id"]) == ("without_reason", "inv-0")
        assert found["message"].startswith(
            "Invoice INV-0 is not in Xero and cannot say why: 100.00"
        )
        assert (await client.get(f"{root}/7/findings", headers=viewer)).status_code == 404
        assert (await client.get(f"{root}/x/findings", headers=viewer)).status_code == 422
        await service.connect("DISCONNECTED")
        refused = await client.post(root, headers=operator)
        assert (refused.status_code, refused.json()["code"]) == (409, "NOT_CONNECTED")


async def between_reading_and_finishing(service, monkeypatch, happens):
    """The findings of a reconciliation after whose pages something happened."""
    finish = module._finish

    async def late(*args):
        monkeypatch.setattr(module, "_finish", finish)
        await happens()

    monkeypatch.setattr(module, "_finish", late)
    run, _ = await reconciled(service)
    return run.findings


async def test_an_invoice_voided_while_pages_are_read_is_not_called_live(
    books_of_five, monkeypatch, kinds_of_event
):
    service = books_of_five

    async def void():
        event = kinds_of_event["voided"](
            account_id=service.account_id, invoice_id="inv-1", version=2
        )
        await service.want(event)

    assert await between_reading_and_finishing(service, monkeypatch, void) == {}
    assert await service.state("inv-1") == "voided"


async def test_an_edit_that_pipeline_took_over_while_pages_are_read_is_not_called_one(
    books_of_five, monkeypatch, kinds_of_event
):
    service = books_of_five
    await service.books.act("POST", "invoices/INV-1", {"Reference": "theirs"})
    await service.settle()
    run, _ = await reconciled(service)  # heard of by this one, or before
    assert set(run.findings) <= {"changed_in_xero", "edited_in_xero"}
    await service.settle()
    run, _ = await reconciled(service)
    assert run.findings == {"edited_in_xero": 1}

    async def adopt():
        updated = kinds_of_event["updated"]
        await service.want(service.invoice("inv-1", kind=updated, version=2, reference="theirs"))

    assert await between_reading_and_finishing(service, monkeypatch, adopt) == {}
    assert await service.state("inv-1") == "synced"


async def test_what_was_heard_of_while_its_page_was_on_the_way_is_not_called_unheard(
    books_of_five, monkeypatch
):
    service = books_of_five
    send = service.gateway.handle_async_request

    async def overtaken(request):
        answer = await send(request)
        if request.url.params.get("order"):
            await service.pool.execute(
                "UPDATE invoice_links SET observed_at = clock_timestamp(),"
                ' observed = (observed::jsonb || \'{"reference": "theirs"}\')::text'
                " WHERE invoice_id = 'inv-1'"
            )
        return answer

    monkeypatch.setattr(service.gateway, "handle_async_request", overtaken)
    run, _ = await reconciled(service)
    assert "changed_in_xero" not in run.findings


async def test_a_disconnection_before_its_end_is_no_finding(books_of_five, monkeypatch):
    service = books_of_five
    finish = module._finish

    async def late(*args):
        monkeypatch.setattr(module, "_finish", finish)
        await service.connect("DISCONNECTED")
        await service.want(service.invoice("inv-9"))
        await service.pool.execute(
            "UPDATE invoices SET state = 'waiting_for_connection', due_at = NULL WHERE invoice_id = 'inv-9'"
        )
        await finish(*args)

    monkeypatch.setattr(module, "_finish", late)
    number = await ask(service)
    await service.turn()
    run, _ = await outcome(service, number)
    assert (run.finished_at, run.findings) == (None, {})
