"""A consent that is not taken is given back to Xero, and harms no connection that works."""

import re

import pytest

from connector.disconnect_tenant import resume_disconnects

NZ, US, SOLO = "Demo Company (NZ)", "Demo Company (US)", "Kiwi Records Ltd"
DEMO, SINGLE = "demo@example.com", "single@example.com"
FEWER = "accounting.contacts"


def problem_of(page):
    found = re.search(r'data-problem="([a-z-]+)"', page.text)
    return found[1] if found else None


def held_at_xero(stack):
    world = stack.sim.world
    return {world.books[c.tenant_id].organisation.name for c in world.grants.connections.values()}


async def consent_to_less(stack, account, user=SINGLE, tenants=(), without=FEWER):
    stack.consent(user, tenants)
    async with stack.browser(account) as browser:
        address = (await browser.to_xero()).replace(without, "openid")
        return await browser.arrive(await browser.consent(address))


async def works(stack, account):
    async with stack.caller() as client:
        answer = await client.get(f"/v1/accounts/{account}/xero/Organisation")
    return answer.status_code == 200


async def test_too_few_permissions_are_named_and_the_grant_is_revoked(stack):
    page = await consent_to_less(stack, "acc-1")
    assert problem_of(page) == "permissions-missing"
    assert "read and write contacts" in page.text
    assert "read and write invoices" not in page.text
    assert page.text.count("<button") == 1
    assert held_at_xero(stack) == set()
    assert stack.sim.world.grants.refreshes == {}
    for table in ("token_sets", "cleanups", "connections"):
        assert await stack.db.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608 - constants
    assert "CONNECTED" in (await stack.connect("acc-1")).text


async def test_xero_being_away_at_that_moment_delays_it_only(stack):
    stack.sim.world.faults.add(kind="unavailable_503", path="/connect/revocation")
    assert problem_of(await consent_to_less(stack, "acc-1")) == "permissions-missing"
    assert held_at_xero(stack) == {SOLO}
    await stack.db.execute("UPDATE cleanups SET next_attempt_at = now()")
    await resume_disconnects(stack.apps[0].state.deps)
    assert held_at_xero(stack) == set()
    assert await stack.db.fetchval("SELECT count(*) FROM token_sets") == 0


async def test_a_connection_through_another_xero_user_is_not_touched(stack):
    await stack.connect("acc-1", DEMO, (NZ,))
    await consent_to_less(stack, "acc-1", SINGLE)
    assert held_at_xero(stack) == {NZ}
    assert (await stack.status("acc-1"))["status"] == "CONNECTED"
    assert await works(stack, "acc-1")


async def test_nor_one_through_the_same_xero_user(stack):
    await stack.connect("acc-1", DEMO, (NZ,))
    before = await stack.db.fetchval("SELECT version FROM token_sets")
    # Grants are additive at Xero; one that names less is what a person sees who limits it.
    stack.sim.world.grants.consented.clear()
    page = await consent_to_less(stack, "acc-2", DEMO, (US,))
    assert problem_of(page) == "permissions-missing"
    assert await stack.db.fetchval("SELECT version FROM token_sets") == before
    await stack.db.execute("UPDATE cleanups SET next_attempt_at = now()")
    await resume_disconnects(stack.apps[0].state.deps)
    assert held_at_xero(stack) == {NZ}
    assert await works(stack, "acc-1")


async def test_without_leave_to_stay_connected_the_permission_is_named_and_nothing_is_kept(stack):
    page = await consent_to_less(stack, "acc-1", without="offline_access")
    assert problem_of(page) == "permissions-missing"
    assert "stay connected while nobody is signed in" in page.text
    assert "read and write contacts" not in page.text
    assert held_at_xero(stack) == set()
    for table in ("token_sets", "cleanups", "connections"):
        assert await stack.db.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608 - constants
    stack.sim.world.grants.consented.clear()
    page = await consent_to_less(stack, "acc-1", without=f"offline_access+{FEWER}")
    assert "stay connected while nobody is signed in" in page.text
    assert "read and write contacts" in page.text
    assert "CONNECTED" in (await stack.connect("acc-1")).text


async def test_nor_does_that_touch_what_the_same_xero_user_connected_before(stack):
    await stack.connect("acc-1", DEMO, (NZ,))
    stack.sim.world.grants.consented.clear()
    page = await consent_to_less(stack, "acc-2", DEMO, (US,), without="offline_access")
    assert problem_of(page) == "permissions-missing"
    await resume_disconnects(stack.apps[0].state.deps)
    assert held_at_xero(stack) == {NZ}
    assert await works(stack, "acc-1")


async def test_nor_is_an_organisation_taken_from_the_account_that_uses_it(stack):
    await stack.connect("acc-1", DEMO, (NZ,))
    stack.sim.world.grants.consented.clear()
    await consent_to_less(stack, "acc-2", DEMO, (NZ,), without="offline_access")
    await resume_disconnects(stack.apps[0].state.deps)
    assert held_at_xero(stack) == {NZ}
    assert await works(stack, "acc-1")


async def test_nor_is_one_that_another_xero_user_connected(stack):
    await stack.connect("acc-1")
    # As if it were connected through somebody else: nothing is stored of this user.
    async with stack.db.transaction():
        await stack.db.execute(
            """
            INSERT INTO token_sets (xero_userid, version, access_token, access_expires_at, refresh_token,
                                    refreshed_at, scopes, refresh_after, last_used_at)
            SELECT 'somebody-else', version, access_token, access_expires_at, refresh_token,
                   refreshed_at, scopes, refresh_after, last_used_at FROM token_sets
            """
        )
        await stack.db.execute("UPDATE connections SET xero_userid = 'somebody-else'")
        await stack.db.execute("DELETE FROM token_sets WHERE xero_userid <> 'somebody-else'")
    stack.sim.world.grants.consented.clear()
    page = await consent_to_less(stack, "acc-2", without="offline_access")
    assert problem_of(page) == "permissions-missing"
    assert held_at_xero(stack) == {SOLO}


async def test_what_cannot_be_removed_at_that_moment_is_still_explained(stack):
    stack.sim.world.faults.add(kind="unavailable_503", path="/connections")
    page = await consent_to_less(stack, "acc-1", without="offline_access")
    assert problem_of(page) == "permissions-missing"


@pytest.mark.parametrize("kind", ["reset_before", "unavailable_503"])
@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/.well-known/*/jwks"])
async def test_tokens_that_cannot_be_checked_are_given_back(stack, kind, path):
    stack.sim.world.faults.add(kind=kind, path=path)
    page = await stack.connect("acc-1")
    assert problem_of(page) == "xero-unavailable"
    assert held_at_xero(stack) == set()
    assert await stack.db.fetchval("SELECT count(*) FROM token_sets") == 0
    assert "CONNECTED" in (await stack.connect("acc-1")).text


async def test_a_choice_nobody_makes_is_given_back(stack):
    stack.consent(DEMO)
    async with stack.browser("acc-1") as browser:
        await browser.connect()
    assert held_at_xero(stack) == {NZ, US}
    ports = stack.apps[0].state.deps
    await stack.db.execute("UPDATE cleanups SET next_attempt_at = now()")
    await resume_disconnects(ports)
    assert held_at_xero(stack) == {NZ, US}, "the choice is still open"
    await stack.db.execute("UPDATE oauth_states SET choice_until = now()")
    for _ in range(2):
        await stack.db.execute("UPDATE cleanups SET next_attempt_at = now()")
        await stack.db.execute("UPDATE token_sets SET refreshed_at = now() - interval '31 minutes'")
        await resume_disconnects(ports)
    assert held_at_xero(stack) == set()
    assert await stack.db.fetchval("SELECT count(*) FROM token_sets") == 0


async def test_organisations_that_were_granted_and_not_chosen_are_given_back(stack):
    stack.consent(DEMO)
    async with stack.browser("acc-1") as browser:
        page = await browser.connect()
        tenant = re.search(r'value="([0-9a-f-]{36})"[^>]*>\s*<span>Demo Company \(US\)', page.text)[
            1
        ]
        token = re.search(r'name="csrf" value="([0-9a-f]+)"', page.text)[1]
        await browser.press("organisation", csrf=token, tenant_id=tenant)
    await stack.db.execute("UPDATE cleanups SET next_attempt_at = now()")
    await resume_disconnects(stack.apps[0].state.deps)
    assert held_at_xero(stack) == {US}
    assert await works(stack, "acc-1")
