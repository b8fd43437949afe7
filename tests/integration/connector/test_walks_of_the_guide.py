"""Every line about connections that Pipeline's troubleshooting guide tells its users, walked in a real Chromium.

The name of each test is the guide's own sentence. A sentence that becomes untrue fails here.
"""

import re
from pathlib import Path

import pytest
from card_pages import (
    DEMO,
    NZ,
    SINGLE,
    SOLO,
    allow,
    card_pages,
    go_to_xero,
    press,
    words,
)
from happenings import (
    OK,
    REFUSED,
    a_permission_is_taken_away,
    accept_the_app,
    access_token_runs_out,
    call_xero,
    xero_ends_the_grant,
    xero_refuses_the_app,
)
from playwright.async_api import expect

import connector

pytestmark = pytest.mark.browser


async def another_xero_account_is_told_apart_by_name(pages):
    await pages.connect(DEMO, (NZ,))
    page = await pages.opened()
    await press(page, "Disconnect")
    await press(page, "Disconnect")
    await page.wait_for_url(pages.card)
    await go_to_xero(page, SINGLE)
    await allow(page, SOLO)
    await page.wait_for_url("**/problem/different-organisation")
    told = await words(page)
    assert f"Chosen now {SOLO} This account's organisation {NZ}" in told
    assert "Nothing was changed, and waiting invoices stay where they are." in told
    await go_to_xero(page, DEMO)
    await allow(page, NZ)
    await pages.ends_well(page, NZ)


async def permissions_left_out_are_named(pages):
    page = await pages.opened()
    await go_to_xero(page, SINGLE)
    asked = page.locator("input[name=scope]")
    await asked.evaluate("it => { it.value = it.value.replace('accounting.contacts', ''); }")
    await allow(page, SOLO)
    await page.wait_for_url("**/problem/permissions-missing")
    told = await words(page)
    assert "Not connected: not all permissions were granted" in told
    assert "Pipeline still needs to be allowed to: read and write contacts" in told
    assert "Your move: start again and grant all of them." in told
    await go_to_xero(page, SINGLE)
    await allow(page, SOLO)
    await pages.ends_well(page, SOLO)


async def cookies_are_cleared_and_it_is_tried_again(pages):
    page = await pages.opened()
    signed_in = [c for c in await page.context.cookies() if c["name"] == "pipeline_session"]
    # Cookies that no longer fit together: the attempt cannot be finished, and the page says so.
    await go_to_xero(page, SINGLE)
    spoilt = {"name": "xero_session", "value": "rubbish", "url": pages.url}
    await page.context.add_cookies([spoilt])
    await allow(page, SOLO)
    await page.wait_for_url("**/problem/other-browser")
    # As the guide says; whoever clears cookies is signed out of Pipeline too.
    await page.context.clear_cookies()
    await press(page, "Connect to Xero")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("you are signed out")
    await page.context.add_cookies(signed_in)
    await page.goto(pages.card)
    await go_to_xero(page, SINGLE)
    # Cleared on the way: Continue leads on as soon as somebody is signed in again.
    await page.context.clear_cookies()
    await allow(page, SOLO)
    await page.wait_for_url("**/problem/signed-out")
    assert "sign in to Pipeline, in another tab if you like, and press Continue" in await words(
        page
    )
    await page.context.add_cookies(signed_in)
    await press(page, "Continue")
    await page.wait_for_url(pages.card)
    await go_to_xero(page, SINGLE)
    await allow(page, SOLO)
    await pages.ends_well(page, SOLO)


OPENS_WINDOWS = re.compile(r"window\.open|showModalDialog|_blank|noopener")


async def no_window_is_ever_opened(pages):
    folder = Path(connector.__file__).parent
    for file in [*folder.glob("templates/*"), *folder.glob("static/*.js")]:
        assert not OPENS_WINDOWS.search(file.read_text()), file.name
    page = await pages.person()
    opened = []
    page.context.on("page", lambda window: opened.append(window.url))
    await page.add_init_script("window.open = () => { throw new Error('a pop-up'); };")
    await page.goto(pages.card)
    await go_to_xero(page, SINGLE)
    await allow(page, SOLO)
    await pages.ends_well(page, SOLO)
    assert opened == []


async def what_a_refresh_can_cure_offers_it(pages):
    await pages.connect()
    await xero_refuses_the_app(pages.stack)
    page = await pages.opened()
    told = await words(page)
    assert "Authorisation expired TOKEN_EXPIRED" in told
    assert "Pipeline's operators have to correct them; after that, press Refresh Token." in told
    assert await page.get_by_role("button", name="Connect to Xero").count() == 0
    # Pressed too early, it says the same as before and does no harm.
    await press(page, "Refresh Token")
    await page.wait_for_url(pages.card)
    assert "TOKEN_EXPIRED" in await words(page)
    accept_the_app(pages.stack)
    await press(page, "Refresh Token")
    await pages.ends_well(page, SOLO)
    told = await words(page)
    assert "Xero accepted the renewed authorisation; syncing continues." in told
    assert "Authorisation renewed, syncing continued Ada <Admin>, " in told


async def what_it_cannot_cure_does_not_offer_it(pages):
    await pages.connect()
    await xero_ends_the_grant(pages.stack)
    page = await pages.opened()
    assert "TOKEN_EXPIRED" in await words(page)
    assert await page.get_by_role("button", name="Refresh Token").count() == 0
    await go_to_xero(page, SINGLE)
    await allow(page, SOLO)
    await pages.ends_well(page, SOLO)


async def a_refused_refresh_leads_to_disconnect_and_connect(pages):
    await pages.connect()
    await xero_refuses_the_app(pages.stack)
    page = await pages.opened()
    # Meanwhile Xero ended the grant as well: the button is there, and cannot help any more.
    accept_the_app(pages.stack)
    pages.stack.sim.world.grants.refreshes.clear()
    await press(page, "Refresh Token")
    await page.wait_for_url("**/problem/refresh-rejected")
    assert "so renewing it cannot work. Your move: connect again" in await words(page)
    await page.goto(pages.card)
    assert "TOKEN_EXPIRED Xero no longer accepts this authorisation." in await words(page)
    await press(page, "Disconnect")
    await page.wait_for_url("**/disconnect")
    await press(page, "Disconnect")
    await page.wait_for_url(pages.card)
    assert "Not connected DISCONNECTED" in await words(page)
    await go_to_xero(page, SINGLE)
    await allow(page, SOLO)
    await pages.ends_well(page, SOLO)


async def expiry_is_handled_and_lost_permissions_are_told(pages):
    await pages.connect()
    for _ in range(3):
        await access_token_runs_out(pages.stack)
        assert await call_xero(pages.stack) == OK
    assert len(await pages.stack.events("acc-1")) == 1
    await a_permission_is_taken_away(pages.stack)
    page = await pages.opened()
    told = await words(page)
    assert "Xero's authorisation no longer covers everything that syncing needs." in told
    assert "presses Connect to Xero and grants all permissions" in told
    await go_to_xero(page, SINGLE)
    await allow(page, SOLO)
    await pages.ends_well(page, SOLO)
    assert "Permissions were missing the system, " in await words(page)


async def the_card_tells_the_three_apart(pages):
    page = await pages.opened()
    status = page.get_by_role("status")
    await expect(status).to_contain_text("Not connected")
    await pages.connect()
    await page.reload()
    await expect(status).to_contain_text("Connected")
    await xero_ends_the_grant(pages.stack)
    await page.reload()
    await expect(status).to_contain_text("Authorisation expired")
    await go_to_xero(page, SINGLE)
    await allow(page, SOLO)
    await pages.ends_well(page, SOLO)


async def an_active_connection_shows_its_last_call(pages):
    await pages.connect()
    assert await call_xero(pages.stack) == OK
    page = await pages.opened()
    assert "Last successful call none yet" not in await words(page)
    await pages.ends_well(page, SOLO)


async def disconnecting_is_said_to_stop_everything_and_does(pages):
    await pages.connect()
    page = await pages.opened()
    await press(page, "Disconnect")
    assert "All synchronisation stops at once, in both directions" in await words(page)
    await press(page, "Disconnect")
    await page.wait_for_url(pages.card)
    before = len(pages.stack.calls("/api.xro/"))
    assert await call_xero(pages.stack) == REFUSED
    assert len(pages.stack.calls("/api.xro/")) == before
    await go_to_xero(page, SINGLE)
    await allow(page, SOLO)
    await pages.ends_well(page, SOLO)


async def whoever_may_not_act_reads_who_may(pages):
    await pages.connect()
    await xero_ends_the_grant(pages.stack)
    page = await pages.opened("viewer")
    told = await words(page)
    assert "An administrator presses Connect to Xero and signs in" in told
    assert "Administrators of this account can connect, refresh and disconnect." in told
    assert await page.get_by_role("button").count() == 0


GUIDE = [
    # Connection Fails During Setup
    (
        "Ensure you are signing into the correct Xero account",
        another_xero_account_is_told_apart_by_name,
    ),
    (
        "Check that you are granting all requested permissions",
        permissions_left_out_are_named,
    ),
    (
        "Try clearing your browser cookies and attempting the connection again",
        cookies_are_cleared_and_it_is_tried_again,
    ),
    (
        "Ensure pop-up blockers are not interfering with the redirect",
        no_window_is_ever_opened,
    ),
    # Token Expired
    (
        "Click Refresh Token if the button is available",
        what_a_refresh_can_cure_offers_it,
    ),
    (
        "Click Refresh Token if the button is available: where it cannot help, it is not",
        what_it_cannot_cure_does_not_offer_it,
    ),
    (
        "If refresh fails, click Disconnect and then reconnect with Connect to Xero",
        a_refused_refresh_leads_to_disconnect_and_connect,
    ),
    (
        "Token expiry is usually handled automatically - if it keeps expiring, check your Xero app permissions",
        expiry_is_handled_and_lost_permissions_are_told,
    ),
    # Invoice Not Syncing, Payments Not Appearing
    (
        "Check the connection status is Connected (not expired or disconnected)",
        the_card_tells_the_three_apart,
    ),
    (
        "Check the connection status is active",
        an_active_connection_shows_its_last_call,
    ),
    # General Tips
    (
        "Keep the connection active - disconnecting stops all synchronisation",
        disconnecting_is_said_to_stop_everything_and_does,
    ),
    (
        "Contact your system administrator if connection issues persist",
        whoever_may_not_act_reads_who_may,
    ),
]


@pytest.mark.parametrize("walk", [pytest.param(walk, id=sentence) for sentence, walk in GUIDE])
async def test_the_guide_is_true(make_stack, chromium, walk):
    async with card_pages(make_stack, chromium) as pages:
        await walk(pages)
