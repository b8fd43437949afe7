"""A person's Chromium in front of a served connector, for the tests of its pages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser, Page, async_playwright
from serving import listen, serving


@dataclass
class CardPages:
    """The connector's pages of `acc-1`, and what browsers complained about."""

    stack: Any
    url: str
    browser: Browser
    complaints: list[str] = field(default_factory=list)

    @property
    def card(self) -> str:
        return f"{self.url}/accounts/acc-1/xero"

    async def person(self, role: str = "admin", **context: Any) -> Page:
        """A new browser session of somebody with this role."""
        made = await self.browser.new_context(
            **{"viewport": {"width": 1100, "height": 900}} | context
        )
        token = self.stack.keys.person_token("acc-1", role)
        await made.add_cookies([{"name": "pipeline_session", "value": token, "url": self.url}])
        page = await made.new_page()

        def note(message: Any) -> None:
            # Browsers ask for an icon by themselves, and report every status they are meant to show.
            if message.type == "error" and not message.text.startswith("Failed to load resource"):
                self.complaints.append(message.text)

        page.on("console", note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        return page

    async def connect(
        self, user: str = "single@example.com", tenants: tuple[str, ...] = ()
    ) -> None:
        """Connect the account, by the buttons."""
        self.stack.consent(user, tenants)
        page = await self.person()
        await page.goto(self.card)
        await page.get_by_role("button", name="Connect to Xero").click()
        await page.wait_for_url(f"{self.card}**")
        await page.context.close()

    async def say(self, statement: str, *values: Any) -> None:
        """Change what is recorded behind the page's back."""
        await self.stack.db.execute(statement, *values)


@asynccontextmanager
async def card_pages(make_stack: Any, chromium: str, **settings: Any) -> AsyncIterator[CardPages]:
    """Serve a connector and start a browser; a complaint of the browser fails the test at the end."""
    listener = listen()
    url = f"http://localhost:{listener.getsockname()[1]}"
    stack = await make_stack(public_url=url, **settings)
    stack.sim.world.redirect_uris.append(f"{url}/oauth/xero/callback")
    async with serving(stack.apps[0], listener=listener), async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        pages = CardPages(stack, url, browser)
        yield pages
        await browser.close()
        assert pages.complaints == []
