"""Edits on both sides that do not touch each other, where the account chose to merge: nobody's work is overwritten."""

from dataclasses import replace
from decimal import Decimal

import pytest

from invoice_sync.change_settings import change_settings
from invoice_sync.domain.account_settings import AccountSettings, EditPolicy
from pipeline_contracts.sync import InvoiceSynced, OutOfSync


async def choose(service, policy, version=0):
    wanted = AccountSettings(edit_policy=policy)
    return await change_settings(
        service.deps, service.account_id, wanted, version=version, actor="user:u"
    )


@pytest.fixture
async def synced(ready, line_of):
    """An invoice of two lines in Xero."""
    await ready.want(ready.invoice("inv-1", reference="one", lines=[line_of("1"), line_of("2")]))
    await ready.turn()
    assert await ready.state("inv-1") == "synced"
    ready.gateway.calls.clear()
    return ready


@pytest.fixture
async def merging(synced):
    await choose(synced, EditPolicy.MERGE)
    return synced


@pytest.fixture
def change(ready, kinds_of_event, line_of):
    async def publish(version, **fields):
        lines = {"lines": [line_of("1"), line_of("2")], "reference": "one"}
        updated = kinds_of_event["updated"]
        await ready.want(ready.invoice("inv-1", kind=updated, version=version, **(lines | fields)))
        await ready.turn()

    return publish


async def in_xero(service) -> dict:
    (invoice,) = await service.books.invoices("INV-1")
    return invoice


async def theirs(service, **body) -> None:
    await service.books.act("POST", "invoices/INV-1", body)


async def lines_in_xero(service) -> dict:
    return {
        each["description"]: (Decimal(each["quantity"]), Decimal(each["unit_amount"]))
        for each in (await in_xero(service))["lines"]
    }


async def edit_lines(service, edit) -> None:
    """A person's edit of the lines in Xero: the whole list goes back, as its screen sends it."""
    lines = [
        {
            "LineItemID": each["line_id"],
            "Description": each["description"],
            "Quantity": each["quantity"],
            "UnitAmount": each["unit_amount"],
            "AccountCode": each["account_code"],
        }
        for each in (await in_xero(service))["lines"]
    ]
    await theirs(service, LineItems=edit(lines))


async def notes(service, kind) -> list[str]:
    rows = await service.pool.fetch("SELECT detail FROM timeline WHERE kind = $1 ORDER BY id", kind)
    return [row["detail"] for row in rows]


async def test_pipelines_field_is_pushed_and_xeros_is_kept(merging, change):
    await theirs(merging, Reference="theirs")
    await change(2, due_date="2026-04-30")
    invoice = await in_xero(merging)
    assert (invoice["reference"], invoice["due_date"]) == ("theirs", "2026-04-30")
    assert await merging.kinds("inv-1") == ["InvoiceSynced", "InvoiceSynced"]
    assert await notes(merging, "merged") == ["kept as changed in Xero: the reference"]

    await merging.pool.execute("UPDATE invoices SET due_at = now()")
    await merging.turn()
    assert await merging.state("inv-1") == "synced"
    assert len(await merging.told("inv-1")) == 2

    # What Pipeline never took over is still Xero's own change: it is not overwritten later either.
    await change(3, due_date="2026-04-30", reference="ours")
    conflict = (await merging.told("inv-1"))[-1]
    assert isinstance(conflict, OutOfSync)
    assert [(each.field, each.base, each.pipeline, each.xero) for each in conflict.differences] == [
        ("reference", "one", "ours", "theirs")
    ]
    assert (await in_xero(merging))["reference"] == "theirs"


async def test_lines_of_both_hands_stand_side_by_side(merging, change, line_of):
    def edit(lines):
        lines[1]["Quantity"] = "5"
        return [
            *lines,
            {"Description": "Travel", "Quantity": 1, "UnitAmount": 7, "AccountCode": "200"},
        ]

    await edit_lines(merging, edit)
    before = {each["description"]: each["line_id"] for each in (await in_xero(merging))["lines"]}
    await change(2, lines=[line_of("1", quantity="3"), line_of("2"), line_of("3", unit_amount="9")])
    assert await lines_in_xero(merging) == {
        "Work 1": (3, 50),
        "Work 2": (5, 50),
        "Work 3": (2, 9),
        "Travel": (1, 7),
    }
    after = {each["description"]: each["line_id"] for each in (await in_xero(merging))["lines"]}
    assert before.items() <= after.items()
    told = await merging.told("inv-1")
    assert [type(each) for each in told] == [InvoiceSynced, InvoiceSynced]
    assert told[-1].total == Decimal(425)
    (note,) = await notes(merging, "merged")
    assert "the total is 268.00 in Pipeline and 425.00 in Xero" in note

    # The next version finds no false conflict, keeps theirs, and removes only what Pipeline removed.
    await change(3, lines=[line_of("1", quantity="4"), line_of("2")])
    assert await lines_in_xero(merging) == {
        "Work 1": (4, 50),
        "Work 2": (5, 50),
        "Travel": (1, 7),
    }
    assert await merging.kinds("inv-1") == ["InvoiceSynced"] * 3
    # A line that somebody changed there is not removed from here.
    await change(4, lines=[line_of("1", quantity="4")])
    assert isinstance((await merging.told("inv-1"))[-1], OutOfSync)
    assert "Work 2" in await lines_in_xero(merging)


async def test_a_line_removed_in_xero_is_not_brought_back(merging, change, line_of):
    await edit_lines(merging, lambda lines: lines[:1])
    await change(2, lines=[line_of("1", quantity="3"), line_of("2")])
    assert await lines_in_xero(merging) == {"Work 1": (3, 50)}
    assert await merging.kinds("inv-1") == ["InvoiceSynced", "InvoiceSynced"]


async def test_both_made_the_same_change_and_xero_one_more_nothing_is_written(merging, change):
    await theirs(merging, Reference="same", DueDate="2026-05-31")
    await change(2, reference="same")
    assert all(method == "GET" for method, _ in merging.gateway.calls)
    assert await merging.kinds("inv-1") == ["InvoiceSynced", "InvoiceSynced"]
    assert (await in_xero(merging))["due_date"] == "2026-05-31"


async def test_choosing_to_merge_releases_the_conflicts_it_settles_and_no_other(
    synced, change, line_of, kinds_of_event
):
    await synced.want(synced.invoice("inv-2", reference="one", lines=[line_of("1")]))
    await synced.turn()
    await theirs(synced, Reference="theirs")
    await synced.books.act("POST", "invoices/INV-2", {"Reference": "theirs"})
    updated = kinds_of_event["updated"]
    fields = {"kind": updated, "version": 2, "lines": [line_of("1")], "reference": "ours"}
    await synced.want(synced.invoice("inv-2", **fields))
    await change(2, due_date="2026-04-30")
    assert await synced.state("inv-1") == await synced.state("inv-2") == "out_of_sync"

    assert (await choose(synced, EditPolicy.MERGE)).released == 2
    await synced.turn()
    assert await synced.state("inv-1") == "synced"
    assert await synced.kinds("inv-1") == [
        "InvoiceSynced",
        "OutOfSync",
        "SyncResumed",
        "InvoiceSynced",
    ]
    assert (await in_xero(synced))["due_date"] == "2026-04-30"
    assert (await in_xero(synced))["reference"] == "theirs"
    assert await synced.state("inv-2") == "out_of_sync"
    assert await synced.kinds("inv-2") == ["InvoiceSynced", "OutOfSync"]


def race(service, **fields) -> None:
    """Somebody edits the invoice in Xero between our read and our write, once."""
    documents = service.books.world.books[service.books.tenant_id].documents
    (key,) = [key for key, each in documents.items() if each.number == "INV-1"]

    def edit(request):
        if request.method == "POST":
            documents[key] = replace(documents[key], **fields)
            service.gateway.before = None

    service.gateway.before = edit


async def test_a_race_is_kept_and_noted_where_edits_are_merged(merging, change):
    race(merging, reference="theirs")
    await change(2, due_date="2026-04-30")
    invoice = await in_xero(merging)
    assert (invoice["reference"], invoice["due_date"]) == ("theirs", "2026-04-30")
    assert await merging.kinds("inv-1") == ["InvoiceSynced", "InvoiceSynced"]
    assert await notes(merging, "merged") == ["kept as changed in Xero: the reference"]


@pytest.mark.parametrize("policy", list(EditPolicy))
async def test_a_race_is_not_overwritten_by_a_version_that_came_meanwhile(
    synced, change, kinds_of_event, line_of, policy
):
    await choose(synced, policy)
    race(synced, reference="theirs")
    passed_on = synced.gateway._pass_on

    async def pass_on(request, path, tenant_id):
        answer = await passed_on(request, path, tenant_id)
        if request.method == "POST":
            synced.gateway._pass_on = passed_on
            lines = [line_of("1"), line_of("2")]
            fields = {"due_date": "2026-05-15", "reference": "ours", "lines": lines}
            await synced.want(
                synced.invoice("inv-1", kind=kinds_of_event["updated"], version=3, **fields)
            )
        return answer

    synced.gateway._pass_on = pass_on
    await change(2, due_date="2026-04-30")
    assert (await in_xero(synced))["reference"] == "theirs"
    assert await synced.state("inv-1") == "out_of_sync"


async def test_a_race_that_changes_lines_is_told_by_name(synced, change):
    (document,) = [
        each
        for each in synced.books.world.books[synced.books.tenant_id].documents.values()
        if each.number == "INV-1"
    ]
    free = replace(
        document.lines[0], line_id="9" * 36, description="Gift", unit_amount=Decimal(0), line_amount=Decimal(0)
    )  # fmt: skip
    race(synced, lines=(*document.lines, free))
    await change(2, due_date="2026-04-30")
    conflict = (await synced.told("inv-1"))[-1]
    assert isinstance(conflict, OutOfSync)
    assert {each.field.rpartition(": ")[0] for each in conflict.differences} == {
        f"line xero:{'9' * 36}"
    }
    # Pipeline's next change does not take the line away.
    await change(3, due_date="2026-05-30")
    assert "Gift" in await lines_in_xero(synced)


@pytest.mark.parametrize("fault", ["reset_before", "commit_then_reset"])
async def test_a_merge_of_unknown_outcome_overwrites_nothing(merging, change, line_of, fault):
    await edit_lines(merging, lambda lines: [lines[0] | {"Quantity": "5"}, lines[1]])
    merging.books.fault(fault, method="POST", path="/api.xro/2.0/Invoices*")
    await change(2, lines=[line_of("1"), line_of("2", quantity="3")])
    assert await merging.state("inv-1") == "syncing"
    await theirs(merging, Reference="theirs")
    await merging.settle(12)
    assert await merging.state("inv-1") == "synced"
    assert await lines_in_xero(merging) == {"Work 1": (5, 50), "Work 2": (3, 50)}
    assert (await in_xero(merging))["reference"] == "theirs"
    assert await merging.kinds("inv-1") == ["InvoiceSynced", "InvoiceSynced"]


async def test_words_of_a_paid_invoice_change_beside_an_edit_of_its_due_date(
    merging, change, line_of
):
    taxed = [line_of("1", tax_code="OUTPUT2", tax_amount="15.00"), line_of("2", tax_code="OUTPUT2", tax_amount="15.00")]  # fmt: skip
    await change(2, amounts_are="tax_exclusive", lines=taxed, total="230.00")
    assert await merging.state("inv-1") == "synced"
    await merging.books.act("POST", "payments", {"invoice": "INV-1", "amount": "10.00"})
    await theirs(merging, DueDate="2026-05-31")
    reworded = [taxed[0].model_copy(update={"description": "Better words"}), taxed[1]]
    await change(3, amounts_are="tax_exclusive", lines=reworded, total="230.00")
    invoice = await in_xero(merging)
    assert {each["description"] for each in invoice["lines"]} == {"Better words", "Work 2"}
    assert (invoice["due_date"], Decimal(invoice["total"])) == ("2026-05-31", 230)
    assert await merging.state("inv-1") == "synced"
