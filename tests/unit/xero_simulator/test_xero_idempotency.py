import asyncio

import pytest

from xero_simulator import messages


async def put(sim, number, key="k", **params):
    body = {"Type": "ACCREC", "Contact": {"Name": "Acme"}, "InvoiceNumber": number}
    return await sim.call("PUT", "Invoices", body, key, **params)


async def invoices(sim):
    return [row["InvoiceNumber"] for row in (await sim.get("Invoices"))["Invoices"]]


async def test_the_first_answer_is_replayed_for_six_minutes(sim):
    first = await put(sim, "P-1")
    sim.world.clock.advance(359)
    again = await put(sim, "P-1")
    assert (again.status_code, again.content) == (200, first.content)
    assert await invoices(sim) == ["P-1"]
    sim.world.clock.advance(2)
    fresh = await put(sim, "P-1")
    assert fresh.status_code == 400
    assert "Invoice # must be unique." in fresh.text
    log = (await sim.admin("GET", "/calls?path=Invoices"))["calls"]
    assert [call["replayed"] for call in log if call["method"] == "PUT"] == [False, True, False]


@pytest.mark.parametrize("change", ["body", "url", "method"])
async def test_a_key_with_another_request_is_400(sim, change):
    await put(sim, "P-1")
    if change == "body":
        reply = await put(sim, "P-2")
    elif change == "url":
        reply = await put(sim, "P-1", summarizeErrors="false")
    else:
        body = {"Type": "ACCREC", "Contact": {"Name": "Acme"}, "InvoiceNumber": "P-1"}
        reply = await sim.call("POST", "Invoices", body, "k")
    assert reply.status_code == 400
    assert reply.text == "Idempotency Key: k is used with a different request."


async def test_refusals_are_replayed_too(sim):
    body = {"Type": "ACCREC", "InvoiceNumber": "P-1"}
    first = await sim.call("PUT", "Invoices", body, "k")
    assert first.status_code == 400
    assert (await sim.call("PUT", "Invoices", body, "k")).content == first.content


@pytest.mark.parametrize(
    ("kind", "saved"), [("error_500_before", []), ("error_500_after", ["P-1"])]
)
async def test_internal_errors_are_replayed(sim, kind, saved):
    await sim.fault(kind)
    for _ in range(2):
        reply = await put(sim, "P-1")
        assert reply.status_code == 500
        assert reply.text == messages.UNHANDLED
    assert await invoices(sim) == saved


async def test_a_concurrent_repeat_waits_for_the_first(sim):
    await sim.admin("PATCH", "/switches", {"base_latency_seconds": 0.2})
    replies = await asyncio.gather(*(put(sim, "P-1") for _ in range(4)))
    assert {reply.status_code for reply in replies} == {200}
    assert len({reply.content for reply in replies}) == 1
    assert await invoices(sim) == ["P-1"]


async def test_limits_come_before_keys_and_replays_consume_quota(sim):
    sim.world.clock.freeze()
    await sim.admin("PUT", "/limits", {"minute": 3})
    await sim.admin("DELETE", "/limits/usage")
    left = [(await put(sim, "P-1")).headers["X-MinLimit-Remaining"] for _ in range(3)]
    assert left == ["2", "1", "0"]
    assert (await put(sim, "P-1")).status_code == 429
    await sim.admin("PUT", "/limits", {"unlimited": True})
    # The refused call left no mark on its key.
    await sim.fault("rate_limit_minute")
    assert (await put(sim, "P-2", "other")).status_code == 429
    assert (await put(sim, "P-3", "other")).status_code == 200


async def test_the_same_key_for_another_tenant_is_another_request(sim):
    await put(sim, "P-1")
    organisations = await sim.admin("GET", "/organisations")
    sim.headers["xero-tenant-id"] = organisations[1]["tenant_id"]
    assert (await put(sim, "P-1")).status_code == 400


async def test_keys_are_short_and_need_their_store(sim):
    assert (await put(sim, "P-1", "k" * 129)).status_code == 400
    assert (await put(sim, "P-1", "k" * 128)).status_code == 200
    await sim.fault("idempotency_store_down")
    assert (await put(sim, "P-2", "other")).status_code == 500
    assert await invoices(sim) == ["P-1"]


async def test_reads_ignore_keys(sim):
    for _ in range(2):
        assert (await sim.call("GET", "Invoices", key="k")).status_code == 200
    assert (await put(sim, "P-1")).status_code == 200
