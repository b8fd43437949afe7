import asyncio
import base64
import hashlib
import hmac
import json
import re
from contextlib import asynccontextmanager

import httpx
import pytest

from xero_simulator.app import create_app
from xero_simulator.config import Settings

KEY = "hook-key"
REDIRECT = "http://localhost:8001/cb"


class Endpoint:
    """A receiver that checks signatures and answers what it is told to."""

    def __init__(self):
        self.posts = []
        self.status = 200
        self.headers = {}
        self.body = b""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        expected = base64.b64encode(
            hmac.new(KEY.encode(), request.content, hashlib.sha256).digest()
        ).decode()
        good = hmac.compare_digest(request.headers["x-xero-signature"], expected)
        self.posts.append((good, json.loads(request.content)))
        status = self.status if good else 401
        return httpx.Response(status, headers=self.headers, content=self.body)

    @property
    def events(self):
        return [event for good, post in self.posts if good for event in post["events"]]


@asynccontextmanager
async def hooked(drive, endpoint):
    settings = Settings(
        redirect_uris=(REDIRECT,), webhook_url="https://hooks.test/xero", webhook_key=KEY
    )
    app = create_app(settings, webhook_transport=httpx.MockTransport(endpoint))
    transport = httpx.ASGITransport(app)
    async with app, httpx.AsyncClient(transport=transport, base_url="http://xero.test") as http:
        driver = drive(app, http)
        await driver.connect()
        await driver.unlimited()
        await driver.admin("PATCH", "/webhooks", {"batch_seconds": 0.0})
        yield driver


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- polls state that offers no event
            await asyncio.sleep(0.005)


async def settled(driver):
    await until(lambda: driver.world.webhooks.idle)


async def test_events_are_signed_numbered_and_carry_no_payload(drive):
    endpoint = Endpoint()
    async with hooked(drive, endpoint) as sim:
        invoice = await sim.created()
        await settled(sim)
        await sim.pay("P-1", "10")
        await settled(sim)
    assert all(good for good, _ in endpoint.posts)
    seen = [(event["eventCategory"], event["eventType"]) for event in endpoint.events]
    assert seen == [("CONTACT", "CREATE"), ("INVOICE", "CREATE"), ("INVOICE", "UPDATE")]
    event = endpoint.events[-1]
    assert event["resourceId"] == invoice["InvoiceID"]
    assert event["resourceUrl"].endswith(f"/api.xro/2.0/Invoices/{invoice['InvoiceID']}")
    assert (event["tenantId"], event["tenantType"]) == (sim.tenant, "ORGANISATION")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}", event["eventDateUtc"])
    assert "data" not in event
    sequences = [
        (post["firstEventSequence"], post["lastEventSequence"]) for _, post in endpoint.posts
    ]
    expected = 1
    for first, last in sequences:
        assert first == expected
        expected = last + 1
    assert all(re.fullmatch("[A-Z]{20}", post["entropy"]) for _, post in endpoint.posts)


async def test_credit_notes_say_type_and_status(drive):
    endpoint = Endpoint()
    async with hooked(drive, endpoint) as sim:
        await sim.created()
        await sim.admin("POST", f"/tenants/{sim.tenant}/credits", {"invoice": "P-1"})
        await settled(sim)
    event = next(event for event in endpoint.events if event["eventCategory"] == "CREDITNOTE")
    assert event["data"] == {"Type": "ACCRECCREDIT", "Status": "PAID"}


@pytest.mark.parametrize(
    ("kind", "category", "plural"),
    [("prepayment", "PREPAYMENT", "Prepayments"), ("overpayment", "OVERPAYMENT", "Overpayments")],
)
async def test_prepayments_and_overpayments_ring_and_show_what_they_are_applied_to(
    drive, kind, category, plural
):
    endpoint = Endpoint()
    async with hooked(drive, endpoint) as sim:
        made = await sim.created()
        await sim.admin("POST", f"/tenants/{sim.tenant}/credits", {"invoice": "P-1", "kind": kind})
        await settled(sim)
        event = next(each for each in endpoint.events if each["eventCategory"] == category)
        assert event["resourceUrl"].endswith(f"/{plural}/{event['resourceId']}")
        assert ("UpdatedDateUTCString" in event.get("data", {})) == (kind == "prepayment")
        shown = (await sim.get(f"{plural}/{event['resourceId']}"))[plural][0]
        assert [each["Invoice"]["InvoiceID"] for each in shown["Allocations"]] == [
            made["InvoiceID"]
        ]


async def test_only_connected_tenants_and_wanted_categories_ring(drive):
    endpoint = Endpoint()
    async with hooked(drive, endpoint) as sim:
        await sim.admin("PATCH", "/webhooks", {"categories": ["INVOICE"]})
        await sim.admin("PATCH", "/webhooks", {"categories": ["PAYMENT"]}, status=422)
        await sim.created()
        await settled(sim)
        await sim.admin("DELETE", f"/connections/{sim.tenant}")
        await sim.pay("P-1")
        await settled(sim)
    seen = [(event["eventCategory"], event["eventType"]) for event in endpoint.events]
    assert seen == [("INVOICE", "CREATE")]


async def test_retries_follow_the_simulators_clock_then_the_hook_is_disabled(drive):
    endpoint = Endpoint()
    endpoint.status = 503
    async with hooked(drive, endpoint) as sim:
        sim.world.clock.freeze()
        await sim.contact()
        await until(lambda: len(endpoint.posts) == 2)  # at once, and immediately again
        for attempt in range(3, 7):
            sim.world.clock.advance(15 * 60)
            await until(lambda wanted=attempt: len(endpoint.posts) == wanted)
        sim.world.clock.advance(24 * 3600)
        await until(lambda: sim.world.webhooks.subscription.status == "disabled")
        shown = await sim.admin("GET", "/webhooks")
        assert shown["deliveries"] == {"failed": 1}
        assert "key" not in shown
        # What failed within 31 days is replayed in order when the hook is enabled again.
        await sim.connect()
        await sim.contact("Later")
        endpoint.status = 200
        endpoint.posts.clear()
        await sim.admin("PATCH", "/webhooks", {"status": "enabled"})
        await settled(sim)
        firsts = [post["firstEventSequence"] for _, post in endpoint.posts]
        assert firsts == sorted(firsts)
        assert len(endpoint.events) == 2


async def test_a_short_retry_interval_recovers_in_real_time(drive):
    endpoint = Endpoint()
    endpoint.status = 500
    async with hooked(drive, endpoint) as sim:
        await sim.admin("PATCH", "/webhooks", {"retry_seconds": 0.02})
        await sim.contact()
        await until(lambda: len(endpoint.posts) >= 4)
        endpoint.status = 200
        await settled(sim)
        rows = await sim.admin("GET", "/webhooks/deliveries")
    assert rows[0]["status"] == "delivered"
    assert [attempt["status"] for attempt in rows[0]["attempts"]][-1] == 200


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "OK"),
        ({"headers": {"set-cookie": "a=b"}}, "FAILED"),
        ({"body": b"thanks"}, "FAILED"),
        ({"status": 204}, "FAILED"),
    ],
)
async def test_intent_to_receive(drive, change, verdict):
    endpoint = Endpoint()
    for name, value in change.items():
        setattr(endpoint, name, value)
    async with hooked(drive, endpoint) as sim:
        await sim.admin("PATCH", "/webhooks", {"status": "awaiting_intent"})
        found = await sim.admin("POST", "/webhooks/intent-to-receive")
        assert found["status"] == verdict
        assert {post["expected"] for post in found["posts"]} == {200, 401}
        shown = await sim.admin("GET", "/webhooks")
        assert shown["status"] == ("enabled" if verdict == "OK" else "awaiting_intent")
        assert shown["verdicts"] == [found]
    for _, post in endpoint.posts:
        assert post["events"] == []
        assert (post["firstEventSequence"], post["lastEventSequence"]) == (0, 0)
    assert {good for good, _ in endpoint.posts} == {True, False}


async def test_an_endpoint_that_accepts_everything_fails_the_intent(drive):
    async with hooked(drive, lambda _request: httpx.Response(200)) as sim:
        found = await sim.admin("POST", "/webhooks/intent-to-receive")
    assert found["status"] == "FAILED"


@pytest.mark.parametrize(
    ("fault", "low", "high"),
    [({"drop_probability": 1.0}, 0, 0), ({"double_probability": 1.0}, 20, 40)],
)
async def test_drops_and_doubles(drive, fault, low, high):
    endpoint = Endpoint()
    async with hooked(drive, endpoint) as sim:
        await sim.admin("PATCH", "/webhooks", fault | {"batch_size": 1})
        rows = [{"Name": f"C {number}"} for number in range(20)]
        await sim.write("PUT", "Contacts", {"Contacts": rows})
        await settled(sim)
        dropped = (await sim.admin("GET", "/webhooks"))["events_dropped"]
    assert low <= len(endpoint.events) <= high
    assert len(endpoint.events) == high
    assert dropped == (20 if high == 0 else 0)


async def test_reordering_is_seeded(drive):
    orders = []
    for _ in range(2):
        endpoint = Endpoint()
        async with hooked(drive, endpoint) as sim:
            await sim.admin("PATCH", "/webhooks", {"reorder_probability": 1.0})
            rows = [{"Name": f"C {number:02d}"} for number in range(20)]
            created = (await sim.write("PUT", "Contacts", {"Contacts": rows}))["Contacts"]
            await settled(sim)
        place = {row["ContactID"]: number for number, row in enumerate(created)}
        orders.append([place[event["resourceId"]] for event in endpoint.events])
    assert orders[0] == orders[1]
    assert orders[0] != sorted(orders[0])
    assert sorted(orders[0]) == list(range(20))


async def test_delayed_deliveries_wait_on_the_clock(drive):
    endpoint = Endpoint()
    async with hooked(drive, endpoint) as sim:
        sim.world.clock.freeze()
        await sim.admin("PATCH", "/webhooks", {"delay_seconds": 60})
        await sim.contact()
        await until(lambda: len(sim.world.webhooks.deliveries) == 1)
        assert endpoint.posts == []
        sim.world.clock.advance(60)
        await until(lambda: len(endpoint.posts) == 1)


async def test_a_refused_write_rings_nothing(drive):
    endpoint = Endpoint()
    async with hooked(drive, endpoint) as sim:
        contact = await sim.contact()
        await settled(sim)
        endpoint.posts.clear()
        await sim.refused("PUT", "Invoices", sim.invoice(contact, DueDate=None))
        await settled(sim)
    assert endpoint.events == []
