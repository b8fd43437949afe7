"""Two accounts that read one organisation at the same time, as around a switch: neither undoes what the other took in.

The connector lets one account at a time hold an organisation; an answer on its way may still outlive that.
"""

from datetime import timedelta
from decimal import Decimal

import pytest

from payment_ingest.domain.ledger import LONGEST_LAG
from payment_ingest.process_account import process_account
from pipeline_messaging import leases


@pytest.mark.parametrize("moves_invoice", [True, False])
@pytest.mark.parametrize("by", ["doorbell", "sweep"])
async def test_an_answer_overtaken_by_a_later_one_reverses_nothing(service, by, moves_invoice):
    other = type(service)(service.pool, service.xero, service.deps)
    await other.connect()
    await service.sweep()
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    unmoved = {
        name: service.xero.invoices[invoice][name] for name in ("UpdatedDateUTC", "_updated")
    }

    async def paid_and_read_by_the_other():
        service.xero.before_answer = None
        service.xero.pay(invoice, "10.00")
        if not moves_invoice:
            service.xero.invoices[invoice] |= unmoved
        await service.ring(invoice)
        async with service.pool.acquire() as conn:
            await leases.mark_due(conn, [other.account_id])
            (claim,) = await leases.claim(conn, limit=1, seconds=60)
            await process_account(service.deps, claim.lease)
            await leases.give_back(conn, claim.lease)
        assert len(await service.told()) == 1

    service.xero.before_answer = paid_and_read_by_the_other
    if by == "doorbell":
        await service.ring(invoice)
        await service.pool.execute("UPDATE account_leases SET due_at = NULL")
        await service.turn()
    else:
        await service.pool.execute("UPDATE tenant_sweeps SET next_at = now() WHERE kind = 'deep'")
        await service.pool.execute("UPDATE account_leases SET due_at = NULL")
        await service.turn()
    await service.pool.execute("UPDATE doorbells SET next_at = now()")
    await service.turn()
    assert await service.payments_sum() == Decimal("10.00")
    assert len(await service.told()) == 1
    assert await service.doorbells() == 0


async def test_a_change_dated_before_the_last_one_is_not_passed_over(service):
    """As after a clock of Xero's was wrong: the payment is gone, and the invoice bears a time before it was made."""
    await service.sweep()
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    payment = service.xero.pay(invoice, "10.00")
    await service.ring(invoice)
    await service.turn()
    assert len(await service.told()) == 1
    service.xero.now -= timedelta(minutes=3)
    service.xero.unpay(invoice, payment)
    service.xero.now += timedelta(minutes=3)
    await service.ring(invoice)
    await service.turn()
    assert len(await service.told()) == 1  # a lagging server would have said the same
    assert await service.doorbells() == 1

    service.xero.now += LONGEST_LAG
    await service.pool.execute("UPDATE doorbells SET next_at = now()")
    await service.turn()

    assert await service.payments_sum() == 0
    assert len(await service.told()) == 2
    assert await service.doorbells() == 0
