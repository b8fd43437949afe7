"""While Xero is down nobody calls it: no slots spent, callers told when to come back, and one call finds out."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from connector.domain.breaker import FAILURES_TO_OPEN, Open
from pipeline_xero.client import GatewayClient
from pipeline_xero.errors import NotSent

ORGANISATION = "/v1/accounts/acc-1/xero/Organisation"


def fault(stack, kind, **more):
    return stack.sim.world.faults.add(kind=kind, path="/api.xro/2.0/*", **more)


def figure(name):
    return REGISTRY.get_sample_value(name)


CLOSED, OPEN = 0, 2


def watch_of(stack):
    return stack.apps[0].state.deps.watch


def pause_is_over(stack):
    """As if the pause had passed."""
    assert isinstance(watch_of(stack)._state, Open)
    watch_of(stack)._state = Open(0.0, watch_of(stack)._state.pause_seconds)


async def open_breaker(stack, client):
    fault(stack, "unavailable_503", times=FAILURES_TO_OPEN)
    for _ in range(FAILURES_TO_OPEN):
        answer = await client.get(ORGANISATION)
        assert answer.status_code == 503
        assert "x-gateway-error" not in answer.headers
    assert figure("xero_breaker_state") == OPEN


async def test_while_xero_is_down_nothing_is_sent_and_no_slot_is_spent(stack):
    await stack.connect("acc-1")
    openings = figure("xero_breaker_openings_total")
    async with stack.caller() as client:
        await open_breaker(stack, client)
        calls = len(stack.calls("/api.xro/"))
        slots = await stack.db.fetchval("SELECT count(*) FROM call_slots")
        answer = await client.get(ORGANISATION)
        assert (answer.status_code, answer.headers["x-gateway-error"]) == (502, "XERO_UNREACHABLE")
        assert answer.json()["outcome"] == "not_sent"
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        asking = GatewayClient(
            client, "http://localhost:8001", lambda: stack.keys.service_token("invoice-sync")
        )
        with pytest.raises(NotSent) as caught:
            await asking.put("acc-1", "Contacts", body=b"{}", idempotency_key="k")
        assert 1 <= caught.value.retry_after.total_seconds() <= 60
        assert len(stack.calls("/api.xro/")) == calls
        assert await stack.db.fetchval("SELECT count(*) FROM call_slots") == slots
    assert figure("xero_breaker_openings_total") == openings + 1
    assert figure("xero_breaker_state") == 2


async def test_one_call_finds_out_and_its_success_lets_all_through_at_once(stack):
    await stack.connect("acc-1")
    async with stack.caller() as client:
        await open_breaker(stack, client)
        pause_is_over(stack)
        fault(stack, "slow", seconds=0.3, times=1)
        calls = len(stack.calls("/api.xro/"))
        answers = await asyncio.gather(*(client.get(ORGANISATION) for _ in range(5)))
        assert sorted(a.status_code for a in answers) == [200, 502, 502, 502, 502]
        assert len(stack.calls("/api.xro/")) == calls + 1
        assert (await client.get(ORGANISATION)).status_code == 200
    assert figure("xero_breaker_state") == 0


async def test_a_probe_that_fails_makes_the_pause_longer(stack):
    await stack.connect("acc-1")
    async with stack.caller() as client:
        await open_breaker(stack, client)
        before = watch_of(stack)._state.pause_seconds
        pause_is_over(stack)
        fault(stack, "unavailable_503", times=1)
        assert (await client.get(ORGANISATION)).status_code == 503
    assert watch_of(stack)._state.pause_seconds == 2 * before


async def test_a_probe_that_gets_no_slot_leaves_the_probing_to_the_next_call(make_stack):
    stack = await make_stack(gateway_slot_wait_seconds=0.05)
    await stack.connect("acc-1")
    async with stack.caller() as client:
        await open_breaker(stack, client)
        pause_is_over(stack)
        await stack.db.execute(
            "UPDATE tenant_budgets SET blocked_until = now() + interval '1 minute', blocked_problem = 'minute'"
            " WHERE tenant_id <> ''"
        )
        assert (await client.get(ORGANISATION)).status_code == 429
        await stack.db.execute("UPDATE tenant_budgets SET blocked_until = NULL")
        assert (await client.get(ORGANISATION)).status_code == 200


async def test_a_write_of_unknown_outcome_stays_unknown_when_it_opens_the_breaker(make_stack):
    stack = await make_stack(gateway_read_seconds=0.3, gateway_total_seconds=1.0)
    await stack.connect("acc-1")
    fault(stack, "commit_then_reset", times=FAILURES_TO_OPEN)
    async with stack.caller() as client:
        for number in range(FAILURES_TO_OPEN):
            answer = await client.put(
                "/v1/accounts/acc-1/xero/Contacts",
                content=b'{"Contacts":[{"Name":"A%d"}]}' % number,
                headers={"Idempotency-Key": f"k{number}", "Content-Type": "application/json"},
            )
            assert answer.json()["outcome"] == "unknown"
            await stack.db.execute("DELETE FROM call_slots")
    assert figure("xero_breaker_state") == OPEN


async def test_one_sick_organisation_does_not_stop_the_others(stack):
    await stack.connect("acc-1")
    await stack.connect("acc-2", "demo@example.com", ("Demo Company (NZ)",))
    sick = (await stack.status("acc-1"))["tenant_id"]
    other = "/v1/accounts/acc-2/xero/Organisation"
    async with stack.caller() as client:
        assert (await client.get(other)).status_code == 200
        fault(stack, "unavailable_503", times=0, tenant_id=sick, text="organisation")
        for _ in range(2 * FAILURES_TO_OPEN):
            assert (await client.get(ORGANISATION)).status_code == 503
        assert figure("xero_breaker_state") == CLOSED
        assert (await client.get(other)).status_code == 200


async def test_a_scope_that_is_missing_is_recorded_and_xeros_answer_passed_on(stack):
    await stack.connect("acc-1")
    for access in stack.sim.world.grants.accesses.values():
        object.__setattr__(access, "scopes", frozenset({"openid"}))
    async with stack.caller() as client:
        answer = await client.get(ORGANISATION)
    assert answer.status_code == 401
    assert "x-gateway-error" not in answer.headers
    status = await stack.status("acc-1")
    assert (status["status"], status["reason"]) == ("TOKEN_EXPIRED", "SCOPES_MISSING")
    assert not status["can_refresh"]
    assert [event.reason for event in await stack.events("acc-1")][-1] == "SCOPES_MISSING"
