"""Comparisons and changes go fifty to a call; what is odd about one invoice stays its own affair."""

import json
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from invoice_sync import sync_account as turning
from pipeline_contracts.sync import InvoiceSynced, OutOfSync

INVOICES = "/api.xro/2.0/Invoices*"


@pytest.fixture
def in_xero(ready, monkeypatch):
    """Brings so many invoices to Xero and forgets the calls; a turn ends only when nothing is due."""
    monkeypatch.setattr(turning, "TURN_SECONDS", 300.0)

    async def bring(count: int):
        await ready.want(*(ready.invoice(f"inv-{number}") for number in range(count)))
        await ready.turn()
        assert await count_of(ready, "synced") == count
        forget(ready)

    return bring


def forget(service) -> None:
    service.gateway.calls.clear()
    service.books.world.calls.calls.clear()


async def count_of(service, state) -> int:
    return await service.pool.fetchval("SELECT count(*) FROM invoices WHERE state = $1", state)


@pytest.fixture
def change(ready, kinds_of_event):
    """Pipeline's next version of these invoices, another reference in each."""

    async def publish(*numbers: int, version: int = 2, **fields):
        fields = {"reference": f"v{version}", "version": version} | fields
        updated = kinds_of_event["updated"]
        await ready.want(
            *(ready.invoice(f"inv-{number}", kind=updated, **fields) for number in numbers)
        )

    return publish


async def look_again(service) -> None:
    await service.pool.execute("UPDATE invoices SET due_at = now()")


def logged(service) -> dict[str, int]:
    """Calls by method, from the simulator's own log."""
    calls: dict[str, int] = {}
    for row in service.books.world.calls.select(0, service.books.tenant_id, "Invoices"):
        calls[row["method"]] = calls.get(row["method"], 0) + 1
    return calls


def rewritten(service, method, change_body) -> None:
    """Answers of one method, changed on the way."""
    pass_on = service.gateway._pass_on

    async def handle(request, path, tenant_id):
        answer = await pass_on(request, path, tenant_id)
        if request.method != method or answer.status_code != 200:
            return answer
        body = json.loads(answer.content)
        change_body(body)
        return httpx.Response(200, headers=answer.headers, content=json.dumps(body).encode())

    service.gateway._pass_on = handle


async def test_what_a_thousand_of_each_cost_in_calls(ready, change, monkeypatch):
    monkeypatch.setattr(turning, "TURN_SECONDS", 300.0)
    forget(ready)
    await ready.want(*(ready.invoice(f"inv-{number}") for number in range(1000)))
    await ready.turn()
    assert logged(ready) == {"PUT": 20}

    forget(ready)
    await look_again(ready)
    await ready.turn()
    assert logged(ready) == {"GET": 20}
    assert await count_of(ready, "synced") == 1000

    forget(ready)
    await change(*range(1000))
    await ready.turn()
    assert logged(ready) == {"GET": 20, "POST": 20}
    references = {each["reference"] for each in await ready.books.invoices()}
    assert references == {"v2"}
    assert await count_of(ready, "synced") == 1000


async def test_changes_and_voids_of_one_batch_take_a_call_each(
    ready, in_xero, change, kinds_of_event
):
    await in_xero(10)
    await change(*range(5))
    void = kinds_of_event["voided"]
    await ready.want(
        *(
            void(account_id=ready.account_id, invoice_id=f"inv-{number}", version=2)
            for number in range(5, 10)
        )
    )
    await ready.turn()
    assert logged(ready) == {"GET": 1, "POST": 2}
    assert (await count_of(ready, "synced"), await count_of(ready, "voided")) == (5, 5)
    statuses = [each["status"] for each in await ready.books.invoices()]
    assert sorted(statuses) == ["AUTHORISED"] * 5 + ["VOIDED"] * 5


async def test_one_that_xero_refuses_harms_none_of_the_others(ready, in_xero, change, line_of):
    await in_xero(50)
    await change(*range(1, 50))
    await change(0, lines=[line_of("1", account_code="999")])
    await ready.turn()
    assert logged(ready) == {"GET": 1, "POST": 1}
    assert (await ready.told("inv-0"))[-1].code == "ACCOUNT_NOT_MAPPED"
    assert await count_of(ready, "synced") == 49
    for number in range(1, 50):
        assert (await ready.told(f"inv-{number}"))[-1].version == 2


async def test_one_that_cannot_be_read_harms_none_of_the_others(ready, in_xero, change):
    await in_xero(5)

    def spoil(body):
        for invoice in body["Invoices"]:
            if invoice["InvoiceNumber"] == "INV-3":
                invoice["Total"] = "a lot"

    rewritten(ready, "GET", spoil)
    await change(*range(5))
    assert await ready.turn() is not None
    assert await ready.state("inv-3") == "pending"
    assert await count_of(ready, "synced") == 4
    assert await ready.pool.fetchval("SELECT paused_until FROM accounts") is None


async def test_one_that_nobody_foresaw_harms_none_of_the_others(ready, in_xero, change):
    await in_xero(3)
    await ready.pool.execute(
        "UPDATE invoice_links SET line_item_ids = '[1]' WHERE invoice_id = 'inv-1'"
    )
    await change(*range(3))
    assert await ready.turn() is not None
    assert await ready.state("inv-1") == "pending"
    assert (await ready.row("inv-1"))["block_code"] == "INTERNAL_ERROR"
    assert await count_of(ready, "synced") == 2


async def test_one_that_is_gone_from_xero_is_said_and_the_others_go_on(ready, in_xero, change):
    await in_xero(3)
    (gone,) = await ready.books.invoices("INV-1")
    del ready.books.world.books[ready.books.tenant_id].documents[gone["document_id"]]
    await change(*range(3))
    await ready.turn()
    assert (await ready.told("inv-1"))[-1].code == "INVOICE_GONE_FROM_XERO"
    assert await count_of(ready, "synced") == 2
    assert logged(ready) == {"GET": 2, "POST": 1}


async def test_a_list_that_leaves_some_out_or_their_lines_calls_nothing_gone(
    ready, in_xero, change
):
    await in_xero(4)

    def shorten(body):
        if len(body["Invoices"]) > 1:
            body["Invoices"].pop()
            del body["Invoices"][0]["LineItems"]

    rewritten(ready, "GET", shorten)
    await change(*range(4))
    await ready.turn()
    assert await count_of(ready, "synced") == 4
    assert logged(ready) == {"GET": 3, "POST": 1}


async def test_a_list_xero_refuses_is_asked_for_in_halves(ready, in_xero):
    await in_xero(4)
    pass_on = ready.gateway._pass_on

    async def refuse(request, path, tenant_id):
        if len(request.url.params.get("IDs", "").split(",")) > 2:
            body = {"ErrorNumber": 16, "Type": "QueryParseException", "Message": "no"}
            return httpx.Response(400, json=body)
        return await pass_on(request, path, tenant_id)

    ready.gateway._pass_on = refuse
    await look_again(ready)
    assert await ready.turn() is None
    assert len(ready.gateway.calls) == 3
    assert await count_of(ready, "synced") == 4


async def test_a_whole_call_that_xero_refuses_is_sent_one_by_one(ready, in_xero, change):
    await in_xero(3)
    pass_on = ready.gateway._pass_on

    async def refuse(request, path, tenant_id):
        if request.method == "POST" and len(json.loads(request.content)["Invoices"]) > 1:
            body = {"ErrorNumber": 14, "Type": "PostDataInvalidException", "Message": "no"}
            return httpx.Response(400, json=body)
        return await pass_on(request, path, tenant_id)

    ready.gateway._pass_on = refuse
    await change(*range(3))
    await ready.settle()
    assert await count_of(ready, "synced") == 3
    assert {each["reference"] for each in await ready.books.invoices()} == {"v2"}


async def test_answers_in_another_order_are_known_by_their_ids(ready, in_xero, change):
    await in_xero(3)
    rewritten(ready, "POST", lambda body: body["Invoices"].reverse())
    await change(*range(3))
    await ready.turn()
    assert logged(ready) == {"GET": 1, "POST": 1}
    for number in range(3):
        told = (await ready.told(f"inv-{number}"))[-1]
        assert (told.version, told.invoice_number) == (2, f"INV-{number}")


async def test_an_answer_shorter_than_the_batch_leaves_only_the_missing_one_to_be_looked_up(
    ready, in_xero, change
):
    await in_xero(3)
    rewritten(ready, "POST", lambda body: body["Invoices"].pop(1))
    await change(*range(3))
    await ready.turn()
    assert logged(ready) == {"GET": 2, "POST": 1}
    for number in range(3):
        assert (await ready.told(f"inv-{number}"))[-1].version == 2


async def test_a_version_that_comes_while_xero_is_read_is_the_one_that_is_sent(
    ready, in_xero, change
):
    await in_xero(2)
    arriving = []
    passed_on = ready.gateway._pass_on

    async def pass_on(request, path, tenant_id):
        answer = await passed_on(request, path, tenant_id)
        if request.method == "GET" and not arriving:
            arriving.append(True)
            await change(1, version=3)
        return answer

    ready.gateway._pass_on = pass_on
    await change(0, 1)
    await ready.turn()
    assert logged(ready) == {"GET": 1, "POST": 1}
    assert [each.version for each in await ready.told("inv-1")] == [1, 3]
    (invoice,) = await ready.books.invoices("INV-1")
    assert invoice["reference"] == "v3"


async def test_full_batches_and_no_waiting_in_a_mixed_backlog(ready, in_xero, change, line_of):
    """200 new ones, 60 changes and 60 second looks: creates go by fifties, and each kind is served in turn."""
    await in_xero(120)
    await change(*range(60))
    await ready.pool.execute("UPDATE invoices SET due_at = now() WHERE state = 'synced'")
    await ready.want(
        *(ready.invoice(f"new-{number}") for number in range(195)),
        *(ready.invoice(f"bad-{number}", total="0.01") for number in range(5)),
    )
    sizes = []

    def note(request):
        body = request.content and json.loads(request.content)["Invoices"]
        asked = request.url.params.get("IDs", "").split(",")
        sizes.append((request.method, len(body or asked)))

    ready.gateway.before = note
    await ready.turn()
    assert [size for method, size in sizes if method == "PUT"] == [50, 50, 50, 45]
    assert [size for method, size in sizes if method == "POST"] == [50, 10]
    assert sorted(size for method, size in sizes if method == "GET") == [10, 10, 50, 50]
    assert [method for method, _ in sizes[:4]] == ["PUT", "GET", "POST", "GET"]
    assert await count_of(ready, "synced") == 120 + 195


async def test_a_single_one_is_not_starved_though_each_turn_makes_one_call(
    ready, in_xero, change, monkeypatch
):
    await in_xero(1)
    await ready.want(*(ready.invoice(f"new-{number}") for number in range(200)))
    await change(0)
    await ready.pool.execute(
        "UPDATE invoices SET due_at = now() - interval '1 hour' WHERE state = 'pending' AND synced_version IS NULL"
    )
    # Whoever has the next turn knows only what the tables say.
    monkeypatch.setattr(turning, "TURN_SECONDS", 0.002)  # over after one call, however small
    for _ in range(2):
        await ready.turn()
    assert await ready.state("inv-0") == "synced"
    assert (await ready.told("inv-0"))[-1].version == 2
    assert await count_of(ready, "pending") == 150


# Unknown outcomes


def edit(service, number, **fields) -> None:
    documents = service.books.world.books[service.books.tenant_id].documents
    (key,) = [key for key, each in documents.items() if each.number == number]
    documents[key] = replace(documents[key], **fields)


@pytest.mark.parametrize("fault", ["reset_before", "commit_then_reset", "error_500_before"])
@pytest.mark.parametrize("minutes", [1, 6])
async def test_an_edit_of_the_same_field_after_an_unknown_outcome_is_told_and_kept(
    ready, in_xero, change, fault, minutes
):
    await in_xero(3)
    ready.books.fault(fault, method="POST", path=INVOICES)
    await change(*range(3))
    await ready.turn()
    assert await ready.state("inv-1") == "syncing"
    edit(ready, "INV-1", reference="theirs")
    await ready.age_intents(timedelta(minutes=minutes))
    await ready.settle(12)

    (kept,) = await ready.books.invoices("INV-1")
    assert kept["reference"] == "theirs"
    conflict = (await ready.told("inv-1"))[-1]
    assert isinstance(conflict, OutOfSync)
    assert [(each.field, each.pipeline, each.xero) for each in conflict.differences] == [
        ("reference", "v2", "theirs")
    ]
    for number in (0, 2):
        (other,) = await ready.books.invoices(f"INV-{number}")
        assert other["reference"] == "v2"
        assert await ready.state(f"inv-{number}") == "synced"
    assert await ready.pool.fetchval("SELECT count(*) FROM intents") == 0


async def test_unchanged_within_five_minutes_the_same_bytes_and_key_go_out(ready, in_xero, change):
    await in_xero(3)
    ready.books.fault("reset_before", method="POST", path=INVOICES)
    await change(*range(3))
    await ready.settle()
    rows = ready.books.world.calls.select(0, "", "Invoices")
    keys = [row["idempotency_key"] for row in rows if row["method"] == "POST"]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert await count_of(ready, "synced") == 3


async def test_what_arrived_is_found_and_not_sent_again(ready, in_xero, change):
    await in_xero(3)
    ready.books.fault("commit_then_reset", method="POST", path=INVOICES)
    await change(*range(3))
    await ready.settle()
    assert logged(ready) == {"GET": 2, "POST": 1}
    for number in range(3):
        assert [each.version for each in await ready.told(f"inv-{number}")] == [1, 2]


async def test_a_newer_version_after_a_lost_answer_is_no_conflict(ready, in_xero, change):
    await in_xero(1)
    ready.books.fault("commit_then_reset", method="POST", path=INVOICES)
    await change(0)
    await ready.turn()
    await change(0, version=3)
    await ready.age_intents(timedelta(minutes=6))
    await ready.settle()
    assert [type(each) for each in await ready.told("inv-0")] == [InvoiceSynced] * 3
    (invoice,) = await ready.books.invoices("INV-0")
    assert invoice["reference"] == "v3"


async def test_an_open_change_of_the_previous_release_is_settled(ready, in_xero, change, died):
    """Such an intent carries one element and the invoice's own path."""
    await in_xero(1)

    def die(request):
        if request.method == "POST":
            ready.gateway.before = None
            raise died

    ready.gateway.before = die
    await change(0)
    with pytest.raises(died):
        await ready.turn()
    (invoice,) = await ready.books.invoices("INV-0")
    await ready.pool.execute("UPDATE intents SET path = $1", f"Invoices/{invoice['document_id']}")
    await ready.settle()
    assert ready.gateway.calls[-1] == ("POST", f"Invoices/{invoice['document_id']}")
    assert await ready.state("inv-0") == "synced"
