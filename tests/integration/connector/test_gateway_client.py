"""The other services' client against the gateway itself: both sides mean the same."""

import pytest

from pipeline_xero.client import GatewayClient
from pipeline_xero.errors import (
    NotAllowed,
    NotConnected,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    TenantChanged,
)


def client_of(stack, http, name="invoice-sync"):
    return GatewayClient(http, "http://localhost:8001", lambda: stack.keys.service_token(name))


async def test_calls_and_refusals_mean_the_same_on_both_sides(make_stack):
    stack = await make_stack(gateway_read_seconds=0.3, gateway_total_seconds=1.0)
    await stack.connect("acc-1")
    tenant = (await stack.status("acc-1"))["tenant_id"]
    async with stack.caller() as http:
        client = client_of(stack, http)
        reply = await client.get("acc-1", "Organisation", tenant_id=tenant)
        assert reply.json()["Organisations"][0]["BaseCurrency"] == "NZD"
        assert reply.date is not None
        assert reply.correlation_id
        with pytest.raises(TenantChanged):
            await client.get("acc-1", "Organisation", tenant_id="another")
        with pytest.raises(NotConnected) as caught:
            await client.get("nobody", "Organisation")
        assert (caught.value.status, caught.value.reason) == ("DISCONNECTED", "NEVER_CONNECTED")
        with pytest.raises(NotAllowed):
            await client.put("acc-1", "Payments", body=b"{}", idempotency_key="k")
        stack.sim.world.faults.add(kind="commit_then_reset", path="/api.xro/2.0/*")
        with pytest.raises(OutcomeUnknown):
            await client.put(
                "acc-1", "Contacts", body=b'{"Contacts":[{"Name":"A"}]}', idempotency_key="k"
            )
        stack.sim.world.faults.add(kind="rate_limit_day", path="/api.xro/2.0/*", seconds=4000)
        for _ in range(2):
            with pytest.raises(RateLimited) as limited:
                await client.get("acc-1", "Organisation")
            assert limited.value.problem == "day"
            assert 3900 < limited.value.retry_after.total_seconds() <= 4000


async def test_a_database_away_says_that_nothing_was_sent(stack):
    await stack.connect("acc-1")
    calls = len(stack.calls("/api.xro/"))
    await stack.db.execute("ALTER TABLE call_slots RENAME TO call_slots_away")
    try:
        async with stack.caller() as http:
            with pytest.raises(NotSent):
                await client_of(stack, http).put(
                    "acc-1", "Invoices", body=b"{}", idempotency_key="k"
                )
    finally:
        await stack.db.execute("ALTER TABLE call_slots_away RENAME TO call_slots")
    assert len(stack.calls("/api.xro/")) == calls


async def test_rubbish_account_ids_are_refused(stack):
    async with stack.caller() as client:
        for account in ("%00", "a%0ab", "x" * 300):
            for path in (
                f"/v1/accounts/{account}/connection",
                f"/v1/accounts/{account}/xero/Invoices",
            ):
                answer = await client.get(path)
                assert answer.status_code in {403, 404, 422}, path
                assert answer.headers["content-type"] == "application/problem+json"


async def test_a_disconnect_under_way_reads_as_disconnected(stack):
    await stack.connect("acc-1")
    await stack.db.execute("UPDATE connections SET fenced_at = now()")
    async with stack.caller() as http:
        with pytest.raises(NotConnected) as caught:
            await client_of(stack, http).get("acc-1", "Organisation")
    assert (caught.value.status, caught.value.reason) == ("DISCONNECTED", "DISCONNECTED_BY_USER")
