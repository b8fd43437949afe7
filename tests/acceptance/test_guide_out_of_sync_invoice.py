"""The guide's chapter "Out of Sync Invoice": each of its sentences is true of the running system."""

from decimal import Decimal

from company import Company, changed

from pipeline_contracts.invoice import InvoiceCreated, InvoiceUpdated
from pipeline_contracts.sync import InvoiceSynced, OutOfSync, SyncFailed, SyncResumed


async def conflict(company: Company, name: str) -> tuple[InvoiceCreated, InvoiceUpdated]:
    """Somebody changes the reference and the price in Xero, and somebody changes both in Pipeline."""
    invoice = await company.issue(name)
    company.edit_in_xero(invoice, Reference="From Xero", LineItems=[priced(company, invoice, 130)])
    update = changed(invoice, reference="From Pipeline", **price(invoice, "120.00"))
    await company.publish(update)
    await company.until(invoice, "out_of_sync")
    return invoice, update


def price(invoice, amount: str) -> dict[str, object]:
    """Another price of its one line."""
    (line,) = invoice.lines
    at = line.model_copy(update={"unit_amount": Decimal(amount)})
    return {"lines": (at,), "total": Decimal(amount)}


def priced(company: Company, invoice, amount: int) -> dict[str, object]:
    """The line as a person sends it who changes its price in Xero."""
    (row,) = company.in_xero(invoice)
    (line,) = row["lines"]
    return {
        "LineItemID": line["line_id"],
        "Description": line["description"],
        "Quantity": line["quantity"],
        "UnitAmount": str(amount),
        "AccountCode": line["account_code"],
    }


async def test_an_invoice_shows_as_out_of_sync_between_pipeline_and_xero__the_invoice_was_modified_in_both_systems(
    company: Company,
):
    invoice, update = await conflict(company, "both")

    told = await company.until_told(invoice, OutOfSync)
    assert (told.version, told.tenant_id) == (update.version, company.xero.tenant_id)
    found = company.sync(invoice)
    assert found["cause"]["code"] == "OUT_OF_SYNC"
    assert found["cause"]["whose_move"] == "bookkeeper"
    assert found["cause"]["message"] == told.message


async def test_an_invoice_shows_as_out_of_sync_between_pipeline_and_xero__one_that_was_modified_in_one_system_does_not(
    company: Company,
):
    in_pipeline, in_xero = await company.issue("ours"), await company.issue("theirs")
    company.edit_in_xero(in_xero, Reference="From Xero")
    await company.publish(changed(in_pipeline, reference="From Pipeline"))

    await company.until_told(in_pipeline, InvoiceSynced, 2)
    noticed = "changed_in_xero"
    await company.wait_for(
        lambda: noticed in {each["kind"] for each in company.sync(in_xero)["timeline"]},
        lambda: f"{noticed}: {company.sync(in_xero)}",
    )
    for invoice, reference in (in_pipeline, "From Pipeline"), (in_xero, "From Xero"):
        assert company.sync(invoice)["state"] == "synced"
        assert [row["reference"] for row in company.in_xero(invoice)] == [reference]
        assert company.told(invoice, OutOfSync) == []


async def test_an_invoice_shows_as_out_of_sync_between_pipeline_and_xero__pipeline_blocks_further_sync_to_prevent_data_loss(
    company: Company,
):
    invoice, update = await conflict(company, "blocked")
    before = company.in_xero(invoice)
    insisting = changed(update, reference="From Pipeline, again", **price(invoice, "125.00"))
    await company.publish(insisting)
    other = await company.issue("other")

    told = await company.until_told(invoice, OutOfSync, 2)
    assert told.version == insisting.version
    assert company.in_xero(invoice) == before
    assert before[0]["reference"] == "From Xero"
    assert Decimal(before[0]["total"]) == Decimal(130)
    assert len(company.in_xero(other)) == 1  # the others go on
    assert company.told(invoice, SyncFailed) == []


async def test_an_invoice_shows_as_out_of_sync_between_pipeline_and_xero__review_the_differences_between_the_pipeline_and_xero_versions(
    company: Company,
):
    invoice, _ = await conflict(company, "review")

    shown = {each.pop("field"): each for each in company.sync(invoice)["differences"]}
    assert shown == {
        "reference": {"base": "", "pipeline": "From Pipeline", "xero": "From Xero"},
        "line 1: unit_amount": {"base": "115", "pipeline": "120", "xero": "130"},
        "total": {"base": "115", "pipeline": "120", "xero": "130"},
    } | {field: values for field, values in shown.items() if field.endswith("tax_amount")}
    told = await company.until_told(invoice, OutOfSync)
    assert {each.field: (each.base, each.pipeline, each.xero) for each in told.differences} == {
        field: (values["base"], values["pipeline"], values["xero"])
        for field, values in shown.items()
    }


def choose(company: Company, invoice, keep: str) -> None:
    """A person looks at the differences, and says whose version is to stand."""
    path = f"/invoices/{invoice.invoice_id}/sync/resolve"
    shown = company.service.get(path).raise_for_status().json()
    assert {each["keep"] for each in shown["choices"] if each["allowed"]} == {"pipeline", "xero"}
    chosen = {"keep": keep, "fingerprint": shown["fingerprint"]}
    company.service.post(path, json=chosen).raise_for_status()


async def test_an_invoice_shows_as_out_of_sync_between_pipeline_and_xero__review_the_differences_and_keep_pipelines_version(
    company: Company,
):
    invoice, update = await conflict(company, "keep-ours")
    choose(company, invoice, "pipeline")

    synced = await company.until_told(invoice, InvoiceSynced, 2)
    assert (synced.version, synced.total) == (update.version, Decimal(120))
    (resumed,) = company.told(invoice, SyncResumed)
    assert resumed.resolved_by == "person"
    (row,) = company.in_xero(invoice)
    assert (row["reference"], Decimal(row["total"])) == ("From Pipeline", Decimal(120))


async def test_an_invoice_shows_as_out_of_sync_between_pipeline_and_xero__review_the_differences_and_keep_xeros_version(
    company: Company,
):
    invoice, update = await conflict(company, "keep-theirs")
    before = company.in_xero(invoice)
    choose(company, invoice, "xero")

    resumed = await company.until_told(invoice, SyncResumed)
    assert resumed.resolved_by == "person"
    assert (resumed.invoice.reference, resumed.invoice.total) == ("From Xero", Decimal(130))
    await company.until(invoice, "synced")
    # Pipeline adopts what it was told, and from then on its changes arrive as ever.
    adopted = changed(update, reference="From Xero", **price(invoice, "130.00"))
    await company.publish(adopted)
    await company.until_told(invoice, InvoiceSynced, 2)
    assert company.in_xero(invoice) == before
    await company.publish(changed(adopted, reference="After"))
    await company.until_told(invoice, InvoiceSynced, 3)
    assert company.in_xero(invoice)[0]["reference"] == "After"


async def test_an_invoice_shows_as_out_of_sync_between_pipeline_and_xero__make_corrections_in_xero_to_align_with_pipeline(
    company: Company,
):
    invoice, update = await conflict(company, "align-xero")
    line = priced(company, invoice, 120)
    company.edit_in_xero(invoice, Reference="From Pipeline", LineItems=[line])

    resumed = await company.until_told(invoice, SyncResumed)
    assert resumed.resolved_by == "xero_change"
    found = await company.until(invoice, "synced", update.version)
    assert (found["cause"], found["differences"]) == (None, [])


async def test_an_invoice_shows_as_out_of_sync_between_pipeline_and_xero__make_corrections_in_pipeline_to_align_with_xero(
    company: Company,
):
    invoice, update = await conflict(company, "align-pipeline")
    before = company.in_xero(invoice)
    aligned = changed(update, reference="From Xero", **price(invoice, "130.00"))
    await company.publish(aligned)

    resumed = await company.until_told(invoice, SyncResumed)
    assert resumed.resolved_by == "pipeline_change"
    found = await company.until(invoice, "synced", aligned.version)
    assert (found["cause"], found["differences"]) == (None, [])
    assert company.in_xero(invoice) == before


async def test_an_invoice_shows_as_out_of_sync_between_pipeline_and_xero__the_sync_will_resume_once_the_data_is_consistent(
    company: Company,
):
    invoice, update = await conflict(company, "resume")
    aligned = changed(update, reference="From Xero", **price(invoice, "130.00"))
    await company.publish(aligned)
    await company.until_told(invoice, SyncResumed)
    await company.publish(changed(aligned, reference="After", **price(invoice, "140.00")))

    synced = await company.until_told(invoice, InvoiceSynced, 3)
    assert (synced.version, synced.total) == (aligned.version + 1, Decimal(140))
    (row,) = company.in_xero(invoice)
    assert (row["reference"], Decimal(row["total"])) == ("After", Decimal(140))
