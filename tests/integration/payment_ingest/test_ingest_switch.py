"""An account that switches its organisation: nothing of the former one counts for the new one, and nothing is lost."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx
import pytest

SNAPSHOT = "pipeline.xero_invoice.observed.v1"


@dataclass
class Gateway:
    """The connector's: it answers from the organisation the account is connected to, whatever the caller believes."""

    connected: Any

    async def __call__(self, scope, receive, send):
        await self.connected(scope, receive, send)


class Account:
    """A service whose account may switch between two organisations, `a` and `b`."""

    def __init__(self, service, gateway, a, b):
        self.service, self.gateway, self.a, self.b = service, gateway, a, b

    async def switch(self, to):
        await self.service.connect("DISCONNECTED", reason="DISCONNECTED_BY_USER")
        self.gateway.connected = self.service.xero = to
        await self.service.connect(reason="ORGANISATION_SWITCHED")

    async def rows(self, table):
        return await self.service.pool.fetch(f"SELECT * FROM {table}")  # noqa: S608 - a name of ours

    async def tenants_in(self, table):
        return {row["tenant_id"] for row in await self.rows(table)}


@pytest.fixture
async def account(pool, new_service, service):
    small_xero = type(service.xero)
    a, b = small_xero(), small_xero()
    gateway = Gateway(a)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=gateway)) as client:
        made = new_service(pool, a, client)
        await made.connect()
        await made.sweep()
        await made.sweep("deep")
        yield Account(made, gateway, a, b)


async def test_a_doorbell_of_the_former_organisation_waits_for_it(account):
    service, a, b = account.service, account.a, account.b
    invoice = a.add()
    await service.link(invoice, "invoice-1")
    a.pay(invoice, "40.00")
    await service.ring(invoice)
    await account.switch(b)
    a.calls.clear()
    await service.turn()
    assert a.calls == []
    assert await service.doorbells() == 1
    assert await service.told() == []
    assert all("IDs" not in call for call in b.calls), "the new organisation was asked for it"
    await account.switch(a)
    await service.turn()
    (paid,) = await service.told()
    assert (paid.event.tenant_id, paid.event.amount, paid.event.sequence) == (
        a.tenant_id,
        Decimal("40.00"),
        1,
    )
    assert await service.doorbells() == 0


async def test_one_that_rings_after_the_switch_waits_too(account):
    service, a, b = account.service, account.a, account.b
    invoice = a.add()
    await service.link(invoice, "invoice-1")
    await service.turn()
    await account.switch(b)
    await service.turn()
    a.pay(invoice, "40.00")
    service.xero = a
    await service.ring(invoice)
    service.xero = b
    await service.turn()
    assert await service.told() == []
    await account.switch(a)
    await service.turn()
    assert await service.payments_sum() == Decimal("40.00")


async def test_what_was_being_read_during_the_switch_stays_with_the_former_organisation(account):
    service, a, b = account.service, account.a, account.b
    invoice = a.add()
    await service.link(invoice, "invoice-1")
    a.pay(invoice, "40.00")
    await service.ring(invoice)

    async def switch_meanwhile():
        a.before_answer = None
        await account.switch(b)

    a.before_answer = switch_meanwhile
    await service.turn()
    for table in ("payments", "payment_movements", "xero_invoices"):
        assert await account.tenants_in(table) == {a.tenant_id}
    assert {one.event.tenant_id for one in await service.told(SNAPSHOT)} == {a.tenant_id}
    await service.turn()
    for table in ("payments", "payment_movements", "xero_invoices"):
        assert await account.tenants_in(table) == {a.tenant_id}
    assert await service.payments_sum() == Decimal("40.00")


async def test_before_the_switch_is_told_the_gateway_refuses_and_nothing_is_read(account):
    service, a, b = account.service, account.a, account.b
    invoice = a.add()
    await service.link(invoice, "invoice-1")
    a.pay(invoice, "40.00")
    await service.ring(invoice)
    b.invoices[invoice] = a.invoices[invoice]
    account.gateway.connected = b
    await service.turn()
    assert await account.rows("payments") == []
    assert await service.doorbells() == 1
    await account.switch(a)
    await service.turn()
    assert await service.payments_sum() == Decimal("40.00")


async def test_the_same_id_in_both_is_two_invoices(account):
    """Xero's ids are unique, but the ledger does not rely on that: a copied organisation may repeat them."""
    service, a, b = account.service, account.a, account.b
    invoice = a.add()
    await service.link(invoice, "invoice-1")
    a.pay(invoice, "40.00")
    await service.ring(invoice)
    await service.turn()
    await account.switch(b)
    b.now = a.now
    b.invoices[invoice] = {**a.invoices[invoice], "Payments": []}
    payment = b.pay(invoice, "7.00")
    await service.ring(invoice)
    await service.turn()
    # Neither is the payment of `a` taken for gone, nor that of `b` told for the invoice that is in `a`.
    assert [one.event.amount for one in await service.told()] == [Decimal("40.00")]
    untold = [row for row in await account.rows("payment_movements") if row["sequence"] is None]
    assert [row["tenant_id"] for row in untold] == [b.tenant_id]
    assert payment in {row["xero_payment_id"] for row in await account.rows("payments")}


async def test_a_sweep_begun_in_the_former_organisation_goes_on_there_only(account):
    service, a, b = account.service, account.a, account.b
    for _ in range(15):
        a.add()
    await service.pool.execute(
        "UPDATE tenant_sweeps SET next_at = now(), page_size = 10 WHERE kind = 'recent'"
    )
    await service.turn()
    assert await account.tenants_in("xero_invoices") == {a.tenant_id}
    assert len(await account.rows("xero_invoices")) == 10
    await account.switch(b)
    only = b.add()
    await service.turn()
    assert [call["page"] for call in b.calls] == [["1"]]
    assert {
        row["xero_invoice_id"]
        for row in await account.rows("xero_invoices")
        if row["tenant_id"] == b.tenant_id
    } == {only}
    a.calls.clear()
    await account.switch(a)
    await service.turn()
    assert [call["page"] for call in a.calls] == [["2"]]
    of_a = [r for r in await account.rows("xero_invoices") if r["tenant_id"] == a.tenant_id]
    assert len(of_a) == 15


async def test_a_pause_of_the_former_organisation_is_not_one_of_the_new(account):
    service, a, b = account.service, account.a, account.b
    invoice = a.add()
    await service.ring(invoice)
    a.answers.append((429, {"retry-after": "3600", "x-rate-limit-problem": "day"}, b""))
    await service.turn()
    await account.switch(b)
    invoice = b.add()
    await service.ring(invoice)
    await service.turn()
    assert b.calls
