"""What payment-ingest reads in Xero spares reads of our own where it is safe, and never takes us back."""

from datetime import UTC, datetime, timedelta

import pytest
from observing import as_observed

from pipeline_contracts.observed import XeroInvoiceObserved
from pipeline_contracts.sync import OutOfSync


@pytest.fixture
async def synced(ready, line_of):
    await ready.want(ready.invoice("inv-1", reference="one", lines=[line_of("1"), line_of("2")]))
    await ready.turn()
    ready.gateway.calls.clear()
    return ready


async def link_of(service):
    return await service.pool.fetchrow("SELECT * FROM invoice_links")


async def observed(service, *, after=1, **changes) -> XeroInvoiceObserved:
    """The invoice as it is in Xero now, changed ``after`` seconds after what was last seen (None: no telling)."""
    (invoice,) = await service.books.invoices("INV-1")
    last = (await link_of(service))["xero_updated_at"]
    fields = as_observed(invoice) | {
        "amount_paid": "0",
        "amount_credited": "0",
        "updated_at": None if after is None else last + timedelta(seconds=after),
    }
    return XeroInvoiceObserved(
        account_id=service.account_id,
        xero_invoice_id=invoice["document_id"],
        tenant_id=service.books.tenant_id,
        observed_at=datetime.now(UTC),
        invoice=fields | changes,
    )


async def notes(service) -> int:
    return await service.pool.fetchval("SELECT count(*) FROM timeline WHERE kind = 'changed_in_xero'")  # fmt: skip


async def test_an_edit_in_xero_alone_is_noted_without_a_call(synced, kinds_of_event, line_of):
    await synced.books.act("POST", "invoices/INV-1", {"Reference": "theirs"})
    event = await observed(synced)
    for _ in range(3):
        await synced.observe(event)
        await synced.turn()
    assert synced.gateway.calls == []
    assert await notes(synced) == 1
    assert (await link_of(synced))["observed_at"] == event.observed_at

    fields = {"reference": "one", "due_date": "2026-04-30", "lines": [line_of("1"), line_of("2")]}
    await synced.want(synced.invoice("inv-1", kind=kinds_of_event["updated"], version=2, **fields))
    await synced.turn()
    assert isinstance((await synced.told("inv-1"))[-1], OutOfSync)
    assert [method for method, _ in synced.gateway.calls] == ["GET"]


async def test_a_push_reads_first_whatever_was_noted(synced, kinds_of_event, line_of):
    """The note says that the reference was changed; it was changed back since, which nobody told."""
    await synced.observe(await observed(synced, reference="theirs"))
    fields = {"reference": "two", "lines": [line_of("1"), line_of("2")]}
    await synced.want(synced.invoice("inv-1", kind=kinds_of_event["updated"], version=2, **fields))
    await synced.turn()
    assert [method for method, _ in synced.gateway.calls] == ["GET", "POST"]
    assert await synced.state("inv-1") == "synced"


async def test_an_older_state_is_passed_over_in_any_order(synced):
    newer = await observed(synced, after=10, reference="theirs")
    older = await observed(synced, after=5, reference="before")
    oldest = await observed(synced, after=-5, reference="long ago")
    await synced.observe(oldest, newer, older)
    await synced.observe(older)
    await synced.observe(oldest)
    await synced.turn()
    assert synced.gateway.calls == []
    assert await notes(synced) == 1
    assert '"reference": "theirs"' in (await link_of(synced))["observed"]


@pytest.mark.parametrize("after", [0, None])
async def test_where_xeros_time_does_not_tell_it_is_read(synced, after):
    await synced.observe(await observed(synced, after=after, reference="theirs"))
    await synced.turn()
    assert [method for method, _ in synced.gateway.calls] == ["GET"]
    assert await notes(synced) == 0


async def test_withdrawn_is_looked_at_before_it_is_told(synced):
    await synced.observe(await observed(synced, status="VOIDED"))
    await synced.turn()
    assert [method for method, _ in synced.gateway.calls] == ["GET"]
    assert await synced.state("inv-1") == "synced"  # it was not true
    await synced.books.act("POST", "invoices/INV-1", {"Status": "VOIDED"})
    await synced.observe(await observed(synced))
    await synced.turn()
    assert await synced.state("inv-1") == "out_of_sync"


async def test_while_something_is_wanted_the_worker_looks(synced, kinds_of_event, line_of):
    fields = {"reference": "two", "lines": [line_of("1"), line_of("2")]}
    await synced.want(synced.invoice("inv-1", kind=kinds_of_event["updated"], version=2, **fields))
    await synced.observe(await observed(synced, due_date="2026-05-31"))
    assert await notes(synced) == 0
    await synced.turn()
    assert await synced.state("inv-1") == "synced"
    assert (await synced.told("inv-1"))[-1].version == 2


async def test_the_status_follows_payments_and_is_no_difference(synced):
    async def status():
        link = await link_of(synced)
        return link["xero_status"], link["is_paid"]

    paid = await observed(synced, after=5, status="PAID", amount_paid="200")
    part = await observed(synced, after=3, amount_paid="10")
    await synced.observe(part)
    assert await status() == ("AUTHORISED", True)
    await synced.observe(paid)
    assert await status() == ("PAID", True)
    await synced.observe(part)
    assert await status() == ("PAID", True)
    await synced.observe(await observed(synced, after=4))
    assert await status() == ("AUTHORISED", False)
    await synced.turn()
    assert synced.gateway.calls == []
    assert len(await synced.told("inv-1")) == 1
    assert await notes(synced) == 0


async def test_another_accounts_word_about_an_invoice_counts_nothing(synced):
    event = await observed(synced, reference="theirs")
    await synced.observe(event.model_copy(update={"account_id": "acc-other"}))
    await synced.turn()
    assert synced.gateway.calls == []
    assert await notes(synced) == 0
