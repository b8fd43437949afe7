"""Which lane a call is in: changes go before second looks, and a person who waits goes before both."""

import pytest

from invoice_sync.map_contact import map_contact


@pytest.fixture
async def synced(ready):
    await ready.want(ready.invoice("inv-1"))
    await ready.turn()
    assert await ready.state("inv-1") == "synced"
    ready.lanes = lanes = []
    ready.gateway.before = lambda request: lanes.append(request.headers.get("x-lane"))
    return ready


async def look_again(service):
    await service.pool.execute("UPDATE invoices SET due_at = now()")
    await service.turn()


async def test_a_second_look_is_in_the_sweeps_lane_and_a_change_is_not(synced):
    await look_again(synced)
    assert synced.lanes == ["sweeps"]
    synced.lanes.clear()
    await synced.want(synced.invoice("inv-1", version=2, reference="changed"))
    await synced.turn()
    assert set(synced.lanes) == {"invoices", None}


async def test_sweeps_without_room_do_not_stop_invoices(synced):
    synced.books.fault("rate_limit_day", path="/api.xro/2.0/*", seconds=300, times=1)
    await look_again(synced)
    assert await synced.pool.fetchval("SELECT paused_until FROM accounts") is None
    assert await synced.state("inv-1") == "synced"
    await synced.want(synced.invoice("inv-2"))
    await synced.turn()
    assert await synced.state("inv-2") == "synced"


async def test_a_persons_choice_is_in_the_lane_of_people(synced):
    mapped = await synced.pool.fetchval("SELECT contact_id FROM contact_mappings")
    await map_contact(synced.deps, synced.account_id, "cust-2", mapped, "user-1")
    assert synced.lanes == ["people"]
