"""A person chose to keep Xero's version: the books say so for as long as they differ, and nothing undoes the choice."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest
from invoice_sync_api import Callers, app_over
from observing import as_observed
from reconciling import reconciled

from invoice_sync.domain import reconciliation
from invoice_sync.watch_reconciliations import watch_reconciliations
from pipeline_contracts.observed import XeroInvoiceObserved
from pipeline_contracts.sync import InvoiceSynced, OutOfSync
from pipeline_service_defaults.migrate import directories_of

XERO = "https://go.xero.com"


class Asking:
    """The routes, as an operator asks them."""

    def __init__(self, client, callers, service) -> None:
        self.client, self.service = client, service
        self.headers = callers.person(service.account_id, "operator")
        self.root = f"/v1/accounts/{service.account_id}"

    async def sync(self, what=""):
        path = f"{self.root}/invoices/inv-1/sync{what}"
        answer = await self.client.request(
            "POST" if what == "/preview" else "GET", path, headers=self.headers
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def choose(self, keep):
        body = {"keep": keep, "fingerprint": (await self.sync("/resolve"))["fingerprint"]}
        path = f"{self.root}/invoices/inv-1/sync/resolve"
        answer = await self.client.post(path, headers=self.headers, json=body)
        assert answer.status_code == 202, answer.text
        await self.service.turn()

    async def findings(self, run):
        path = f"{self.root}/reconciliations/{run.number}/findings"
        return (await self.client.get(path, headers=self.headers)).json()["found"]


@pytest.fixture
async def asking(sync_dsn, ready, tmp_path, monkeypatch):
    # Edits of a moment ago are no finding; here they are old enough.
    monkeypatch.setattr(reconciliation, "WORD_TAKES", timedelta(0))
    callers = Callers()
    transport = httpx.ASGITransport(app_over(ready.deps, sync_dsn, tmp_path, callers))
    async with httpx.AsyncClient(transport=transport, base_url="http://invoice-sync") as client:
        yield Asking(client, callers, ready)


@pytest.fixture
def publish(ready, kinds_of_event, line_of):
    """Version by version: one line at a price."""

    async def publish(version, price, **fields):
        kind = {} if version == 1 else {"kind": kinds_of_event["updated"]}
        lines = [line_of("1", quantity="1", unit_amount=price)]
        await ready.want(ready.invoice("inv-1", version=version, lines=lines, **kind | fields))
        await ready.turn()

    return publish


async def in_xero(service) -> dict:
    (invoice,) = await service.books.invoices("INV-1")
    return invoice


async def edit(service, price, *, again=False) -> None:
    """Somebody changes the price in Xero; or types the line in again."""
    (line,) = (await in_xero(service))["lines"]
    typed = {"Description": "Work 1", "Quantity": 1, "UnitAmount": price, "AccountCode": "200"}
    same = {} if again else {"LineItemID": line["line_id"]}
    await service.books.act("POST", "invoices/INV-1", {"LineItems": [typed | same]})


@pytest.fixture
async def kept(ready, publish, asking):
    """130.00 in Pipeline; 115.00 in Xero, as user:u chose."""
    await publish(1, "100")
    await edit(ready, "115")
    await publish(2, "130")
    assert await ready.state("inv-1") == "out_of_sync"
    await asking.choose("xero")
    assert await ready.state("inv-1") == "synced"
    return ready


async def test_the_books_name_the_invoice_both_amounts_and_who_chose(kept, asking):
    run, _totals = await reconciled(kept)
    assert (run.outcome, run.findings) == ("findings", {"kept_in_xero": 1})
    assert "nothing is out of place" not in run.message
    (found,) = await asking.findings(run)
    assert found["message"] == (
        "Invoice INV-1 is not the same in Pipeline and in Xero, because user:u chose to keep Xero's version: "
        "130.00 NZD in Pipeline, 115.00 NZD in Xero, a difference of 15.00."
    )
    assert (found["total"], found["xero_total"], found["difference"]) == ("130.00", "115.00", "15.00")  # fmt: skip
    assert (found["invoice_number"], found["kept_by"]) == ("INV-1", "user:u")
    assert found["xero_invoice_id"] in found["deep_link"]

    asked = asyncio.create_task(watch_reconciliations(kept.pool, None, XERO, wait_seconds=30))
    open_run = "SELECT count(*) FROM reconciliations WHERE finished_at IS NULL"
    while not await kept.pool.fetchval(open_run):  # noqa: ASYNC110 - another's row
        await asyncio.sleep(0.01)
    await kept.turn()
    told = await asked
    assert not told.is_clean
    assert found["message"] in told.sentences[1]
    assert found["deep_link"] in told.sentences[1]


async def test_the_invoice_says_itself_what_differs_and_the_preview_by_how_much(kept, asking):
    shown = await asking.sync()
    assert (shown["state"], shown["conflict"]) == ("synced", None)
    assert shown["differences"][0] == {"field": "total", "base": "115", "pipeline": "130", "xero": "115"}  # fmt: skip
    assert shown["left_apart"]["kind"] == "kept_in_xero"
    assert "because user:u chose to keep Xero's version" in shown["left_apart"]["message"]
    preview = await asking.sync("/preview")
    totals = preview["totals"]
    assert (totals["pipeline"], totals["in_xero_now"], totals["difference"]) == ("130.00", "115.00", "15.00")  # fmt: skip
    assert preview["ahead"] == "nothing"
    assert preview["left_apart"] == shown["left_apart"]


async def test_said_again_by_pipeline_the_choice_stands_and_is_told(kept, publish, asking):
    await publish(3, "130", reference="three")
    assert (await in_xero(kept))["total"] == "115.00"
    assert (await in_xero(kept))["reference"] == "three"
    await publish(4, "130", reference="three")
    told = (await kept.told("inv-1"))[-1]
    assert isinstance(told, InvoiceSynced)
    assert (told.version, told.total) == (4, Decimal(115))
    shown = await asking.sync()
    assert shown["left_apart"]["kind"] == "kept_in_xero"
    (note,) = [each for each in shown["timeline"] if each["kind"] == "kept_in_xero"]
    assert "user:u chose to keep Xero's version" in note["detail"]
    assert "130.00 in Pipeline and 115.00 in Xero" in note["detail"]


async def test_a_choice_that_a_replica_of_the_former_release_recorded_is_kept(kept, publish):
    """It does not know where a choice is remembered: the second phase of the migrations makes up for it."""
    remembered = "SELECT kept, kept_by FROM invoice_links"
    before = await kept.pool.fetchrow(remembered)
    await kept.pool.execute("UPDATE invoice_links SET kept = DEFAULT, kept_by = DEFAULT")
    (folder,) = (each for each in directories_of("invoice_sync") if "invoice_sync" in each.parts)
    (file,) = folder.glob("*_post_kept_meanwhile.sql")
    await kept.pool.execute(file.read_text().partition("-- migrate:down")[0])
    assert await kept.pool.fetchrow(remembered) == before
    await publish(3, "130", reference="three")
    assert (await in_xero(kept))["total"] == "115.00"


@pytest.mark.parametrize("keep", ["pipeline", "xero"])
async def test_another_amount_of_pipelines_is_a_conflict_again(kept, publish, asking, keep):
    await publish(3, "150")
    assert (await in_xero(kept))["total"] == "115.00"
    assert isinstance((await kept.told("inv-1"))[-1], OutOfSync)
    conflict = (await asking.sync())["conflict"]
    assert [each["allowed"] for each in conflict["choices"]] == [True, True]
    await asking.choose(keep)
    assert await kept.state("inv-1") == "synced"
    left, total = ({"kept_in_xero": 1}, "115.00") if keep == "xero" else ({}, "150.00")
    assert (await in_xero(kept))["total"] == total
    assert (await reconciled(kept))[0].findings == left


@pytest.mark.parametrize("lines", [1, 2])
async def test_what_makes_the_same_amount_another_is_no_more_undone(kept, asking, line_of, kinds_of_event, lines):  # fmt: skip
    """Another quantity at the old price is an amount nobody has seen; another line leaves the kept one alone."""
    quantity = "3" if lines == 1 else "1"
    wanted = [line_of("1", quantity=quantity, unit_amount="130")]
    wanted += [line_of("2", quantity="1", unit_amount="10")] * (lines - 1)
    await kept.want(kept.invoice("inv-1", kind=kinds_of_event["updated"], version=3, lines=wanted))
    preview = await asking.sync("/preview")
    assert preview["ahead"] == ("conflict" if lines == 1 else "change")
    assert preview["totals"]["difference"] == ("275.00" if lines == 1 else "15.00")
    await kept.turn()
    assert await kept.state("inv-1") == ("out_of_sync" if lines == 1 else "synced")
    assert (await in_xero(kept))["total"] == ("115.00" if lines == 1 else "125.00")


async def test_taken_over_by_pipeline_or_undone_in_xero_nothing_is_left(kept, publish, asking):
    await publish(3, "115")
    assert (await asking.sync())["left_apart"] is None
    assert (await reconciled(kept))[0].findings == {}
    # It is Pipeline's amount as any other from then on.
    await publish(4, "120")
    assert (await in_xero(kept))["total"] == "120.00"


async def test_an_edit_in_xero_alone_is_shown_and_settles_when_undone_by_another_line(
    ready, publish, asking
):
    await publish(1, "100")
    await edit(ready, "110")
    run, _ = await reconciled(ready)
    await ready.settle()
    shown = await asking.sync()
    assert shown["left_apart"]["kind"] == "edited_in_xero"
    assert shown["left_apart"]["message"].startswith("Edited in Xero, left as it is: the total is 100.00 in Pipeline and 110.00")  # fmt: skip
    assert shown["differences"]
    totals = (await asking.sync("/preview"))["totals"]
    assert (totals["difference"], totals["in_xero_now"]) == ("-10.00", "110.00")
    run, _ = await reconciled(ready)
    (found,) = await asking.findings(run)
    assert (found["kind"], found["total"], found["xero_total"]) == ("edited_in_xero", "100.00", "110.00")  # fmt: skip
    assert "was edited in Xero and is left as it is there" in found["message"]

    await edit(ready, "100", again=True)
    invoice = await in_xero(ready)
    seen_at = datetime.now(UTC)
    fields = as_observed(invoice) | {"amount_paid": "0", "amount_credited": "0"}
    last = await ready.pool.fetchval("SELECT xero_updated_at FROM invoice_links")
    event = XeroInvoiceObserved(
        account_id=ready.account_id,
        xero_invoice_id=invoice["document_id"],
        tenant_id=ready.books.tenant_id,
        observed_at=seen_at,
        invoice=fields | {"updated_at": last + timedelta(seconds=1)},
    )
    await ready.observe(event)
    await ready.turn()
    assert (await asking.sync())["left_apart"] is None
    assert (await reconciled(ready))[0].findings == {}
    # The line is linked: Pipeline's next change changes it, and adds none.
    await publish(2, "120")
    assert [each["unit_amount"] for each in (await in_xero(ready))["lines"]] == ["120.0000"]


async def test_an_edit_undone_by_another_line_settles_by_the_reconciliation_alone(
    ready, publish, asking
):
    await publish(1, "100")
    await edit(ready, "110", again=True)
    await reconciled(ready)
    await ready.settle()
    await edit(ready, "100", again=True)
    await reconciled(ready)
    await ready.settle()
    assert (await reconciled(ready))[0].findings == {}
