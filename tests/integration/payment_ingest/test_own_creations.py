"""What invoice-sync created itself rings too: that costs Xero no call, and no payment is missed for it."""

import hashlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from payment_ingest.replay_delivery import Requester, replay_delivery

CREATED = datetime(2026, 11, 22, 10, 0, 0, 250_000, tzinfo=UTC)


async def later(service) -> None:
    """What can wait has waited."""
    await service.pool.execute("UPDATE doorbells SET next_at = now()")


@pytest.mark.parametrize("apart", [timedelta(0), timedelta(seconds=-1), timedelta(seconds=1)])
async def test_news_of_our_own_creation_costs_no_call_whichever_comes_first(service, apart):
    first, second = service.xero.add(), service.xero.add()
    await service.ring(first, second, kind="CREATE", at=CREATED + apart)
    await service.link(first, "inv-1", created_at=CREATED)
    assert await service.doorbells() == 1
    await service.link(second, "inv-2", created_at=CREATED)
    assert await service.doorbells() == 0
    await service.ring(first, kind="CREATE", at=CREATED + apart)
    assert await service.doorbells() == 0
    await service.turn()
    assert service.xero.calls == []


async def test_a_ring_and_a_link_that_did_not_see_each_other_cost_no_call_either(service):
    invoice = service.xero.add()
    await service.ring(invoice, kind="CREATE", at=CREATED)
    await service.link(invoice, "inv-1")
    # As if it had committed while the ringing was under way.
    await service.pool.execute("UPDATE xero_invoices SET created_at = $1", CREATED)
    await later(service)
    await service.turn()
    assert service.xero.calls == []
    assert await service.doorbells() == 0


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("order", [("CREATE", "UPDATE"), ("UPDATE", "CREATE")])
async def test_a_payment_told_beside_the_creation_is_read_at_once(
    service, webhook_of, order, together
):
    invoice = service.xero.add()
    service.xero.pay(invoice, "10.00")
    bodies = [
        webhook_of((service.xero.tenant_id, invoice), kind=kind, at=CREATED) for kind in order
    ]
    for heard in [bodies] if together else [[body] for body in bodies]:
        await service.hear(*heard)
    await service.link(invoice, "inv-1", created_at=CREATED)
    await service.turn()
    assert await service.payments_sum() == Decimal("10.00")


async def test_a_payment_after_the_creation_was_dismissed_rings_anew(service):
    invoice = service.xero.add()
    await service.ring(invoice, kind="CREATE", at=CREATED)
    await service.link(invoice, "inv-1", created_at=CREATED)
    service.xero.pay(invoice, "10.00")
    await service.ring(invoice, at=CREATED)
    await service.turn()
    assert await service.payments_sum() == Decimal("10.00")


@pytest.mark.parametrize("told", [CREATED - timedelta(seconds=5), None])
async def test_what_may_be_news_of_more_is_read_when_there_is_room(service, told):
    """Dated after our own write, or by somebody else's hand."""
    invoice = service.xero.add()
    await service.ring(invoice, kind="CREATE", at=CREATED)
    await service.link(invoice, "inv-1", created_at=told)
    service.xero.pay(invoice, "10.00")
    back = await service.turn()
    assert service.xero.calls == []
    assert 50 < (back - datetime.now(UTC)).total_seconds() <= 60
    await later(service)
    await service.turn()
    assert await service.payments_sum() == Decimal("10.00")
    assert await service.doorbells() == 0


async def test_creations_without_room_are_put_off_and_payments_go_on(service):
    created, paid = service.xero.add(), service.xero.add()
    await service.ring(created, kind="CREATE", at=CREATED)
    await later(service)
    service.xero.answers.append((429, {"retry-after": "300", "x-rate-limit-problem": "day"}, b""))
    back = await service.turn()
    assert 290 < (back - datetime.now(UTC)).total_seconds() <= 301
    assert await service.pool.fetchval("SELECT not_before FROM connections") is None
    assert await service.pool.fetchval("SELECT attempts FROM doorbells") == 0
    await service.link(paid, "inv-1")
    service.xero.pay(paid, "10.00")
    await service.ring(paid)
    await service.turn()
    assert await service.payments_sum() == Decimal("10.00")


async def test_creations_fill_the_places_that_payments_leave(service):
    created = [service.xero.add() for _ in range(60)]
    await service.ring(*created, kind="CREATE", at=CREATED)
    await later(service)
    paid = service.xero.add()
    service.xero.pay(paid, "10.00")
    await service.ring(paid)
    await service.turn()
    (call,) = service.xero.calls
    asked = call["IDs"][0].split(",")
    assert len(asked) == 50
    assert paid in asked
    assert await service.doorbells() == 11


@pytest.mark.parametrize("together", [True, False])
async def test_a_payments_story_names_the_delivery_that_told_of_it_not_that_of_the_creation(
    service, webhook_of, together
):
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    service.xero.pay(invoice, "10.00")
    bodies = [
        webhook_of((service.xero.tenant_id, invoice), kind=kind, at=CREATED)
        for kind in ("CREATE", "UPDATE")
    ]
    for heard in [bodies] if together else [[body] for body in bodies]:
        await service.hear(*heard)
    await service.turn()
    (movement,) = await service.pool.fetch(
        "SELECT m.delivery, m.rung_at, d.received_at FROM payment_movements m JOIN raw_deliveries d ON body_hash = delivery"
    )
    assert movement["delivery"] == hashlib.sha256(bodies[1]).digest()
    assert movement["rung_at"] == movement["received_at"]


async def test_a_payment_that_only_a_sweep_told_of_is_found_by_the_sweep(service):
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    await service.ring(invoice, kind="CREATE", at=CREATED)
    # Paid without moving the invoice's time of change: the list of payments rings for it.
    service.xero.pay(invoice, "10.00")
    service.xero.invoices[invoice]["_updated"] = datetime(2020, 1, 1, tzinfo=UTC)
    await service.sweep()
    await service.turn()
    assert [one.event.found_by for one in await service.told()] == ["sweep"]


async def test_a_creation_replayed_on_request_is_looked_at_though_it_was_dismissed(
    service, webhook_of
):
    invoice = service.xero.add()
    await service.link(invoice, "inv-1", created_at=CREATED)
    body = webhook_of((service.xero.tenant_id, invoice), kind="CREATE", at=CREATED)
    await service.hear(body)
    service.xero.pay(invoice, "10.00")
    async with service.pool.acquire() as conn:
        await replay_delivery(conn, hashlib.sha256(body).digest(), Requester("u-1", None))
    await service.hear()
    await service.turn()
    assert await service.payments_sum() == Decimal("10.00")
