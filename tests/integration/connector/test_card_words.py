"""What the card says when a renewal fails: the real cause, not an outage of Xero."""

import os
import re
from dataclasses import replace
from datetime import timedelta

from connector.store import cleanups
from connector.tend_tokens import refresh_due

LATEST = r'<li>\s*<span class="what">([^<]+)</span>\s*<span class="aside"><bdi>([^<]+)</bdi>'
DUE = "UPDATE token_sets SET refresh_after = now() - interval '1 second', last_used_at = now()"


async def test_refused_credentials_are_not_called_an_outage(stack):
    await stack.connect("acc-1")
    good = stack.sim.world.settings
    stack.sim.world.settings = replace(good, client_secret="away")
    await stack.db.execute(DUE)
    await refresh_due(stack.apps[0].state.deps)
    async with stack.browser("acc-1") as browser:
        page = await browser.pipeline.get(browser.card)
        assert "own credentials" in page.text
        assert "Xero is not answering" not in page.text
        pressed = await browser.press("refresh")
        # The card says what is wrong; a page about a silent Xero would not be true.
        assert pressed.headers["location"] == browser.card
        stack.sim.world.settings = good
        assert (await browser.press("refresh")).headers["location"] == browser.card
        assert "own credentials" not in (await browser.pipeline.get(browser.card)).text


async def test_the_press_that_heals_is_told_with_the_name_of_who_pressed(stack):
    await stack.connect("acc-1")
    good = stack.sim.world.settings
    stack.sim.world.settings = replace(good, client_secret="away")
    await stack.db.execute(DUE)
    await stack.db.execute("UPDATE token_sets SET access_expires_at = now()")
    await refresh_due(stack.apps[0].state.deps)
    assert (await stack.status("acc-1"))["status"] == "TOKEN_EXPIRED"
    stack.sim.world.settings = good
    token = stack.keys.person_token("acc-1", sub="user-2", name="Grace <Healer>")
    async with stack.browser("acc-1") as browser:
        browser.pipeline.cookies = {"pipeline_session": token}
        before = await browser.pipeline.get(browser.card)
        assert re.search(LATEST, before.text).groups() == (
            "Xero refused Pipeline&#39;s own credentials",
            "the system",
        )
        await browser.press("refresh")
        healed = await browser.pipeline.get(browser.card)
    assert re.search(LATEST, healed.text).groups() == (
        "Authorisation renewed, syncing continued",
        "Grace &lt;Healer&gt;",
    )
    assert [e.changed_by for e in await stack.events("acc-1")] == ["user-1", None, "user-2"]


async def test_a_missing_key_is_not_called_an_outage(stack):
    await stack.connect("acc-1")
    deps = stack.apps[0].state.deps
    # The ring is frozen; what is configured changes between two starts of a process.
    object.__setattr__(deps.ring, "keys", {"v2": os.urandom(32)})
    object.__setattr__(deps.ring, "current", "v2")
    await stack.db.execute(DUE)
    await refresh_due(deps)
    async with stack.browser("acc-1") as browser:
        page = await browser.pipeline.get(browser.card)
    assert "encryption key" in page.text
    assert "Xero is not answering" not in page.text


async def test_a_signed_out_page_leads_nowhere_that_does_not_exist(stack):
    async with stack.browser("acc-1") as browser:
        page = await browser.pipeline.get("/oauth/xero/problem/signed-out")
    assert 'href="/"' not in page.text


async def test_a_cleanup_spared_by_a_new_consent_is_not_claimed(stack):
    await stack.connect("acc-1")
    userid = await stack.db.fetchval("SELECT xero_userid FROM connections")
    cleanup = await cleanups.add(stack.db, kind="grant", xero_userid=userid, tenant_id="t")
    await cleanups.spare_grant(stack.db, userid, timedelta(minutes=5))
    assert await cleanups.claim(stack.db, cleanup, timedelta(seconds=5)) is None
