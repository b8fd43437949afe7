"""A person decides which version of an invoice stands: on what was seen, and on nothing else."""

import httpx
import pytest
from invoice_sync_api import Callers, app_over

from invoice_sync.retry_sync import retry_invoice
from pipeline_contracts.sync import InvoiceSynced, OutOfSync, SyncFailed, SyncResumed


class People:
    """The routes, and who calls them."""

    def __init__(self, client, callers, service) -> None:
        self.client, self.callers, self.service = client, callers, service

    def path(self, what="resolve"):
        return f"/v1/accounts/{self.service.account_id}/invoices/inv-1/sync/{what}"

    def headers(self, role="operator"):
        return self.callers.person(self.service.account_id, role)

    async def look(self):
        answer = await self.client.get(self.path(), headers=self.headers("viewer"))
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def choose(self, keep, fingerprint=None, role="operator"):
        fingerprint = fingerprint or (await self.look())["fingerprint"]
        body = {"keep": keep, "fingerprint": fingerprint}
        return await self.client.post(self.path(), headers=self.headers(role), json=body)

    async def decide(self, keep):
        """Choose, and let the worker do it."""
        answer = await self.choose(keep)
        assert answer.status_code == 202, answer.text
        await self.service.turn()


@pytest.fixture
async def people(sync_dsn, ready, tmp_path):
    callers = Callers()
    app = app_over(ready.deps, sync_dsn, tmp_path, callers)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://invoice-sync") as client:
        yield People(client, callers, ready)


@pytest.fixture
async def synced(ready, line_of):
    await ready.want(ready.invoice("inv-1", reference="one", lines=[line_of("1"), line_of("2")]))
    await ready.turn()
    return ready


@pytest.fixture
def change(ready, kinds_of_event, line_of):
    async def publish(version, **fields):
        lines = {"lines": [line_of("1"), line_of("2")], "reference": "one"}
        updated = kinds_of_event["updated"]
        await ready.want(ready.invoice("inv-1", kind=updated, version=version, **(lines | fields)))
        await ready.turn()

    return publish


@pytest.fixture
def void(ready, kinds_of_event):
    async def publish(version):
        event = kinds_of_event["voided"](
            account_id=ready.account_id, invoice_id="inv-1", version=version
        )
        await ready.want(event)
        await ready.turn()

    return publish


async def compared(service) -> None:
    await service.pool.execute("UPDATE invoices SET due_at = now()")
    await service.turn()


async def theirs(service, **body) -> None:
    await service.books.act("POST", "invoices/INV-1", body)


async def in_xero(service) -> dict:
    (invoice,) = await service.books.invoices("INV-1")
    return invoice


@pytest.fixture
async def conflict(synced, change, line_of):
    """Reference changed on both sides; a line added and the due date moved in Xero, a quantity in Pipeline."""
    lines = [
        {"LineItemID": each["line_id"], "Description": each["description"], "Quantity": each["quantity"],
         "UnitAmount": each["unit_amount"], "AccountCode": each["account_code"]}
        for each in (await in_xero(synced))["lines"]
    ]  # fmt: skip
    gift = {"Description": "Gift", "Quantity": 1, "UnitAmount": 7, "AccountCode": "200"}
    await theirs(synced, Reference="theirs", DueDate="2026-05-31", LineItems=[*lines, gift])
    await change(2, reference="ours", lines=[line_of("1", quantity="3"), line_of("2")])
    assert await synced.state("inv-1") == "out_of_sync"
    return synced


async def test_both_sides_are_shown_with_what_can_be_chosen(conflict, people):
    shown = await people.look()
    assert shown["kind"] == "edited"
    assert {"field": "reference", "base": "one", "pipeline": "ours", "xero": "theirs"} in (
        shown["differences"]
    )
    assert [(each["keep"], each["allowed"]) for each in shown["choices"]] == [
        ("pipeline", True),
        ("xero", True),
    ]
    answer = await people.client.get(people.path("").rstrip("/"), headers=people.headers("viewer"))
    assert answer.json()["conflict"] == shown
    assert answer.json()["differences"] == shown["differences"]


async def test_pipelines_version_is_written_over_all_that_was_seen(conflict, people):
    await people.decide("pipeline")
    invoice = await in_xero(conflict)
    assert (invoice["reference"], invoice["due_date"]) == ("ours", "2026-03-31")
    assert sorted(each["description"] for each in invoice["lines"]) == ["Work 1", "Work 2"]
    told = await conflict.told("inv-1")
    assert [type(each) for each in told] == [InvoiceSynced, OutOfSync, SyncResumed, InvoiceSynced]
    assert told[2].resolved_by == "person"
    assert told[3].version == 2
    audited = await conflict.pool.fetchrow("SELECT actor, action, subject, detail FROM audit")
    assert (audited["actor"], audited["action"], audited["subject"]) == ("user:u", "resolve", "inv-1")  # fmt: skip
    assert audited["detail"].startswith("pipeline ")
    assert await people.look() is None
    # Both agree now, and the next change goes its ordinary way.
    await conflict.pool.execute("UPDATE invoices SET due_at = now()")
    await conflict.turn()
    assert len(await conflict.told("inv-1")) == 4


async def test_xeros_version_is_agreed_and_told_so_that_pipeline_can_take_it_over(
    conflict, people, change, line_of
):
    calls = len(conflict.gateway.calls)
    await people.decide("xero")
    assert all(method == "GET" for method, _ in conflict.gateway.calls[calls:])
    resumed = (await conflict.told("inv-1"))[-1]
    assert isinstance(resumed, SyncResumed)
    assert (resumed.resolved_by, resumed.invoice.reference) == ("person", "theirs")
    assert [each.line_id for each in resumed.invoice.lines if each.description != "Gift"] == [
        "1",
        "2",
    ]
    assert await conflict.state("inv-1") == "synced"

    # What Pipeline changes next goes out alone: nothing of Xero's version is undone.
    await change(3, reference="ours", issue_date="2026-03-02", lines=[line_of("1", quantity="3"), line_of("2")])  # fmt: skip
    invoice = await in_xero(conflict)
    assert (invoice["reference"], invoice["date"]) == ("theirs", "2026-03-02")
    assert len(invoice["lines"]) == 3
    assert await conflict.state("inv-1") == "synced"

    # Pipeline takes over Xero's version under line ids of its own: in step, and nothing is written.
    calls = len(conflict.gateway.calls)
    lines = [line_of("1"), line_of("2"), line_of("7", description="Gift", quantity="1", unit_amount="7")]  # fmt: skip
    await change(4, reference="theirs", issue_date="2026-03-02", due_date="2026-05-31", lines=lines)
    assert all(method == "GET" for method, _ in conflict.gateway.calls[calls:])
    assert (await conflict.told("inv-1"))[-1].version == 4
    assert await conflict.state("inv-1") == "synced"
    # From then on it is Pipeline's line as any other.
    await change(5, reference="theirs", issue_date="2026-03-02", due_date="2026-05-31", lines=lines[:2])  # fmt: skip
    assert len((await in_xero(conflict))["lines"]) == 2
    assert await conflict.state("inv-1") == "synced"


async def test_a_choice_over_an_outdated_picture_is_refused_with_the_new_one(
    conflict, people, change, line_of
):
    seen = (await people.look())["fingerprint"]
    lines = [line_of("1", quantity="4"), line_of("2")]
    await change(3, reference="other", lines=lines)
    refused = await people.choose("pipeline", seen)
    assert (refused.status_code, refused.json()["code"]) == (409, "CONFLICT_CHANGED")
    assert refused.json()["conflict"] == await people.look()
    rubbish = [{}, {"keep": "both", "fingerprint": seen}, {"keep": "xero", "fingerprint": ""}]
    for body in [*rubbish, {"keep": "xero", "fingerprint": "x" * 65}, {"keep": "xero"}, []]:
        answer = await people.client.post(people.path(), headers=people.headers(), json=body)
        assert answer.status_code == 422, body
    assert (await in_xero(conflict))["reference"] == "theirs"


@pytest.mark.parametrize("keep", ["pipeline", "xero"])
async def test_xero_changed_after_the_choice_so_it_is_a_conflict_again(conflict, people, keep):
    assert (await people.choose(keep)).status_code == 202
    await theirs(conflict, Reference="newer")
    await conflict.turn()
    assert await conflict.state("inv-1") == "out_of_sync"
    again = (await conflict.told("inv-1"))[-1]
    assert isinstance(again, OutOfSync)
    assert "newer" in {each.xero for each in again.differences}
    assert (await in_xero(conflict))["reference"] == "newer"
    await people.decide(keep)
    assert await conflict.state("inv-1") == "synced"


async def test_twice_is_once_and_two_people_cannot_choose_both(conflict, people):
    seen = (await people.look())["fingerprint"]
    assert (await people.choose("pipeline", seen)).status_code == 202
    assert (await people.choose("pipeline", seen)).status_code == 202
    other = await people.choose("xero", seen)
    assert (other.status_code, other.json()["code"]) == (409, "ALREADY_CHOSEN")
    assert "user:u chose to keep Pipeline's version" in other.json()["detail"]
    await retry_invoice(conflict.deps, conflict.account_id, "inv-1", "user:other")
    await conflict.turn()
    assert (await people.choose("pipeline", seen)).json() == {"keep": "pipeline", "state": "synced"}
    late = await people.choose("xero", seen)
    assert (late.status_code, late.json()["code"]) == (409, "NOTHING_TO_RESOLVE")
    assert len(await conflict.told("inv-1")) == 4
    assert await conflict.pool.fetchval("SELECT count(*) FROM audit WHERE action = 'resolve'") == 1


async def test_only_who_may_decide_decides(conflict, people):
    seen = (await people.look())["fingerprint"]
    assert (await people.choose("pipeline", seen, role="viewer")).status_code == 403
    strange = people.callers.person("acc-other", "admin")
    body = {"keep": "xero", "fingerprint": seen}
    assert (await people.client.post(people.path(), headers=strange, json=body)).status_code == 404
    missing = people.path().replace("inv-1", "inv-9")
    answer = await people.client.post(missing, headers=people.headers(), json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, "INVOICE_UNKNOWN")
    assert (await conflict.row("inv-1"))["due_at"] is None


async def test_without_a_connection_nothing_is_chosen_but_a_choice_made_before_it_fell_stands(
    conflict, people
):
    seen = (await people.look())["fingerprint"]
    await conflict.connect("DISCONNECTED")
    refused = await people.choose("xero", seen)
    assert (refused.status_code, refused.json()["code"]) == (409, "NOT_CONNECTED")
    await conflict.connect()
    assert (await people.choose("xero", seen)).status_code == 202
    await conflict.connect("DISCONNECTED")
    await conflict.settle()
    assert await conflict.state("inv-1") == "out_of_sync"
    await conflict.connect()
    await conflict.settle()
    assert await conflict.state("inv-1") == "synced"
    assert (await conflict.told("inv-1"))[-1].resolved_by == "person"


@pytest.mark.parametrize("fault", ["reset_before", "commit_then_reset", "error_500_after"])
async def test_a_chosen_write_of_unknown_outcome_lands_once(conflict, people, fault):
    conflict.books.fault(fault, method="POST", path="/api.xro/2.0/Invoices*")
    await people.decide("pipeline")
    await conflict.settle(12)
    invoice = await in_xero(conflict)
    assert (invoice["reference"], len(invoice["lines"])) == ("ours", 2)
    assert await conflict.kinds("inv-1") == ["InvoiceSynced", "OutOfSync", "SyncResumed", "InvoiceSynced"]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_killed_on_the_way_the_choice_is_carried_out_once(conflict, people, died, method):
    def die(request):
        if request.method == method:
            conflict.gateway.before = None
            raise died

    assert (await people.choose("pipeline")).status_code == 202
    conflict.gateway.before = die
    with pytest.raises(died):
        await conflict.turn()
    await conflict.settle(12)
    assert (await in_xero(conflict))["reference"] == "ours"
    assert await conflict.kinds("inv-1") == ["InvoiceSynced", "OutOfSync", "SyncResumed", "InvoiceSynced"]  # fmt: skip


async def test_voided_in_xero_is_a_conflict_of_its_own_and_can_only_be_accepted(
    synced, people, change, void
):
    await theirs(synced, Status="VOIDED")
    await change(2, reference="ours")
    told = (await synced.told("inv-1"))[-1]
    assert isinstance(told, OutOfSync)
    assert told.kind == "voided_in_xero"
    assert told.message == "Invoice INV-1 was voided in Xero, and Pipeline still has it."
    shown = await people.look()
    assert shown["kind"] == "voided_in_xero"
    pipelines, xeros = shown["choices"]
    assert (pipelines["allowed"], xeros["allowed"]) == (False, True)
    assert "new invoice with a new number" in pipelines["follows"]
    refused = await people.choose("pipeline")
    assert (refused.status_code, refused.json()["code"]) == (409, "CHOICE_NOT_POSSIBLE")
    await people.decide("xero")
    assert await synced.state("inv-1") == "voided"
    resumed, last = (await synced.told("inv-1"))[-2:]
    assert (resumed.resolved_by, last.xero_status) == ("person", "VOIDED")
    # Pipeline follows: nothing is left to do. Should it go on with the invoice instead, it is told again.
    await change(3, reference="ours")
    assert await synced.state("inv-1") == "out_of_sync"
    await void(4)
    assert await synced.state("inv-1") == "voided"


async def test_gone_from_xero_can_only_be_accepted(synced, people, change):
    invoice = await in_xero(synced)
    del synced.books.world.books[synced.books.tenant_id].documents[invoice["document_id"]]
    await change(2, reference="ours")
    assert (await synced.told("inv-1"))[-1].code == "INVOICE_GONE_FROM_XERO"
    shown = await people.look()
    assert [each["allowed"] for each in shown["choices"]] == [False, True]
    assert shown["kind"] == "gone_from_xero"
    assert (await people.choose("pipeline")).json()["code"] == "CHOICE_NOT_POSSIBLE"
    await people.decide("xero")
    assert await synced.state("inv-1") == "voided"
    resumed, last = (await synced.told("inv-1"))[-2:]
    assert resumed.resolved_by == "person"
    assert (last.version, last.xero_status) == (2, "DELETED")


async def test_what_is_voided_and_gone_from_xero_is_told_to_whoever_knows_it_as_synced(
    synced, void
):
    invoice = await in_xero(synced)
    del synced.books.world.books[synced.books.tenant_id].documents[invoice["document_id"]]
    await void(2)
    assert await synced.state("inv-1") == "voided"
    last = (await synced.told("inv-1"))[-1]
    assert (last.version, last.xero_status, last.deep_link) == (2, "DELETED", "")
    assert str(last.total) == invoice["total"]


async def test_whoever_was_told_of_a_failure_is_told_that_it_is_over(synced):
    """Nothing was written meanwhile: without an event, subscribers would show the failure for ever."""
    invoice = await in_xero(synced)
    documents = synced.books.world.books[synced.books.tenant_id].documents
    gone = documents.pop(invoice["document_id"])
    await compared(synced)
    assert (await synced.told("inv-1"))[-1].code == "INVOICE_GONE_FROM_XERO"
    documents[invoice["document_id"]] = gone
    await retry_invoice(synced.deps, synced.account_id, "inv-1", "user:u")
    await synced.turn()
    assert await synced.state("inv-1") == "synced"
    told = await synced.told("inv-1")
    assert [type(each).__name__ for each in told] == ["InvoiceSynced", "SyncFailed", "InvoiceSynced"]  # fmt: skip
    assert [each.version for each in told] == [1, 1, 1]
    # Once: the next look finds nothing to tell.
    await compared(synced)
    assert len(await synced.told("inv-1")) == 3


async def test_a_paid_invoice_says_beforehand_what_xero_will_not_take(
    conflict, people, change, line_of
):
    await conflict.books.act("POST", "payments", {"invoice": "INV-1", "amount": "10.00"})
    await retry_invoice(conflict.deps, conflict.account_id, "inv-1", "user:u")
    await conflict.turn()
    pipelines, _ = (await people.look())["choices"]
    assert pipelines["allowed"] is False
    assert "the quantity on the line “Work 1”" in pipelines["why_not"]
    assert "due date" in pipelines["why_not"]
    assert (await people.choose("pipeline")).json()["code"] == "CHOICE_NOT_POSSIBLE"
    assert len(await conflict.told("inv-1")) == 2  # a payment is no difference


async def test_what_may_still_change_of_a_paid_invoice_is_written(synced, people, change):
    await theirs(synced, Reference="theirs")
    await synced.books.act("POST", "payments", {"invoice": "INV-1", "amount": "10.00"})
    await change(2, reference="ours")
    await people.decide("pipeline")
    assert (await in_xero(synced))["reference"] == "ours"
    assert await synced.state("inv-1") == "synced"


async def test_what_xero_refuses_for_good_can_be_left_as_xero_has_it(synced, people, void):
    await synced.books.act("POST", "payments", {"invoice": "INV-1", "amount": "10.00"})
    await void(2)
    assert isinstance((await synced.told("inv-1"))[-1], SyncFailed)
    shown = await people.look()
    assert shown["kind"] == "refused_by_xero"
    await people.decide("xero")
    assert await synced.state("inv-1") == "synced"
    await synced.pool.execute("UPDATE invoices SET due_at = now()")
    await synced.turn()
    assert await synced.state("inv-1") == "synced"
    assert (await in_xero(synced))["status"] == "AUTHORISED"


async def test_a_void_is_carried_out_over_an_edit_by_choice_only(synced, people, void):
    await theirs(synced, Reference="theirs")
    await void(2)
    assert await synced.state("inv-1") == "out_of_sync"
    assert (await in_xero(synced))["status"] == "AUTHORISED"
    await people.decide("pipeline")
    assert (await in_xero(synced))["status"] == "VOIDED"
    assert await synced.state("inv-1") == "voided"


async def test_in_another_organisation_nothing_is_chosen(conflict, people):
    seen = (await people.look())["fingerprint"]
    other = next(each for each in conflict.books.world.books if each != conflict.books.tenant_id)
    await conflict.connect(tenant_id=other)
    refused = await people.choose("pipeline", seen)
    assert (refused.status_code, refused.json()["code"]) == (409, "TENANT_CHANGED")


async def test_a_change_that_xero_refuses_is_given_up_by_choice(synced, people, change, line_of):
    await synced.books.act("POST", "payments", {"invoice": "INV-1", "amount": "10.00"})
    await change(2, lines=[line_of("1", quantity="3"), line_of("2")])
    assert (await synced.told("inv-1"))[-1].code == "INVOICE_HAS_PAYMENT"
    pipelines, xeros = (await people.look())["choices"]
    assert (pipelines["allowed"], xeros["allowed"]) == (False, True)
    await people.decide("xero")
    assert await synced.state("inv-1") == "synced"
    # The quantity that was given up is not sent with the next change.
    await change(3, reference="two", lines=[line_of("1", quantity="3"), line_of("2")])
    invoice = await in_xero(synced)
    assert invoice["reference"] == "two"
    assert {float(each["quantity"]) for each in invoice["lines"]} == {2}
    assert await synced.state("inv-1") == "synced"
