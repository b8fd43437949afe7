"""A grant that no longer covers what syncing needs: said so once, kept alive, healed by a consent with everything."""

from dataclasses import replace

from connector.refresh_tokens import Access, access_token, scopes_missing


async def grant(stack):
    return await stack.db.fetchrow("SELECT xero_userid, version FROM token_sets")


async def narrow(stack):
    """The person takes a permission back: the next tokens lack it."""
    refreshes = stack.sim.world.grants.refreshes
    for token, row in refreshes.items():
        refreshes[token] = replace(row, scopes=row.scopes - {"accounting.invoices"})


async def renew(stack) -> Access:
    tokens = await grant(stack)
    ports = stack.apps[0].state.deps
    return await access_token(ports, tokens["xero_userid"], stale_version=tokens["version"])


async def test_a_refresh_that_grants_less_is_recorded_once_and_a_full_consent_heals(stack):
    await stack.connect("acc-1")
    await narrow(stack)
    for _ in range(2):
        await renew(stack)
    status = await stack.status("acc-1")
    assert (status["status"], status["reason"]) == ("TOKEN_EXPIRED", "SCOPES_MISSING")
    assert status["can_refresh"] is False
    refused = await stack.caller().get("/v1/accounts/acc-1/xero/Organisation")
    assert (refused.status_code, refused.json()["reason"]) == (409, "SCOPES_MISSING")
    await stack.connect("acc-1")
    await renew(stack)
    assert (await stack.status("acc-1"))["status"] == "CONNECTED"
    assert [event.reason for event in await stack.events("acc-1")] == [
        "CONNECTED_BY_USER",
        "SCOPES_MISSING",
        "CONNECTED_BY_USER",
    ]


async def test_what_xero_refused_for_its_scope_is_not_healed_by_a_refresh(stack):
    await stack.connect("acc-1")
    tokens = await grant(stack)
    ports = stack.apps[0].state.deps
    for _ in range(2):
        await scopes_missing(ports, tokens["xero_userid"], tokens["version"])
    await renew(stack)
    assert (await stack.status("acc-1"))["reason"] == "SCOPES_MISSING"
    assert len(await stack.events("acc-1")) == 2


async def test_a_refusal_of_an_older_token_says_nothing_about_a_newer_consent(stack):
    await stack.connect("acc-1")
    tokens = await grant(stack)
    await stack.connect("acc-1")
    await scopes_missing(stack.apps[0].state.deps, tokens["xero_userid"], tokens["version"])
    assert (await stack.status("acc-1"))["status"] == "CONNECTED"
