"""From the topics to the pages, over real Kafka, Postgres and sockets."""

import base64
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from dashboard_world import STAFF, Telling, tell_everything

from ops_dashboard.app import create_app

PAGES = ("", "/connection", "/invoices", "/failures", "/out-of-sync", "/payments", "/dead-letters")


async def test_what_is_on_its_way_is_told_with_the_time_that_invoice_sync_expects(world):
    told = Telling("acc-1")
    await world.send(told.connected(), told.issued("one"), told.issued("two"))
    await world.send(told.issued("far-away"), told.synced("far-away"))
    soon = datetime.now(UTC) + timedelta(minutes=7, seconds=30)
    places = [
        ({"ahead": 1, "is_exact": True, "expected_at": soon.isoformat()}, "7 minutes"),
        ({"ahead": 1, "is_exact": True, "expected_at": "2001-01-01T00:00:00Z"}, "at any moment"),
        ({"ahead": 1, "is_exact": False, "expected_at": None}, "nobody can say at the moment"),
        ({"ahead": 1, "expected_at": "0001-01-01T00:00:00+14:00"}, "nobody can say at the moment"),
        ({"ahead": "<b>", "expected_at": soon.isoformat()}, "nobody can say at the moment"),
        (None, "nobody can say at the moment"),
    ]
    async with world.running() as url:
        await world.all_stored()
        async with world.client(url, world.keys.token("acc-1")) as person:
            for place, words in places:
                for invoice in ("one", "two"):
                    path = f"/v1/accounts/acc-1/invoices/{invoice}/sync"
                    world.invoice_sync.answers[("GET", path)] = (200, {"queue": place})
                page = (await person.get("/accounts/acc-1")).text
                assert "2 on their way" in page
                assert words in page, place
            await world.send(told.connected(status="DISCONNECTED", reason="DISCONNECTED_BY_USER"))
            await world.all_stored()
            assert "until the account is connected" in (await person.get("/accounts/acc-1")).text
        async with world.client(url, world.keys.token(STAFF, "viewer")) as staff:
            page = (await staff.get("/accounts/acc-1")).text
            assert "own people only" in page
            assert "2, the oldest told" in (await staff.get("/accounts")).text


async def test_the_calls_left_are_told_to_the_accounts_own_people(world):
    told = Telling("acc-1")
    await world.send(told.connected())
    asked = ("GET", "/v1/accounts/acc-1/budget")
    unknown = "How many are left, nobody can say at the moment."
    answers = [
        ((200, {"calls_left_today": 1812, "calls_a_day": 5000}), "<strong>1,812</strong> of the 5,000"),
        ((200, {"calls_left_today": None, "calls_a_day": None}), unknown),
        ((200, {"calls_left_today": "<b>", "calls_a_day": True}), unknown),
        ((503, {"detail": "The connector does not answer."}), unknown),
    ]  # fmt: skip
    async with world.running() as url:
        await world.all_stored()
        async with world.client(url, world.keys.token("acc-1", "viewer")) as person:
            for answer, words in answers:
                world.invoice_sync.answers[asked] = answer
                assert words in (await person.get("/accounts/acc-1")).text, answer
        async with world.client(url, world.keys.token(STAFF, "viewer")) as staff:
            world.invoice_sync.asked.clear()
            page = (await staff.get("/accounts/acc-1")).text
            assert "How many are left, invoice-sync tells the account's own people only." in page
            assert world.invoice_sync.asked == []


async def test_every_state_reaches_its_page(world):
    await tell_everything(world)
    async with (
        world.running() as url,
        world.client(url, world.keys.token("acc-1")) as person,
    ):
        await world.all_stored()
        states = dict(await world.pool.fetch("SELECT invoice_id, state FROM invoices"))
        assert states == {
            "in-xero": "synced",
            "stuck": "failed",
            "both": "out_of_sync",
            "waits": "waiting",
            "gone": "voided",
            "again": "retrying",
        }
        for page in PAGES:
            answer = await person.get(f"/accounts/acc-1{page}")
            assert answer.status_code == 200, (page, answer.text[:300])
            assert "unsafe" not in answer.headers["content-security-policy"]
        failures = (await person.get("/accounts/acc-1/failures")).text
        assert "EUR 50.00" in failures
        assert "CUSTOMER_NOT_MAPPED" in failures
        sides = (await person.get("/accounts/acc-1/out-of-sync")).text
        for shown in ("2026-03-31", "2026-04-15", "2026-04-30", "Line 1"):
            assert shown in sides
        missed = (await person.get("/accounts/acc-1/payments?missed=true")).text
        assert "Removed" in missed
        assert "pay-1" not in missed
        story = (await person.get("/accounts/acc-1/invoice?id=in-xero")).text
        for source in ("billing", "invoice-sync", "payment-ingest", "crm"):
            assert source in story
        assert 'id="stream"' in story
        letters = (await person.get("/accounts/acc-1/dead-letters")).text
        letter = re.search(r'href="(/accounts/acc-1/dead-letters/[^"]+)"', letters)[1]
        # What it shows never changes; renewed, it would close the bytes that somebody has opened.
        shown = (await person.get(letter)).text
        assert "As bytes" in shown
        assert 'id="stream"' not in shown
        assert f'hx-get="{letter}"' not in shown
        assert "HEADER_MISSING" in letters
        assert "UNKNOWN_EVENT_TYPE" in letters


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("q=inv-stu", {"stuck"}),
        ("q=stuck", {"stuck"}),
        ("q=ridge", {"in-xero", "stuck", "both", "waits", "gone", "again"}),
        ("q=cust-1&state=failed", {"stuck"}),
        ("q=%25", set()),
        ("state=waiting", {"waits"}),
        ("code=CUSTOMER_NOT_MAPPED", {"stuck"}),
    ],
)
async def test_search(searched, asked, found):
    page = (await searched.get(f"/accounts/acc-1/invoices?{asked}")).text
    every = ("in-xero", "stuck", "both", "waits", "gone", "again")
    assert {one for one in every if f"invoice?id={one}" in page} == found


@pytest.fixture(scope="module")
async def searched(kafka, make_database, tmp_path_factory):
    from dashboard_world import dashboard_world

    from pipeline_service_defaults.migrate import directories_of

    dsn = await make_database(*directories_of("ops_dashboard"))
    async with dashboard_world(kafka, dsn, tmp_path_factory.mktemp("keys")) as world:
        await tell_everything(world)
        token = world.keys.token("acc-1")
        async with world.running() as url, world.client(url, token) as person:
            await world.all_stored()
            yield person


async def test_who_may_see_what(world):
    await tell_everything(world)
    await world.raw("pipeline.invoices.v1.dlq", b"k", b"nobody's", [("x-dlq-code", b"X")])
    letter = "pipeline.invoices.v1.dlq"
    async with world.running() as url:
        await world.all_stored()
        row = await world.pool.fetchrow(
            "SELECT topic, partition, record_offset FROM odd_records WHERE account_id IS NULL"
            " AND topic = $1",
            f"{world.prefix}.{letter}",
        )
        nobodys = f"{row['topic']}/{row['partition']}/{row['record_offset']}"
        for token, paths in (
            (world.keys.token("acc-2", "admin"), {
                **{f"/accounts/acc-1{page}": 404 for page in (*PAGES, "/invoice?id=stuck", "/events")},
                f"/accounts/acc-2/dead-letters/{nobodys}": 404,
                "/accounts/acc-2/invoice?id=stuck": 404,
                "/accounts": 404, "/dead-letters": 404, f"/dead-letters/{nobodys}": 404,
                "/accounts/acc-2": 200,
            }),
            (world.keys.token(STAFF, "viewer"), {
                **{f"/accounts/acc-1{page}": 200 for page in PAGES},
                "/accounts": 200, "/dead-letters": 200, f"/dead-letters/{nobodys}": 200,
            }),
            (world.keys.service_token(), {"/accounts/acc-1": 401}),
            (None, {"/accounts/acc-1": 401, "/accounts": 401, "/reading": 401, "/": 401}),
        ):  # fmt: skip
            async with world.client(url, token) as client:
                for path, expected in paths.items():
                    answer = await client.get(path)
                    assert answer.status_code == expected, (path, answer.text[:200])
                    assert "INV-stuck" not in answer.text or expected == 200


async def test_every_route_refuses_whoever_has_no_business_there(world):
    app = create_app(world.settings(), read=world.topics)
    public = ("/health/", "/metrics", "/docs", "/openapi.json", "/static/")
    routes = [
        (method, inner.path)
        for route in app.routes
        for inner in getattr(getattr(route, "original_router", None), "routes", [route])
        for method in sorted(getattr(inner, "methods", None) or ())
        if method != "HEAD" and not inner.path.startswith(public)
    ]
    assert len(routes) >= 18, routes
    filled = {"account_id": "acc-1", "topic": "t", "partition": "0", "offset": "0"}
    async with world.running() as url:
        for token, expected in ((None, {401}), (world.keys.token("acc-2", "admin"), {404})):
            async with world.client(url, token) as client:
                for method, path in routes:
                    if token and path in {"/", "/reading", "/reading/banner"}:
                        continue
                    form = {"id": "x", "code": "x", "keep": "xero", "fingerprint": "x"}
                    answer = await client.request(
                        method, path.format(**filled), params={"id": "x"}, data=form
                    )
                    assert answer.status_code in expected, (method, path, answer.status_code)


async def test_a_page_asks_for_itself_whatever_its_accounts_id_holds(world):
    account = "a b%41?c=1#d:é"
    path = f"/accounts/{quote(account, safe='')}"
    async with world.running() as url, world.client(url, world.keys.token(account)) as person:
        for asked in (path, f"{path}/invoices?q=%25%3F"):
            page = (await person.get(asked)).text
            assert f'hx-get="{asked}"' in page
            assert f'href="{asked.partition("?")[0]}" aria-current="page"' in page
        for mark in ('["0001-01-01T00:00:00+23:59", "x"]', '["9999-12-31T23:59:59-23:59", "x"]',
                     '["2026-03-01T00:00:00+00:00", "\\ud800"]'):  # fmt: skip
            after = base64.urlsafe_b64encode(mark.encode()).decode()
            for listed in ("/invoices", "/payments", "/dead-letters", "/out-of-sync"):
                answer = await person.get(f"{path}{listed}", params={"after": after})
                assert answer.status_code == 200, (listed, mark)


async def test_without_kafka_pages_are_there_and_say_so(world):
    world.bootstrap = "127.0.0.1:1"
    token = world.keys.token("acc-1")
    async with world.running() as url, world.client(url, token) as person:
        page = await person.get("/accounts/acc-1")
        assert page.status_code == 200
        assert "This view has only begun to read the topics." in page.text
        assert "No payment yet." in page.text
        for health in ("/health/ready", "/health/live"):
            assert (await person.get(health)).status_code == 200
