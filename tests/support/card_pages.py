"""A person's Chromium in front of a served connector, for the tests of its pages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import Any

from happenings import OK, call_xero
from playwright.async_api import Browser, Page, async_playwright, expect
from serving import listen, serving

DEMO, SINGLE = "demo@example.com", "single@example.com"
NZ, US, SOLO = "Demo Company (NZ)", "Demo Company (US)", "Kiwi Records Ltd"
"""The people of the simulated Xero; the first has the first two organisations, the second the third."""


async def heading(page: Page) -> str:
    """What the page calls itself."""
    return await page.get_by_role("heading", level=1).inner_text()


async def words(page: Page) -> str:
    """All that can be read on the page, in one line."""
    return " ".join((await page.locator("main").inner_text()).split())


async def press(page: Page, name: str) -> None:
    """Press the one thing of this name, a button or a link that looks like one."""
    await page.get_by_role("button", name=name).or_(page.get_by_role("link", name=name)).click()


async def go_to_xero(page: Page, user: str) -> None:
    """Press Connect to Xero, and sign in there as `user`."""
    await press(page, "Connect to Xero")
    await page.wait_for_url("**/identity/connect/authorize**")
    other = page.get_by_role("link", name=user)
    if await other.count():
        await other.click()
        await expect(other).to_have_count(0)


async def allow(page: Page, *organisations: str) -> None:
    """On Xero's page of consent: tick exactly these, and allow."""
    for box in await page.get_by_role("checkbox").all():
        await box.uncheck()
    for name in organisations:
        await page.get_by_label(name).check()
    await press(page, "Allow access")


@dataclass
class CardPages:
    """The connector's pages of `acc-1`, and what browsers complained about."""

    stack: Any
    url: str
    browser: Browser
    name: str = "Ada <Admin>"
    complaints: list[str] = field(default_factory=list)

    @property
    def card(self) -> str:
        return f"{self.url}/accounts/acc-1/xero"

    async def person(self, role: str = "admin", **context: Any) -> Page:
        """A new browser session of somebody with this role."""
        made = await self.browser.new_context(
            **{"viewport": {"width": 1100, "height": 900}} | context
        )
        token = self.stack.keys.person_token("acc-1", role, name=self.name)
        await made.add_cookies([{"name": "pipeline_session", "value": token, "url": self.url}])
        made.set_default_timeout(15_000)
        page = await made.new_page()

        def note(message: Any) -> None:
            # Browsers ask for an icon by themselves, and report every status they are meant to show.
            if message.type == "error" and not message.text.startswith("Failed to load resource"):
                self.complaints.append(message.text)

        page.on("console", note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        return page

    async def opened(self, role: str = "admin", **context: Any) -> Page:
        """The card, open in a new browser session."""
        page = await self.person(role, **context)
        await page.goto(self.card)
        return page

    async def connect(self, user: str = SINGLE, tenants: tuple[str, ...] = ()) -> None:
        """Connect the account, by the buttons."""
        self.stack.consent(user, tenants)
        page = await self.opened()
        await press(page, "Connect to Xero")
        await page.wait_for_url(f"{self.card}**")
        await page.context.close()

    async def ends_well(self, page: Page, organisation: str, hint: str = "Nothing to do") -> None:
        """Nothing is stuck: the card says Connected and to what, and calls of the other services get through."""
        await page.wait_for_url(self.card)
        status = page.get_by_role("status")
        await expect(status).to_contain_text("Connected")
        await expect(status).to_contain_text(hint)
        await expect(page.locator("dl")).to_contain_text(organisation)
        await expect(page.get_by_role("button")).to_have_count(0)
        assert await call_xero(self.stack) == OK

    async def belongs_to(self, other: str) -> None:
        """What was connected until now is another account's; this one was never connected."""
        await self.say("UPDATE connections SET account_id = $1", other)
        await self.say("UPDATE connection_changes SET account_id = $1", other)

    async def say(self, statement: str, *values: Any) -> None:
        """Change what is recorded behind the page's back."""
        await self.stack.db.execute(statement, *values)


@asynccontextmanager
async def card_pages(make_stack: Any, chromium: str, **settings: Any) -> AsyncIterator[CardPages]:
    """Serve a connector and start a browser; a complaint of the browser fails the test at the end."""
    # Closed here too: should the connector not even start, nobody else would.
    with closing(listen()) as listener:
        url = f"http://localhost:{listener.getsockname()[1]}"
        stack = await make_stack(public_url=url, **settings)
        stack.sim.world.redirect_uris.append(f"{url}/oauth/xero/callback")
        async with serving(stack.apps[0], listener=listener), async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox"]
            )
            pages = CardPages(stack, url, browser)
            yield pages
            await browser.close()
            assert pages.complaints == []
