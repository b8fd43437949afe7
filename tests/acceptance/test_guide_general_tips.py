"""The guide's "General Tips", as far as they are about invoices: each is true of the running system."""

import asyncio
import time
from decimal import Decimal

from company import Company, cancelled, changed

from pipeline_contracts.customer import CustomerUpdated
from pipeline_contracts.sync import InvoiceSynced, OutOfSync, SyncFailed
from pipeline_local_stack.call_log import calls_outside


async def test_always_manage_invoices_and_customers_from_pipeline_not_directly_in_xero(
    company: Company,
):
    """All that can be done to them in Pipeline arrives in Xero, and nothing ever stands in its way."""
    invoice = await company.issue("managed")
    (line,) = invoice.lines
    second = line.model_copy(
        update={"line_id": "2", "description": "More", "unit_amount": Decimal("0.0049")}
    )
    three = second.model_copy(update={"line_id": "3", "quantity": Decimal(1000)})
    update = changed(invoice, lines=(three, line), total=Decimal("119.90"), reference="PO 7")
    await company.publish(update)
    await company.until_told(invoice, InvoiceSynced, 2)
    (row,) = company.in_xero(invoice)
    assert (row["reference"], Decimal(row["total"])) == ("PO 7", Decimal("119.90"))
    assert {each["description"] for each in row["lines"]} == {"More", "Services"}

    renamed = company.customer("buyer").model_dump() | {"version": 2, "name": "Renamed"}
    await company.publish(CustomerUpdated.model_validate(renamed))
    await company.wait_for(
        lambda: company.contacts()[invoice.customer_id]["name"] == "Renamed",
        lambda: f"the new name: {company.contacts()}",
    )
    await company.publish(cancelled(update))
    await company.until(invoice, "voided")
    assert company.in_xero(invoice) == []
    assert company.told(invoice, OutOfSync) == company.told(invoice, SyncFailed) == []


async def test_keep_the_connection_active__disconnecting_stops_all_synchronisation(
    company: Company,
):
    before = await company.issue("before")
    await company.disconnect()
    ended = time.time()
    waiting = company.invoice("meanwhile")
    await company.publish(waiting, changed(before, reference="meanwhile"))

    for invoice in waiting, before:
        found = await company.until(invoice, "waiting_for_connection")
        assert found["cause"]["whose_move"] == "account_admin"
        assert "disconnected" in found["cause"]["message"]
    assert company.in_xero(waiting) == []
    tenant_id = company.xero.tenant_id
    calls = [
        call for call in await asyncio.to_thread(company.xero.calls) if call.tenant_id == tenant_id
    ]
    assert calls
    assert calls_outside(calls, {tenant_id: [(0, ended)]}) == []

    await company.connect()
    for invoice in waiting, before:
        await company.until(invoice, "synced")
        assert len(company.in_xero(invoice)) == 1
    assert company.in_xero(before)[0]["reference"] == "meanwhile"


async def test_if_you_need_to_make_changes_directly_in_xero_be_aware_of_out_of_sync_detection(
    company: Company,
):
    invoice = await company.issue("edited")
    company.edit_in_xero(invoice, DueDate="2026-04-30")
    await company.wait_for(
        lambda: "changed_in_xero" in {each["kind"] for each in company.sync(invoice)["timeline"]},
        lambda: f"the change noticed: {company.sync(invoice)}",
    )
    assert company.sync(invoice)["state"] == "synced"
    await company.publish(changed(invoice, due_date=invoice.due_date.replace(month=5)))

    told = await company.until_told(invoice, OutOfSync)
    (due,) = [each for each in told.differences if each.field == "due_date"]
    assert (due.base, due.pipeline, due.xero) == ("2026-03-21", "2026-05-21", "2026-04-30")
    assert company.in_xero(invoice)[0]["due_date"] == "2026-04-30"
