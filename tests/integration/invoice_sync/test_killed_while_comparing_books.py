"""Imports and reconciliations by processes that are killed, then by two at once: each is done once and whole."""

import asyncio
import signal

import pytest
from service_processes import until
from sync_processes import gateway_app, running_process

from invoice_sync.import_invoices import ask_import
from invoice_sync.reconcile_account import ask_reconciliation
from pipeline_contracts.reconciled import AccountReconciled

pytestmark = pytest.mark.usefixtures("judged")

STEPS = [
    "import:after_read",
    "import:before_commit",
    "import:after_commit",
    "reconcile:after_read",
    "reconcile:before_commit",
    "reconcile:after_page",
    "reconcile:before_finish",
    "reconcile:before_finish_commit",
    "reconcile:after_finish",
]
COUNT = 5


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_any_step_each_is_done_once_and_whole(
    service, sync_dsn, identities, serve, step
):
    await in_both_books(service)
    await ask_import(service.pool, service.account_id, dry_run=False, asked_by="user:a")
    await ask_reconciliation(service.pool, service.account_id, "user:a")
    async with serve(gateway_app(service.gateway)) as gateway_url:
        async with running_process(sync_dsn, gateway_url, identities, failpoint=step) as victim:
            async with asyncio.timeout(60):
                assert await victim.wait() == -signal.SIGKILL
        async with (
            running_process(sync_dsn, gateway_url, identities),
            running_process(sync_dsn, gateway_url, identities),
        ):
            await until(lambda: all_done(service), "both are done", 60)
    for number in range(COUNT):
        assert await service.kinds(f"inv-{number}") == ["InvoiceSynced"]
    assert len(await service.books.invoices()) == COUNT
    assert all(method == "GET" for method, path in service.gateway.calls if path == "Invoices")
    (told,) = [each for each in await service.told() if isinstance(each, AccountReconciled)]
    assert told.is_clean
    (nzd,) = told.totals
    assert (nzd.invoices, nzd.in_xero, nzd.difference) == (COUNT, COUNT, 0)


async def in_both_books(service) -> None:
    """The same invoices in Pipeline and, entered by hand, in Xero."""
    await service.connect()
    await service.know("cust-1")
    await service.settle()
    contact = await service.pool.fetchval("SELECT contact_id FROM contact_mappings")
    line = {"Description": "Work 1", "Quantity": "2", "UnitAmount": "50.00", "AccountCode": "200"}
    for number in range(COUNT):
        typed_in = {
            "InvoiceNumber": f"INV-{number}",
            "Contact": {"ContactID": contact},
            "Date": "2026-03-01",
            "DueDate": "2026-03-31",
            "LineAmountTypes": "NoTax",
            "LineItems": [line],
        }
        await service.books.act("POST", "invoices", typed_in)
    await service.want(*(service.invoice(f"inv-{number}") for number in range(COUNT)))
    service.gateway.calls.clear()


async def all_done(service) -> bool:
    return await service.pool.fetchval(
        """
        SELECT NOT EXISTS (SELECT FROM imports WHERE finished_at IS NULL)
           AND NOT EXISTS (SELECT FROM reconciliations WHERE finished_at IS NULL)
           AND NOT EXISTS (SELECT FROM invoices WHERE due_at IS NOT NULL)
        """
    )
