"""Every way connecting can fail, over real requests: it ends on a page that says whose move it is, with one button."""

import asyncio
import re
from dataclasses import replace

import pytest

import connector.handlers.oauth
from connector.disconnect_tenant import resume_disconnects
from connector.domain.failures import PAGES, Failure

CALLBACK = "http://localhost:8001/oauth/xero/callback"
NZ, US, SOLO = "Demo Company (NZ)", "Demo Company (US)", "Kiwi Records Ltd"
DEMO, SINGLE = "demo@example.com", "single@example.com"
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def problem_of(page):
    found = re.search(r'data-problem="([a-z-]+)"', page.text)
    return found[1] if found else None


def one_way_on(page):
    """How many buttons the page has, counting links that look like one."""
    return page.text.count("<button") + page.text.count('class="button')


async def answer_of_xero(stack, browser, user=SINGLE, tenants=()):
    stack.consent(user, tenants)
    return await browser.consent(await browser.to_xero())


@pytest.mark.parametrize("failure", list(Failure))
async def test_every_page_has_whose_move_it_is_and_one_button(stack, failure):
    async with stack.browser("acc-1") as browser:
        page = await browser.pipeline.get(f"{browser.card}/problem/{failure.value}")
        public = await browser.pipeline.get(f"/oauth/xero/problem/{failure.value}")
    for shown in (page, public):
        assert shown.status_code == PAGES[failure].status
        assert re.search(r"(Your|Our|Xero&#39;s|An administrator&#39;s) move", shown.text)
        assert one_way_on(shown) == 1
        assert shown.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "unavailable_503"},
        {"kind": "error_500_before"},
        {"kind": "reset_before"},
        {"kind": "slow", "seconds": 30},
    ],
)
@pytest.mark.parametrize(
    "path",
    ["/connect/token", "/.well-known/openid-configuration", "/.well-known/*/jwks", "/connections"],
)
async def test_xero_down_or_slow_at_each_step_is_xeros_move_and_the_next_try_works(
    make_stack, path, fault
):
    stack = await make_stack(identity_seconds=0.5)
    stack.sim.world.faults.add(path=path, **fault)
    page = await stack.connect("acc-1")
    assert problem_of(page) == "xero-unavailable"
    assert (await stack.status("acc-1"))["status"] == "DISCONNECTED"
    stack.sim.world.faults.faults.clear()
    assert "CONNECTED" in (await stack.connect("acc-1")).text


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_two_tabs_leave_one_truth_in_either_order(stack, order):
    async with stack.browser("acc-1") as browser:
        backs = [await answer_of_xero(stack, browser, DEMO, (name,)) for name in (NZ, US)]
        first, second = (backs[place] for place in order)
        assert "CONNECTED" in (await browser.arrive(first)).text
        assert problem_of(await browser.arrive(second)) == "different-organisation"
        bound = (NZ, US)[order[0]]
        assert (await stack.status("acc-1"))["tenant_name"] == bound
        assert problem_of(await browser.arrive(first)) == "already-used"
    assert len(await stack.events("acc-1")) == 1
    async with stack.caller() as client:
        assert (await client.get("/v1/accounts/acc-1/xero/Organisation")).status_code == 200


async def test_two_tabs_with_two_organisations_at_the_same_time_leave_one(stack):
    async with stack.browser("acc-1") as browser:
        backs = [await answer_of_xero(stack, browser, DEMO, (name,)) for name in (NZ, US)]
        pages = await asyncio.gather(*(browser.arrive(back) for back in backs))
    assert {problem_of(page) for page in pages} == {None, "different-organisation"}
    bound = await stack.status("acc-1")
    assert bound["status"] == "CONNECTED"
    assert len(await stack.events("acc-1")) == 1
    # What the slower tab brought is given back in the end.
    await stack.db.execute("UPDATE oauth_states SET choice_until = NULL")
    await stack.db.execute("UPDATE cleanups SET next_attempt_at = now()")
    await resume_disconnects(stack.apps[0].state.deps)
    left = {row.tenant_id for row in stack.sim.world.grants.connections.values()}
    assert left == {bound["tenant_id"]}


async def test_two_tabs_of_one_organisation_both_succeed(stack):
    async with stack.browser("acc-1") as browser:
        backs = [await answer_of_xero(stack, browser) for _ in range(2)]
        pages = await asyncio.gather(*(browser.arrive(back) for back in backs))
    assert all("CONNECTED" in page.text for page in pages)
    async with stack.caller() as client:
        assert (await client.get("/v1/accounts/acc-1/xero/Organisation")).status_code == 200
    assert await stack.db.fetchval("SELECT count(*) FROM token_sets") == 1


async def test_twenty_copies_of_one_callback_exchange_the_code_once(make_stack):
    stack = await make_stack(replicas=2)
    async with stack.browser("acc-1") as one, stack.browser("acc-1", app=1) as two:
        back = await answer_of_xero(stack, one)
        two.pipeline.cookies.set("xero_session", one.pipeline.cookies["xero_session"])
        pages = await asyncio.gather(*(b.arrive(back) for b in [one, two] * 10))
    assert len(stack.calls("/connect/token")) == 1
    assert [problem_of(page) for page in pages].count("already-used") == 19
    assert len(await stack.events("acc-1")) == 1


async def test_a_practice_is_not_an_organisation(stack, monkeypatch):
    listed = stack.apps[0].state.deps.api.connections

    async def only_practices(token):
        return tuple(replace(t, tenant_type="PRACTICE") for t in await listed(token))

    monkeypatch.setattr(stack.apps[0].state.deps.api, "connections", only_practices)
    assert problem_of(await stack.connect("acc-1")) == "no-organisation"


async def test_signed_out_on_the_way_back_one_button_leads_on(stack):
    async with stack.browser("acc-1") as browser:
        back = await answer_of_xero(stack, browser)
        signed_in = browser.pipeline.cookies["pipeline_session"]
        browser.pipeline.cookies.clear()
        page = await browser.arrive(back)
        assert problem_of(page) == "signed-out"
        assert 'href="/oauth/xero/continue"' in page.text
        still_out = await browser.pipeline.get("/oauth/xero/continue")
        assert still_out.headers["location"].endswith("/problem/signed-out")
        browser.pipeline.cookies.set("pipeline_session", signed_in)
        on = await browser.pipeline.get("/oauth/xero/continue?next=//evil.example")
        assert on.headers["location"] == browser.card
        # Signed in again without the former session's cookie: it was begun elsewhere.
        assert problem_of(await browser.arrive(back)) == "other-browser"
    assert stack.calls("/connect/token") == []


@pytest.mark.parametrize(
    "path", ["/accounts/acc-1/xero/organisation", "/accounts/acc-1/xero/switch"]
)
async def test_a_fault_of_ours_is_a_page_for_people_and_a_document_for_programs(
    stack, monkeypatch, path
):
    async def broken(*_, **__):
        raise RuntimeError("secret-cause")

    monkeypatch.setattr(connector.handlers.oauth.oauth_states, "open_choice", broken)
    async with stack.browser("acc-1") as browser:
        await browser.form_token()
        page = await browser.pipeline.get(path, headers=HTML)
        assert (page.status_code, problem_of(page)) == (500, "unexpected")
        assert one_way_on(page) == 1
        document = await browser.pipeline.get(path)
    assert document.headers["content-type"] == "application/problem+json"
    for answer in (page, document):
        assert "secret-cause" not in answer.text


async def test_refusals_are_pages_for_people(stack):
    async with stack.browser("acc-1", role="viewer") as viewer:
        path = f"{viewer.card}/switch"
        refused = await viewer.pipeline.get(path, headers=HTML)
        assert (refused.status_code, problem_of(refused)) == (403, "not-allowed")
        foreign = await viewer.pipeline.get("/accounts/acc-2/xero", headers=HTML)
        assert (foreign.status_code, problem_of(foreign)) == (404, "not-found")
        assert "acc-2" not in foreign.text
        viewer.pipeline.cookies.clear()
        out = await viewer.pipeline.get(viewer.card, headers=HTML)
        assert (out.status_code, problem_of(out)) == (401, "signed-out")
    async with stack.browser("acc-1") as admin:
        odd = await admin.pipeline.post(
            f"{admin.card}/connect", headers=HTML, data={"csrf": "x" * 300}
        )
        assert (odd.status_code, problem_of(odd)) == (422, "request-refused")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"},
        {"Forwarded": "host=evil.example"},
        {"X-Original-URL": "//evil.example"},
        {"Referer": "https://evil.example/"},
    ],
)
async def test_no_header_and_no_parameter_moves_a_redirect(stack, headers):
    evil = "next=//evil.example&return_to=https://evil.example&redirect_uri=https://evil.example"
    async with stack.browser("acc-1") as browser:
        back = await answer_of_xero(stack, browser)
        for address in (f"{CALLBACK}?state=x&code=y&{evil}", f"{back}&{evil}"):
            answer = await browser.pipeline.get(address, headers=headers)
            assert re.fullmatch(
                r"/accounts/acc-1/xero(/problem/[a-z-]+)?", answer.headers["location"]
            )
        token = await browser._session_form_token()
        answer = await browser.pipeline.post(
            f"{browser.card}/connect?{evil}",
            data={"csrf": token, "next": "//evil"},
            headers=headers,
        )
    assert answer.headers["location"].startswith(f"{stack.sim_url}/identity/connect/authorize?")
    assert "evil" not in answer.headers["location"]
