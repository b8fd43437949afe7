"""The real simulator on both sides: its webhooks come in, its API answers behind a thin gateway."""

import asyncio
import random
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial

import asyncpg
import httpx
import pytest
from bookkeeping import ThinGateway, simulated

from payment_ingest.accept_delivery import DeliveryWriter
from payment_ingest.handlers.webhooks import WebhookGate
from payment_ingest.ring_doorbells import ring_doorbells

WEBHOOK_KEY = "simulated-webhook-key"


@asynccontextmanager
async def endpoint_of(dsn):
    """The endpoint as an ASGI application, with its writer running."""
    writer = DeliveryWriter(partial(asyncpg.connect, dsn), on_stored=lambda: None)
    writing = asyncio.create_task(writer.run())
    yield WebhookGate(None, (b"a newer key", WEBHOOK_KEY.encode()), writer.accept)
    writer.stop()
    await writing


@pytest.fixture
async def world(dsn, pool, new_service):
    async with (
        endpoint_of(dsn) as endpoint,
        simulated(
            webhook_url="http://ingest.test/webhooks/xero",
            webhook_key=WEBHOOK_KEY,
            webhooks_to=httpx.ASGITransport(app=endpoint),
        ) as (xero, token),
    ):
        gateway = ThinGateway(xero.http, token, xero.tenant_id)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=gateway)) as client:
            service = new_service(pool, xero, client)
            await service.connect()
            await service.sweep()
            await service.sweep("deep")
            yield service, xero, gateway


async def take_in(service) -> None:
    async with service.pool.acquire() as conn:
        while await ring_doorbells(conn):
            pass
    await service.turn()


async def told_per_invoice(service) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = {}
    for envelope in await service.told():
        event = envelope.event
        amount = event.amount if envelope.type == "pipeline.payment.recorded.v1" else -event.amount
        sums[event.xero_invoice_id] = sums.get(event.xero_invoice_id, Decimal(0)) + amount
    return sums


async def test_intent_to_receive_passes(world):
    _, xero, _ = world
    answer = await xero.http.post("/admin/webhooks/intent-to-receive")
    verdict = answer.json()
    assert answer.is_success, answer.text
    assert verdict["status"] == "OK", verdict


async def test_a_payment_in_xero_becomes_an_event(world):
    service, xero, _ = world
    invoice = await xero.invoice("100.00")
    await service.link(invoice, "inv-1")
    made = await xero.act("POST", "/payments", invoice=invoice, amount="60.00", reference="Bank")
    await xero.webhooks_are_out()
    await take_in(service)
    (envelope,) = await service.told()
    event = envelope.event
    assert (event.xero_payment_id, event.amount) == (made["payment_id"], Decimal("60.00"))
    assert (event.amount_paid, event.amount_due) == (Decimal("60.00"), Decimal("40.00"))
    assert (event.invoice_status, event.found_by, event.reference) == (
        "AUTHORISED",
        "webhook",
        "Bank",
    )
    assert event.paid_on.isoformat() == made["date"]


async def test_every_webhook_lost_the_sweep_finds_everything(world):
    service, xero, _ = world
    await xero.disturb(drop_probability=1.0)
    for number in range(3):
        invoice = await xero.invoice("100.00")
        await service.link(invoice, f"inv-{number}")
        await xero.act("POST", "/payments", invoice=invoice, amount="10.00")
        await xero.act("POST", "/credits", invoice=invoice, amount="90.00")
    await xero.webhooks_are_out()
    await take_in(service)
    assert await service.told() == []
    await service.sweep()
    events = [one.event for one in await service.told()]
    assert len(events) == 6
    assert {one.found_by for one in events} == {"sweep"}
    assert {one.invoice_status for one in events} == {"PAID"}


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whatever_happens_the_events_add_up_to_xero(world, seed):
    """Pay, part-pay, delete, credit and un-credit, with webhooks lost, doubled and out of order."""
    service, xero, _ = world
    chance = random.Random(seed)
    await xero.disturb(
        drop_probability=0.3, double_probability=0.3, reorder_probability=0.5, batch_seconds=0.0
    )
    invoices = [await xero.invoice("1000.00") for _ in range(4)]
    unlinked = list(invoices)
    payments: list[str] = []
    allocations: list[str] = []
    for step in range(60):
        invoice = chance.choice(invoices)
        match chance.choice(
            ["pay", "pay", "unpay", "credit", "uncredit", "look", "look", "link", "sweep"]
        ):
            case "pay":
                made = await xero.act(
                    "POST", "/payments", invoice=invoice, amount=str(chance.randint(1, 20))
                )
                payments.append(made["payment_id"])
            case "unpay" if payments:
                await xero.act(
                    "DELETE", f"/payments/{payments.pop(chance.randrange(len(payments)))}"
                )
            case "credit":
                kind = chance.choice(["credit_note", "prepayment", "overpayment"])
                made = await xero.act(
                    "POST",
                    "/credits",
                    invoice=invoice,
                    kind=kind,
                    amount=str(chance.randint(1, 20)),
                )
                allocations.append(made["allocation_id"])
            case "uncredit" if allocations:
                gone = allocations.pop(chance.randrange(len(allocations)))
                await xero.act("DELETE", f"/allocations/{gone}")
            case "look":
                await take_in(service)
            case "link" if unlinked:
                await service.link(unlinked[-1], f"inv-{len(unlinked)}")
                unlinked.pop()
            case "sweep" if step % 3 == 0:
                await service.sweep()
            case _:
                pass
    while unlinked:
        await service.link(unlinked[-1], f"inv-{len(unlinked)}")
        unlinked.pop()
    await xero.disturb(drop_probability=0.0)
    await xero.webhooks_are_out()
    await take_in(service)
    await service.sweep()

    settled = {invoice: amount for invoice, amount in (await xero.settled()).items() if amount}
    told = {
        invoice: amount for invoice, amount in (await told_per_invoice(service)).items() if amount
    }
    assert {one: told.get(one, Decimal(0)) for one in invoices} == {
        one: settled.get(one, Decimal(0)) for one in invoices
    }
    envelopes = await service.told()
    assert len({one.id for one in envelopes}) == len(envelopes)
    by_invoice: dict[str, list[int]] = {}
    for envelope in envelopes:
        by_invoice.setdefault(envelope.subject, []).append(envelope.event.sequence)
    for sequences in by_invoice.values():
        assert sequences == list(range(1, len(sequences) + 1))


async def test_settlements_that_move_no_time_of_change_are_found_all_the_same(world):
    """Deleted payments by the list of payments; where that leaves them out, and for allocations, by the deep sweep."""
    service, xero, _ = world
    await xero.disturb(drop_probability=1.0)
    await xero.switch(settlements_move_invoice=False)
    invoice = await xero.invoice("100.00")
    await service.link(invoice, "inv-1")
    first = await xero.act("POST", "/payments", invoice=invoice, amount="10.00")
    second = await xero.act("POST", "/payments", invoice=invoice, amount="20.00")
    await service.sweep()
    await xero.act("DELETE", f"/payments/{first['payment_id']}")
    await service.pool.execute("UPDATE tenant_sweeps SET watermark = watermark + interval '1 hour'")
    await service.sweep()
    assert (await told_per_invoice(service))[invoice] == Decimal(30)
    await service.pool.execute("UPDATE tenant_sweeps SET watermark = watermark - interval '1 hour'")
    await service.sweep()
    await service.turn()
    assert (await told_per_invoice(service))[invoice] == Decimal(20)

    await xero.switch(deleted_payments_listed=False)
    await xero.act("DELETE", f"/payments/{second['payment_id']}")
    await xero.act("POST", "/credits", invoice=invoice, amount="5.00")
    await service.sweep("deep")
    assert (await told_per_invoice(service))[invoice] == Decimal(5)
    assert [one.event.sequence for one in await service.told()] == [1, 2, 3, 4, 5]
