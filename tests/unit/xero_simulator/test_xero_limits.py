import asyncio

import pytest

from xero_simulator.limits import Limits, LimitSettings


async def limited(sim, **limits):
    await sim.admin("PUT", "/limits", {"unlimited": True})
    await sim.admin("PUT", "/limits", limits)
    await sim.admin("DELETE", "/limits/usage")


async def test_defaults_and_headers(raw_sim):
    await raw_sim.connect()
    reply = await raw_sim.call("GET", "Organisation")
    found = [reply.headers[f"X-{name}Limit-Remaining"] for name in ("Day", "Min", "AppMin")]
    assert found == ["4999", "59", "9999"]
    assert (await raw_sim.admin("GET", "/limits"))["default"] == {
        "concurrent": 5, "minute": 60, "day": 5000, "app_minute": 10000
    }  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "problem", "advance"), [("minute", "minute", 60), ("day", "day", 86_400)]
)
async def test_429_as_recorded_and_room_after_retry_after(sim, limit, problem, advance):
    sim.world.clock.freeze()
    await limited(sim, **{limit: 2})
    for _ in range(2):
        assert (await sim.call("GET", "Organisation")).status_code == 200
        sim.world.clock.advance(10)
    refused = await sim.call("GET", "Organisation")
    assert refused.status_code == 429
    assert refused.content == b""
    assert "content-type" not in refused.headers
    assert refused.headers["X-Rate-Limit-Problem"] == problem
    assert refused.headers["Retry-After"] == str(advance - 20)
    remaining = "X-MinLimit-Remaining" if limit == "minute" else "X-DayLimit-Remaining"
    assert refused.headers[remaining] == "0"
    sim.world.clock.advance(advance - 20)
    if limit == "day":
        await sim.connect()
    assert (await sim.call("GET", "Organisation")).status_code == 200
    assert (await sim.call("GET", "Organisation")).status_code == 429


async def test_the_day_is_a_rolling_window(sim):
    limits = Limits(LimitSettings(None, None, 1, None))
    assert limits.enter("t", 1000.0) is None
    refusal = limits.enter("t", 1000.0 + 66_975 - 66_000)
    assert refusal is not None
    assert refusal.retry_after == 86_400 - 975
    limits.leave("t")


async def test_concurrent_calls_are_counted_truly(sim):
    await limited(sim, concurrent=5)
    await sim.admin("PATCH", "/switches", {"base_latency_seconds": 0.2})
    replies = await asyncio.gather(*(sim.call("GET", "Organisation") for _ in range(8)))
    assert sorted(reply.status_code for reply in replies) == [200] * 5 + [429] * 3
    refused = next(reply for reply in replies if reply.status_code == 429)
    assert refused.headers["X-Rate-Limit-Problem"] == "concurrent"
    assert "Retry-After" not in refused.headers
    summary = (await sim.admin("GET", "/calls/summary"))["tenants"][sim.tenant]
    assert summary["max_in_flight"] == 5
    assert summary["limited"] == 3
    assert (await sim.call("GET", "Organisation")).status_code == 200


async def test_app_limit_is_across_tenants(sim):
    await limited(sim, app_minute=1)
    assert (await sim.call("GET", "Organisation")).status_code == 200
    organisations = await sim.admin("GET", "/organisations")
    sim.headers["xero-tenant-id"] = organisations[1]["tenant_id"]
    refused = await sim.call("GET", "Organisation")
    assert refused.headers["X-Rate-Limit-Problem"] == "appminute"
    assert "Retry-After" not in refused.headers
    await sim.admin(
        "PATCH", "/switches", {"retry_after_on_app": True, "app_limit_problem": "app-minute"}
    )
    refused = await sim.call("GET", "Organisation")
    assert refused.headers["X-Rate-Limit-Problem"] == "app-minute"
    assert int(refused.headers["Retry-After"]) in range(1, 61)


async def test_one_tenant_may_have_limits_of_its_own(sim):
    await sim.admin("PUT", f"/limits?tenant={sim.tenant}", {"minute": 0})
    assert (await sim.call("GET", "Organisation")).status_code == 429


async def test_refused_calls_cost_nothing(sim):
    sim.world.clock.freeze()
    await limited(sim, minute=1, day=10)
    replies = [await sim.call("GET", "Organisation") for _ in range(4)]
    assert replies[-1].headers["X-DayLimit-Remaining"] == "9"


async def test_a_reset_during_a_call_does_not_unbalance_the_new_counters(sim):
    await sim.admin("PATCH", "/switches", {"base_latency_seconds": 0.1})
    call = asyncio.create_task(sim.call("GET", "Organisation"))
    async with asyncio.timeout(5):
        while not sim.world.limits.tenant(sim.tenant).in_flight:  # noqa: ASYNC110 -- a plain counter
            await asyncio.sleep(0)
    sim.world.reset()
    await call
    assert sim.world.limits.tenant(sim.tenant).in_flight == 0
