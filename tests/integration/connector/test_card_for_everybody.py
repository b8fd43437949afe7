"""Every page in every state, light and dark: nothing that keeps people out, nothing that needs a mouse or a wide screen."""

import pytest
from axe_playwright_python.async_playwright import Axe
from card_pages import card_pages
from playwright.async_api import expect

from connector.domain.failures import Failure

pytestmark = pytest.mark.browser

LONG = ("Ünïcode & Söhne 👩‍🚀 <b>שלום</b> " * 20)[:298] + "xx"
UNBROKEN = "n" * 300
STATES = {
    "connected": "SELECT 1",
    "Xero silent": "UPDATE token_sets SET unavailable_since = now(), last_problem = 'TimedOut'",
    "day runs low": "UPDATE connections SET reason = 'DAY_BUDGET_LOW'",
    "being disconnected": "UPDATE connections SET fenced_at = now()",
    "expired": "UPDATE connections SET status = 'TOKEN_EXPIRED', reason = 'REFRESH_REJECTED', fenced_at = NULL",
    "expired, ours": "UPDATE connections SET status = 'TOKEN_EXPIRED', reason = 'CLIENT_REJECTED'",
    "disconnected": "UPDATE connections SET status = 'DISCONNECTED', reason = 'REVOKED_IN_XERO'",
}


@pytest.fixture(scope="module")
def looked_over():
    """Look at a page as axe does; what it finds, in words."""
    axe = Axe()

    async def look(page):
        results = await axe.run(page, options={"resultTypes": ["violations"]})
        found = results.response["violations"]
        return [
            f"{each['impact']}: {each['id']}: {node['html']}"
            for each in found
            for node in each["nodes"]
        ]

    return look


async def narrow_enough(page):
    return await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


async def check(page, address, look):
    """A page at an address, in both schemes: nothing found by axe, and no scrolling sideways on the smallest phone."""
    await page.goto(address)
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        assert await look(page) == [], (address, scheme)
    assert await narrow_enough(page), address


@pytest.mark.parametrize("name", [LONG, UNBROKEN], ids=["long", "unbroken"])
async def test_the_card_in_every_state(make_stack, chromium, looked_over, name):
    async with card_pages(make_stack, chromium) as pages:
        page = await pages.person(viewport={"width": 360, "height": 800})
        await check(page, pages.card, looked_over)
        await pages.connect()
        await pages.say("UPDATE connections SET tenant_name = $1, connected_by_name = $1", name)
        await pages.say("UPDATE connection_changes SET tenant_name = $1, actor_name = $1", name)
        viewer = await pages.person("viewer", viewport={"width": 360, "height": 800})
        for state, statement in STATES.items():
            await pages.say(statement)
            await check(page, pages.card, looked_over)
            await check(viewer, pages.card, looked_over)
            if state != "disconnected":
                await check(page, f"{pages.card}/disconnect", looked_over)


async def test_every_failure_page(make_stack, chromium, looked_over):
    async with card_pages(make_stack, chromium) as pages:
        page = await pages.person(viewport={"width": 360, "height": 800})
        for failure in Failure:
            await check(page, f"{pages.card}/problem/{failure.value}", looked_over)
        await check(page, f"{pages.url}/oauth/xero/problem/signed-out", looked_over)


async def test_the_choice_of_an_organisation(make_stack, chromium, looked_over):
    async with card_pages(make_stack, chromium) as pages:
        pages.stack.consent("demo@example.com", ("Demo Company (NZ)", "Demo Company (US)"))
        page = await pages.person(viewport={"width": 360, "height": 800})
        await page.goto(pages.card)
        await page.get_by_role("button", name="Connect to Xero").click()
        await page.wait_for_url("**/organisation")
        await pages.say("UPDATE offered_organisations SET tenant_name = $1", LONG)
        await check(page, f"{pages.card}/organisation", looked_over)


async def test_the_page_before_a_switch(make_stack, chromium, looked_over):
    async with card_pages(make_stack, chromium) as pages:
        await pages.connect()
        await pages.say("UPDATE connections SET status = 'DISCONNECTED', xero_userid = NULL")
        page = await pages.person(viewport={"width": 360, "height": 800})
        pages.stack.consent("demo@example.com", ("Demo Company (NZ)", "Demo Company (US)"))
        await page.goto(pages.card)
        await page.get_by_role("button", name="Connect to Xero").click()
        await page.wait_for_url("**/problem/different-organisation")
        await pages.say("UPDATE offered_organisations SET tenant_name = $1", LONG)
        await pages.say("UPDATE connections SET tenant_name = $1", UNBROKEN)
        await check(page, f"{pages.card}/switch", looked_over)


async def focused(page):
    """What has the focus, by role and name, and whether that can be seen."""
    return await page.evaluate(
        """() => {
            const it = document.activeElement;
            const outline = getComputedStyle(it).outlineStyle;
            return [it.tagName.toLowerCase(), it.textContent.trim(), outline !== "none"];
        }"""
    )


async def tab_through(page, count):
    found = []
    for _ in range(count):
        await page.keyboard.press("Tab")
        found.append(await focused(page))
    return found


async def test_by_keyboard_alone(make_stack, chromium):
    async with card_pages(make_stack, chromium) as pages:
        page = await pages.person()
        await page.goto(pages.card)
        assert await tab_through(page, 1) == [["button", "Connect to Xero", True]]
        pages.stack.consent()
        await page.keyboard.press("Enter")
        await page.wait_for_url(pages.card)
        await expect(page.get_by_role("status")).to_contain_text("kept in step")
        await pages.say(STATES["Xero silent"])
        await page.reload()
        assert await tab_through(page, 2) == [
            ["button", "Refresh Token", True],
            ["a", "Disconnect", True],
        ]
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/disconnect")
        assert await tab_through(page, 2) == [
            ["button", "Disconnect", True],
            ["a", "Stay connected", True],
        ]
        await page.keyboard.press("Enter")
        await page.wait_for_url(pages.card)
        await tab_through(page, 1)
        await page.keyboard.press("Space")
        await expect(page.get_by_role("status")).to_contain_text("kept in step")
        await tab_through(page, 1)
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/disconnect")
        await tab_through(page, 1)
        await page.keyboard.press("Enter")
        await page.wait_for_url(pages.card)
        await expect(page.get_by_role("status")).to_contain_text("Not connected")


async def test_nothing_moves_for_whoever_asked_for_that(make_stack, chromium):
    async with card_pages(make_stack, chromium) as pages:
        page = await pages.person(reduced_motion="reduce", forced_colors="active")
        await page.goto(pages.card)
        spinner = """() => {
            const button = document.querySelector("button");
            button.setAttribute("aria-disabled", "true");
            return getComputedStyle(button, "::before").animationName;
        }"""
        assert await page.evaluate(spinner) == "none"
        # Without colours of its own the status is still a box with a mark and words.
        assert await page.evaluate(
            "getComputedStyle(document.querySelector('.panel')).borderTopStyle === 'solid'"
        )
        await page.emulate_media(reduced_motion="no-preference")
        assert await page.evaluate(spinner) == "turn"
