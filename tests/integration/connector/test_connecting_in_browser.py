"""Connecting in a real Chromium when it does not go straight: what a person reads, and the one button that leads on."""

import pytest
from axe_playwright_python.async_playwright import Axe
from card_pages import card_pages

pytestmark = pytest.mark.browser

NZ, US, SOLO = "Demo Company (NZ)", "Demo Company (US)", "Kiwi Records Ltd"
DEMO, SINGLE = "demo@example.com", "single@example.com"


async def heading(page):
    return await page.get_by_role("heading", level=1).inner_text()


async def is_sound(page):
    results = await Axe().run(page, options={"resultTypes": ["violations"]})
    assert results.response["violations"] == []
    assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


async def press_connect(pages, page, user=SINGLE, tenants=()):
    pages.stack.consent(user, tenants)
    await page.get_by_role("button", name="Connect to Xero").click()


async def test_switching_is_read_confirmed_and_shown(make_stack, chromium):
    async with card_pages(make_stack, chromium) as pages:
        await pages.connect(DEMO, (NZ,))
        page = await pages.person(viewport={"width": 360, "height": 800})
        await page.goto(f"{pages.card}/problem/consent-cancelled")
        await press_connect(pages, page)
        await page.wait_for_url("**/problem/different-organisation")
        assert "different organisation" in await heading(page)
        assert NZ in await page.locator("dl").inner_text()
        assert SOLO in await page.locator("dl").inner_text()
        await page.get_by_role("link", name="What switching").click()
        await page.wait_for_url("**/switch")
        assert "Switch" in await heading(page)
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            await is_sound(page)
        # Without the tick the browser itself keeps the form back, at the box.
        await page.get_by_role("button", name="Switch the organisation").click()
        assert page.url.endswith("/switch")
        assert (await pages.stack.status("acc-1"))["tenant_name"] == NZ
        # By keyboard alone.
        await page.get_by_role("checkbox").focus()
        await page.keyboard.press("Space")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.wait_for_url(pages.card)
        assert SOLO in await page.locator("dl").inner_text()
        assert "another Xero organisation" in await page.locator("body").inner_text()


async def test_keeping_the_organisation_changes_nothing(make_stack, chromium):
    async with card_pages(make_stack, chromium) as pages:
        await pages.connect(DEMO, (NZ,))
        page = await pages.person()
        await page.goto(f"{pages.card}/problem/consent-cancelled")
        await press_connect(pages, page)
        await page.get_by_role("link", name="What switching").click()
        await page.get_by_role("link", name=f"Keep {NZ}").click()
        await page.wait_for_url(pages.card)
        assert NZ in await page.locator("dl").inner_text()
        assert len(await pages.stack.events("acc-1")) == 1


async def test_cookies_cleared_at_xero_lead_back_by_one_button(make_stack, chromium):
    async with card_pages(make_stack, chromium) as pages:
        page = await pages.person()
        await page.goto(pages.card)
        await page.get_by_role("button", name="Connect to Xero").click()
        kept = [c for c in await page.context.cookies() if c["name"] == "pipeline_session"]
        await page.context.clear_cookies()
        await page.get_by_role("button", name="Allow access").click()
        await page.wait_for_url("**/problem/signed-out")
        assert "signed out" in await heading(page)
        await is_sound(page)
        # Signed in again, in another tab.
        await page.context.add_cookies(kept)
        await page.get_by_role("link", name="Continue").click()
        await page.wait_for_url(pages.card)
        await press_connect(pages, page)
        await page.wait_for_url(pages.card)
        assert "CONNECTED" in await page.get_by_role("status").inner_text()


async def test_two_tabs_at_once_end_in_one_connection(make_stack, chromium):
    async with card_pages(make_stack, chromium) as pages:
        one = await pages.person()
        two = await one.context.new_page()
        for tab in (one, two):
            await tab.goto(pages.card)
        for tab in (one, two):
            await tab.get_by_role("button", name="Connect to Xero").click()
            await tab.wait_for_url("**/identity/connect/authorize**")
            await tab.get_by_label(US).uncheck()
        for tab in (two, one):
            await tab.get_by_role("button", name="Allow access").click()
            await tab.wait_for_url(pages.card)
            assert "CONNECTED" in await tab.get_by_role("status").inner_text()
        assert (await pages.stack.status("acc-1"))["tenant_name"] == NZ
        async with pages.stack.caller() as client:
            answer = await client.get("/v1/accounts/acc-1/xero/Organisation")
        assert answer.status_code == 200


async def test_the_cap_is_told_before_anybody_is_sent_to_xero(make_stack, chromium):
    async with card_pages(make_stack, chromium, xero_connection_limit=1) as pages:
        await pages.connect(DEMO, (NZ,))
        await pages.say("UPDATE connections SET account_id = 'acc-2'")
        page = await pages.person()
        await page.goto(pages.card)
        await page.get_by_role("button", name="Connect to Xero").click()
        await page.wait_for_url("**/problem/connection-limit")
        assert "places at Xero are taken" in await heading(page)
        await page.get_by_role("link", name="Back to the Xero card").click()
        await page.wait_for_url(pages.card)
