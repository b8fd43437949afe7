"""What tests of reconciliation do: ask for one, see it to its end, and read what it found."""

import pytest

from invoice_sync.reconcile_account import ask_reconciliation
from invoice_sync.store import reconciliations


async def ask(service) -> int:
    return (await ask_reconciliation(service.pool, service.account_id, "user:ann")).number


async def outcome(service, number):
    async with service.pool.acquire() as conn:
        run = await reconciliations.find(conn, service.account_id, number)
        totals = (await reconciliations.totals_of(conn, service.account_id, [number]))[number]
    return run, totals


async def reconciled(service):
    """The result of a reconciliation asked for now."""
    number = await ask(service)
    for _ in range(20):
        await service.turn()
        run, totals = await outcome(service, number)
        if run.finished_at is not None:
            return run, totals
    pytest.fail("the reconciliation does not end")


async def found(service, run) -> dict[str, set]:
    rows = await service.pool.fetch(
        "SELECT kind, coalesce(invoice_id, xero_invoice_id) AS id FROM reconciliation_findings WHERE number = $1",
        run.number,
    )
    return {kind: {row["id"] for row in rows if row["kind"] == kind} for kind in run.findings}
