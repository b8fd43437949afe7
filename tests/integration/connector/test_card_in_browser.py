"""The card in a real Chromium, under its real policy: what a person reads and presses."""

import pytest
from playwright.async_api import async_playwright
from serving import listen, serving

pytestmark = pytest.mark.browser


@pytest.fixture
async def person(make_stack, chromium):
    """A signed-in administrator's browser page in front of a served connector."""
    listener = listen()
    url = f"http://localhost:{listener.getsockname()[1]}"
    stack = await make_stack(public_url=url)
    stack.sim.world.redirect_uris.append(f"{url}/oauth/xero/callback")
    async with serving(stack.apps[0], listener=listener), async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = await browser.new_context(viewport={"width": 390, "height": 844})
        token = stack.keys.person_token("acc-1")
        await context.add_cookies([{"name": "pipeline_session", "value": token, "url": url}])
        page = await context.new_page()
        complaints = []

        def note(message):
            # Browsers ask for an icon by themselves; nobody has one.
            if message.type == "error" and not message.location["url"].endswith("/favicon.ico"):
                complaints.append(message.text)

        page.on("console", note)
        yield stack, page, f"{url}/accounts/acc-1/xero", complaints
        await browser.close()


async def test_connect_then_disconnect_by_pressing_what_is_shown(person):
    stack, page, card, complaints = person
    await page.goto(card)
    assert await page.get_by_role("status").inner_text() != ""
    assert "DISCONNECTED" in await page.get_by_role("status").inner_text()
    assert await page.get_by_role("button", name="Disconnect").count() == 0
    await page.get_by_role("button", name="Connect to Xero").click()
    await page.get_by_label("Demo Company (US)").uncheck()
    await page.get_by_role("button", name="Allow access").click()
    await page.wait_for_url(card)
    assert "CONNECTED" in await page.get_by_role("status").inner_text()
    assert "Demo Company (NZ)" in await page.locator("dl").inner_text()
    assert "Ada <Admin>" in await page.locator("dl").inner_text()
    wide = await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert wide, "the page scrolls sideways on a phone"
    await page.get_by_role("link", name="Disconnect").click()
    await page.get_by_role("button", name="Disconnect").click()
    await page.wait_for_url(card)
    assert "DISCONNECTED" in await page.get_by_role("status").inner_text()
    assert stack.sim.world.grants.connections == {}
    assert complaints == []


async def test_choosing_and_cancelling(person):
    _, page, card, complaints = person
    await page.goto(card)
    await page.get_by_role("button", name="Connect to Xero").click()
    await page.get_by_role("button", name="Cancel").click()
    await page.wait_for_url("**/problem/consent-cancelled")
    assert "cancelled" in await page.get_by_role("heading", level=1).inner_text()
    await page.get_by_role("button", name="Connect to Xero").click()
    # Xero's page ticks the first organisation; tick the other as well.
    await page.get_by_label("Demo Company (US)").check()
    await page.get_by_role("button", name="Allow access").click()
    await page.wait_for_url("**/organisation")
    await page.get_by_label("Demo Company (US)").check()
    await page.get_by_role("button", name="Use this organisation").click()
    await page.wait_for_url(card)
    assert "Demo Company (US)" in await page.locator("dl").inner_text()
    assert complaints == []


async def test_an_expired_grant_offers_to_connect_again(person):
    stack, page, card, complaints = person
    await page.goto(card)
    await page.get_by_role("button", name="Connect to Xero").click()
    await page.get_by_role("button", name="Allow access").click()
    await page.wait_for_url(card)
    stack.sim.world.grants.refreshes.clear()
    await stack.db.execute("UPDATE token_sets SET access_expires_at = now()")
    async with stack.caller() as client:
        await client.get("/v1/accounts/acc-1/xero/Organisation")
    await page.reload()
    assert "TOKEN_EXPIRED" in await page.get_by_role("status").inner_text()
    await page.get_by_role("button", name="Connect to Xero").click()
    await page.get_by_role("button", name="Allow access").click()
    await page.wait_for_url(card)
    assert "CONNECTED" in await page.get_by_role("status").inner_text()
    assert complaints == []
