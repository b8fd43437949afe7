"""The pictures in docs/xero-card.md, taken of the real pages in states that were really brought about.

`pytest tests/integration/connector/test_card_pictures.py --write-pictures` takes them anew into docs/images. Without it
every picture is taken too, and the page about them is compared with what there is.
"""

import re
from io import BytesIO
from pathlib import Path

import pytest
from card_pages import (
    DEMO,
    NZ,
    SINGLE,
    SOLO,
    US,
    allow,
    card_pages,
    go_to_xero,
    press,
)
from fake_invoice_sync import FakeInvoiceSync
from happenings import (
    accept_the_app,
    call_xero,
    the_day_runs_low,
    xero_answers_again,
    xero_ends_the_grant,
    xero_falls_silent,
    xero_refuses_the_app,
)
from PIL import Image
from playwright.async_api import expect
from serving import serving

from pipeline_service_defaults.keys import new_private_key

pytestmark = pytest.mark.browser

DOCS = Path(__file__).parents[3] / "docs"
PAGE = DOCS / "xero-card.md"
IMAGES = DOCS / "images"
LARGEST = 60_000
"""Bytes of a picture."""

COLOURS = 64
PHONE = {"width": 390, "height": 844}


class Camera:
    """Takes pictures of the open page's card."""

    def __init__(self, folder):
        self.folder = folder
        self.taken = {}

    async def take(self, page, name, words, scheme="light"):
        """A picture of the card as it is once it says `words`."""
        await page.emulate_media(color_scheme=scheme)
        card = page.locator("article")
        await expect(card).to_contain_text(words)
        # Where the page was pressed last has the focus, which is not what the picture is about.
        await page.evaluate("document.activeElement.blur()")
        shot = Image.open(BytesIO(await card.screenshot(animations="disabled")))
        file = self.folder / f"{name}.png"
        # The few colours of text on plain ground fit a palette; so a picture needs a quarter of the room.
        shot.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
        self.taken[file.name] = file.stat().st_size

    async def both(self, page, name, words):
        """The same in a light and in a dark scheme."""
        await self.take(page, name, words)
        await self.take(page, f"{name}-dark", words, "dark")
        await page.emulate_media(color_scheme="light")


async def before_and_while_connecting(pages, page, camera):
    await page.goto(pages.card)
    await camera.take(page, "never-connected", "has not been connected")
    await press(page, "Connect to Xero")
    await press(page, "Cancel")
    await camera.take(page, "consent-cancelled", "consent was cancelled")
    await go_to_xero(page, DEMO)
    await allow(page, NZ, US)
    await camera.take(page, "choose-organisation", "Which organisation?")
    await page.get_by_label(NZ).check()
    await press(page, "Use this organisation")
    await page.wait_for_url(pages.card)


async def while_connected(pages, page, camera):
    await call_xero(pages.stack)
    await page.reload()
    await camera.both(page, "connected", "kept in step")
    await xero_falls_silent(pages.stack)
    await page.reload()
    await camera.take(page, "xero-silent", "Xero is not answering")
    xero_answers_again(pages.stack)
    await press(page, "Refresh Token")
    await expect(page.get_by_role("status")).to_contain_text("kept in step")
    await the_day_runs_low(pages.stack)
    await page.reload()
    await camera.take(page, "day-budget-low", "at the present rate spent")


async def before_disconnecting_and_switching(pages, page, camera):
    await press(page, "Disconnect")
    await camera.take(page, "disconnect-preview", "What stops and waits")
    await press(page, "Disconnect")
    await page.wait_for_url(pages.card)
    await camera.take(page, "disconnected", "was disconnected from Xero")
    await go_to_xero(page, SINGLE)
    await allow(page, SOLO)
    await camera.take(page, "different-organisation", "that is a different organisation")
    await press(page, "What switching to another organisation would do")
    await camera.take(page, "switch-organisation", "Switch to another organisation?")
    await press(page, f"Keep {NZ}")
    await go_to_xero(page, DEMO)
    await allow(page, NZ)
    await page.wait_for_url(pages.card)


async def when_expired(pages, page, camera):
    await xero_refuses_the_app(pages.stack)
    await page.reload()
    await camera.take(page, "token-expired-curable", "press Refresh Token")
    accept_the_app(pages.stack)
    await press(page, "Refresh Token")
    await expect(page.get_by_role("status")).to_contain_text("syncing continues")
    await xero_ends_the_grant(pages.stack)
    await page.reload()
    await camera.both(page, "token-expired-dead", "no longer accepts this authorisation")


async def test_every_picture(make_stack, chromium, tmp_path, pytestconfig):
    write = pytestconfig.getoption("--write-pictures")
    camera = Camera(IMAGES if write else tmp_path)
    (tmp_path / "connector.pem").write_text(new_private_key())
    async with serving(FakeInvoiceSync()) as url:
        settings = {"invoice_sync_url": url, "service_key_file": tmp_path / "connector.pem"}
        async with card_pages(make_stack, chromium, **settings) as pages:
            pages.name = "Ada Admin"
            page = await pages.person(viewport=PHONE)
            await before_and_while_connecting(pages, page, camera)
            await while_connected(pages, page, camera)
            await before_disconnecting_and_switching(pages, page, camera)
            await when_expired(pages, page, camera)
    assert {name: size for name, size in camera.taken.items() if size > LARGEST} == {}
    of_the_card = {
        each.name for each in IMAGES.glob("*.png") if not each.name.startswith("dashboard-")
    }
    assert camera.taken.keys() == of_the_card
    assert camera.taken.keys() == set(re.findall(r"images/([\w-]+\.png)", PAGE.read_text()))
