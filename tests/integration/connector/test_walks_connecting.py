"""Walks through connecting in a real Chromium: what a person reads at every turn, and that it works in the end.

The ways that the troubleshooting guide speaks of are walked in test_walks_of_the_guide.py.
"""

from datetime import timedelta

import pytest
from axe_playwright_python.async_playwright import Axe
from card_pages import (
    DEMO,
    NZ,
    SINGLE,
    SOLO,
    US,
    allow,
    card_pages,
    go_to_xero,
    heading,
    press,
    words,
)
from happenings import accept_the_app, refuse_the_app, xero_answers_again
from playwright.async_api import expect

from xero_simulator import grants

pytestmark = pytest.mark.browser


@pytest.fixture
async def pages(make_stack, chromium):
    async with card_pages(make_stack, chromium) as found:
        yield found


async def test_the_first_connect(pages):
    page = await pages.opened(viewport={"width": 360, "height": 800})
    told = await words(page)
    assert "Not connected DISCONNECTED" in told
    assert "This account has not been connected to Xero yet." in told
    assert await page.get_by_role("link", name="Disconnect").count() == 0
    # Without facts there is no list of them, nor its lines.
    assert await page.locator("dl").count() == 0
    await go_to_xero(page, SINGLE)
    await allow(page, SOLO)
    await pages.ends_well(page, SOLO)
    told = await words(page)
    assert "Connected CONNECTED Invoices and payments are kept in step with Xero." in told
    assert "Connected by Ada <Admin>" in told
    assert "Pipeline may confirm who signed in to Xero" in told
    assert f"Connected: {SOLO} Ada <Admin>, " in told


async def test_cancelled_and_begun_again(pages):
    page = await pages.opened()
    await press(page, "Connect to Xero")
    await press(page, "Cancel")
    await page.wait_for_url("**/problem/consent-cancelled")
    told = await words(page)
    assert "Not connected: consent was cancelled" in told
    assert "Nothing has changed." in told
    assert "Your move: start again whenever you like, and choose Allow access." in told
    await go_to_xero(page, SINGLE)
    await allow(page, SOLO)
    await pages.ends_well(page, SOLO)


async def test_finished_in_another_browser(pages):
    """Xero's page is opened where the attempt did not begin: by a forwarded link, or by a thief."""
    begun, other = await pages.opened(), await pages.opened()
    await go_to_xero(begun, SINGLE)
    await other.goto(begun.url)
    await allow(other, SOLO)
    await other.wait_for_url("**/problem/other-browser")
    told = await words(other)
    assert "Not connected: this was begun elsewhere" in told
    assert "in another browser, under another sign-in, or before the cookies were cleared" in told
    assert pages.stack.calls("/connect/token") == []
    await go_to_xero(other, SINGLE)
    await allow(other, SOLO)
    await pages.ends_well(other, SOLO)
    # Whoever began it may still finish it.
    await allow(begun, SOLO)
    await pages.ends_well(begun, SOLO)


async def test_two_tabs_at_once_end_in_one_connection(pages):
    one = await pages.opened()
    two = await one.context.new_page()
    await two.goto(pages.card)
    for tab in (one, two):
        await go_to_xero(tab, DEMO)
    for tab in (two, one):
        await allow(tab, NZ)
        await pages.ends_well(tab, NZ)


async def test_the_answer_opened_twice_counts_once(pages):
    page = await pages.opened()
    answers = []
    page.on("request", lambda r: answers.append(r.url) if "/callback?" in r.url else None)
    await go_to_xero(page, SINGLE)
    await allow(page, SOLO)
    await page.wait_for_url(pages.card)
    await page.goto(answers[0])
    await page.wait_for_url("**/problem/already-used")
    told = await words(page)
    assert "This attempt was already used" in told
    assert "It only counts once." in told
    await press(page, "Back to the Xero card")
    await pages.ends_well(page, SOLO)


async def test_one_of_several_organisations_is_chosen_by_its_name(pages):
    page = await pages.opened()
    await go_to_xero(page, DEMO)
    await allow(page, NZ, US)
    await page.wait_for_url("**/organisation")
    told = await words(page)
    assert "Which organisation? You gave access to several Xero organisations." in told
    assert NZ in told
    # Nothing is chosen for anybody: the browser itself asks for a choice.
    await press(page, "Use this organisation")
    assert page.url.endswith("/organisation")
    await page.get_by_label(US).check()
    await press(page, "Use this organisation")
    await pages.ends_well(page, US)


async def test_leaving_without_a_choice_leaves_connect_in_its_place(pages):
    page = await pages.opened()
    await go_to_xero(page, DEMO)
    await allow(page, NZ, US)
    await page.wait_for_url("**/organisation")
    await press(page, "Back to the Xero card")
    await page.wait_for_url(pages.card)
    assert "Not connected" in await words(page)
    await go_to_xero(page, DEMO)
    await allow(page, NZ)
    await pages.ends_well(page, NZ)


async def wait_too_long(stack, _):
    await stack.db.execute("UPDATE oauth_states SET expires_at = now()")


async def codes_live_no_time(_, monkeypatch):
    monkeypatch.setattr(grants, "CODE_LIFETIME", timedelta(seconds=-1))


async def xero_is_down(stack, _):
    stack.sim.world.faults.add(kind="unavailable_503", path="/connect/token")


async def the_app_is_refused(stack, _):
    refuse_the_app(stack)


SPOILT = {
    "link-expired": (wait_too_long, "this attempt has expired", "Your move: start again"),
    "code-expired": (codes_live_no_time, "one-time code had expired", "Your move: start again"),
    "xero-unavailable": (xero_is_down, "Xero did not answer", "Xero's move: wait a few minutes"),
    "app-rejected": (the_app_is_refused, "does not accept Pipeline's credentials", "Our move:"),
}


@pytest.mark.parametrize("problem", SPOILT)
async def test_spoilt_on_the_way_back_it_says_whose_move_it_is_and_works_again(
    pages, monkeypatch, problem
):
    spoil, happened, move = SPOILT[problem]
    page = await pages.opened()
    await go_to_xero(page, SINGLE)
    await spoil(pages.stack, monkeypatch)
    await allow(page, SOLO)
    await page.wait_for_url(f"**/problem/{problem}")
    told = await words(page)
    assert happened in told
    assert move in told
    xero_answers_again(pages.stack)
    accept_the_app(pages.stack)
    monkeypatch.setattr(grants, "CODE_LIFETIME", timedelta(minutes=5))
    if await page.get_by_role("button", name="Connect to Xero").count() == 0:
        await press(page, "Back to the Xero card")
        await page.wait_for_url(pages.card)
    await go_to_xero(page, SINGLE)
    await allow(page, SOLO)
    await pages.ends_well(page, SOLO)


async def test_an_organisation_of_another_account_is_said_to_be_in_use(pages):
    await pages.connect(DEMO, (NZ,))
    await pages.belongs_to("acc-2")
    page = await pages.opened()
    await go_to_xero(page, DEMO)
    await allow(page, NZ)
    await page.wait_for_url("**/problem/organisation-in-use")
    told = await words(page)
    assert "is already connected to another Pipeline account" in told
    assert "acc-2" not in await page.content()
    await go_to_xero(page, SINGLE)
    await allow(page, SOLO)
    await pages.ends_well(page, SOLO)


async def test_at_the_cap_nobody_is_sent_to_xero_and_a_free_place_is_taken(make_stack, chromium):
    async with card_pages(make_stack, chromium, xero_connection_limit=1) as pages:
        await pages.connect(DEMO, (NZ,))
        await pages.belongs_to("acc-2")
        page = await pages.opened()
        await press(page, "Connect to Xero")
        await page.wait_for_url("**/problem/connection-limit")
        told = await words(page)
        assert "Pipeline's places at Xero are taken" in told
        assert "Our move: Pipeline's operators have to take a larger plan" in told
        async with pages.stack.browser("acc-2") as other:
            await other.press("disconnect")
        await press(page, "Back to the Xero card")
        await page.wait_for_url(pages.card)
        await go_to_xero(page, SINGLE)
        await allow(page, SOLO)
        await pages.ends_well(page, SOLO)


async def sound(page):
    """Axe finds nothing, and nothing scrolls sideways."""
    results = await Axe().run(page, options={"resultTypes": ["violations"]})
    assert results.response["violations"] == []
    assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


async def arrive_with_another_organisation(pages, page):
    await page.goto(f"{pages.card}/problem/consent-cancelled")
    await go_to_xero(page, SINGLE)
    await allow(page, SOLO)
    await page.wait_for_url("**/problem/different-organisation")


async def test_switching_is_read_confirmed_and_shown(pages):
    await pages.connect(DEMO, (NZ,))
    page = await pages.person(viewport={"width": 360, "height": 800})
    await arrive_with_another_organisation(pages, page)
    assert "different organisation" in await heading(page)
    facts = page.locator("dl")
    await expect(facts).to_contain_text(NZ)
    await expect(facts).to_contain_text(SOLO)
    await press(page, "What switching to another organisation would do")
    await page.wait_for_url("**/switch")
    told = await words(page)
    assert f"{NZ} is disconnected" in told
    assert "Invoices that were never sent go to the new organisation." in told
    await sound(page)
    # Without the tick the browser itself keeps the form back, at the box.
    await press(page, "Switch the organisation")
    assert page.url.endswith("/switch")
    assert (await pages.stack.status("acc-1"))["tenant_name"] == NZ
    # By keyboard alone.
    await page.get_by_role("checkbox").focus()
    await page.keyboard.press("Space")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await pages.ends_well(page, SOLO, hint="Check the customers' mappings")
    assert f"Switched to another organisation: {SOLO}" in await words(page)


async def test_keeping_the_organisation_changes_nothing(pages):
    await pages.connect(DEMO, (NZ,))
    page = await pages.person()
    await arrive_with_another_organisation(pages, page)
    await press(page, "What switching to another organisation would do")
    await press(page, f"Keep {NZ}")
    await pages.ends_well(page, NZ)
    assert len(await pages.stack.events("acc-1")) == 1
