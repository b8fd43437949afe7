"""Settings and codes of an account: each change releases exactly what waited for it, once, and Xero is right."""

import asyncio
import json
from dataclasses import replace
from datetime import date, timedelta

import httpx
import pytest

from invoice_sync.change_settings import change_settings
from invoice_sync.domain.account_settings import InvoiceStatus, change_hash
from invoice_sync.domain.codes import CodeKind
from invoice_sync.map_code import map_code, unmap_code
from invoice_sync.store import account_settings, setting_changes
from pipeline_messaging import leases
from pipeline_service_defaults.problems import Problem

READS = ["Accounts", "TaxRates", "TrackingCategories", "Items"]


async def choose(service, *, version=None, **chosen):
    async with service.pool.acquire() as conn:
        before = await account_settings.find(conn, service.account_id)
    return await change_settings(
        service.deps,
        service.account_id,
        replace(before, **chosen),
        version=before.version if version is None else version,
        actor="user:u",
    )


async def map_to(service, kind, code, xero_code):
    return await map_code(service.deps, service.account_id, kind, code, xero_code, "user:u")


def organisation(service):
    return service.books.world.books[service.books.tenant_id].organisation


async def age_lists(pool, age=timedelta(hours=1)):
    await pool.execute(
        "UPDATE code_lists SET read_at = read_at - $1::interval, tried_at = tried_at - $1::interval",
        age,
    )


async def block(service, invoice_id):
    row = await service.row(invoice_id)
    return row["state"], row["block_code"]


def reads(service):
    return [path for method, path in service.gateway.calls if method == "GET" and path in READS]


def writes(service):
    return [path for method, path in service.gateway.calls if method != "GET"]


async def test_a_draft_with_prefix_and_default_account_is_so_in_xero(ready):
    await choose(
        ready, invoice_status=InvoiceStatus.DRAFT, number_prefix="PL-", default_account_code="260"
    )
    await ready.want(ready.invoice("inv-1"))
    await ready.settle()
    (found,) = await ready.books.invoices()
    assert (found["number"], found["status"]) == ("PL-INV-1", "DRAFT")
    assert await ready.state("inv-1") == "synced"
    assert (await ready.told("inv-1"))[0].invoice_number == "PL-INV-1"


async def test_a_draft_stays_one_when_the_setting_changes_and_is_deleted_when_voided(
    ready, kinds_of_event
):
    await choose(ready, invoice_status=InvoiceStatus.DRAFT)
    await ready.want(ready.invoice("inv-1"))
    await ready.settle()
    await choose(ready, invoice_status=InvoiceStatus.AUTHORISED)
    await ready.want(ready.invoice("inv-2"))
    await ready.settle()
    found = {each["number"]: each["status"] for each in await ready.books.invoices()}
    assert found == {"INV-1": "DRAFT", "INV-2": "AUTHORISED"}
    voided = kinds_of_event["voided"]
    await ready.want(
        *(
            voided(account_id=ready.account_id, invoice_id=each, version=2)
            for each in ("inv-1", "inv-2")
        )
    )
    await ready.settle()
    found = {each["number"]: each["status"] for each in await ready.books.invoices()}
    assert found == {"INV-1": "DELETED", "INV-2": "VOIDED"}
    assert [await ready.state(each) for each in ("inv-1", "inv-2")] == ["voided", "voided"]


async def test_an_invoice_keeps_the_prefix_it_was_sent_with(ready, kinds_of_event, line_of):
    await choose(ready, number_prefix="A-")
    await ready.want(ready.invoice("inv-1"))
    await ready.settle()
    await choose(ready, number_prefix="B-")
    changed = ready.invoice("inv-1", kind=kinds_of_event["updated"], version=2, reference="new")
    await ready.want(changed, ready.invoice("inv-2"))
    await ready.settle()
    assert sorted(each["number"] for each in await ready.books.invoices()) == ["A-INV-1", "B-INV-2"]
    assert [await ready.state(each) for each in ("inv-1", "inv-2")] == ["synced", "synced"]


async def test_a_lost_answer_is_looked_up_under_the_number_that_was_sent(ready):
    await choose(ready, number_prefix="A-")
    ready.gateway.patience = 0.3
    ready.books.fault("commit_then_timeout", method="PUT", path="*/Invoices*", times=1)
    await ready.want(ready.invoice("inv-1"))
    await ready.turn()
    assert await ready.state("inv-1") == "syncing"
    await choose(ready, number_prefix="B-")
    await ready.age_intents(timedelta(minutes=15))
    await ready.settle()
    assert [each["number"] for each in await ready.books.invoices()] == ["A-INV-1"]
    assert await ready.state("inv-1") == "synced"


async def test_older_invoices_wait_for_an_earlier_start_date_and_only_those_it_lets_in_follow(
    ready,
):
    await choose(ready, start_date=date(2026, 3, 1))
    old = {"issue_date": date(2026, 1, 1), "due_date": date(2026, 3, 31)}
    less_old = {"issue_date": date(2026, 2, 1), "due_date": date(2026, 3, 31)}
    await ready.want(
        ready.invoice("old", **old), ready.invoice("less-old", **less_old), ready.invoice("new")
    )
    await ready.settle()
    assert await block(ready, "old") == ("failed", "BEFORE_START_DATE")
    assert "2026-01-01" in (await ready.row("old"))["block_message"]
    assert [each["number"] for each in await ready.books.invoices()] == ["NEW"]

    changed = await choose(ready, start_date=date(2026, 2, 1))
    assert changed.released == 1
    await ready.settle()
    assert [await ready.state(each) for each in ("old", "less-old")] == ["failed", "synced"]
    # What is still too old is not failed anew, but it says what holds now.
    assert "2026-02-01" in (await ready.row("old"))["block_message"]
    assert await ready.kinds("old") == ["SyncFailed"]
    assert (await choose(ready, start_date=None)).released == 1
    await ready.settle()
    assert await ready.state("old") == "synced"


async def test_the_lists_are_read_once_when_connected_and_not_for_each_invoice(service):
    await service.connect()
    await service.know("cust-1")
    await service.settle()
    await service.want(*(service.invoice(f"inv-{number}") for number in range(60)))
    await service.settle()
    assert reads(service) == READS
    assert len(await service.books.invoices()) == 60


async def test_a_missing_code_is_told_without_a_write_and_a_mapping_releases_exactly_its_invoices(
    ready, line_of
):
    wanted = [
        ready.invoice(f"bad-{number}", lines=[line_of("1", account_code="SALES")])
        for number in range(3)
    ]
    other = ready.invoice("other", lines=[line_of("1", account_code="MISC")])
    await ready.want(*wanted, other)
    await ready.settle()
    assert writes(ready) == []
    assert await block(ready, "bad-0") == ("failed", "ACCOUNT_NOT_MAPPED")
    (told,) = await ready.told("bad-0")
    assert "SALES on line 1 (Work 1)" in told.message

    mapped = await map_to(ready, CodeKind.ACCOUNT, "SALES", "260")
    assert mapped.released == 3
    assert (await map_to(ready, CodeKind.ACCOUNT, "SALES", "260")).released == 0
    await ready.settle()
    assert len(await ready.books.invoices()) == 3
    assert await block(ready, "other") == ("failed", "ACCOUNT_NOT_MAPPED")
    assert writes(ready) == ["Invoices"]
    assert await ready.kinds("bad-0") == ["SyncFailed", "InvoiceSynced"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"tax_code": "GST"}, "TAX_NOT_MAPPED"),
        ({"tax_code": "OUTPUT2", "item_code": "LP"}, "ITEM_NOT_MAPPED"),
        (
            {"tax_code": "OUTPUT2", "tracking": [{"category": "Region", "option": "West"}]},
            "TRACKING_NOT_MAPPED",
        ),
    ],
)
async def test_each_kind_of_code_has_its_own_cause_and_its_own_cure(ready, line_of, fields, code):
    lines = [line_of("1", **fields)]
    await ready.want(
        ready.invoice("inv-1", lines=lines, amounts_are="tax_exclusive", total="115.00")
    )
    await ready.settle()
    assert await block(ready, "inv-1") == ("failed", code)
    cure = {
        "TAX_NOT_MAPPED": (CodeKind.TAX, "GST", "OUTPUT2"),
        "ITEM_NOT_MAPPED": (CodeKind.ITEM, "LP", "CD"),
        "TRACKING_NOT_MAPPED": (CodeKind.TRACKING, "Region: West", "Region: East"),
    }[code]
    await map_to(ready, *cure)
    await ready.settle()
    assert await ready.state("inv-1") == "synced"
    assert writes(ready) == ["Invoices"]


async def test_what_was_added_in_xero_is_found_by_reading_again_and_releases_what_waited(
    ready, line_of
):
    sales = [line_of("1", account_code="205")]
    await ready.want(
        ready.invoice("waits", lines=sales),
        ready.invoice("other", lines=[line_of("1", account_code="999")]),
    )
    await ready.settle()
    books = organisation(ready)
    books.accounts["205"] = replace(books.accounts["200"], code="205", account_id="x")
    ready.gateway.calls.clear()
    # Nobody told us; while something waits the list is read again by itself.
    due = await ready.pool.fetchval(
        "SELECT codes_due_at - now() FROM accounts WHERE account_id = $1", ready.account_id
    )
    assert timedelta(0) < due <= timedelta(hours=1)
    assert await ready.turn() is not None
    assert reads(ready) == []
    await ready.pool.execute("UPDATE accounts SET codes_due_at = now()")
    await ready.settle()
    assert reads(ready) == ["Accounts"]
    assert [await ready.state(each) for each in ("waits", "other")] == ["synced", "failed"]
    assert [type(each).__name__ for each in await ready.told("other")] == ["SyncFailed"]


async def test_an_old_list_stops_nothing_before_it_was_read_again(ready, line_of):
    books = organisation(ready)
    books.accounts["205"] = replace(books.accounts["200"], code="205", account_id="x")
    await age_lists(ready.pool)
    lines = [line_of("1", account_code="205")]
    await ready.want(*(ready.invoice(f"inv-{number}", lines=lines) for number in range(3)))
    await ready.settle()
    assert reads(ready) == ["Accounts"]
    assert len(await ready.books.invoices()) == 3


async def test_when_the_lists_cannot_be_read_the_invoice_is_sent_and_xero_decides(ready, line_of):
    await age_lists(ready.pool)

    def refuse(request):
        if request.url.path.endswith("/Accounts"):
            raise httpx.ConnectError("no")

    ready.gateway.before = refuse
    books = organisation(ready)
    books.accounts["205"] = replace(books.accounts["200"], code="205", account_id="x")
    await ready.want(
        ready.invoice("good", lines=[line_of("1", account_code="205")]),
        ready.invoice("bad", lines=[line_of("1", account_code="999")]),
    )
    await ready.settle()
    assert await ready.state("good") == "synced"
    assert await block(ready, "bad") == ("failed", "ACCOUNT_NOT_MAPPED")
    assert "999" in (await ready.row("bad"))["xero_errors"]
    ready.gateway.before = None
    assert (await map_to(ready, CodeKind.ACCOUNT, "999", "200")).released == 1
    await ready.settle()
    assert await ready.state("bad") == "synced"


async def test_a_code_archived_since_the_reading_is_refused_by_xero_and_read_again_once(
    ready, line_of
):
    books = organisation(ready)
    books.accounts["260"] = replace(books.accounts["260"], status="ARCHIVED")
    await age_lists(ready.pool)
    lines = [line_of("1", account_code="260")]
    await ready.want(*(ready.invoice(f"inv-{number}", lines=lines) for number in range(3)))
    await ready.settle()
    assert writes(ready) == ["Invoices"]
    assert reads(ready) == ["Accounts"]
    await ready.want(ready.invoice("late", lines=lines))
    await ready.settle()
    # Known now: told without a call.
    assert writes(ready) == ["Invoices"]
    assert await block(ready, "late") == ("failed", "ACCOUNT_NOT_MAPPED")
    books.accounts["260"] = replace(books.accounts["260"], status="ACTIVE")
    await ready.pool.execute("UPDATE accounts SET codes_due_at = now()")
    await ready.settle()
    assert len(await ready.books.invoices()) == 4


async def test_a_mapping_made_while_the_call_was_under_way_is_not_missed(ready, line_of):
    # As if the account had been archived a moment after the reading: only Xero knows.
    await ready.pool.execute(
        """UPDATE code_lists SET entries = entries || '{"sales": ["REVENUE"]}' WHERE kind = 'account'"""
    )
    loop = asyncio.get_running_loop()
    made = []

    def meanwhile(request):
        if request.method == "PUT" and not made:
            made.append(loop.create_task(map_to(ready, CodeKind.ACCOUNT, "SALES", "260")))

    sent = ready.gateway.handle_async_request

    async def slow(request):
        answer = await sent(request)
        for task in made:
            await task
        return answer

    ready.gateway.before = meanwhile
    ready.gateway.handle_async_request = slow
    await ready.want(ready.invoice("inv-1", lines=[line_of("1", account_code="SALES")]))
    await ready.settle()
    assert made
    assert await ready.state("inv-1") == "synced"
    assert len(await ready.books.invoices()) == 1


async def test_mapping_a_code_anew_leaves_what_is_in_xero_alone(ready, line_of):
    await map_to(ready, CodeKind.ACCOUNT, "SALES", "200")
    await ready.want(ready.invoice("inv-1", lines=[line_of("1", account_code="SALES")]))
    await ready.settle()
    await map_to(ready, CodeKind.ACCOUNT, "SALES", "260")
    ready.gateway.calls.clear()
    await ready.pool.execute("UPDATE invoices SET due_at = now()")
    await ready.settle()
    assert writes(ready) == []
    assert await ready.state("inv-1") == "synced"


async def test_an_update_with_a_code_xero_lacks_waits_too_and_a_mapping_releases_it(
    ready, kinds_of_event, line_of
):
    await ready.want(ready.invoice("inv-1"))
    await ready.settle()
    updated = {"kind": kinds_of_event["updated"], "lines": [line_of("1", account_code="SALES")]}
    await ready.want(ready.invoice("inv-1", version=2, **updated))
    await ready.settle()
    assert await block(ready, "inv-1") == ("failed", "ACCOUNT_NOT_MAPPED")
    assert writes(ready) == ["Invoices"]
    assert (await map_to(ready, CodeKind.ACCOUNT, "SALES", "260")).released == 1
    await ready.settle()
    assert await ready.state("inv-1") == "synced"
    xero_id = await ready.pool.fetchval("SELECT xero_invoice_id FROM invoice_links")
    reply = await ready.deps.gateway.get(ready.account_id, f"Invoices/{xero_id}")
    (line,) = reply.json()["Invoices"][0]["LineItems"]
    assert line["AccountCode"] == "260"


async def test_a_reconnection_to_the_same_organisation_reads_nothing_anew(ready):
    await ready.connect("DISCONNECTED")
    await ready.connect()
    await ready.settle()
    assert reads(ready) == []
    assert await ready.pool.fetchval("SELECT codes_due_at FROM accounts") is None


async def test_a_reading_whose_account_was_taken_over_records_nothing(ready, line_of):
    await ready.want(ready.invoice("inv-1", lines=[line_of("1", account_code="205")]))
    await ready.settle()
    books = organisation(ready)
    books.accounts["205"] = replace(books.accounts["200"], code="205", account_id="x")
    await age_lists(ready.pool)
    before = await ready.pool.fetch("SELECT kind, entries, read_at FROM code_lists ORDER BY kind")
    sent = ready.gateway.handle_async_request

    async def taken_over_meanwhile(request):
        await ready.pool.execute("UPDATE account_leases SET epoch = epoch + 1")
        return await sent(request)

    ready.gateway.handle_async_request = taken_over_meanwhile
    await ready.pool.execute("UPDATE accounts SET codes_due_at = now()")
    with pytest.raises(leases.LeaseLost):
        await ready.turn()
    assert (
        await ready.pool.fetch("SELECT kind, entries, read_at FROM code_lists ORDER BY kind")
        == before
    )
    assert await block(ready, "inv-1") == ("failed", "ACCOUNT_NOT_MAPPED")


async def test_of_two_changes_from_the_same_version_one_wins_and_releases_once(ready):
    await choose(ready, start_date=date(2027, 1, 1))
    await ready.want(*(ready.invoice(f"inv-{number}") for number in range(5)))
    await ready.settle()
    tries = await asyncio.gather(
        *(
            choose(ready, version=1, start_date=None, number_prefix=f"{number}-")
            for number in range(6)
        ),
        return_exceptions=True,
    )
    won = [each for each in tries if not isinstance(each, BaseException)]
    lost = [each for each in tries if isinstance(each, Problem)]
    assert [each.released for each in won] == [5]
    assert {each.status for each in lost} == {412}
    assert len(lost) == 5
    rows = await ready.pool.fetch(
        "SELECT generation FROM invoices WHERE account_id = $1", ready.account_id
    )
    assert {row["generation"] for row in rows} == {2}


async def test_of_two_replicas_mapping_the_same_code_one_releases(ready, line_of):
    await ready.want(
        *(ready.invoice(f"inv-{n}", lines=[line_of("1", account_code="S")]) for n in range(5))
    )
    await ready.settle()
    made = await asyncio.gather(*(map_to(ready, CodeKind.ACCOUNT, "S", "260") for _ in range(6)))
    assert sorted(each.released for each in made) == [0, 0, 0, 0, 0, 5]
    await ready.settle()
    assert len(await ready.books.invoices()) == 5


async def test_every_change_is_a_link_of_the_accounts_chain(ready):
    await choose(ready, number_prefix="A-")
    await choose(ready, number_prefix="A-")
    await map_to(ready, CodeKind.TAX, "GST", "OUTPUT2")
    assert await unmap_code(ready.deps, ready.account_id, CodeKind.TAX, "GST", "user:u")
    assert not await unmap_code(ready.deps, ready.account_id, CodeKind.TAX, "GST", "user:u")
    async with ready.pool.acquire() as conn:
        chain = await setting_changes.changes_of(conn, ready.account_id, after=0, limit=10)
    assert [each.change.subject for each in chain] == ["settings", "tax:GST", "tax:GST"]
    assert json.loads(chain[0].change.after)["number_prefix"] == "A-"
    assert [(each.change.before, each.change.after) for each in chain[1:]] == [
        (None, "OUTPUT2"),
        ("OUTPUT2", None),
    ]
    before = None
    for each in chain:
        assert each.change.previous_hash == before
        assert change_hash(each.change) == each.hash
        before = each.hash


async def test_another_organisations_lists_stop_nothing(ready, line_of):
    await ready.connect("DISCONNECTED")
    other = next(each for each in ready.books.world.books if each != ready.books.tenant_id)
    ready.gateway.calls.clear()
    await ready.connect(tenant_id=other)
    await ready.settle()
    assert reads(ready) == READS
    stored = await ready.pool.fetchval(
        "SELECT DISTINCT tenant_id FROM code_lists WHERE account_id = $1", ready.account_id
    )
    assert stored == other


@pytest.mark.parametrize(
    ("kind", "code", "xero_code", "near"),
    [
        (CodeKind.ACCOUNT, "SALES", "26", "260"),
        (CodeKind.TAX, "GST", "OUTPUT3", "OUTPUT2"),
        (CodeKind.TRACKING, "Region: West", "Region: Eest", "Region: East"),
        (CodeKind.ITEM, "LP", "CDS", "CD"),
    ],
)
async def test_a_code_that_xero_lacks_is_refused_with_codes_it_has(
    ready, line_of, kind, code, xero_code, near
):
    await ready.want(ready.invoice("inv-1", lines=[line_of("1", account_code="SALES")]))
    await ready.settle()
    with pytest.raises(Problem) as refused:
        await map_to(ready, kind, code, xero_code)
    told = refused.value
    assert (told.status, told.code) == (422, "XERO_CODE_UNKNOWN")
    assert near in told.extra["nearest"]
    assert near in told.detail
    assert [each["field"] for each in told.extra["errors"]] == ["body.xero_code"]
    assert await ready.pool.fetchval("SELECT count(*) FROM code_mappings") == 0
    assert await block(ready, "inv-1") == ("failed", "ACCOUNT_NOT_MAPPED")


async def test_a_code_in_the_list_costs_no_call_and_one_added_since_is_found_and_usable_at_once(
    ready, line_of
):
    await ready.want(
        ready.invoice("waits", lines=[line_of("1", account_code="205")]),
        ready.invoice("inv-1", lines=[line_of("1", account_code="SALES")]),
    )
    await ready.settle()
    ready.gateway.calls.clear()
    assert (await map_to(ready, CodeKind.ACCOUNT, "SALES", "260")).is_checked
    assert (await map_to(ready, CodeKind.TAX, "FREE", "NONE")).is_checked
    assert reads(ready) == []
    books = organisation(ready)
    books.accounts["205"] = replace(books.accounts["200"], code="205", account_id="x")
    mapped = await map_to(ready, CodeKind.ACCOUNT, "SALES", "205")
    assert (mapped.is_checked, reads(ready)) == (True, ["Accounts"])
    await ready.settle()
    # What waited for the very code that this reading brought follows too, though nobody mapped it.
    assert [await ready.state(each) for each in ("waits", "inv-1")] == ["synced", "synced"]
    assert reads(ready) == ["Accounts"]


async def test_the_same_mapping_sent_again_once_xero_has_the_code_tells_whom_it_released(
    ready, line_of
):
    ready.books.fault("unavailable_503", path="/api.xro/2.0/Accounts", times=1)
    assert not (await map_to(ready, CodeKind.ACCOUNT, "SALES", "205")).is_checked
    await ready.want(ready.invoice("inv-1", lines=[line_of("1", account_code="SALES")]))
    await ready.settle()
    assert await block(ready, "inv-1") == ("failed", "ACCOUNT_NOT_MAPPED")
    books = organisation(ready)
    books.accounts["205"] = replace(books.accounts["200"], code="205", account_id="x")
    for released in (1, 0):
        again = await map_to(ready, CodeKind.ACCOUNT, "SALES", "205")
        assert (again.is_checked, again.released) == (True, released)
    await ready.settle()
    assert await ready.state("inv-1") == "synced"


@pytest.mark.parametrize("unasked", ["never connected", "disconnected", "away"])
async def test_where_xero_cannot_be_asked_a_mapping_is_taken_and_said_to_be_unchecked(
    service, unasked
):
    if unasked != "never connected":
        await service.connect()
        await service.settle()
    if unasked == "disconnected":
        await service.connect("DISCONNECTED")
    if unasked == "away":
        service.books.fault("unavailable_503", path="/api.xro/2.0/Items", times=9)
    mapped = await map_to(service, CodeKind.ITEM, "LP", "NEW")
    assert (mapped.mapping.xero_code, mapped.is_checked) == ("NEW", False)
