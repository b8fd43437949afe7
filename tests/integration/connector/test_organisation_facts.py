"""Facts of an organisation that were missing when it was connected: learnt later, announced once."""

import asyncio

import pytest

import connector.learn_facts
from connector.disconnect_tenant import disconnect
from connector.domain.connection import Actor
from connector.learn_facts import learn_facts

ORGANISATION = "/api.xro/2.0/Organisation"


async def connect_without_facts(stack):
    stack.sim.world.faults.add(kind="unavailable_503", path=ORGANISATION)
    await stack.connect("acc-1")
    status = await stack.status("acc-1")
    assert (status["status"], status["short_code"], status["base_currency"]) == (
        "CONNECTED",
        None,
        None,
    )


async def test_they_are_learnt_later_and_announced_once(stack):
    await connect_without_facts(stack)
    ports = stack.apps[0].state.deps
    await asyncio.gather(*(learn_facts(ports) for _ in range(5)))
    await stack.db.execute("UPDATE connections SET facts_asked_at = NULL")
    await learn_facts(ports)
    status = await stack.status("acc-1")
    assert status["base_currency"] == "NZD"
    assert status["short_code"].startswith("!")
    first, second = await stack.events("acc-1")
    assert (second.status, second.reason) == (first.status, first.reason)
    assert (second.sequence, second.base_currency) == (2, "NZD")
    assert second.short_code == status["short_code"]


async def test_no_calls_are_spent_on_an_organisation_that_was_asked_lately(stack):
    await connect_without_facts(stack)
    ports = stack.apps[0].state.deps
    stack.sim.world.faults.add(kind="unavailable_503", path=ORGANISATION, times=10)
    before = len(stack.calls(ORGANISATION))
    for _ in range(5):
        await learn_facts(ports)
    assert len(stack.calls(ORGANISATION)) == before + 1
    assert len(await stack.events("acc-1")) == 1


async def test_a_disconnect_in_the_very_moment_of_asking_comes_first(stack, monkeypatch):
    await connect_without_facts(stack)
    ports = stack.apps[0].state.deps
    access_token = connector.learn_facts.access_token

    async def slow(*given):
        access = await access_token(*given)
        assert await disconnect(ports, "acc-1", Actor("user-1", "Ada"))
        return access

    monkeypatch.setattr(connector.learn_facts, "access_token", slow)
    before = len(stack.calls(ORGANISATION))
    await learn_facts(ports)
    assert len(stack.calls(ORGANISATION)) == before, "a call after the recorded disconnect"
    assert (await stack.events("acc-1"))[-1].status == "DISCONNECTED"


@pytest.mark.parametrize("change", ["disconnect", "nothing missing"])
async def test_nobody_is_asked_for_what_does_not_matter(stack, change):
    if change == "disconnect":
        await connect_without_facts(stack)
        async with stack.browser("acc-1") as browser:
            await browser.press("disconnect")
    else:
        await stack.connect("acc-1")
    before = len(stack.calls(ORGANISATION))
    await learn_facts(stack.apps[0].state.deps)
    assert len(stack.calls(ORGANISATION)) == before
