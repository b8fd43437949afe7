"""The app's places at Xero: counted before somebody is sent there, and told when there is none."""

import re
from urllib.parse import urlencode

import pytest

from connector.learn_facts import count_organisations

NZ, US, SOLO = "Demo Company (NZ)", "Demo Company (US)", "Kiwi Records Ltd"
DEMO, SINGLE = "demo@example.com", "single@example.com"


def problem_of(page):
    found = re.search(r'data-problem="([a-z-]+)"', page.text)
    return found[1] if found else None


async def press_connect(browser):
    token = await browser._session_form_token()
    answer = await browser.pipeline.post(f"{browser.card}/connect", data={"csrf": token})
    assert answer.status_code == 303
    return answer.headers["location"]


async def test_at_the_cap_nobody_is_sent_to_xero(make_stack):
    stack = await make_stack(xero_connection_limit=1)
    await stack.connect("acc-1")
    async with stack.browser("acc-2") as browser:
        page = await browser.pipeline.get(await press_connect(browser))
        assert problem_of(page) == "connection-limit"
        assert page.status_code == 503
        assert "operators" in page.text
        assert (
            await stack.db.fetchval("SELECT count(*) FROM oauth_states WHERE account_id = 'acc-2'")
            == 0
        )
        # A place that is free again is given at once.
        async with stack.browser("acc-1") as first:
            await first.press("disconnect")
        assert (await press_connect(browser)).startswith(stack.sim_url)


async def test_who_has_a_place_may_connect_again(make_stack):
    stack = await make_stack(xero_connection_limit=1)
    await stack.connect("acc-1")
    async with stack.browser("acc-1") as browser:
        assert (await press_connect(browser)).startswith(stack.sim_url)


async def test_what_is_not_undone_at_xero_yet_still_counts(make_stack):
    stack = await make_stack(xero_connection_limit=1)
    await stack.connect("acc-1")
    stack.sim.world.faults.add(kind="unavailable_503", path="/connect/revocation")
    async with stack.browser("acc-1") as browser:
        await browser.press("disconnect")
    async with stack.browser("acc-2") as browser:
        assert (await press_connect(browser)).endswith("/problem/connection-limit")
    async with stack.browser("acc-1") as browser:
        assert (await press_connect(browser)).startswith(stack.sim_url)


async def test_places_are_shown_to_operators(make_stack):
    stack = await make_stack(xero_connection_limit=50)
    await stack.connect("acc-1")
    await count_organisations(stack.apps[0].state.deps)
    async with stack.caller() as client:
        text = (await client.get("/metrics")).text
    assert "xero_organisations_held 1.0" in text
    assert "xero_organisations_limit 50.0" in text


async def test_xeros_own_page_is_where_the_cap_ends_without_the_setting(stack):
    await stack.connect("acc-1")
    stack.sim.world.switches.connection_limit = 1
    async with stack.browser("acc-2") as browser:
        answer = await browser.xero.get(await browser.to_xero())
        assert answer.headers["location"] == "/connectionLimit"
        shown = await browser.xero.get("/connectionLimit")
        assert "number of connections" in shown.text
    assert (await stack.status("acc-2"))["reason"] == "NEVER_CONNECTED"


async def test_more_organisations_than_places_end_there_too(stack):
    stack.sim.world.switches.connection_limit = 1
    stack.consent(DEMO, (NZ, US))
    async with stack.browser("acc-1") as browser:
        answer = await browser.xero.get(await browser.to_xero())
    assert answer.headers["location"] == "/connectionLimit"
    assert stack.sim.world.grants.connections == {}


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        ("access_denied", "consent-cancelled"),
        ("connection_limit_exceeded", "connection-limit"),
        ("Connection limit reached", "connection-limit"),
        ("server_error", "xero-unavailable"),
        ("temporarily_unavailable", "xero-unavailable"),
        ("unauthorized_client", "app-rejected"),
        ("invalid_scope", "xero-refused"),
        ("<script>alert(1)</script>", "xero-refused"),
    ],
)
async def test_every_error_that_xero_sends_people_back_with_has_its_page(stack, error, problem):
    async with stack.browser("acc-1") as browser:
        state = re.search(r"state=([^&]+)", await browser.to_xero())[1]
        query = urlencode({"state": state, "error": error})
        page = await browser.arrive(f"http://localhost:8001/oauth/xero/callback?{query}")
    assert problem_of(page) == problem
    assert "<script>" not in page.text
    assert (
        "Your move" in page.text
        or "Our move" in page.text
        or "Xero's move" in page.text
        or "Xero&#39;s move" in page.text
    )
    assert stack.calls("/connect/token") == []
