"""Connecting, and every way it can end."""

import asyncio
import re
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import pytest

from connector import connect_tenant
from connector.domain.scopes import SCOPES
from connector.store import token_sets


def problem_of(page):
    found = re.search(r'data-problem="([a-z-]+)"', page.text)
    return found[1] if found else None


def with_query(address, **changes):
    parts = urlsplit(address)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | changes
    return urlunsplit(parts._replace(query=urlencode(query)))


async def test_one_organisation_is_connected_without_a_question(stack):
    page = await stack.connect("acc-1")
    assert page.status_code == 200
    assert "CONNECTED" in page.text
    assert "Kiwi Records Ltd" in page.text
    status = await stack.status("acc-1")
    assert status["status"] == "CONNECTED"
    assert status["tenant_name"] == "Kiwi Records Ltd"
    assert status["base_currency"] == "NZD"
    assert status["short_code"].startswith("!")
    [event] = await stack.events("acc-1")
    assert (event.status, event.sequence, event.base_currency) == ("CONNECTED", 1, "NZD")
    assert event.tenant_id == status["tenant_id"]


async def test_a_consent_outlives_a_database_that_is_away_for_a_moment(stack, monkeypatch):
    store, refusals = token_sets.insert_consented, [ConnectionRefusedError(), TimeoutError()]

    async def away(*arguments):
        if refusals:
            raise refusals.pop()
        return await store(*arguments)

    monkeypatch.setattr(token_sets, "insert_consented", away)
    await stack.connect("acc-1")
    assert (await stack.status("acc-1"))["status"] == "CONNECTED"
    assert not refusals
    assert len(stack.calls("/connect/token")) == 1


async def test_a_database_that_stays_away_ends_on_a_page(stack, monkeypatch):
    async def away(*_):
        raise ConnectionRefusedError

    monkeypatch.setattr(token_sets, "insert_consented", away)
    monkeypatch.setattr(connect_tenant, "STORE_WAIT_SECONDS", 0.0)
    stack.consent()
    async with stack.browser("acc-1") as browser:
        browser.pipeline.headers["Accept"] = "text/html"
        back = await browser.consent(await browser.to_xero())
        page = await browser.pipeline.get(back)
    assert page.status_code == 500
    assert problem_of(page) == "unexpected"


async def test_the_request_to_xero_asks_for_exactly_what_is_needed(stack):
    async with stack.browser("acc-1") as browser:
        query = parse_qs(urlsplit(await browser.to_xero()).query)
    assert query["scope"] == [" ".join(SCOPES)]
    assert query["redirect_uri"] == ["http://localhost:8001/oauth/xero/callback"]
    assert query["code_challenge_method"] == ["S256"]
    assert len(query["state"][0]) >= 43
    assert len(query["nonce"][0]) >= 43


async def test_host_headers_do_not_move_the_redirect(stack):
    async with stack.browser("acc-1") as browser:
        token = await browser._session_form_token()
        answer = await browser.pipeline.post(
            f"{browser.card}/connect",
            data={"csrf": token},
            headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"},
        )
    location = answer.headers["location"]
    assert location.startswith(stack.sim_url)
    assert "evil" not in location


async def test_cancelling_consent_says_so_and_changes_nothing(stack):
    stack.consent(action="cancel")
    async with stack.browser("acc-1") as browser:
        page = await browser.connect()
    assert problem_of(page) == "consent-cancelled"
    assert "<button" in page.text
    assert (await stack.status("acc-1"))["reason"] == "NEVER_CONNECTED"


async def test_a_callback_counts_once(stack):
    stack.consent()
    async with stack.browser("acc-1") as browser:
        back = await browser.consent(await browser.to_xero())
        assert (await browser.arrive(back)).status_code == 200
        again = await browser.arrive(back)
    assert problem_of(again) == "already-used"
    assert len(await stack.events("acc-1")) == 1
    assert len(stack.calls("/connect/token")) == 1


async def test_another_browsers_session_can_neither_use_nor_burn_a_state(stack):
    stack.consent()
    async with stack.browser("acc-1") as victim, stack.browser("acc-1", sub="user-2") as attacker:
        back = await victim.consent(await victim.to_xero())
        await attacker.form_token()
        assert problem_of(await attacker.arrive(back)) == "other-browser"
        async with stack.browser("acc-1") as cleared:
            assert problem_of(await cleared.arrive(back)) == "other-browser"
        assert stack.calls("/connect/token") == []
        assert "CONNECTED" in (await victim.arrive(back)).text


async def test_an_attackers_code_in_a_victims_session_is_refused(stack):
    stack.consent()
    async with stack.browser("acc-a") as attacker, stack.browser("acc-v") as victim:
        attackers = await attacker.consent(await attacker.to_xero())
        await victim.to_xero()
        assert problem_of(await victim.arrive(attackers)) == "other-browser"
    assert (await stack.status("acc-v"))["reason"] == "NEVER_CONNECTED"


async def test_another_account_of_the_same_browser_cannot_finish_it(stack):
    stack.consent()
    async with stack.browser("acc-1") as browser:
        back = await browser.consent(await browser.to_xero())
        browser.pipeline.cookies.set("pipeline_session", stack.keys.person_token("acc-2"))
        answer = await browser.pipeline.get(back)
    assert answer.headers["location"] == "/accounts/acc-2/xero/problem/other-browser"


async def test_an_expired_state_explains_itself(stack):
    stack.consent()
    async with stack.browser("acc-1") as browser:
        back = await browser.consent(await browser.to_xero())
        await stack.db.execute("UPDATE oauth_states SET expires_at = now() - interval '1 second'")
        assert problem_of(await browser.arrive(back)) == "link-expired"
    assert stack.calls("/connect/token") == []


async def test_rubbish_callbacks_are_explained(stack):
    base = "http://localhost:8001/oauth/xero/callback"
    async with stack.browser("acc-1") as browser:
        await browser.form_token()
        assert problem_of(await browser.arrive(base)) == "link-incomplete"
        assert problem_of(await browser.arrive(f"{base}?state=nonsense&code=x")) == "link-expired"
        assert (
            problem_of(await browser.arrive(f"{base}?state=a&state=b&code=x")) == "link-incomplete"
        )
        assert problem_of(await browser.arrive(f"{base}?state={'x' * 5000}")) == "link-incomplete"


async def test_signed_out_people_get_a_page_and_no_redirect_elsewhere(stack):
    async with stack.browser("acc-1") as browser:
        browser.pipeline.cookies.delete("pipeline_session")
        page = await browser.arrive(
            "http://localhost:8001/oauth/xero/callback?state=x&code=y&next=//evil"
        )
    assert problem_of(page) == "signed-out"
    assert page.status_code == 401


async def test_viewers_see_and_cannot_act(stack):
    async with stack.browser("acc-1", role="viewer") as browser:
        page = await browser.pipeline.get(browser.card)
        assert page.status_code == 200
        assert "<button" not in page.text
        for action in ("connect", "refresh", "disconnect", "organisation"):
            assert (await browser.press(action, csrf="x")).status_code == 403
        assert problem_of(
            await browser.arrive("http://localhost:8001/oauth/xero/callback?state=x")
        ) == ("not-allowed" if browser.pipeline.cookies.get("xero_session") else "other-browser")


@pytest.mark.parametrize("token", ["", "x", "0" * 64])
async def test_forms_without_our_token_do_nothing(stack, token):
    async with stack.browser("acc-1") as browser:
        await browser.form_token()
        for action in ("connect", "refresh", "disconnect", "organisation"):
            answer = await browser.press(action, csrf=token)
            assert answer.headers["location"].endswith("/problem/form-expired")
    assert await stack.db.fetchval("SELECT count(*) FROM oauth_states") == 0


async def test_a_form_token_of_another_session_or_person_does_nothing(stack):
    async with stack.browser("acc-1") as one, stack.browser("acc-1", sub="user-2") as two:
        stolen = await one._session_form_token()
        await two._session_form_token()
        answer = await two.press("connect", csrf=stolen)
    assert answer.headers["location"].endswith("/problem/form-expired")


async def test_several_organisations_are_offered_by_name(stack):
    page = await stack_several(stack, "acc-1")
    assert "Demo Company (NZ)" in page[1].text
    assert "Demo Company (US)" in page[1].text
    browser = page[0]
    tenant = re.search(r'value="([0-9a-f-]{36})"[^>]*>\s*<span>Demo Company \(US\)', page[1].text)[
        1
    ]
    token = re.search(r'name="csrf" value="([0-9a-f]+)"', page[1].text)[1]
    refused = await browser.press("organisation", csrf=token, tenant_id="not-offered")
    assert refused.headers["location"].endswith("/problem/choice-expired")
    done = await browser.press("organisation", csrf=token, tenant_id=tenant)
    assert done.headers["location"] == browser.card
    # A second press and a way back find that it is done.
    again = await browser.press("organisation", csrf=token, tenant_id=tenant)
    assert again.headers["location"] == browser.card
    back = await browser.pipeline.get(f"{browser.card}/organisation")
    assert back.headers["location"] == browser.card
    # Another one than what was chosen is not what is so now.
    other = next(o for o in re.findall(r'value="([0-9a-f-]{36})"', page[1].text) if o != tenant)
    refused = await browser.press("organisation", csrf=token, tenant_id=other)
    assert refused.headers["location"].endswith("/problem/choice-expired")
    await browser.__aexit__()
    status = await stack.status("acc-1")
    assert (status["tenant_name"], status["base_currency"]) == ("Demo Company (US)", "USD")
    assert len(await stack.events("acc-1")) == 1


async def test_twenty_presses_of_one_choice_connect_once_and_none_reads_of_a_failure(stack):
    browser, page = await stack_several(stack, "acc-1")
    tenant = re.search(r'value="([0-9a-f-]{36})"', page.text)[1]
    token = re.search(r'name="csrf" value="([0-9a-f]+)"', page.text)[1]
    presses = (browser.press("organisation", csrf=token, tenant_id=tenant) for _ in range(20))
    async with browser:
        answers = await asyncio.gather(*presses)
    assert {answer.headers["location"] for answer in answers} == {browser.card}
    assert len(await stack.events("acc-1")) == 1


async def stack_several(stack, account):
    stack.consent("demo@example.com")
    browser = stack.browser(account)
    return browser, await browser.connect()


async def test_a_choice_belongs_to_its_session_and_ends(stack):
    browser, page = await stack_several(stack, "acc-1")
    tenant = re.search(r'value="([0-9a-f-]{36})"', page.text)[1]
    async with stack.browser("acc-1") as other:
        token = await other._session_form_token()
        refused = await other.press("organisation", csrf=token, tenant_id=tenant)
        assert refused.headers["location"].endswith("/problem/choice-expired")
    await stack.db.execute("UPDATE oauth_states SET used_at = now() - interval '16 minutes'")
    token = re.search(r'name="csrf" value="([0-9a-f]+)"', page.text)[1]
    late = await browser.press("organisation", csrf=token, tenant_id=tenant)
    assert late.headers["location"].endswith("/problem/choice-expired")
    await browser.__aexit__()


async def test_consent_without_an_organisation_is_explained(stack):
    page = await stack.connect("acc-1", tenants=("none of them",))
    assert problem_of(page) == "no-organisation"


async def test_a_different_organisation_is_never_swapped_in(stack):
    await stack.connect("acc-1", "demo@example.com", ("Demo Company (NZ)",))
    page = await stack.connect("acc-1", "demo@example.com", ("Demo Company (US)",))
    assert problem_of(page) == "different-organisation"
    assert "Demo Company (US)" in page.text
    assert "Demo Company (NZ)" in page.text
    status = await stack.status("acc-1")
    assert (status["status"], status["tenant_name"]) == ("CONNECTED", "Demo Company (NZ)")
    assert len(await stack.events("acc-1")) == 1


async def test_nor_after_a_disconnect(stack):
    await stack.connect("acc-1", "demo@example.com", ("Demo Company (NZ)",))
    async with stack.browser("acc-1") as browser:
        await browser.press("disconnect")
    page = await stack.connect("acc-1", "single@example.com")
    assert problem_of(page) == "different-organisation"
    status = await stack.status("acc-1")
    assert (status["status"], status["tenant_name"]) == ("DISCONNECTED", "Demo Company (NZ)")
    resumed = await stack.connect("acc-1", "demo@example.com", ("Demo Company (NZ)",))
    assert "CONNECTED" in resumed.text
    assert [e.status for e in await stack.events("acc-1")] == [
        "CONNECTED",
        "DISCONNECTED",
        "CONNECTED",
    ]
    assert [e.sequence for e in await stack.events("acc-1")] == [1, 2, 3]


async def test_an_organisation_feeds_one_account(stack):
    await stack.connect("acc-1")
    page = await stack.connect("acc-2")
    assert problem_of(page) == "organisation-in-use"
    assert (await stack.status("acc-2"))["status"] == "DISCONNECTED"
    assert (await stack.status("acc-1"))["status"] == "CONNECTED"


async def test_several_that_all_feed_other_accounts_are_no_choice(stack):
    await stack.connect("acc-1", "demo@example.com", ("Demo Company (NZ)",))
    await stack.connect("acc-2", "demo@example.com", ("Demo Company (US)",))
    page = await stack.connect("acc-3", "demo@example.com")
    assert problem_of(page) == "organisation-in-use"
    assert "Demo Company (NZ), Demo Company (US)" in page.text


async def test_two_accounts_connecting_the_same_organisation_at_once(stack):
    stack.sim.world.auto_consent = None
    async with stack.browser("acc-1") as one, stack.browser("acc-2") as two:
        backs = []
        for browser in (one, two):
            stack.consent()
            backs.append(await browser.consent(await browser.to_xero()))
        await asyncio.gather(one.arrive(backs[0]), two.arrive(backs[1]))
    statuses = sorted([(await stack.status(a))["status"] for a in ("acc-1", "acc-2")])
    assert statuses == ["CONNECTED", "DISCONNECTED"]


async def test_missing_permissions_are_explained(stack):
    stack.consent()
    async with stack.browser("acc-1") as browser:
        address = with_query(await browser.to_xero(), scope="openid profile email offline_access")
        page = await browser.arrive(await browser.consent(address))
    assert problem_of(page) == "permissions-missing"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"nonce": "another-nonce"}, "answer-not-trusted"),
        ({"code_challenge": "A" * 43}, "code-expired"),
    ],
)
async def test_an_answer_that_does_not_belong_to_the_attempt_is_not_believed(
    stack, changes, problem
):
    stack.consent()
    async with stack.browser("acc-1") as browser:
        address = with_query(await browser.to_xero(), **changes)
        page = await browser.arrive(await browser.consent(address))
    assert problem_of(page) == problem
    assert await stack.db.fetchval("SELECT count(*) FROM token_sets") == 0


async def test_xero_down_during_the_exchange_is_xeros_move(stack):
    stack.sim.world.faults.add(kind="unavailable_503", path="/connect/token")
    page = await stack.connect("acc-1")
    assert problem_of(page) == "xero-unavailable"
    assert "CONNECTED" in (await stack.connect("acc-1")).text


async def test_wrong_app_credentials_are_the_operators_move(make_stack):
    stack = await make_stack(xero_client_secret="not the secret")
    assert problem_of(await stack.connect("acc-1")) == "app-rejected"


async def test_an_expired_code_is_explained(stack):
    stack.consent()
    async with stack.browser("acc-1") as browser:
        back = await browser.consent(await browser.to_xero())
        stack.sim.world.clock.advance(301)
        assert problem_of(await browser.arrive(back)) == "code-expired"


async def test_no_page_carries_secrets_or_inline_code(stack):
    stack.consent()
    async with stack.browser("acc-1") as browser:
        back = await browser.consent(await browser.to_xero())
        page = await browser.arrive(back)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "style=" not in page.text
    assert not re.search(r"<script(?![^>]* src=\"/static/)|\son\w+=|javascript:", page.text)
    assert parse_qs(urlsplit(back).query)["code"][0] not in page.text
    # The person's name holds markup; it arrives as text.
    assert "Ada &lt;Admin&gt;" in page.text
    assert "<Admin>" not in page.text
