"""The open card in a real Chromium: it follows what happens, says when it cannot, and takes nobody's place away."""

import asyncio

import pytest
from card_pages import card_pages
from playwright.async_api import expect

from connector.domain.connection import WORDS, Reason
from connector.handlers import card

pytestmark = pytest.mark.browser

OUTAGE = "UPDATE token_sets SET unavailable_since = now(), last_problem = 'TimedOut'"
HEALED = "UPDATE token_sets SET unavailable_since = NULL, last_problem = NULL"
SPOKEN = WORDS[Reason.XERO_UNAVAILABLE].message
SOON = 20_000
"""Milliseconds: several looks of an open card on a busy machine."""


@pytest.fixture
async def pages(make_stack, chromium):
    async with card_pages(make_stack, chromium) as found:
        await found.connect()
        yield found


async def opened(pages, **context):
    page = await pages.person(**context)
    await page.goto(pages.card)
    return page


async def looks(page, count):
    """Wait until the open card has looked `count` times more; the statuses of the answers."""
    statuses = []
    for _ in range(count):
        async with page.expect_response(lambda r: "/card?" in r.url, timeout=SOON) as caught:
            pass
        statuses.append((await caught.value).status)
    return statuses


async def test_the_status_changes_without_a_reload(pages):
    page = await opened(pages)
    await page.evaluate("window.sameDocument = true")
    status = page.get_by_role("status")
    await expect(status).to_contain_text("Invoices and payments are kept in step")
    await pages.say(OUTAGE)
    await expect(status).to_contain_text(SPOKEN, timeout=SOON)
    await expect(page.get_by_role("button", name="Refresh Token")).to_be_visible()
    await pages.say(HEALED)
    await expect(status).to_contain_text("Invoices and payments are kept in step", timeout=SOON)
    await expect(page.get_by_role("button", name="Refresh Token")).to_have_count(0)
    assert await page.evaluate("window.sameDocument")


async def test_an_unchanged_card_is_left_alone(pages):
    # Older than a minute, or "just now" would turn into "1 minute ago" under the test.
    await pages.say(
        "UPDATE connections SET since = now() - interval '3 days', connected_at = since"
    )
    await pages.say("UPDATE connections SET last_call_at = now() - interval '3 days'")
    await pages.say("UPDATE connection_changes SET at = now() - interval '3 days'")
    page = await opened(pages)
    await looks(page, 1)
    await page.evaluate(
        """() => {
            window.changes = 0;
            new MutationObserver((all) => { window.changes += all.length; })
                .observe(document.querySelector("article"),
                         {childList: true, subtree: true, characterData: true});
        }"""
    )
    assert await looks(page, 2) == [204, 204]
    assert await page.evaluate("window.changes") == 0


async def test_the_status_is_not_announced_again_when_something_else_changes(pages):
    page = await opened(pages)
    await page.evaluate(
        """() => {
            window.announced = 0;
            new MutationObserver(() => { window.announced += 1; })
                .observe(document.getElementById("status"),
                         {childList: true, subtree: true, characterData: true});
        }"""
    )
    await pages.say("UPDATE connections SET last_call_at = now() - interval '5 hours'")
    await expect(page.get_by_text("5 hours ago")).to_be_visible(timeout=SOON)
    assert await page.evaluate("window.announced") == 0
    await pages.say(OUTAGE)
    await expect(page.get_by_role("status")).to_contain_text(SPOKEN, timeout=SOON)
    assert await page.evaluate("window.announced") == 1


async def test_the_focus_stays_where_it_was_or_goes_to_the_heading(pages):
    page = await opened(pages)
    await page.get_by_role("link", name="Disconnect").focus()
    await pages.say(OUTAGE)
    await expect(page.get_by_role("button", name="Refresh Token")).to_be_visible(timeout=SOON)
    await expect(page.get_by_role("link", name="Disconnect")).to_be_focused()
    await page.get_by_role("button", name="Refresh Token").focus()
    await pages.say(HEALED)
    await expect(page.get_by_role("button", name="Refresh Token")).to_have_count(0, timeout=SOON)
    await expect(page.get_by_role("heading", level=1)).to_be_focused()


async def test_a_hidden_tab_does_not_ask_and_asks_at_once_when_shown(pages):
    page = await pages.person()
    await page.add_init_script(
        """
        window.isHidden = false;
        window.beats = 0;
        Object.defineProperty(document, "hidden", {get: () => window.isHidden});
        document.addEventListener("htmx:beforeRequest", () => { window.beats += 1; });
        """
    )
    await page.goto(pages.card)
    await looks(page, 1)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    await page.evaluate("window.isHidden = true; window.beats = 0")
    beats = 0
    # Not wait_for_function: the policy of the page forbids the eval it needs.
    while beats < 2:
        await asyncio.sleep(0.05)
        beats = await page.evaluate("window.beats")
    assert asked == []
    await pages.say(OUTAGE)
    await page.evaluate(
        "window.isHidden = false; document.dispatchEvent(new Event('visibilitychange'))"
    )
    await expect(page.get_by_role("status")).to_contain_text(SPOKEN, timeout=SOON)


async def test_a_session_that_ended_is_said_and_a_new_one_goes_on(pages):
    page = await opened(pages)
    cookies = await page.context.cookies()
    await page.context.clear_cookies(name="pipeline_session")
    await expect(page.get_by_text("You are signed out of Pipeline")).to_be_visible(timeout=SOON)
    await pages.say(OUTAGE)
    await page.context.add_cookies([c for c in cookies if c["name"] == "pipeline_session"])
    await expect(page.get_by_role("status")).to_contain_text(SPOKEN, timeout=SOON)
    await expect(page.get_by_text("You are signed out of Pipeline")).to_have_count(0)


async def test_a_server_that_is_away_is_said_until_it_is_back(pages):
    page = await opened(pages)
    await page.context.set_offline(True)
    await expect(page.get_by_text("Pipeline does not answer")).to_be_visible(timeout=SOON)
    await page.context.set_offline(False)
    assert {c.split()[0] for c in pages.complaints} == {"htmx:sendError,", "htmx:afterRequest,"}
    pages.complaints.clear()
    await expect(page.get_by_text("Pipeline does not answer")).to_have_count(0, timeout=SOON)
    # One lost answer is nothing to alarm anybody with.
    await page.route("**/card?*", lambda route: route.fulfill(status=503, body="x"), times=1)
    assert await looks(page, 2) == [503, 204]
    await expect(page.get_by_text("Pipeline does not answer")).to_have_count(0)


PRESS_AGAIN = """
window.addEventListener("submit", (event) => {
    window.pressed(event.defaultPrevented, event.submitter.outerHTML);
    if (!event.defaultPrevented) {
        setTimeout(() => event.target.requestSubmit(event.submitter), 0);
    }
});
"""


async def test_a_slow_refresh_shows_that_it_works_and_is_sent_once(pages, monkeypatch):
    presses, renewed, pressed_twice = [], [], asyncio.Event()

    def pressed(prevented, button):
        presses.append((prevented, button))
        if len(presses) > 1:
            pressed_twice.set()

    async def slow(deps, account_id, actor):
        renewed.append(account_id)
        await pressed_twice.wait()
        await pages.say(HEALED)

    monkeypatch.setattr(card, "refresh_now", slow)
    await pages.say(OUTAGE)
    page = await pages.person()
    await page.expose_function("pressed", pressed)
    await page.add_init_script(PRESS_AGAIN)
    await page.goto(pages.card)
    await page.get_by_role("button", name="Refresh Token").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_contain_text("kept in step", timeout=SOON)
    assert [prevented for prevented, _ in presses] == [False, True]
    assert all("Asking Xero…" in button for _, button in presses)
    assert all('aria-disabled="true"' in button for _, button in presses)
    assert renewed == ["acc-1"]


async def test_everything_works_without_javascript(pages):
    page = await opened(pages, java_script_enabled=False)
    # The browser is only told to run no scripts: it does not show what stands in <noscript>.
    assert "This page does not update by itself" in await page.content()
    await page.get_by_role("link", name="Disconnect").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text(
        "Disconnect Kiwi Records Ltd"
    )
    await page.get_by_role("link", name="Stay connected").click()
    await expect(page.get_by_role("status")).to_contain_text("Connected")
    await page.get_by_role("link", name="Disconnect").click()
    await page.get_by_role("button", name="Disconnect").click()
    await expect(page.get_by_role("status")).to_contain_text("Not connected")
    pages.stack.consent()
    await page.get_by_role("button", name="Connect to Xero").click()
    await page.wait_for_url(pages.card)
    await expect(page.get_by_role("status")).to_contain_text("kept in step")


HOST = """<!doctype html><title>Pipeline</title><iframe src="{card}" width="400" height="900"></iframe>"""


@pytest.mark.parametrize("allowed", [True, False])
async def test_in_a_frame_where_the_settings_allow_it(make_stack, chromium, allowed):
    settings = {"frame_ancestors": "'self'" if allowed else "'none'"}
    async with card_pages(make_stack, chromium, **settings) as pages:
        page = await pages.person()
        host = f"{pages.url}/host"
        body = HOST.format(card=pages.card)
        await page.route(host, lambda route: route.fulfill(body=body, content_type="text/html"))
        await page.goto(host)
        frame = page.frame_locator("iframe")
        if not allowed:
            await expect(frame.get_by_role("status")).to_have_count(0)
            pages.complaints[:] = [c for c in pages.complaints if "frame-ancestors" not in c]
            return
        await expect(frame.get_by_role("status")).to_contain_text("Not connected")
        # Xero's sign-in refuses to be framed, so connecting leaves the frame.
        pages.stack.consent()
        await frame.get_by_role("button", name="Connect to Xero").click()
        await page.wait_for_url(pages.card)
        await expect(page.get_by_role("status")).to_contain_text("Connected")


async def test_names_from_outside_run_nothing(pages):
    name = "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"
    await pages.say("UPDATE connections SET tenant_name = $1, connected_by_name = $1", name)
    await pages.say("UPDATE connection_changes SET tenant_name = $1, actor_name = $1", name)
    page = await opened(pages)
    await expect(page.get_by_text("<script>window.ran").first).to_be_visible()
    # Swapped in by htmx they are as inert as in the page itself.
    await pages.say("UPDATE connections SET tenant_name = $1", f"2 {name}")
    await expect(page.get_by_text("2 <script>window.ran").first).to_be_visible(timeout=SOON)
    assert await page.evaluate("window.ran === undefined && document.images.length === 0")
    await page.goto(f"{pages.card}/disconnect")
    assert await page.evaluate("window.ran === undefined && document.images.length === 0")
