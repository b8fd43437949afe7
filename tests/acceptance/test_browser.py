"""The card in a real Chromium: what an administrator reads and presses."""

import re

import pytest
from playwright.async_api import async_playwright, expect

from pipeline_local_stack.identities import ACCOUNT

pytestmark = pytest.mark.browser


async def test_an_administrator_disconnects_and_connects_again(chromium, stack):
    """Leaves the account connected, as the other tests need it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-background-networking", "--disable-component-update"],
        )
        page = await browser.new_page()
        told: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        await page.goto(stack.urls["portal"])
        await page.get_by_role("link", name="as admin", exact=True).click()
        await expect(page.get_by_role("status")).to_contain_text("CONNECTED")
        await page.get_by_role("link", name="Disconnect").click()
        # Counted by the running invoice-sync.
        await expect(page.get_by_text(re.compile(r"in Xero stays? there"))).to_be_visible()
        await expect(page.get_by_text("not known at the moment")).to_have_count(0)
        await page.get_by_role("button", name="Disconnect").click()
        await expect(page.get_by_role("status")).to_contain_text("DISCONNECTED")
        await page.get_by_role("button", name="Connect to Xero").click()
        await page.get_by_role("button", name="Allow access").click()
        await expect(page).to_have_url(re.compile(f"/accounts/{ACCOUNT}/xero$"))
        await expect(page.get_by_role("status")).to_contain_text("CONNECTED")
        await expect(page.get_by_text("Demo Company (NZ)").first).to_be_visible()
        assert not [text for text in told if "Content Security Policy" in text]
        await browser.close()


async def test_a_viewer_reads_the_card_and_has_no_buttons(chromium, stack):
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = await browser.new_page()
        await page.goto(f"{stack.urls['portal']}/sign-in/viewer")
        await expect(page.get_by_role("status")).to_contain_text("CONNECTED")
        await expect(page.get_by_role("button")).to_have_count(0)
        await browser.close()
