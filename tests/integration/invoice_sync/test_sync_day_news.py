"""News about the day's calls of a connection that goes on: what rests goes on resting, and nothing is released."""

from datetime import UTC, datetime, timedelta

import pytest

from invoice_sync.domain.intake import connection_went_on
from invoice_sync.domain.state import Account
from invoice_sync.store import accounts
from pipeline_contracts.connection import ConnectionStatusChanged

DAY_NEWS = ["DAY_BUDGET_LOW", "DAY_BUDGET_RESTORED"]


async def rest(service):
    until = datetime.now(UTC) + timedelta(hours=1)
    async with service.pool.acquire() as conn:
        await accounts.pause(conn, service.account_id, until=until, code="RATE_LIMITED", count=3)


async def account(service):
    async with service.pool.acquire() as conn:
        found, _ = await accounts.find(conn, service.account_id)
    return found


@pytest.mark.parametrize("reason", DAY_NEWS)
async def test_news_about_the_day_ends_no_rest(service, reason):
    await service.connect()
    await rest(service)
    before = await account(service)
    await service.connect(reason=reason)
    after = await account(service)
    assert (after.reason, after.sequence) == (reason, before.sequence + 1)
    assert (after.paused_until, after.pause_count) == (before.paused_until, 3)


@pytest.mark.parametrize("reason", ["TEST", *DAY_NEWS])
async def test_a_reconnection_ends_the_rest_even_if_only_the_news_after_it_is_read(service, reason):
    await service.connect()
    await rest(service)
    service.connection_sequence += 2
    await service.connect(reason=reason)
    assert (await account(service)).paused_until is None


def told(sequence, reason="DAY_BUDGET_LOW", status="CONNECTED", tenant_id="t"):
    return ConnectionStatusChanged(
        account_id="a", status=status, reason=reason, since=datetime(2026, 3, 1, tzinfo=UTC), message="m",
        hint="", can_refresh=True, tenant_id=tenant_id, sequence=sequence,
    )  # fmt: skip


def test_several_news_in_one_batch_are_followed_one_by_one():
    known = Account("a", status="CONNECTED", tenant_id="t", sequence=3)
    assert connection_went_on(known, [told(4), told(5, "DAY_BUDGET_RESTORED")])
    assert connection_went_on(known, [told(2), told(3, "TEST"), told(4)])
    assert not connection_went_on(known, [told(4), told(6)])
    assert not connection_went_on(known, [told(4, "X", "DISCONNECTED"), told(5, "X"), told(6)])
    assert not connection_went_on(None, [told(1)])
