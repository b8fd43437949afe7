"""Life after the first sync: updates, voids, edits in Xero, conflicts and their end."""

from dataclasses import replace
from decimal import Decimal

import pytest
from observing import as_observed

from pipeline_contracts.observed import XeroInvoiceObserved
from pipeline_contracts.sync import InvoiceSynced, OutOfSync, SyncResumed


@pytest.fixture
async def synced(ready, line_of):
    """inv-1 with two lines is in Xero."""
    await ready.want(ready.invoice("inv-1", reference="one", lines=[line_of("1"), line_of("2")]))
    await ready.turn()
    assert await ready.state("inv-1") == "synced"
    ready.gateway.calls.clear()
    return ready


def observed(service, invoice: dict, **changes) -> XeroInvoiceObserved:
    return XeroInvoiceObserved(
        account_id=service.account_id,
        xero_invoice_id=invoice["document_id"],
        tenant_id=service.books.tenant_id,
        observed_at="2026-11-22T10:00:00Z",
        invoice=as_observed(invoice) | changes,
    )


async def test_an_update_keeps_line_item_ids(synced, kinds_of_event, line_of):
    (before,) = await synced.books.invoices("INV-1")
    ids = {each["description"]: each["line_id"] for each in before["lines"]}
    lines = [line_of("3"), line_of("2", quantity="3"), line_of("1")]
    await synced.want(
        synced.invoice(
            "inv-1", kind=kinds_of_event["updated"], version=2, reference="two", lines=lines
        )
    )
    await synced.turn()
    (after,) = await synced.books.invoices("INV-1")
    kept = {each["description"]: each["line_id"] for each in after["lines"]}
    assert kept["Work 1"] == ids["Work 1"]
    assert kept["Work 2"] == ids["Work 2"]
    assert "Work 3" in kept
    assert [each.xero_created_at is None for each in await synced.told("inv-1")] == [False, True]
    assert after["reference"] == "two"
    assert Decimal(after["total"]) == Decimal(350)
    assert synced.gateway.calls == [
        ("GET", f"Invoices/{before['document_id']}"),
        ("POST", "Invoices"),
    ]
    assert [each.version for each in await synced.told("inv-1")] == [1, 2]
    assert await synced.state("inv-1") == "synced"
    removed = synced.invoice(
        "inv-1", kind=kinds_of_event["updated"], version=3, lines=[line_of("2")]
    )
    await synced.want(removed)
    await synced.turn()
    (last,) = await synced.books.invoices("INV-1")
    assert [each["line_id"] for each in last["lines"]] == [ids["Work 2"]]


async def test_a_void_is_status_only(synced, kinds_of_event):
    await synced.want(
        kinds_of_event["voided"](account_id=synced.account_id, invoice_id="inv-1", version=2)
    )
    await synced.turn()
    (invoice,) = await synced.books.invoices("INV-1")
    assert invoice["status"] == "VOIDED"
    last = (await synced.told("inv-1"))[-1]
    assert isinstance(last, InvoiceSynced)
    assert last.xero_status == "VOIDED"
    assert await synced.state("inv-1") == "voided"


async def test_a_paid_invoice_is_not_voided_and_no_write_is_spent(synced, kinds_of_event):
    await synced.books.act("POST", "payments", {"invoice": "INV-1", "amount": "10.00"})
    await synced.want(
        kinds_of_event["voided"](account_id=synced.account_id, invoice_id="inv-1", version=2)
    )
    await synced.turn()
    last = (await synced.told("inv-1"))[-1]
    assert last.code == "INVOICE_HAS_PAYMENT"
    assert all(method == "GET" for method, _ in synced.gateway.calls)


async def test_a_paid_invoices_reference_can_still_change(synced, kinds_of_event, line_of):
    await synced.books.act("POST", "payments", {"invoice": "INV-1", "amount": "10.00"})
    lines = [line_of("1"), line_of("2")]
    updated = kinds_of_event["updated"]
    await synced.want(
        synced.invoice("inv-1", kind=updated, version=2, reference="two", lines=lines)
    )
    await synced.turn()
    (invoice,) = await synced.books.invoices("INV-1")
    assert invoice["reference"] == "two"
    assert await synced.state("inv-1") == "synced"


async def test_a_change_in_xero_only_is_remembered_and_not_overwritten(
    synced, kinds_of_event, line_of
):
    (invoice,) = await synced.books.invoices("INV-1")
    await synced.books.act("POST", "invoices/INV-1", {"Reference": "theirs"})
    await synced.observe(observed(synced, invoice, reference="theirs"))
    await synced.turn()
    assert await synced.state("inv-1") == "synced"
    assert len(await synced.told("inv-1")) == 1

    lines = [line_of("1"), line_of("2")]
    updated = kinds_of_event["updated"]
    await synced.want(
        synced.invoice(
            "inv-1", kind=updated, version=2, reference="one", due_date="2026-04-30", lines=lines
        )
    )
    await synced.turn()
    conflict = (await synced.told("inv-1"))[-1]
    assert isinstance(conflict, OutOfSync)
    assert {(each.field, each.base, each.pipeline, each.xero) for each in conflict.differences} == {
        ("reference", "one", "one", "theirs"),
        ("due_date", "2026-03-31", "2026-04-30", "2026-03-31"),
    }
    assert await synced.state("inv-1") == "out_of_sync"
    (unchanged,) = await synced.books.invoices("INV-1")
    assert unchanged["reference"] == "theirs"
    assert unchanged["due_date"] == "2026-03-31"


async def conflict_of(synced, kinds_of_event, line_of):
    await synced.books.act("POST", "invoices/INV-1", {"Reference": "theirs"})
    lines = [line_of("1"), line_of("2")]
    updated = kinds_of_event["updated"]
    await synced.want(
        synced.invoice("inv-1", kind=updated, version=2, reference="ours", lines=lines)
    )
    await synced.turn()
    assert await synced.state("inv-1") == "out_of_sync"


async def test_aligned_in_xero_it_resumes_by_itself(synced, kinds_of_event, line_of):
    await conflict_of(synced, kinds_of_event, line_of)
    await synced.books.act("POST", "invoices/INV-1", {"Reference": "ours"})
    (invoice,) = await synced.books.invoices("INV-1")
    await synced.observe(observed(synced, invoice))
    await synced.turn()
    kinds = await synced.kinds("inv-1")
    assert kinds == ["InvoiceSynced", "OutOfSync", "SyncResumed", "InvoiceSynced"]
    assert (await synced.told("inv-1"))[2].resolved_by == "xero_change"
    assert await synced.state("inv-1") == "synced"


async def test_aligned_in_pipeline_it_resumes_by_itself(synced, kinds_of_event, line_of):
    await conflict_of(synced, kinds_of_event, line_of)
    lines = [line_of("1"), line_of("2")]
    updated = kinds_of_event["updated"]
    await synced.want(
        synced.invoice("inv-1", kind=updated, version=3, reference="theirs", lines=lines)
    )
    await synced.turn()
    resumed = (await synced.told("inv-1"))[2]
    assert isinstance(resumed, SyncResumed)
    assert resumed.resolved_by == "pipeline_change"
    assert await synced.state("inv-1") == "synced"
    assert all(method == "GET" for method, _ in synced.gateway.calls)


async def test_an_echo_of_our_own_write_and_a_payment_cost_no_call(synced):
    (invoice,) = await synced.books.invoices("INV-1")
    await synced.observe(observed(synced, invoice))
    await synced.books.act("POST", "payments", {"invoice": "INV-1", "amount": "10.00"})
    (paid,) = await synced.books.invoices("INV-1")
    await synced.observe(observed(synced, paid))
    assert await synced.turn() is None
    assert synced.gateway.calls == []
    assert len(await synced.told("inv-1")) == 1


async def test_a_line_written_anew_as_xero_has_it_is_the_same_line(synced, kinds_of_event, line_of):
    """Whoever types Xero's version into Pipeline may take the line out and add another."""
    (before,) = await synced.books.invoices("INV-1")
    lines = [{"LineItemID": each["line_id"]} for each in before["lines"]]
    first = {"Description": "Theirs", "Quantity": "3", "UnitAmount": "7", "AccountCode": "200"}
    body = {"LineItems": [lines[0] | first, lines[1]], "Reference": "two"}
    await synced.books.act("POST", "invoices/INV-1", body)
    theirs = line_of("anew", description="Theirs", quantity="3", unit_amount="7")
    adopted = {"reference": "two", "lines": [theirs, line_of("2")]}
    updated = kinds_of_event["updated"]
    await synced.want(synced.invoice("inv-1", kind=updated, version=2, reference="ours"))
    await synced.turn()
    assert await synced.state("inv-1") == "out_of_sync"
    await synced.want(synced.invoice("inv-1", kind=updated, version=3, **adopted))
    await synced.turn()
    assert await synced.state("inv-1") == "synced"
    await synced.want(
        synced.invoice("inv-1", kind=updated, version=4, **(adopted | {"reference": "three"}))
    )
    await synced.turn()
    (after,) = await synced.books.invoices("INV-1")
    assert after["reference"] == "three"
    assert [each["line_id"] for each in after["lines"]] == [
        each["line_id"] for each in before["lines"]
    ]


async def test_a_line_typed_into_xero_again_as_pipeline_has_it_is_the_same_line(
    synced, kinds_of_event, line_of
):
    (before,) = await synced.books.invoices("INV-1")
    kept = {"LineItemID": before["lines"][1]["line_id"]}
    await synced.books.act("POST", "invoices/INV-1", {"LineItems": [kept], "Reference": "two"})
    lines = [line_of("1", quantity="5"), line_of("2")]
    updated = kinds_of_event["updated"]
    await synced.want(
        synced.invoice("inv-1", kind=updated, version=2, reference="two", lines=lines)
    )
    await synced.turn()
    assert await synced.state("inv-1") == "out_of_sync"
    anew = {"Description": "Work 1", "Quantity": "5", "UnitAmount": "50", "AccountCode": "200"}
    await synced.books.act("POST", "invoices/INV-1", {"LineItems": [anew, kept]})
    (invoice,) = await synced.books.invoices("INV-1")
    await synced.observe(observed(synced, invoice))
    await synced.turn()
    assert await synced.state("inv-1") == "synced"


async def test_voided_inside_xero_is_a_conflict_and_a_void_in_pipeline_ends_it(
    synced, kinds_of_event
):
    (invoice,) = await synced.books.invoices("INV-1")
    await synced.books.act("POST", "invoices/INV-1", {"Status": "VOIDED"})
    await synced.observe(observed(synced, invoice, status="VOIDED"))
    await synced.turn()
    assert await synced.state("inv-1") == "out_of_sync"
    await synced.want(
        kinds_of_event["voided"](account_id=synced.account_id, invoice_id="inv-1", version=2)
    )
    await synced.turn()
    assert await synced.state("inv-1") == "voided"


@pytest.mark.parametrize(
    "fault", ["commit_then_reset", "error_500_after", "error_500_before", "reset_before"]
)
async def test_an_update_of_unknown_outcome_lands_once(synced, kinds_of_event, line_of, fault):
    synced.books.fault(fault, method="POST", path="/api.xro/2.0/Invoices*")
    lines = [line_of("1"), line_of("2", quantity="5")]
    updated = kinds_of_event["updated"]
    await synced.want(
        synced.invoice("inv-1", kind=updated, version=2, reference="two", lines=lines)
    )
    await synced.settle(12)
    (invoice,) = await synced.books.invoices("INV-1")
    assert Decimal(invoice["total"]) == Decimal(350)
    assert len(invoice["lines"]) == 2
    assert await synced.state("inv-1") == "synced"
    assert (await synced.told("inv-1"))[-1].version == 2


async def test_an_edit_in_xero_between_our_read_and_our_write_is_kept_and_told(
    synced, kinds_of_event, line_of
):
    """Only the fields Pipeline changed go out, so the other hand's work survives and shows in the answer."""
    (invoice,) = await synced.books.invoices("INV-1")
    documents = synced.books.world.books[synced.books.tenant_id].documents
    key = invoice["document_id"]

    def edit(request):
        if request.method == "POST":
            documents[key] = replace(documents[key], reference="theirs")

    synced.gateway.before = edit
    lines = [line_of("1"), line_of("2")]
    fields = {"version": 2, "reference": "one", "due_date": "2026-04-30", "lines": lines}
    await synced.want(synced.invoice("inv-1", kind=kinds_of_event["updated"], **fields))
    await synced.turn()
    (after,) = await synced.books.invoices("INV-1")
    assert (after["reference"], after["due_date"]) == ("theirs", "2026-04-30")
    conflict = (await synced.told("inv-1"))[-1]
    assert isinstance(conflict, OutOfSync)
    (difference,) = conflict.differences
    assert (difference.field, difference.xero) == ("reference", "theirs")
    synced.gateway.before = None
    await synced.books.act("POST", "invoices/INV-1", {"Reference": "one"})
    (aligned,) = await synced.books.invoices("INV-1")
    await synced.observe(observed(synced, aligned))
    await synced.turn()
    assert await synced.state("inv-1") == "synced"


async def test_looking_again_in_vain_is_no_failure_of_a_synced_invoice(synced):
    (invoice,) = await synced.books.invoices("INV-1")
    changed = observed(synced, invoice, reference="theirs")
    await synced.observe(changed)
    synced.books.fault("rate_limit_minute", method="GET", seconds=26)
    assert await synced.turn() is not None
    assert await synced.state("inv-1") == "synced"
    await synced.connect("DISCONNECTED")
    await synced.observe(changed)
    await synced.settle()
    assert await synced.state("inv-1") == "synced"
    assert len(await synced.told("inv-1")) == 1


async def test_a_conflict_settled_while_unconnected_resumes_on_reconnecting(
    synced, kinds_of_event, line_of
):
    await conflict_of(synced, kinds_of_event, line_of)
    await synced.connect("DISCONNECTED")
    lines = [line_of("1"), line_of("2")]
    fields = {"version": 3, "reference": "theirs", "lines": lines}
    await synced.want(synced.invoice("inv-1", kind=kinds_of_event["updated"], **fields))
    await synced.settle()
    assert await synced.state("inv-1") == "out_of_sync"
    await synced.connect()
    await synced.settle()
    assert await synced.state("inv-1") == "synced"
