"""Stored deliveries are found by time and organisation, and read again; a person reaches only the own organisation's."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from payment_ingest.replay_delivery import Requester, find_deliveries, replay_deliveries
from payment_ingest.store.deliveries import Search

ALL_DAY = Search(datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(days=1))
PROGRAM = Requester("service:pipeline-backend", None)


@pytest.fixture
async def conn(pool):
    async with pool.acquire() as found:
        yield found


async def test_a_delivery_is_found_by_any_organisation_it_speaks_of(conn, service, webhook_of):
    other = str(uuid.uuid4())
    invoice = service.xero.add()
    mixed = webhook_of((service.xero.tenant_id, invoice), (other, invoice), sequence=7)
    await service.hear(mixed, webhook_of((other, invoice)), b"never understood")
    me = Requester("u-1", service.account_id)

    def of(tenant):
        return Search(ALL_DAY.since, ALL_DAY.until, (tenant,))

    assert len(await find_deliveries(conn, ALL_DAY, PROGRAM, 10)) == 3
    assert len(await find_deliveries(conn, of(other), PROGRAM, 10)) == 2
    (found,) = await find_deliveries(conn, ALL_DAY, me, 10)
    assert (found.outcome, found.events, found.first_sequence) == ("rung", 2, 7)
    assert found.processed_at is not None
    assert await find_deliveries(conn, of(other), me, 10) == []
    assert await find_deliveries(conn, ALL_DAY, Requester("u-2", "acc-unheard-of"), 10) == []
    before = Search(ALL_DAY.since, found.received_at, None)
    assert found not in await find_deliveries(conn, before, PROGRAM, 10)


async def test_a_time_is_read_again_and_it_is_kept_who_asked(conn, service, webhook_of):
    invoices = [service.xero.add() for _ in range(3)]
    for number, invoice in enumerate(invoices):
        await service.link(invoice, f"inv-{number}")
        await service.hear(webhook_of((service.xero.tenant_id, invoice)))
    await service.turn()
    for invoice in invoices:
        service.xero.pay(invoice, "10.00")
    me = Requester("u-1", service.account_id)
    found = await replay_deliveries(conn, ALL_DAY, me, 2)
    assert len(found) == 2
    await service.hear()
    assert await service.doorbells() == 2
    await service.turn()
    assert len(await service.told()) == 2

    await replay_deliveries(conn, ALL_DAY, PROGRAM, 100)
    await service.hear()
    await service.turn()
    assert len(await service.told()) == 3
    audit = await conn.fetch(
        "SELECT requested_by, account_id, count(*) FROM delivery_replays GROUP BY 1, 2 ORDER BY 3"
    )
    assert [tuple(row) for row in audit] == [
        ("u-1", service.account_id, 2),
        ("service:pipeline-backend", None, 3),
    ]


async def test_nothing_is_read_again_for_somebody_elses_organisation(conn, service, webhook_of):
    await service.hear(webhook_of((service.xero.tenant_id, service.xero.add())))
    stranger = Requester("u-9", "acc-unheard-of")
    assert await replay_deliveries(conn, ALL_DAY, stranger, 100) == []
    assert await conn.fetchval("SELECT count(*) FROM unread_deliveries") == 0
