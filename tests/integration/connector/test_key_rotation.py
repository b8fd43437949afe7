"""Keys change while everything runs: every value opens at every moment, and nothing opens where it does not belong."""

import asyncio
import base64
import os
import random
from uuid import uuid4

import pytest
from operating import command
from pydantic import SecretStr

from connector.app import create_app
from connector.connect_tenant import begin_connect
from connector.domain.connection import Actor
from connector.domain.refresh import Pair
from connector.domain.sealing import KeyRing, SealingError, parse_keys, unseal
from connector.refresh_tokens import access_token
from connector.rotate_keys import KeysMissing, rotate_keys
from connector.store import key_rotations, sealed_values, token_sets

OLD = "v1:" + base64.b64encode(os.urandom(32)).decode()
NEW = "v2:" + base64.b64encode(os.urandom(32)).decode()
BOTH = f"{NEW},{OLD}"
KILLS = int(os.environ.get("KILLS", "10"))
HASHES = {
    ("connection_changes", "hash"),
    ("connection_changes", "previous_hash"),
    ("key_rotations", "hash"),
    ("key_rotations", "previous_hash"),
    ("oauth_states", "state_hash"),
    ("oauth_states", "session_hash"),
    ("offered_organisations", "state_hash"),
}


def ports(stack):
    return stack.apps[0].state.deps


def use_keys(stack, keys):
    """What a restart with other TOKEN_KEYS would bring."""
    object.__setattr__(ports(stack), "ring", parse_keys(keys))


async def opened(stack, keys: str) -> dict[tuple[str, str, object], str]:
    """Every sealed value there is, opened in its place. Raises SealingError for the first that does not."""
    ring = parse_keys(keys)
    found = {}
    for where in sealed_values.COLUMNS:
        rows = await stack.db.fetch(
            f"SELECT {where.key} AS key, {where.also} AS also, {where.column} AS sealed FROM {where.table}"  # noqa: S608 - constants
            f" WHERE octet_length({where.column}) > 2"
        )
        for row in rows:
            found[where.table, where.column, row["key"]] = unseal(
                ring, row["sealed"], where.place(row)
            )
    return found


async def many_values(stack, users: int) -> None:
    """Grants with a previous token and an orphan each, and an attempt to connect under way for each."""
    ring = ports(stack).ring
    now = await stack.db.fetchval("SELECT now()")
    for number in range(users):
        user, lease = f"user-{number:03}", uuid4()
        pair = Pair(f"access {number}", f"refresh {number}", now - now.replace(hour=0), "")
        async with ports(stack).pool.acquire() as conn:
            await token_sets.insert_consented(conn, ring, user, pair, now)
            claimed = await token_sets.claim(conn, user, 1, lease, now - now.replace(year=2000))
            await token_sets.store_rotated(
                conn, ring, claimed, lease, pair, used_token="used", expires_at=now, renew_after=now
            )
            await token_sets.add_orphan(conn, ring, user, uuid4(), f"orphan {number}")
        await begin_connect(ports(stack), f"acc-{number}", Actor("u", "Ada"), "session")


async def test_a_rotation_moves_everything_and_says_what_is_left(make_stack):
    stack = await make_stack(token_keys=OLD)
    await stack.connect("acc-1")
    await many_values(stack, 3)
    before = await opened(stack, OLD)
    # The account's two tokens, its attempt's verifier and nonce, and six values for each of the three.
    assert len(before) == 4 + 3 * 6
    checked = await command(stack.dsn, BOTH, "rotate-keys", "--check")
    assert (checked.status, checked.said) == (1, "22 values are left under key v1.\n")
    assert await stack.db.fetchval("SELECT count(*) FROM key_rotations") == 0
    for _ in range(2):
        done = await command(stack.dsn, BOTH, "rotate-keys")
        assert (done.status, done.said) == (
            0,
            "Every value is under key v2. Other keys can be removed.\n",
        )
    assert (await command(stack.dsn, NEW, "rotate-keys", "--check")).status == 0
    assert await opened(stack, NEW) == before
    steps = await stack.db.fetch("SELECT happening, values_left FROM key_rotations ORDER BY 1")
    assert [tuple(step) for step in steps] == [("begun", 22), ("ended", 0)]
    # And with the old key removed everything goes on.
    use_keys(stack, NEW)
    assert (await stack.caller().get("/v1/accounts/acc-1/xero/Organisation")).status_code == 200


@pytest.mark.parametrize("campaign", range(KILLS // 10))
async def test_ten_kills_at_random_moments_leave_every_value_legible(make_stack, campaign):
    stack = await make_stack(token_keys=OLD)
    await many_values(stack, 40)
    before = await opened(stack, OLD)
    seed = random.randrange(10**6) + campaign
    chance = random.Random(seed)
    left = len(before)
    for _ in range(10):
        moment = chance.choice(["rotate:before_swap", "rotate:after_swap"])
        killed = await command(
            stack.dsn, BOTH, "rotate-keys", failpoint=f"{moment}@{chance.randint(1, 11)}"
        )
        assert killed.status == -9, (seed, killed.said)
        assert await opened(stack, BOTH) == before, seed
        by_key = await sealed_values.count(stack.db)
        assert by_key["v1"] <= left
        left = by_key["v1"]
    assert 0 < left < len(before)
    assert (await command(stack.dsn, BOTH, "rotate-keys")).status == 0
    assert await opened(stack, NEW) == before
    happenings = await stack.db.fetch("SELECT happening FROM key_rotations ORDER BY sequence")
    assert [row["happening"] for row in happenings] == ["begun", "ended"]
    assert (await command(stack.dsn, NEW, "verify-audit")).status == 0


async def test_a_refresh_in_between_wins(make_stack):
    stack = await make_stack(token_keys=OLD)
    await stack.connect("acc-1")
    use_keys(stack, BOTH)
    read = {}
    for where in sealed_values.COLUMNS[:2]:
        rows = await sealed_values.under_other_keys(stack.db, where, "v2", None, 10)
        read[where] = rows[0]
    userid = rows[0]["key"]
    await access_token(ports(stack), userid, stale_version=1)
    after = await opened(stack, BOTH)
    for where, row in read.items():
        assert not await sealed_values.swap(stack.db, where, row["key"], row["sealed"], b"stale")
    assert await opened(stack, BOTH) == after


async def test_refreshing_and_rotating_at_the_same_time_loses_nothing(make_stack):
    stack = await make_stack(token_keys=OLD)
    await stack.connect("acc-1")
    await stack.connect("acc-2", "demo@example.com", ("Demo Company (NZ)",))
    use_keys(stack, BOTH)
    rings = [parse_keys(BOTH), parse_keys(f"{OLD},{NEW}")]
    users = [
        row["xero_userid"] for row in await stack.db.fetch("SELECT xero_userid FROM token_sets")
    ]
    refreshing = asyncio.create_task(keep_refreshing(stack, users))
    rounds = 0
    async with ports(stack).pool.acquire() as conn:
        while not refreshing.done():
            await rotate_keys(conn, rings[rounds % 2])
            rounds += 1
            await asyncio.sleep(0)
        await refreshing
        assert rounds > 1
        assert await rotate_keys(conn, rings[0]) == {}
    stored = await opened(stack, NEW)
    newest = {t for t, row in stack.sim.world.grants.refreshes.items() if row.used is None}
    assert {stored["token_sets", "refresh_token", user] for user in users} == newest


async def keep_refreshing(stack, users):
    for version in range(1, 21):
        await asyncio.gather(
            *(access_token(ports(stack), user, stale_version=version) for user in users)
        )


async def test_swapped_ciphertext_never_opens_and_is_reported(make_stack):
    stack = await make_stack(token_keys=OLD)
    await many_values(stack, 2)
    await stack.db.execute(
        """
        UPDATE token_sets t SET refresh_token = o.refresh_token FROM token_sets o
         WHERE t.xero_userid <> o.xero_userid
        """
    )
    ended = await command(stack.dsn, BOTH, "rotate-keys")
    assert ended.status == 1
    assert "2 values are left under key v1." in ended.said
    assert ended.said.count("SealBroken") == 2
    with pytest.raises(SealingError):
        await opened(stack, BOTH)


async def renewed_long_ago(stack):
    await stack.db.execute("UPDATE token_sets SET refreshed_at = now() - interval '80 minutes'")


async def test_a_replica_without_a_key_in_use_does_not_start_and_those_that_run_go_on(make_stack):
    stack = await make_stack(token_keys=OLD)
    await stack.connect("acc-1")
    newcomer = create_app(stack.settings.model_copy(update={"token_keys": SecretStr(NEW)}))
    with pytest.raises(KeysMissing, match="v1"):
        async with newcomer.router.lifespan_context(newcomer):
            pass
    # One value that nobody here can open, whyever, must not take everybody else's connection down.
    use_keys(stack, NEW)
    async with stack.caller() as client:
        assert (await client.get("/health/ready")).status_code == 200
    # Nobody has renewed anything under it lately: nobody seems to have it, and waiting for it would help nobody.
    await renewed_long_ago(stack)
    async with newcomer.router.lifespan_context(newcomer):
        pass
    ended = await command(stack.dsn, NEW, "rotate-keys")
    assert ended.status == 1
    assert "4 values are left under key v1, which is not among TOKEN_KEYS." in ended.said


async def test_a_key_that_somebody_uses_is_not_given_up(make_stack):
    stack = await make_stack(token_keys=OLD)
    await stack.connect("acc-1")
    before = await opened(stack, OLD)
    refused = await command(stack.dsn, NEW, "rotate-keys", "--give-up", "v1")
    assert (refused.status, "somebody has it" in refused.said) == (2, True)
    await renewed_long_ago(stack)
    both = await command(stack.dsn, NEW, "rotate-keys", "--check", "--give-up", "v1")
    assert (both.status, "not allowed with" in both.said) == (2, True)
    assert await opened(stack, OLD) == before


async def test_a_key_lost_for_good_is_given_up_and_people_connect_again(make_stack):
    stack = await make_stack(token_keys=OLD)
    await stack.connect("acc-1")
    await many_values(stack, 1)
    await renewed_long_ago(stack)
    refused = await command(stack.dsn, BOTH, "rotate-keys", "--give-up", "v1")
    assert (refused.status, "nothing is lost" in refused.said) == (2, True)
    use_keys(stack, NEW)
    ended = await command(stack.dsn, NEW, "rotate-keys", "--give-up", "v1")
    assert ended.status == 0
    assert "key v1 could open: 2 grants." in ended.said
    status = await stack.status("acc-1")
    assert (status["status"], status["reason"], status["can_refresh"]) == (
        "TOKEN_EXPIRED",
        "KEY_LOST",
        False,
    )
    async with stack.browser("acc-1") as browser:
        assert "Connect to Xero</button>" in (await browser.pipeline.get(browser.card)).text
    await stack.connect("acc-1")
    assert (await stack.status("acc-1"))["status"] == "CONNECTED"
    assert (await stack.caller().get("/v1/accounts/acc-1/xero/Organisation")).status_code == 200
    assert (await command(stack.dsn, NEW, "verify-audit")).status == 0


async def test_a_run_that_waited_for_another_finds_nothing_to_record(make_stack):
    stack = await make_stack(token_keys=OLD)
    await stack.connect("acc-1")
    keys = parse_keys(BOTH)
    async with ports(stack).pool.acquire() as late:
        async with stack.db.transaction():
            await key_rotations.lock(stack.db)
            waiting = asyncio.create_task(rotate_keys(late, keys))
            while not await stack.db.fetchval(  # noqa: ASYNC110 - another connection's lock
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            ):
                await asyncio.sleep(0.01)
            await rotate_keys(stack.db, keys)
        assert await waiting == {}
    happenings = await stack.db.fetch("SELECT happening FROM key_rotations ORDER BY sequence")
    assert [row["happening"] for row in happenings] == ["begun", "ended"]


async def test_no_sealed_column_is_forgotten(stack):
    columns = await stack.db.fetch(
        """
        SELECT table_name, column_name FROM information_schema.columns
         WHERE table_schema = 'public' AND data_type = 'bytea' AND table_name NOT IN ('outbox', 'inbox')
        """
    )
    found = {(row["table_name"], row["column_name"]) for row in columns}
    assert found - HASHES == {(c.table, c.column) for c in sealed_values.COLUMNS}


async def test_a_key_service_that_is_away_delays_and_loses_nothing(stack):
    class Away(KeyRing):
        """Keys that are away for a while, in the middle of a refresh."""

        def wrap(self, data_key, place):
            nonlocal failures
            if failures:
                failures -= 1
                raise SealingError("the key service does not answer")
            return super().wrap(data_key, place)

    failures = 2
    await stack.connect("acc-1")
    ring = ports(stack).ring
    object.__setattr__(ports(stack), "ring", Away(ring.keys, ring.current))
    userid = await stack.db.fetchval("SELECT xero_userid FROM token_sets")
    access = await access_token(ports(stack), userid, stale_version=1)
    assert (access.version, failures) == (2, 0)
    assert len(stack.calls("/connect/token")) == 2
