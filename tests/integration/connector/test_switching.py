"""Switching an account to another organisation: only when confirmed, once, and without a trace of the former one."""

import asyncio
import re

import pytest

from connector.disconnect_tenant import resume_disconnects

NZ, US, SOLO = "Demo Company (NZ)", "Demo Company (US)", "Kiwi Records Ltd"
DEMO, SINGLE = "demo@example.com", "single@example.com"


def problem_of(page):
    found = re.search(r'data-problem="([a-z-]+)"', page.text)
    return found[1] if found else None


def form_of(page, organisation=None):
    """What the page's form would send: its token, the organisation by name, and the ticked box."""
    offers = {
        name: tenant
        for tenant, name in re.findall(
            r'name="tenant_id" value="([^"]+)"[^>]*>\s*<span>([^<]+?)(?: <em>[^<]*</em>)?</span>',
            page.text,
        )
    }
    token = re.search(r'name="csrf" value="([0-9a-f]+)"', page.text)[1]
    chosen = offers[organisation] if organisation else next(iter(offers.values()))
    return {"csrf": token, "tenant_id": chosen, "confirmed": "yes"}


async def arrive_elsewhere(stack, browser, user=SINGLE, tenants=()):
    """Come back from Xero with other organisations than the bound one; the page that says so."""
    stack.consent(user, tenants)
    page = await browser.connect()
    assert problem_of(page) == "different-organisation"
    return page


async def switch_page(browser):
    return await browser.pipeline.get(f"{browser.card}/switch")


async def switch(browser, form):
    answer = await browser.pipeline.post(f"{browser.card}/switch", data=form)
    if answer.status_code != 303:
        return answer
    return await browser.pipeline.get(answer.headers["location"])


def held_at_xero(stack):
    world = stack.sim.world
    return {world.books[c.tenant_id].organisation.name for c in world.grants.connections.values()}


async def test_a_confirmed_switch_moves_the_account_and_says_so(stack):
    await stack.connect("acc-1", DEMO, (NZ,))
    former = (await stack.status("acc-1"))["tenant_id"]
    async with stack.browser("acc-1") as browser:
        page = await arrive_elsewhere(stack, browser)
        assert page.text.count("<button") == 1
        assert f'href="{browser.card}/switch"' in page.text
        explained = await switch_page(browser)
        assert explained.status_code == 200
        for words in (NZ, SOLO, "stay there", "never sent go to the new", "mapped again"):
            assert words in explained.text
        assert (await stack.status("acc-1"))["tenant_name"] == NZ
        done = await switch(browser, form_of(explained))
    assert SOLO in done.text
    status = await stack.status("acc-1")
    assert (status["status"], status["reason"]) == ("CONNECTED", "ORGANISATION_SWITCHED")
    assert (status["tenant_name"], status["base_currency"]) == (SOLO, "NZD")
    left, switched = (await stack.events("acc-1"))[1:]
    assert (left.status, left.reason, left.tenant_id) == (
        "DISCONNECTED",
        "DISCONNECTED_BY_USER",
        former,
    )
    assert (switched.status, switched.reason) == ("CONNECTED", "ORGANISATION_SWITCHED")
    assert switched.tenant_id == status["tenant_id"] != former
    assert switched.short_code != left.short_code
    rows = await stack.db.fetch("SELECT * FROM connection_changes ORDER BY sequence")
    assert [row["reason"] for row in rows][-1] == "ORGANISATION_SWITCHED"
    assert rows[-1]["previous_hash"] == rows[-2]["hash"]
    # The former user's grant served nobody else: it is revoked, and only the new organisation is left at Xero.
    assert held_at_xero(stack) == {SOLO}
    assert await stack.db.fetchval("SELECT count(*) FROM token_sets") == 1


async def test_calls_after_a_switch_carry_the_new_organisation_only(stack):
    await stack.connect("acc-1", DEMO, (NZ,))
    former = (await stack.status("acc-1"))["tenant_id"]
    async with stack.browser("acc-1") as browser:
        await arrive_elsewhere(stack, browser)
        await switch(browser, form_of(await switch_page(browser)))
    before = len(stack.calls("/api.xro/"))
    path = "/v1/accounts/acc-1/xero/Invoices"
    async with stack.caller() as client:
        refused = await client.get(path, headers={"X-Expected-Tenant": former})
        assert refused.status_code == 409
        assert len(stack.calls("/api.xro/")) == before
        assert (await client.get(path)).status_code == 200
    assert stack.calls("/api.xro/")[-1].tenant_id == (await stack.status("acc-1"))["tenant_id"]


async def test_the_same_xero_user_keeps_the_grant_and_loses_the_former_organisation(stack):
    await stack.connect("acc-1", DEMO, (NZ,))
    async with stack.browser("acc-1") as browser:
        await arrive_elsewhere(stack, browser, DEMO, (US,))
        await switch(browser, form_of(await switch_page(browser)))
    assert held_at_xero(stack) == {US}
    async with stack.caller() as client:
        assert (await client.get("/v1/accounts/acc-1/xero/Organisation")).status_code == 200


async def test_a_grant_that_serves_another_account_stays(stack):
    await stack.connect("acc-1", DEMO, (NZ,))
    await stack.connect("acc-2", DEMO, (US,))
    async with stack.browser("acc-1") as browser:
        await arrive_elsewhere(stack, browser)
        await switch(browser, form_of(await switch_page(browser)))
    assert held_at_xero(stack) == {SOLO, US}
    async with stack.caller() as client:
        assert (await client.get("/v1/accounts/acc-2/xero/Organisation")).status_code == 200


async def test_after_a_disconnect_as_well_and_back_again(stack):
    await stack.connect("acc-1", DEMO, (NZ,))
    async with stack.browser("acc-1") as browser:
        await browser.press("disconnect")
        await arrive_elsewhere(stack, browser)
        await switch(browser, form_of(await switch_page(browser)))
        assert (await stack.status("acc-1"))["tenant_name"] == SOLO
        await arrive_elsewhere(stack, browser, DEMO, (NZ,))
        await switch(browser, form_of(await switch_page(browser)))
    status = await stack.status("acc-1")
    assert (status["status"], status["tenant_name"]) == ("CONNECTED", NZ)
    assert held_at_xero(stack) == {NZ}


async def test_of_several_granted_organisations_one_is_chosen_and_the_rest_given_back(stack):
    await stack.connect("acc-1")
    async with stack.browser("acc-1") as browser:
        page = await arrive_elsewhere(stack, browser, DEMO)
        assert f"{NZ}, {US}" in page.text
        explained = await switch_page(browser)
        assert "checked" not in explained.text
        await switch(browser, form_of(explained, US))
    assert (await stack.status("acc-1"))["tenant_name"] == US
    await stack.db.execute("UPDATE cleanups SET next_attempt_at = now()")
    await resume_disconnects(stack.apps[0].state.deps)
    assert held_at_xero(stack) == {US}


@pytest.mark.parametrize(
    "spoilt",
    [{"confirmed": ""}, {"confirmed": "no"}, {"confirmed": "YES "}, {"confirmed": "x" * 11}],
)
async def test_without_the_tick_nothing_is_switched(stack, spoilt):
    await stack.connect("acc-1", DEMO, (NZ,))
    async with stack.browser("acc-1") as browser:
        await arrive_elsewhere(stack, browser)
        form = form_of(await switch_page(browser))
        answer = await browser.pipeline.post(f"{browser.card}/switch", data=form | spoilt)
        assert answer.status_code in {400, 422}
        assert (await stack.status("acc-1"))["tenant_name"] == NZ
        assert len(await stack.events("acc-1")) == 1
        # And the attempt is not used up by it.
        await switch(browser, form)
    assert (await stack.status("acc-1"))["tenant_name"] == SOLO


async def test_an_organisation_that_was_not_granted_cannot_be_named(stack):
    await stack.connect("acc-1", DEMO, (NZ,))
    async with stack.browser("acc-1") as browser:
        await arrive_elsewhere(stack, browser)
        form = form_of(await switch_page(browser))
        for tenant in ("", "x"):
            page = await switch(browser, form | {"tenant_id": tenant})
            assert problem_of(page) == "choice-expired"
        # The one that is bound already needs no switch, and none is made.
        bound = (await stack.status("acc-1"))["tenant_id"]
        assert "CONNECTED" in (await switch(browser, form | {"tenant_id": bound})).text
    assert len(await stack.events("acc-1")) == 1


async def test_it_belongs_to_one_session_one_person_and_one_account(stack):
    await stack.connect("acc-1", DEMO, (NZ,))
    async with stack.browser("acc-1") as browser:
        await arrive_elsewhere(stack, browser)
        form = form_of(await switch_page(browser))
        session = browser.pipeline.cookies["xero_session"]
        async with stack.browser("acc-1") as elsewhere:
            token = await elsewhere.form_token() or await elsewhere._session_form_token()
            assert problem_of(await switch(elsewhere, form)) == "form-expired"
            assert problem_of(await switch(elsewhere, form | {"csrf": token})) == "choice-expired"
        async with stack.browser("acc-1", sub="user-2") as other:
            other.pipeline.cookies.set("xero_session", session)
            token = await other._session_form_token()
            assert problem_of(await switch(other, form | {"csrf": token})) == "choice-expired"
        async with stack.browser("acc-2") as foreign:
            foreign.pipeline.cookies.set("xero_session", session)
            answer = await foreign.pipeline.post(f"{browser.card}/switch", data=form)
            assert answer.status_code == 404
        async with stack.browser("acc-1", role="operator") as operator:
            operator.pipeline.cookies.set("xero_session", session)
            answer = await operator.pipeline.post(f"{browser.card}/switch", data=form)
            assert answer.status_code == 403
    assert len(await stack.events("acc-1")) == 1


async def test_names_of_organisations_are_text_and_nothing_else(stack):
    await stack.connect("acc-1", DEMO, (NZ,))
    for books in stack.sim.world.books.values():
        if books.organisation.name == SOLO:
            books.organisation.name = '<script>alert("x")</script>'
    async with stack.browser("acc-1") as browser:
        page = await arrive_elsewhere(stack, browser)
        explained = await switch_page(browser)
    for shown in (page, explained):
        assert "<script>alert" not in shown.text
        assert "&lt;script&gt;alert" in shown.text


async def test_it_ends_after_a_quarter_of_an_hour(stack):
    await stack.connect("acc-1", DEMO, (NZ,))
    async with stack.browser("acc-1") as browser:
        await arrive_elsewhere(stack, browser)
        form = form_of(await switch_page(browser))
        await stack.db.execute("UPDATE oauth_states SET used_at = now() - interval '16 minutes'")
        assert problem_of(await switch(browser, form)) == "choice-expired"
        late = await browser.pipeline.get(f"{browser.card}/switch")
        assert late.headers["location"].endswith("/problem/choice-expired")
        page = await browser.pipeline.get(f"{browser.card}/problem/different-organisation")
        assert "/switch" not in page.text
    assert (await stack.status("acc-1"))["tenant_name"] == NZ


async def test_twenty_clicks_at_once_switch_once(stack):
    await stack.connect("acc-1", DEMO, (NZ,))
    async with stack.browser("acc-1") as browser:
        await arrive_elsewhere(stack, browser)
        form = form_of(await switch_page(browser))
        pages = await asyncio.gather(*(switch(browser, form) for _ in range(20)))
        pages.append(await switch(browser, form))
        # Each of them asked for what is so now; none reads that it failed.
        assert {problem_of(page) for page in pages} == {None}
        assert all(SOLO in page.text for page in pages)
        # Nor does whoever goes back to the page.
        back = await switch_page(browser)
        assert back.headers["location"] == browser.card
    events = await stack.events("acc-1")
    assert [event.sequence for event in events] == [1, 2, 3]
    assert (await stack.status("acc-1"))["tenant_name"] == SOLO
    async with stack.caller() as client:
        assert (await client.get("/v1/accounts/acc-1/xero/Organisation")).status_code == 200


async def test_a_page_left_open_cannot_undo_what_happened_since(stack):
    await stack.connect("acc-1", DEMO, (NZ,))
    async with stack.browser("acc-1") as old, stack.browser("acc-1", sub="user-2") as new:
        await arrive_elsewhere(stack, old)
        stale = form_of(await switch_page(old))
        await arrive_elsewhere(stack, new, DEMO, (US,))
        await switch(new, form_of(await switch_page(new)))
        assert problem_of(await switch(old, stale)) == "choice-expired"
    status = await stack.status("acc-1")
    assert (status["status"], status["tenant_name"]) == ("CONNECTED", US)


async def test_an_organisation_taken_meanwhile_leaves_the_former_one_connected(stack):
    await stack.connect("acc-1", DEMO, (NZ,))
    async with stack.browser("acc-1") as browser:
        await arrive_elsewhere(stack, browser)
        form = form_of(await switch_page(browser))
        assert "CONNECTED" in (await stack.connect("acc-2")).text
        assert problem_of(await switch(browser, form)) == "organisation-in-use"
    status = await stack.status("acc-1")
    assert (status["status"], status["tenant_name"]) == ("CONNECTED", NZ)


async def test_where_every_other_organisation_is_taken_no_switch_is_offered(stack):
    await stack.connect("acc-1", DEMO, (NZ,))
    await stack.connect("acc-2")
    async with stack.browser("acc-1") as browser:
        page = await arrive_elsewhere(stack, browser)
        assert SOLO in page.text
        assert "/switch" not in page.text
        # Nor to whoever knows the address: a form with nothing to choose helps nobody.
        answer = await switch_page(browser)
        assert answer.headers["location"].endswith("/problem/choice-expired")


async def test_an_offer_nobody_takes_is_given_back(stack):
    await stack.connect("acc-1", DEMO, (NZ,))
    async with stack.browser("acc-1") as browser:
        await arrive_elsewhere(stack, browser)
    assert held_at_xero(stack) == {NZ, SOLO}
    await stack.db.execute(
        "UPDATE oauth_states SET choice_until = now(), used_at = now() - interval '21 minutes'"
    )
    await stack.db.execute("UPDATE cleanups SET next_attempt_at = now()")
    await stack.db.execute("UPDATE token_sets SET refreshed_at = now() - interval '31 minutes'")
    ports = stack.apps[0].state.deps
    await resume_disconnects(ports)
    assert held_at_xero(stack) == {NZ}
    await stack.db.execute("UPDATE token_sets SET refreshed_at = now() - interval '31 minutes'")
    await resume_disconnects(ports)
    assert await stack.db.fetchval("SELECT count(*) FROM token_sets") == 1
    async with stack.caller() as client:
        assert (await client.get("/v1/accounts/acc-1/xero/Organisation")).status_code == 200
