"""The audit proves itself: whole after everything people do, and broken where somebody altered it."""

import pytest
from operating import command

KEYS = "v1:" + "A" * 43 + "="


async def verified(stack):
    return await command(stack.dsn, KEYS, "verify-audit")


async def lived_through(stack):
    """An account with a few changes, and one with a single one."""
    await stack.connect("acc-1")
    async with stack.browser("acc-1") as browser:
        await browser.press("disconnect")
    await stack.connect("acc-1")
    await stack.connect("acc-2", "demo@example.com", ("Demo Company (NZ)",))


async def test_a_history_as_it_happened_holds(stack):
    assert (await verified(stack)).said == "0 rows read, 0 broken chains.\n"
    await lived_through(stack)
    ended = await verified(stack)
    assert (ended.status, ended.said) == (0, "4 rows read, 0 broken chains.\n")


@pytest.mark.parametrize(
    ("tampering", "named"),
    [
        (
            "UPDATE connection_changes SET actor = 'somebody else' WHERE account_id = 'acc-1' AND sequence = 2",
            "account 'acc-1', change 2: altered",
        ),
        (
            "DELETE FROM connection_changes WHERE account_id = 'acc-1' AND sequence = 2",
            "account 'acc-1', change 3: change 2 is missing before it",
        ),
        (
            "DELETE FROM connection_changes WHERE account_id = 'acc-1' AND sequence = 3",
            "account 'acc-1', change 3: missing at the end",
        ),
        (
            "DELETE FROM connection_changes WHERE account_id = 'acc-2'",
            "account 'acc-2', change 1: missing at the end",
        ),
        (
            "UPDATE connections SET status = 'DISCONNECTED' WHERE account_id = 'acc-2'",
            "account 'acc-2': the connection is not what change 1 made it",
        ),
        (
            "DELETE FROM connections WHERE account_id = 'acc-2'",
            "account 'acc-2': the connection is missing",
        ),
    ],
)
async def test_what_was_tampered_with_is_named(stack, tampering, named):
    await lived_through(stack)
    await stack.db.execute(tampering)
    ended = await verified(stack)
    assert ended.status == 1
    assert f"BROKEN: {named}" in ended.said
    assert "1 broken chains." in ended.said


async def test_who_healed_an_expired_connection_is_on_record(stack):
    await stack.connect("acc-1")
    await stack.db.execute(
        "UPDATE token_sets SET access_expires_at = now(), refresh_after = now(), last_used_at = now()"
    )
    good = stack.apps[0].state.deps.ring
    # Keys that cannot open what is stored, as after a wrong deployment.
    object.__setattr__(stack.apps[0].state.deps, "ring", type(good)({"v9": b"9" * 32}, "v9"))
    await stack.caller().get("/v1/accounts/acc-1/xero/Organisation")
    assert (await stack.status("acc-1"))["reason"] == "KEY_UNAVAILABLE"
    object.__setattr__(stack.apps[0].state.deps, "ring", good)
    async with stack.browser("acc-1", sub="user-7") as browser:
        await browser.press("refresh")
    status = await stack.status("acc-1")
    assert (status["status"], status["changed_by"]) == ("CONNECTED", "user-7")
    rows = await stack.db.fetch("SELECT actor, reason FROM connection_changes ORDER BY sequence")
    assert [tuple(row) for row in rows] == [
        ("user-1", "CONNECTED_BY_USER"),
        (None, "KEY_UNAVAILABLE"),
        ("user-7", "REFRESHED"),
    ]
    assert (await verified(stack)).status == 0
