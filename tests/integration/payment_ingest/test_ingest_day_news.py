"""News about the day's calls of a connection that goes on: no sweep, and a pause goes on too."""

from datetime import timedelta

import pytest

from payment_ingest.store import connections

DAY_NEWS = ["DAY_BUDGET_LOW", "DAY_BUDGET_RESTORED"]


async def state(service):
    return await service.pool.fetchrow(
        """
        SELECT requests, next_at, not_before, sequence
          FROM connections JOIN tenant_sweeps USING (tenant_id) WHERE kind = 'recent'
        """
    )


@pytest.mark.parametrize("reason", DAY_NEWS)
async def test_news_about_the_day_is_no_reconnection(service, reason):
    await service.connect()
    await service.sweep()
    async with service.pool.acquire() as conn:
        await connections.park(conn, service.account_id, timedelta(hours=1))
    before = await state(service)
    await service.connect(reason=reason)
    after = await state(service)
    assert after["sequence"] == before["sequence"] + 1
    assert after["not_before"] == before["not_before"] is not None
    assert (after["requests"], after["next_at"]) == (before["requests"], before["next_at"])


@pytest.mark.parametrize("reason", DAY_NEWS)
async def test_news_about_the_day_after_something_unheard_is_a_reconnection(service, reason):
    await service.connect()
    await service.sweep()
    before = await state(service)
    # A disconnection and a connection, both compacted away before they were read.
    service.sequence += 2
    await service.connect(reason=reason)
    after = await state(service)
    assert after["requests"] == before["requests"] + 1
    assert after["next_at"] < before["next_at"]


async def test_the_first_word_of_an_account_may_be_about_its_day(service):
    fresh = "acc-fresh"
    service.account_id = fresh
    await service.connect(reason="DAY_BUDGET_LOW")
    assert (
        await service.pool.fetchval("SELECT count(*) FROM tenant_sweeps WHERE kind = 'recent'") == 1
    )
