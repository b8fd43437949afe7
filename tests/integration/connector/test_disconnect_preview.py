"""The page before a disconnect: what it tells, with and without counts, and that its button means what was read."""

import asyncio
import json
import re
from contextlib import asynccontextmanager

import pytest
from fake_invoice_sync import SUMMARY, FakeInvoiceSync
from serving import serving

from connector.clients import invoice_sync
from connector.clients.bounded import Bounds
from pipeline_service_defaults.auth import Authenticator, Service
from pipeline_service_defaults.keys import new_private_key, public_jwk


@pytest.fixture
async def counting(make_stack, tmp_path):
    """A connected account, with an invoice-sync that counts."""
    fake = FakeInvoiceSync()
    key = new_private_key()
    (tmp_path / "connector.pem").write_text(key)
    async with serving(fake) as url:
        stack = await make_stack(invoice_sync_url=url, service_key_file=tmp_path / "connector.pem")
        await stack.connect("acc-1")
        fake.key = key
        yield stack, fake


@asynccontextmanager
async def preview(stack, account="acc-1", status=200):
    async with stack.browser(account) as browser:
        page = await browser.pipeline.get(f"{browser.card}/disconnect")
        assert page.status_code == status, page.text
        yield browser, page


def words(page) -> str:
    return " ".join(re.sub(r"<[^>]+>", "", page.text).split())


def form(page) -> dict[str, str]:
    return dict(re.findall(r'name="(csrf|organisation)" value="([^"]*)"', page.text))


async def test_the_counts_are_told_and_nothing_is_done_yet(counting):
    stack, _ = counting
    async with preview(stack) as (_, page):
        told = words(page)
    assert "Disconnect Kiwi Records Ltd from Pipeline?" in told
    assert "12 invoices that are not in Xero yet wait" in told
    assert "1,480 invoices that are in Xero stay there as they are" in told
    assert "3 invoices that need somebody's help stay as they are" in told
    assert "Pipeline's access is revoked" in told
    assert "Settings, mappings of customers and codes, and the whole history" in told
    assert (await stack.status("acc-1"))["status"] == "CONNECTED"
    assert len(await stack.events("acc-1")) == 1


async def test_one_invoice_is_not_called_invoices(counting):
    stack, fake = counting
    fake.body = json.dumps(
        SUMMARY | {"waiting": 1, "synced": 1, "states": {"failed": 1, "out_of_sync": 0}}
    ).encode()
    async with preview(stack) as (_, page):
        assert "1 invoice that is not in Xero yet waits; sending goes on once" in words(page)
        assert "1 invoice that is in Xero stays there as it is" in words(page)
        assert "1 invoice that needs somebody's help stays as it is" in words(page)


async def test_invoice_sync_is_asked_as_the_connector_and_only_for_this_account(counting):
    stack, fake = counting
    async with preview(stack):
        pass
    ((method, path, headers),) = fake.asked
    assert (method, path) == ("GET", "/v1/accounts/acc-1/summary")
    issuers = {"connector": {"kind": "service", "keys": [public_jwk(fake.key)]}}
    token = headers["authorization"].removeprefix("Bearer ")
    proven = Authenticator(issuers, service_name="invoice-sync").verify(token)
    assert proven == Service("connector")
    assert "cookie" not in headers


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (500, [], b""),
        (401, [], b"{}"),
        (404, [], b"{}"),
        (302, [(b"location", b"http://localhost:1/")], b""),
        (200, [], b""),
        (200, [], b"<html>"),
        (200, [], b'{"waiting": -1}'),
        (200, [], b'{"waiting": "<script>alert(1)</script>"}'),
        (200, [], b" " * 1_000_000),
    ],
)
async def test_an_answer_that_counts_nothing_is_told_and_stands_in_nobodys_way(
    counting, status, headers, body
):
    stack, fake = counting
    fake.status, fake.headers, fake.body = status, headers, body
    async with preview(stack) as (browser, page):
        assert "the service that counts them did not answer in time" in words(page)
        assert "<script>" not in page.text
        assert len(fake.asked) == 1
        done = await browser.press("disconnect", **form(page))
        assert done.headers["location"] == browser.card
    assert (await stack.status("acc-1"))["status"] == "DISCONNECTED"


async def test_an_answer_that_does_not_come_is_not_waited_for(counting, monkeypatch):
    stack, fake = counting
    fake.hangs = True
    short = Bounds(connect=0.2, read=0.2, total=0.2, max_bytes=1000)
    monkeypatch.setattr(invoice_sync, "BOUNDS", short)
    async with preview(stack) as (_, page):
        assert "did not answer in time" in words(page)


async def test_a_service_that_is_not_there_is_told(make_stack, tmp_path):
    (tmp_path / "connector.pem").write_text(new_private_key())
    stack = await make_stack(
        invoice_sync_url="http://localhost:1", service_key_file=tmp_path / "connector.pem"
    )
    await stack.connect("acc-1")
    async with preview(stack) as (_, page):
        assert "did not answer in time" in words(page)


async def test_without_its_address_the_page_says_so(stack):
    await stack.connect("acc-1")
    async with preview(stack) as (_, page):
        assert "this installation is not set up to count them" in words(page)


async def test_a_user_who_serves_another_account_keeps_that_one(stack):
    both = ("Demo Company (NZ)", "Demo Company (US)")
    await stack.connect("acc-1", "demo@example.com", both[:1])
    await stack.connect("acc-2", "demo@example.com", both[1:])
    async with preview(stack) as (browser, page):
        assert "Only this organisation is removed" in words(page)
        assert "acc-2" not in page.text
        assert "Demo Company (US)" not in page.text
        await browser.press("disconnect", **form(page))
    assert (await stack.status("acc-1"))["status"] == "DISCONNECTED"
    assert (await stack.status("acc-2"))["status"] == "CONNECTED"
    async with stack.caller() as client:
        assert (await client.get("/v1/accounts/acc-2/xero/Organisation")).status_code == 200


async def test_with_nothing_to_disconnect_the_card_is_shown(stack):
    async with preview(stack, status=303) as (browser, page):
        assert page.headers["location"] == browser.card
        done = await browser.press("disconnect", csrf=await browser.form_token())
        assert done.headers["location"] == browser.card
    assert await stack.events("acc-1") == []


async def test_another_organisation_meanwhile_is_not_disconnected(stack):
    await stack.connect("acc-1")
    async with preview(stack) as (browser, page):
        await stack.db.execute(
            "UPDATE connections SET tenant_name = 'Other', tenant_id = 'other-1'"
        )
        answer = await browser.press("disconnect", **form(page))
        assert answer.status_code == 409
        assert "The connection changed after you opened this page" in words(answer)
        assert "Disconnect Other from Pipeline?" in words(answer)
        assert (await stack.status("acc-1"))["status"] == "CONNECTED"
        assert len(await stack.events("acc-1")) == 1
        # Read again and meant: now it is this one.
        again = await browser.press("disconnect", **form(answer))
        assert again.headers["location"] == browser.card
    assert (await stack.status("acc-1"))["status"] == "DISCONNECTED"


async def test_expired_or_disconnected_meanwhile_the_press_ends_at_the_card(stack):
    await stack.connect("acc-1")
    async with preview(stack) as (browser, page):
        await stack.db.execute(
            "UPDATE connections SET status = 'TOKEN_EXPIRED', reason = 'REFRESH_REJECTED'"
        )
        first, second = await asyncio.gather(
            *(browser.press("disconnect", **form(page)) for _ in range(2))
        )
        third = await browser.press("disconnect", **form(page))
        assert {a.headers["location"] for a in (first, second, third)} == {browser.card}
    assert [event.status for event in await stack.events("acc-1")] == ["CONNECTED", "DISCONNECTED"]


@pytest.mark.parametrize("organisation", ["x" * 101, "a b", "\x00", "<script>", "'; --"])
async def test_rubbish_for_an_organisation_is_refused(stack, organisation):
    await stack.connect("acc-1")
    async with stack.browser("acc-1") as browser:
        answer = await browser.press("disconnect", organisation=organisation)
    assert answer.status_code == 422
    assert (await stack.status("acc-1"))["status"] == "CONNECTED"


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_only_administrators_see_it(stack, role):
    await stack.connect("acc-1")
    async with stack.browser("acc-1", role=role) as browser:
        assert (await browser.pipeline.get(f"{browser.card}/disconnect")).status_code == 403
