"""What must stay bounded: calls spent on refusals, memory per batch, lock order, and requests for a sweep."""

import asyncio
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from payment_ingest.domain.delivery import Ring
from payment_ingest.domain.sweeping import Part, Place
from payment_ingest.ring_doorbells import ring_doorbells
from payment_ingest.store import doorbells, sweeps
from payment_ingest.store.deliveries import Delivery, keep

_MINUTE_OF_CALLS = 60


async def test_invoices_xero_refuses_altogether_do_not_eat_the_minute(service):
    invoices = [service.xero.add() for _ in range(50)]
    service.xero.refused_ids = set(invoices)
    await service.ring(*invoices)
    back = await service.turn()
    assert len(service.xero.calls) < _MINUTE_OF_CALLS * 3 // 4
    assert await service.pool.fetchval("SELECT min(attempts) FROM doorbells") == 1
    assert back > datetime.now(UTC)


async def test_a_few_refused_invoices_still_leave_the_others_to_be_read(service):
    invoices = [service.xero.add() for _ in range(50)]
    for number, invoice in enumerate(invoices):
        await service.link(invoice, f"inv-{number}")
        service.xero.pay(invoice, "10.00")
    service.xero.refused_ids = {invoices[0], invoices[20], invoices[49]}
    await service.ring(*invoices)
    await service.turn()
    assert len(await service.told()) == 47
    assert await service.doorbells() == 3


async def test_doorbells_are_locked_in_one_order(pool):
    """Whoever rings locks them in the order of ids; locking them otherwise would dead-lock with it."""
    tenant = "c2cc9b6e-9458-4c7d-93cc-f02b81b0594f"
    first, second = (f"{n}4aa0707-f718-4f1c-8d53-f2da9ca59533" for n in (1, 2))
    now = datetime.now(UTC)
    async with pool.acquire() as ringing, pool.acquire() as answering, pool.acquire() as looking:
        for one, at in ((second, now), (first, now + timedelta(seconds=1))):
            await doorbells.ring(ringing, [(Ring(tenant, one), at, None)], "webhook")
        claimed = await doorbells.due(ringing, tenant, 10)
        assert [one.xero_invoice_id for one in claimed] == [second, first]
        async with ringing.transaction():
            await doorbells.ring(ringing, [(Ring(tenant, first), now, None)], "webhook")
            work = asyncio.create_task(_answer(answering, claimed))
            await _until_waiting(looking)
            try:
                await looking.fetch(
                    "SELECT 1 FROM doorbells WHERE xero_invoice_id = $1 FOR UPDATE NOWAIT", second
                )
            except asyncpg.LockNotAvailableError:
                pytest.fail("the second doorbell was locked before the first")
        await work
        assert [one.xero_invoice_id for one in await doorbells.due(looking, tenant, 10)] == [first]


async def _answer(conn, claimed) -> None:
    async with conn.transaction():
        await doorbells.lock(conn, claimed)
        await doorbells.answer(conn, claimed[:1])
        await doorbells.postpone(conn, [(one, timedelta(hours=1)) for one in claimed[1:]])


async def _until_waiting(conn) -> None:
    async with asyncio.timeout(10):
        while not await conn.fetchval(  # noqa: ASYNC110 - Postgres tells nobody who waits for a lock
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ):
            await asyncio.sleep(0.01)


async def test_a_sweep_asked_for_during_any_page_is_made_soon(pool):
    tenant, pause, interval = "t", timedelta(seconds=60), timedelta(minutes=15)

    async def half_done():
        first = await sweeps.due(conn, tenant)
        assert await sweeps.go_on(conn, first, datetime.now(UTC), Place(Part.PAYMENTS, 1, 9), 0)
        return await sweeps.due(conn, tenant)

    async def wait_after(last):
        assert await sweeps.finish(conn, last, datetime.now(UTC), interval, pause)
        at = await conn.fetchval(
            "UPDATE tenant_sweeps SET next_at = now() FROM tenant_sweeps before"
            " WHERE tenant_sweeps.kind = 'recent' AND before.kind = 'recent' RETURNING before.next_at"
        )
        return at - datetime.now(UTC)

    async with pool.acquire() as conn:
        await sweeps.begin(conn, tenant, datetime.now(UTC))
        last = await half_done()
        await sweeps.hurry(conn, [tenant], pause)
        assert await wait_after(last) < timedelta(minutes=2)
        assert await wait_after(await half_done()) > timedelta(minutes=10)


async def test_a_batch_of_large_deliveries_is_bounded_by_bytes(pool):
    for number in range(5):
        body = b"%d" % number * 250_000
        await keep(pool, [Delivery(hashlib.sha256(body).digest(), body, 0)])
    async with pool.acquire() as conn:
        assert await ring_doorbells(conn, max_bytes=600_000) == 3
        assert await ring_doorbells(conn, max_bytes=1) == 1
        assert await ring_doorbells(conn) == 1
        assert await ring_doorbells(conn) == 0


@pytest.mark.parametrize("skew", [timedelta(minutes=-10), timedelta(minutes=10)])
async def test_a_wait_is_measured_by_the_databases_clock(service, skew):
    """A host whose clock is wrong would come back at once, over and over, or long after Xero's limit is gone."""
    service.deps = replace(service.deps, clock=lambda: datetime.now(UTC) + skew)
    invoice = service.xero.add()
    await service.ring(invoice)
    service.xero.answers.append((429, {"retry-after": "26"}, b""))
    for _ in range(2):
        back = await service.turn()
        assert 20 < (back - datetime.now(UTC)).total_seconds() <= 27
    assert len(service.xero.calls) == 1
