"""The dashboard in a real Chromium: every page, live, accessible, and whatever the events say, nothing of it runs."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from dashboard_world import STAFF, Telling, tell_everything
from PIL import Image
from playwright.async_api import Page, async_playwright, expect

pytestmark = pytest.mark.browser
expect.set_options(timeout=20_000)

PICTURES = Path(__file__).resolve().parents[3] / "docs" / "images"
PAGES = {
    "": "overview",
    "/connection": "connection",
    "/invoices": "invoices",
    "/invoice?id=both": "invoice",
    "/failures": "failures",
    "/out-of-sync": "out-of-sync",
    "/payments": "payments",
    "/dead-letters": "dead-letters",
}
PICTURED = {"overview", "out-of-sync", "failures", "invoice"}
TOO_WIDE = """
    document.documentElement.scrollWidth <= document.documentElement.clientWidth ? [] :
    [...document.querySelectorAll("body *")]
        .filter(one => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
        .map(one => one.outerHTML.slice(0, 100))"""
ATTACK = (
    "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"
    '"\'><svg onload=alert(1)>{{7*7}}${7*7}<a href="javascript:alert(1)" hx-get=/ hx-on:click=x>'
)


class Chrome:
    """A browser, and what it complained about."""

    def __init__(self, browser, world, url) -> None:
        self.browser, self.world, self.url = browser, world, url
        self.complaints: list[str] = []

    async def page(
        self, account="acc-1", role="operator", *, name="Otto Operator", **context
    ) -> Page:
        made = await self.browser.new_context(
            **({"viewport": {"width": 1280, "height": 860}} | context)
        )
        token = self.world.keys.token(account, role, name=name)
        await made.add_cookies([{"name": "pipeline_session", "value": token, "url": self.url}])
        made.set_default_timeout(15_000)
        page = await made.new_page()

        def note(message) -> None:
            # Browsers ask for an icon by themselves, and report every status they are meant to show.
            if message.type == "error" and not message.text.startswith("Failed to load resource"):
                self.complaints.append(message.text)

        page.on("console", note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        return page


@asynccontextmanager
async def chrome(world, chromium):
    async with world.running() as url, async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"]
        )
        made = Chrome(browser, world, url)
        yield made
        await browser.close()
        assert made.complaints == []


async def nothing_serious(page: Page) -> None:
    results = await Axe().run(page)
    serious = [
        (found["id"], found["nodes"][0]["html"][:200])
        for found in results.response["violations"]
        if found["impact"] in {"serious", "critical"}
    ]
    assert serious == [], page.url


async def test_every_page_is_accessible_in_light_and_dark(world, chromium, request):
    await tell_everything(world)
    world.invoice_sync.answers[("GET", "/v1/accounts/acc-1/invoices/both/sync/resolve")] = (200, {
        "kind": "edited", "fingerprint": "f1", "in_words": [],
        "differences": [
            {"field": "due_date", "base": "2026-03-31", "pipeline": "2026-04-15", "xero": "2026-04-30"},
            {"field": "lines[1].quantity", "base": "1", "pipeline": "2", "xero": "3"}],
        "choices": [
            {"keep": "pipeline", "allowed": True, "why_not": None, "follows": "The invoice in Xero is changed to Pipeline's version."},
            {"keep": "xero", "allowed": True, "why_not": None, "follows": "Pipeline is told to take over Xero's version."}],
    })  # fmt: skip
    async with chrome(world, chromium) as browser:
        await world.all_stored()
        for scheme in ("light", "dark"):
            page = await browser.page(color_scheme=scheme)
            for path, name in PAGES.items():
                await page.goto(f"{browser.url}/accounts/acc-1{path}")
                await expect(page.get_by_role("heading", level=1)).to_be_visible()
                await nothing_serious(page)
                wanted = name in PICTURED if scheme == "light" else name == "overview"
                if wanted and request.config.getoption("--write-pictures"):
                    await picture(page, f"dashboard-{name}-{scheme}")
            await page.goto(f"{browser.url}/accounts/acc-1/invoices?q=nothing")
            await expect(page.get_by_text("Nothing found.")).to_be_visible()
            await nothing_serious(page)
            await page.goto(f"{browser.url}/accounts/acc-1/dead-letters")
            await page.get_by_role("link", name="pipeline.invoices.v1 0/7").click()
            await expect(page.get_by_text("Set aside by a service")).to_be_visible()
            await nothing_serious(page)
            letter = page.url.partition("/dead-letters/")[2]
            replay = f"/v1/accounts/acc-1/dead-letters/{letter}/replay"
            world.invoice_sync.answers |= {
                ("GET", replay): (200, {"objections": [], "follows": "It is taken in as if it had just arrived."}),
                ("POST", replay): (200, {"outcome": "taken_up"}),
            }  # fmt: skip
            await page.get_by_role("link", name="Take it up again…").click()
            await expect(page.get_by_text("as if it had just arrived")).to_be_visible()
            await nothing_serious(page)
            if scheme == "light" and request.config.getoption("--write-pictures"):
                await picture(page, "dashboard-take-up-light")
            await page.get_by_role("button", name="Take it up").click()
            await expect(page.get_by_text("invoice-sync took it up")).to_be_visible()
            await nothing_serious(page)
            await page.context.close()
        narrow = await browser.page(viewport={"width": 390, "height": 800})
        for path in PAGES:
            await narrow.goto(f"{browser.url}/accounts/acc-1{path}")
            assert await narrow.evaluate(TOO_WIDE) == [], path
        staff = await browser.page(STAFF, "viewer")
        await staff.goto(browser.url)
        await expect(staff.get_by_role("heading", level=1)).to_have_text("All accounts")
        await nothing_serious(staff)
        await staff.goto(f"{browser.url}/nowhere/accounts/x")
        await staff.goto(f"{browser.url}/accounts/nobody")
        await expect(staff.get_by_text("Never connected")).to_be_visible()
        stranger = await browser.page("acc-2")
        await stranger.goto(f"{browser.url}/accounts/acc-1")
        await expect(stranger.get_by_role("heading", level=1)).to_have_text("Not found")
        await nothing_serious(stranger)


async def test_an_open_page_follows_without_a_reload(world, chromium):
    told = Telling("acc-1")
    await world.send(told.issued("a"))
    async with chrome(world, chromium) as browser:
        await world.all_stored()
        page = await browser.page()
        await page.goto(f"{browser.url}/accounts/acc-1/invoice?id=a")
        await expect(page.get_by_role("heading", level=1)).to_contain_text("On its way")
        await page.evaluate("window.isStillHere = true")
        await world.send(told.failed("a"))
        await expect(page.get_by_role("heading", level=1)).to_contain_text("Failed")
        await expect(page.get_by_role("button", name="Try again now")).to_be_visible()
        await world.send(told.synced("a"))
        await expect(page.get_by_role("heading", level=1)).to_contain_text("In Xero")
        assert await page.evaluate("window.isStillHere") is True


async def test_an_open_page_comes_back_after_trouble_and_ages(world, chromium):
    told = Telling("acc-1")
    await world.send(told.issued("a"))
    async with chrome(world, chromium) as browser:
        await world.all_stored()
        page = await browser.page()
        await page.clock.install()
        await page.route("**/events?*", lambda route: route.fulfill(status=503), times=1)
        # Before the clock is turned: a request that is not yet on its way would run out of its time unsent.
        async with page.expect_response("**/events?*") as refused:
            await page.goto(f"{browser.url}/accounts/acc-1/invoice?id=a")
        assert (await refused.value).status == 503
        heading = page.get_by_role("heading", level=1)
        await expect(heading).to_contain_text("On its way")
        # The stream was refused when the page was opened: it is asked for again.
        await clock_turned_until(page, "31", lambda reply: "/events?" in reply.url and reply.ok)
        await world.send(told.failed("a"))
        await expect(heading).to_contain_text("Failed")
        # The page was not to be had when something was new: it is asked for again, too.
        page_itself = "**/invoice?id=a"
        await page.route(page_itself, lambda route: route.fulfill(status=503), times=1)
        async with page.expect_response(page_itself) as missed:
            await world.send(told.synced("a"))
        assert (await missed.value).status == 503
        await clock_turned_until(page, "01:01", lambda reply: "/invoice?" in reply.url and reply.ok)
        await expect(heading).to_contain_text("In Xero")


@pytest.mark.parametrize("late", ["htmx-sse", "pages"])
async def test_a_script_that_comes_late_costs_no_live_updates(world, chromium, late):
    told = Telling("acc-1")
    await world.send(told.issued("a"))
    async with chrome(world, chromium) as browser:
        await world.all_stored()
        page = await browser.page()

        async def slowly(route):
            await asyncio.sleep(0.5)
            await route.continue_()

        await page.route(f"**/static/{late}*.js", slowly)
        async with page.expect_response("**/events?*") as stream:
            await page.goto(f"{browser.url}/accounts/acc-1/invoice?id=a")
        assert (await stream.value).ok
        await world.send(told.failed("a"))
        await expect(page.get_by_role("heading", level=1)).to_contain_text("Failed")


async def clock_turned_until(page, span, is_it):
    """Turn the page's clock on until an answer has come: a turn while another request is under way brings none."""
    answered = asyncio.ensure_future(page.wait_for_event("response", is_it, timeout=15_000))
    while not answered.done():
        await page.clock.fast_forward(span)
        await asyncio.wait({answered}, timeout=1)
    await answered


async def test_without_javascript_people_can_read_search_and_decide(world, chromium):
    await tell_everything(world)
    world.invoice_sync.answers[("POST", "/v1/accounts/acc-1/invoices/stuck/sync/retry")] = (202, {"released": 1})  # fmt: skip
    async with chrome(world, chromium) as browser:
        await world.all_stored()
        page = await browser.page(java_script_enabled=False)
        await page.goto(f"{browser.url}/accounts/acc-1/invoices")
        await page.get_by_role("searchbox").fill("INV-stuck")
        await page.get_by_role("button", name="Search").click()
        await page.get_by_role("link", name="INV-stuck").click()
        await page.get_by_role("button", name="Try again now").click()
        await expect(page.get_by_text("It is taken up again")).to_be_visible()
    assert ("POST", "/v1/accounts/acc-1/invoices/stuck/sync/retry") in [one[:2] for one in world.invoice_sync.asked]  # fmt: skip


async def test_nothing_that_events_say_runs(world, chromium):
    await tell_everything(world, text=ATTACK)
    hostile = Telling("acc-1")
    await world.send(hostile.synced("link", deep_link="javascript:document.title='pwned'"))
    async with chrome(world, chromium) as browser:
        await world.all_stored()
        for account, role in (("acc-1", "operator"), (STAFF, "admin")):
            page = await browser.page(account, role, name=ATTACK[:200])
            paths = [f"/accounts/acc-1{path}" for path in (*PAGES, "/invoice?id=stuck", "/invoice?id=in-xero", "/invoice?id=link")]  # fmt: skip
            if account == STAFF:
                paths += ["/accounts", "/dead-letters", "/reading"]
            for path in paths:
                await page.goto(browser.url + path)
                await asyncio.sleep(0)
                assert "pwned" not in await page.title(), path
                assert await page.locator("main img, main svg, main script, main [onerror], main [hx-on\\:click]").count() == 0, path  # fmt: skip
                assert await page.locator('a[href^="javascript"]').count() == 0, path
            await page.goto(f"{browser.url}/accounts/acc-1/dead-letters")
            for link in await page.locator("tbody a").all():
                href = await link.get_attribute("href")
                other = await page.context.new_page()
                await other.goto(browser.url + href)
                assert "pwned" not in await other.title()
                await other.close()


async def picture(page: Page, name: str) -> None:
    """A small PNG for the documentation."""
    file = PICTURES / f"{name}.png"
    await page.screenshot(path=file)
    with Image.open(file) as taken:
        smaller = taken.convert("RGB").quantize(64)
    smaller.save(file, optimize=True)
