"""Payments with their stories: by invoice, by id, by time; each account sees its own."""

from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import pytest
from invoice_sync_api import Callers

from payment_ingest.app import create_app
from payment_ingest.settings import Settings
from payment_ingest.store import stories
from pipeline_service_defaults.keys import new_private_key

ACCOUNT_PAYMENTS = "/v1/accounts/{}/payments"


@pytest.fixture
def callers():
    return Callers()


@pytest.fixture
def api(service, dsn, tmp_path, callers):
    """The routes without the service's background, for the people of an account."""
    (tmp_path / "own.pem").write_text(new_private_key())
    (tmp_path / "issuers.json").write_text(callers.issuers())
    gate = create_app(
        Settings(
            database_url=dsn,
            kafka_bootstrap_servers="127.0.0.1:1",
            http_port=0,
            auth_issuers_file=tmp_path / "issuers.json",
            service_key_file=tmp_path / "own.pem",
            connector_url="http://localhost:1",
            xero_webhook_keys="k",
        )
    )
    gate._app.state.pool = service.pool

    @asynccontextmanager
    async def of(account_id):
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(gate),
            base_url=f"http://test/v1/accounts/{account_id}",
            headers=callers.person(account_id),
        ) as client:
            yield client

    return of


@pytest.fixture
async def paid(service):
    """Three invoices: one paid twice and once taken back, one credited, one paid and found by a sweep."""
    one, two, three = (service.xero.add() for _ in range(3))
    for number, invoice in enumerate((one, two, three), start=1):
        await service.link(invoice, f"inv-{number}")
    first = service.xero.pay(one, "30.00")
    await service.ring(one)
    await service.turn()
    service.xero.pay(one, "20.00", "second")
    credit = service.xero.allocate(two, "5.00")
    await service.ring(one, two)
    await service.turn()
    service.xero.unpay(one, first)
    await service.ring(one)
    await service.turn()
    service.xero.pay(three, "7.00")
    await service.sweep()
    return first, credit


async def test_an_invoice_shows_its_payments_how_it_stands_and_whether_more_can_come(
    service, paid, api
):
    first, _ = paid
    async with api(service.account_id) as client:
        shown = (await client.get("/invoices/inv-1/payments")).json()
        assert [
            (each["amount"], each["reversed"], [step["change"] for step in each["story"]])
            for each in shown["payments"]
        ] == [("30.00", True, ["recorded", "reversed"]), ("20.00", False, ["recorded"])]
        assert shown["payments"][0]["xero_payment_id"] == first
        told = [one for one in await service.told() if one.subject == "inv-1"]
        steps = sorted(
            (step for each in shown["payments"] for step in each["story"]),
            key=lambda step: step["sequence"],
        )
        assert [step["event_id"] for step in steps] == [one.id for one in told]
        for step in steps:
            assert step["found_by"] == "webhook"
            row = await service.pool.fetchrow(
                "SELECT received_at FROM raw_deliveries WHERE body_hash = $1",
                bytes.fromhex(step["delivery_id"]),
            )
            assert row["received_at"].isoformat().replace("+00:00", "Z") == step["rung_at"]
            assert step["rung_at"] <= step["fetched_at"] <= step["recorded_at"]
        standing = shown["last_read"]
        assert (standing["invoice_status"], standing["currency"]) == ("AUTHORISED", "NZD")
        assert (standing["amount_paid"], standing["amount_due"]) == ("20.00", "80.00")
        # Never as if it had been read before what the reading showed.
        assert standing["read_at"] >= max(step["fetched_at"] for step in steps)
        assert shown["connection"] == "CONNECTED"

        (swept,) = (await client.get("/invoices/inv-3/payments")).json()["payments"]
        (step,) = swept["story"]
        assert (step["found_by"], step["delivery_id"], step["rung_at"]) == ("sweep", None, None)

        await service.connect("DISCONNECTED")
        shown = (await client.get("/invoices/inv-2/payments")).json()
        assert shown["connection"] == "DISCONNECTED"
        assert shown["last_read"]["amount_credited"] == "5.00"
        await service.link("00000000-0000-0000-0000-000000000009", "inv-unread")
        shown = (await client.get("/invoices/inv-unread/payments")).json()
        assert (shown["payments"], shown["last_read"]) == ([], None)


async def test_of_what_was_put_back_from_the_topic_nothing_is_invented(service, paid, api):
    async with api(service.account_id) as client:
        before = (await client.get("/payments")).json()["payments"]
        assert {step["note"] for each in before for step in each["story"]} == {None}
        await service.pool.execute(
            "UPDATE payment_movements SET fetched_at = NULL, delivery = NULL, rung_at = NULL"
        )
        for each in (await client.get("/payments")).json()["payments"]:
            for step in each["story"]:
                assert (step["fetched_at"], step["delivery_id"], step["rung_at"]) == (None,) * 3
                assert step["note"].startswith("Put back from the events of the topic")
                assert step["recorded_at"]


async def test_a_payment_is_found_by_its_id_and_only_by_its_own_account(service, paid, api):
    async with api(service.account_id) as client, api("acc-other") as stranger:
        listed = (await client.get("/payments")).json()["payments"]
        for payment in listed:
            found = await client.get(f"/payments/{payment['payment_id']}")
            assert found.json() == payment
            assert (await stranger.get(f"/payments/{payment['payment_id']}")).status_code == 404
            in_xero = {"xero_payment_id": payment["xero_payment_id"]}
            assert (await client.get("/payments", params=in_xero)).json()["payments"] == [payment]
            assert (await stranger.get("/payments", params=in_xero)).json()["payments"] == []
        assert (await stranger.get("/payments")).json()["payments"] == []
        nothing = {"xero_payment_id": "00000000-0000-0000-0000-000000000000"}
        assert (await client.get("/payments", params=nothing)).json()["payments"] == []
        unknown = await client.get("/payments/00000000-0000-0000-0000-000000000000")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "PAYMENT_NOT_FOUND")
        assert (await client.get("/payments/x")).status_code == 422


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 100])
async def test_the_list_by_time_has_each_payment_once_whatever_the_page(service, paid, api, limit):
    # A payment of the organisation's that is not Pipeline's is in nobody's list.
    service.xero.pay(service.xero.add(), "99.00")
    await service.sweep()
    async with api(service.account_id) as client:
        whole = (await client.get("/payments")).json()
        assert whole["next_after"] is None
        pages, after = [], {}
        while after is not None:
            page = (await client.get("/payments", params={"limit": limit, **after})).json()
            pages += page["payments"]
            assert len(page["payments"]) <= limit
            after = page["next_after"] and {"after": page["next_after"]}
        assert pages == whole["payments"]
        assert [each["invoice_id"] for each in pages][0::3] == ["inv-1", "inv-3"]
        assert sorted((each["amount"], each["kind"]) for each in pages) == [
            ("20.00", "payment"),
            ("30.00", "payment"),
            ("5.00", "credit_note"),
            ("7.00", "payment"),
        ]


async def test_the_list_is_cut_by_the_time_of_recording(service, paid, api):
    await service.pool.execute(
        "UPDATE payment_movements SET recorded_at = recorded_at - $1::interval WHERE found_by = 'webhook'",
        timedelta(days=2),
    )
    (at,) = [
        row["recorded_at"]
        for row in await service.pool.fetch(
            "SELECT recorded_at FROM payment_movements WHERE found_by = 'sweep'"
        )
    ]
    async with api(service.account_id) as client:

        async def amounts(**query):
            reply = await client.get("/payments", params=query)
            assert reply.is_success, reply.text
            return [each["amount"] for each in reply.json()["payments"]]

        just_then = {"recorded_from": at.isoformat()}
        assert await amounts(**just_then) == ["7.00"]
        assert await amounts(**just_then, recorded_until=at.isoformat()) == []
        assert sorted(await amounts(recorded_until=at.isoformat())) == ["20.00", "30.00", "5.00"]
        for wrong in (
            {"recorded_from": "2026-01-01T00:00:00"},
            {"recorded_from": "0001-01-01T00:00:00+14:00"},
            {"recorded_until": "9999-12-31T23:59:59-12:00"},
            {"limit": 501},
            {"after": "nobody"},
        ):
            assert (await client.get("/payments", params=wrong)).status_code == 422
        gone = {"after": "00000000-0000-0000-0000-000000000000"}
        assert (await client.get("/payments", params=gone)).status_code == 404


class Explaining:
    """A connection that plans instead of reading."""

    def __init__(self, conn) -> None:
        self.conn, self.plan = conn, ""

    async def fetch(self, query, *arguments):
        rows = await self.conn.fetch("EXPLAIN " + query, *arguments)
        self.plan = "\n".join(row[0] for row in rows)
        return []


async def test_the_list_by_time_is_read_from_its_index(service, pool):
    """However many payments an organisation has, a page costs what it shows."""
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL enable_seqscan = off")  # the tables of the test are tiny
        planner, now = Explaining(conn), service.deps.clock()
        await stories.recorded_between(
            planner, service.account_id, now - timedelta(days=9), now, None, 10
        )
    assert "payment_movements_recorded" in planner.plan


async def test_an_account_sees_when_its_payments_were_last_looked_for(service, api):
    async with api(service.account_id) as client:
        seen = [(await client.get("/sweeps")).json()]
        for kind in ("recent", "deep"):
            await service.sweep(kind)
            seen.append((await client.get("/sweeps")).json())
    before, after_recent, after_deep = seen
    assert before["account_id"] == service.account_id
    assert before["recent"] != after_recent["recent"] is not None
    assert after_recent["deep"] == before["deep"]
    assert after_recent["deep"] != after_deep["deep"] is not None
    async with api("acc-of-nobody") as client:
        assert (await client.get("/sweeps")).json() == {
            "account_id": "acc-of-nobody", "recent": None, "deep": None,
        }  # fmt: skip
