"""Walks through what befalls a connection, in a real Chromium: what a person reads, and the way back to Connected.

The ways that the troubleshooting guide speaks of are walked in test_walks_of_the_guide.py.
"""

import pytest
from card_pages import SINGLE, SOLO, allow, card_pages, go_to_xero, press, words
from fake_invoice_sync import FakeInvoiceSync
from happenings import (
    REFUSED,
    call_xero,
    sixty_days_pass_unused,
    somebody_disconnects_inside_xero,
    xero_answers_again,
    xero_falls_silent,
)
from playwright.async_api import expect
from serving import serving

from connector.tend_tokens import check_due
from pipeline_service_defaults.keys import new_private_key

pytestmark = pytest.mark.browser

SOON = 20_000
"""Milliseconds: several looks of an open card on a busy machine."""


@pytest.fixture
async def pages(make_stack, chromium):
    async with card_pages(make_stack, chromium) as found:
        await found.connect()
        yield found


async def test_expired_unused_and_connected_again(pages):
    page = await pages.opened()
    await sixty_days_pass_unused(pages.stack)
    status = page.get_by_role("status")
    await expect(status).to_contain_text("Authorisation expired TOKEN_EXPIRED", timeout=SOON)
    told = await words(page)
    assert "The authorisation was not used for 60 days, so Xero let it expire." in told
    assert "waiting invoices then continue by themselves" in told
    assert await page.get_by_role("button", name="Refresh Token").count() == 0
    await go_to_xero(page, SINGLE)
    await allow(page, SOLO)
    await pages.ends_well(page, SOLO)
    assert "Authorisation expired after 60 days without use the system, " in await words(page)


async def found_by_a_call(stack):
    assert await call_xero(stack) == REFUSED


async def found_by_the_hourly_look(stack):
    await stack.db.execute("UPDATE token_sets SET check_after = now()")
    assert await check_due(stack.apps[0].state.deps) == 1


@pytest.mark.parametrize("found", [found_by_a_call, found_by_the_hourly_look])
async def test_revoked_inside_xero_it_is_found_and_shown_without_a_reload(pages, found):
    page = await pages.opened()
    await page.evaluate("window.sameDocument = true")
    await somebody_disconnects_inside_xero(pages.stack)
    await found(pages.stack)
    status = page.get_by_role("status")
    await expect(status).to_contain_text("Somebody disconnected Pipeline from", timeout=SOON)
    assert await page.evaluate("window.sameDocument")
    told = await words(page)
    assert "Not connected DISCONNECTED" in told
    assert "If that was not intended, an administrator presses Connect to Xero." in told
    assert "Disconnected from inside Xero someone in Xero, " in told
    assert await page.get_by_role("link", name="Disconnect").count() == 0
    await go_to_xero(page, SINGLE)
    await allow(page, SOLO)
    await pages.ends_well(page, SOLO)


async def test_a_silent_xero_is_not_an_expired_token(pages):
    page = await pages.opened()
    await xero_falls_silent(pages.stack)
    status = page.get_by_role("status")
    await expect(status).to_contain_text("Xero is not answering at the moment", timeout=SOON)
    assert "Connected CONNECTED" in await words(page)
    await press(page, "Refresh Token")
    await page.wait_for_url("**/problem/refresh-delayed")
    told = await words(page)
    assert "The connection itself is unchanged." in told
    assert "Our move: the connector keeps trying by itself." in told
    xero_answers_again(pages.stack)
    await press(page, "Back to the Xero card")
    await press(page, "Refresh Token")
    await pages.ends_well(page, SOLO)
    assert len(await pages.stack.events("acc-1")) == 1


@pytest.fixture
async def counted(make_stack, chromium, tmp_path):
    """A connected account, and an invoice-sync that counts its invoices."""
    (tmp_path / "connector.pem").write_text(new_private_key())
    fake = FakeInvoiceSync()
    async with serving(fake) as url:
        settings = {"invoice_sync_url": url, "service_key_file": tmp_path / "connector.pem"}
        async with card_pages(make_stack, chromium, **settings) as pages:
            await pages.connect()
            yield pages, fake


async def test_disconnect_tells_first_what_will_wait(counted):
    pages, fake = counted
    page = await pages.opened(viewport={"width": 360, "height": 800})
    await press(page, "Disconnect")
    await page.wait_for_url("**/disconnect")
    told = await words(page)
    assert f"Disconnect {SOLO} from Pipeline?" in told
    assert (
        "12 invoices that are not in Xero yet wait; sending goes on once the account is connected again."
        in told
    )
    assert "1,480 invoices that are in Xero stay there as they are" in told
    assert "Pipeline's access is revoked, and the stored authorisation is erased." in told
    await press(page, "Stay connected")
    await pages.ends_well(page, SOLO)
    # It says so when the counts are not to be had, and stands in nobody's way.
    fake.status = 500
    await press(page, "Disconnect")
    told = await words(page)
    assert "not known at the moment: the service that counts them did not answer in time." in told
    await press(page, "Disconnect")
    await page.wait_for_url(pages.card)
    told = await words(page)
    assert "Not connected DISCONNECTED This account was disconnected from Xero." in told
    assert "Mappings and history are kept." in told
    assert "Disconnected Ada <Admin>, " in told
    assert pages.stack.sim.world.grants.connections == {}
    await go_to_xero(page, SINGLE)
    await allow(page, SOLO)
    await pages.ends_well(page, SOLO)
