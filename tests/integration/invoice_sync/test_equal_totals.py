"""Both books show the same total: cents are carried where rounding differs, and anything else is named to the cent."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from pipeline_contracts.sync import OutOfSync, SyncFailed

PRICES = ("25.06", "25.61", "25.63")


@pytest.fixture
def sent(ready):
    """The bodies of the writes that leave for Xero."""
    bodies = []

    def keep(request):
        if request.method != "GET":
            bodies.extend(json.loads(request.content)["Invoices"])

    ready.gateway.before = keep
    return bodies


@pytest.fixture
def guitars(ready, line_of):
    """The example of "Rounding in Xero", whose tax Pipeline rounded once: 11.45 instead of 11.44."""

    def of(prices=PRICES, total="87.75", **fields):
        lines = [
            line_of(str(place), quantity="1", unit_amount=price, tax_code="OUTPUT2")
            for place, price in enumerate(prices, 1)
        ]
        return ready.invoice(
            "inv-1", lines=lines, amounts_are="tax_exclusive", total=total, **fields
        )

    return of


async def totals(service):
    (invoice,) = await service.books.invoices("INV-1")
    return Decimal(invoice["total"]), [Decimal(each["tax_amount"]) for each in invoice["lines"]]


async def look_again(service):
    await service.pool.execute("UPDATE invoices SET due_at = now()")
    service.gateway.calls.clear()
    await service.turn()
    return [method for method, _ in service.gateway.calls]


async def age_lists(service):
    hour = timedelta(hours=1)
    await service.pool.execute(
        "UPDATE code_lists SET read_at = read_at - $1::interval, tried_at = tried_at - $1::interval",
        hour,
    )


async def test_a_cent_of_rounding_is_carried_and_nobody_takes_it_for_an_edit(ready, guitars, sent):
    await ready.want(guitars())
    await ready.turn()
    assert await totals(ready) == (
        Decimal("87.75"),
        [Decimal("3.76"), Decimal("3.84"), Decimal("3.85")],
    )
    assert [line.get("TaxAmount") for line in sent[0]["LineItems"]] == [None, None, 3.85]
    assert await ready.kinds("inv-1") == ["InvoiceSynced"]
    assert await look_again(ready) == ["GET"]
    await ready.pool.execute("DELETE FROM code_lists")
    assert await look_again(ready) == ["GET"]
    assert await ready.state("inv-1") == "synced"
    assert await ready.kinds("inv-1") == ["InvoiceSynced"]


async def test_a_change_of_something_else_leaves_the_cent_alone(
    ready, guitars, sent, kinds_of_event
):
    await ready.want(guitars())
    await ready.turn()
    sent.clear()
    await ready.want(guitars(kind=kinds_of_event["updated"], version=2, reference="PO 2"))
    await ready.turn()
    assert [sorted(each) for each in sent] == [["InvoiceID", "Reference"]]
    assert (await totals(ready))[0] == Decimal("87.75")
    assert await ready.kinds("inv-1") == ["InvoiceSynced", "InvoiceSynced"]


@pytest.mark.parametrize(
    ("prices", "total", "taxes"),
    [
        (PRICES, "87.74", ["3.76", "3.84", "3.84"]),
        (("25.06", "25.61", "25.64"), "87.75", ["3.76", "3.84", "3.84"]),
        (("25.63", "25.61", "25.06"), "87.75", ["3.85", "3.84", "3.76"]),
    ],
    ids=["rounded line by line since", "another cause", "another line"],
)  # fmt: skip
async def test_after_a_change_of_the_lines_the_totals_are_equal_again(
    ready, guitars, kinds_of_event, prices, total, taxes
):
    await ready.want(guitars())
    await ready.turn()
    changed = guitars(prices, total, kind=kinds_of_event["updated"], version=2)
    await ready.want(changed)
    await ready.turn()
    found, in_xero = await totals(ready)
    assert found == Decimal(total)
    assert sorted(in_xero) == sorted(Decimal(each) for each in taxes)
    assert await ready.state("inv-1") == "synced"
    assert await look_again(ready) == ["GET"]
    assert await ready.kinds("inv-1") == ["InvoiceSynced", "InvoiceSynced"]


async def test_a_larger_difference_is_named_before_anything_is_sent(ready, guitars, kinds_of_event):
    await ready.want(guitars(total="88.00"))
    await ready.turn()
    assert ready.gateway.calls == []
    (told,) = await ready.told("inv-1")
    assert told.code == "TOTAL_MISMATCH"
    assert "88.00" in told.message
    assert "87.74 (a difference of 0.26)" in told.message
    await ready.want(guitars(kind=kinds_of_event["updated"], version=2))
    await ready.turn()
    assert await ready.state("inv-1") == "synced"


async def test_an_old_list_is_read_once_before_it_stops_anything(ready, guitars):
    await age_lists(ready)
    await ready.want(guitars(total="88.00"))
    await ready.turn()
    assert ("GET", "TaxRates") in ready.gateway.calls
    assert not [method for method, _ in ready.gateway.calls if method != "GET"]
    (told,) = await ready.told("inv-1")
    assert told.code == "TOTAL_MISMATCH"


async def test_a_rate_that_changed_in_xero_is_read_and_the_invoice_goes(ready, guitars):
    """By the old rate the total is impossible; by the new one it is right."""
    organisation = ready.books.world.books[ready.books.tenant_id].organisation
    rates = organisation.tax_rates
    rates["OUTPUT2"] = replace(rates["OUTPUT2"], rate=Decimal(20))
    await age_lists(ready)
    await ready.want(guitars(total="91.56"))
    await ready.turn()
    assert (await totals(ready))[0] == Decimal("91.56")
    assert await ready.state("inv-1") == "synced"


async def test_a_new_description_goes_whatever_the_rate_is_by_now(ready, guitars, kinds_of_event):
    await ready.want(guitars(total="87.74"))
    await ready.turn()
    before = await totals(ready)
    rates = ready.books.world.books[ready.books.tenant_id].organisation.tax_rates
    rates["OUTPUT2"] = replace(rates["OUTPUT2"], rate=Decimal(20))
    await ready.pool.execute(
        """UPDATE code_lists SET rates = '{"output2": "20"}', read_at = now() WHERE kind = 'tax'"""
    )
    retold = guitars(total="87.74", kind=kinds_of_event["updated"], version=2)
    lines = [each.model_copy(update={"description": "Guitars"}) for each in retold.lines]
    await ready.want(retold.model_copy(update={"lines": tuple(lines)}))
    await ready.settle()
    assert await ready.state("inv-1") == "synced"
    assert await totals(ready) == before
    (there,) = await ready.books.invoices()
    assert {each["description"] for each in there["lines"]} == {"Guitars"}


async def rate_becomes(service, rate):
    """Xero's rate has changed since, and that was read."""
    rates = service.books.world.books[service.books.tenant_id].organisation.tax_rates
    rates["OUTPUT2"] = replace(rates["OUTPUT2"], rate=Decimal(rate))
    await service.pool.execute(
        "UPDATE code_lists SET rates = jsonb_build_object('output2', $1::text), read_at = now() WHERE kind = 'tax'",
        rate,
    )


@pytest.mark.parametrize("rate", ["20", "0"])
async def test_a_carried_cent_stays_as_agreed_whatever_the_rate_is_by_now(
    ready, guitars, sent, kinds_of_event, rate
):
    await ready.want(guitars())
    await ready.turn()
    before = await totals(ready)
    await rate_becomes(ready, rate)
    first, *others = guitars().lines
    lines = (first.model_copy(update={"description": "Fender Stratocaster"}), *others)
    updated = kinds_of_event["updated"]
    sent.clear()
    await ready.want(guitars(kind=updated, version=2).model_copy(update={"lines": lines}))
    await ready.turn()
    assert await ready.kinds("inv-1") == ["InvoiceSynced", "InvoiceSynced"]
    assert await totals(ready) == before
    assert sent[0]["LineItems"][0]["Description"] == "Fender Stratocaster"
    assert await look_again(ready) == ["GET"]
    assert await ready.state("inv-1") == "synced"

    # Once amounts change, the rate of today counts, and a total that no longer fits is named.
    await ready.want(guitars(("25.06", "25.61", "99.99"), kind=updated, version=3))
    await ready.turn()
    assert (await ready.row("inv-1"))["block_code"] == "TOTAL_MISMATCH"
    assert await totals(ready) == before


async def test_without_a_list_xeros_answer_is_checked_and_the_difference_named(ready, guitars):
    await ready.pool.execute("DELETE FROM code_lists")
    await ready.want(guitars())
    await ready.turn()
    assert await ready.state("inv-1") == "out_of_sync"
    conflict = (await ready.told("inv-1"))[-1]
    assert isinstance(conflict, OutOfSync)
    assert "(a difference of 0.01)" in conflict.message


async def test_an_update_whose_total_is_impossible_leaves_xero_as_it_is(
    ready, guitars, kinds_of_event
):
    await ready.want(guitars())
    await ready.turn()
    before = await totals(ready)
    await ready.want(
        guitars(("25.06", "25.61", "30.00"), "99.00", kind=kinds_of_event["updated"], version=2)
    )
    await ready.turn()
    told = (await ready.told("inv-1"))[-1]
    assert isinstance(told, SyncFailed)
    assert told.code == "TOTAL_MISMATCH"
    assert "a difference of 6.23" in told.message
    assert await totals(ready) == before
