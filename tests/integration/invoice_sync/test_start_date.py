"""A start date that is changed later: it holds what is not on its way yet, releases what it lets in, and no more."""

from datetime import date, timedelta

import pytest

from invoice_sync.change_settings import change_settings
from invoice_sync.domain.account_settings import AccountSettings
from invoice_sync.store import account_settings


async def start_from(service, day):
    async with service.pool.acquire() as conn:
        version = (await account_settings.find(conn, service.account_id)).version
    wanted = AccountSettings(start_date=day)
    return await change_settings(
        service.deps, service.account_id, wanted, version=version, actor="user:a"
    )


async def codes(service, invoice_id) -> list:
    return [getattr(each, "code", "SYNCED") for each in await service.told(invoice_id)]


@pytest.fixture
def later():
    return date(2026, 6, 1)


async def test_what_waits_for_something_else_says_that_it_is_too_old_now(ready, later):
    """Linking the customer would otherwise be asked of a person for nothing."""
    await ready.want(
        ready.invoice("inv-1", customer_id="nobody"),
        ready.invoice("inv-2", total="1.00"),
        ready.invoice("inv-3", customer_id="nobody", issue_date=later, due_date=later),
        ready.invoice("inv-4"),
    )
    await ready.settle()
    changed = await start_from(ready, later)
    assert changed.released == 0
    await ready.settle()
    assert await codes(ready, "inv-1") == ["CUSTOMER_NOT_MAPPED", "BEFORE_START_DATE"]
    assert await codes(ready, "inv-2") == ["TOTAL_MISMATCH", "BEFORE_START_DATE"]
    assert await codes(ready, "inv-3") == ["CUSTOMER_NOT_MAPPED"]
    assert await codes(ready, "inv-4") == ["SYNCED"]
    assert (await start_from(ready, None)).released == 2
    await ready.settle()
    unmapped, too_old = "CUSTOMER_NOT_MAPPED", "BEFORE_START_DATE"
    assert await codes(ready, "inv-1") == [unmapped, too_old, unmapped]
    assert await codes(ready, "inv-2") == ["TOTAL_MISMATCH", "BEFORE_START_DATE", "TOTAL_MISMATCH"]


async def test_what_is_not_sent_yet_is_held(ready, later):
    await ready.want(ready.invoice("inv-1"))
    await start_from(ready, later)
    await ready.settle()
    assert await codes(ready, "inv-1") == ["BEFORE_START_DATE"]
    assert await ready.books.invoices() == []


async def test_a_write_under_way_is_found_out_and_goes_on(ready, later, kinds_of_event):
    ready.books.fault("commit_then_reset", method="PUT", path="/api.xro/2.0/Invoices*")
    await ready.want(ready.invoice("inv-1"))
    await ready.turn()
    assert await ready.state("inv-1") == "syncing"
    await start_from(ready, later)
    await ready.age_intents(timedelta(minutes=7))
    await ready.settle()
    assert await ready.state("inv-1") == "synced"
    updated = kinds_of_event["updated"]
    await ready.want(ready.invoice("inv-1", kind=updated, version=2, reference="two"))
    await ready.settle()
    (invoice,) = await ready.books.invoices()
    assert invoice["reference"] == "two"


async def test_dated_anew_or_cancelled_an_old_one_is_let_in_or_done(ready, later, kinds_of_event):
    await start_from(ready, later)
    await ready.want(ready.invoice("inv-1"), ready.invoice("inv-2"))
    await ready.settle()
    updated, voided = kinds_of_event["updated"], kinds_of_event["voided"]
    await ready.want(
        ready.invoice("inv-1", kind=updated, version=2, issue_date=later, due_date=later),
        voided(account_id=ready.account_id, invoice_id="inv-2", version=2),
    )
    await ready.settle()
    assert await ready.state("inv-1") == "synced"
    assert await ready.state("inv-2") == "voided"
    assert len(await ready.books.invoices()) == 1


async def test_while_disconnected_it_holds_from_the_reconnection_on(ready, later):
    await ready.connect("DISCONNECTED")
    await ready.want(ready.invoice("inv-1"))
    await ready.settle()
    await start_from(ready, later)
    await ready.connect()
    await ready.settle()
    assert await codes(ready, "inv-1") == ["NOT_CONNECTED", "BEFORE_START_DATE"]
    assert await ready.books.invoices() == []
