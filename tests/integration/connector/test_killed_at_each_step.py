"""kill -9 at every named step of connecting, refreshing, rotating and disconnecting: always recoverable without a human.

The victim is a real process on the same database; what remains is a second replica, whose background then works.
"""

import asyncio
import base64
import json
import os
import re
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from operating import command

import connector
from connector.announce_days import announce_days
from connector.disconnect_tenant import resume_disconnects
from connector.refresh_tokens import access_token
from connector.tend_tokens import refresh_due

SOURCES = Path(connector.__file__).parent
CONNECT = [
    "connect:after_state",
    "connect:after_exchange",
    "connect:after_tokens",
    "connect:before_bind",
]
REFRESH = [
    "refresh:before_claim",
    "refresh:after_claim",
    "refresh:after_answer",
    "refresh:after_store",
]
DISCONNECT = [
    "disconnect:after_fence",
    "disconnect:after_record",
    "disconnect:after_revoke",
    "disconnect:after_cleanup",
]
ROTATE = [
    "rotate:after_begun",
    "rotate:before_swap",
    "rotate:after_swap",
    "rotate:before_ended",
]
GIVE_UP = ["rotate:after_given_up"]
AFTERWARDS = ["connect:after_bind"]
ANNOUNCE = ["announce:before_commit", "announce:after_commit"]
UNWANTED = ["connect:after_unwanted"]
SWITCH = ["switch:after_fence", "switch:after_disconnect"]
NZ, US = "Demo Company (NZ)", "Demo Company (US)"


@asynccontextmanager
async def victim(stack, failpoint):
    """A connector process that dies at `failpoint`; yields its address."""
    process = await started(stack, failpoint)
    drain = None
    try:
        url = None
        async with asyncio.timeout(60):
            while url is None:
                line = await process.stdout.readline()
                assert line, "the connector ended before it listened"
                with suppress(ValueError):
                    entry = json.loads(line)
                    if entry.get("event") == "listening":
                        url = f"http://127.0.0.1:{entry['port']}"
        drain = asyncio.create_task(process.stdout.read())
        async with asyncio.timeout(60):
            await answering(url)
        yield url
        async with asyncio.timeout(30):
            assert await process.wait() == -9, "the step was not passed"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        if drain is not None:
            await drain


async def started(stack, failpoint):
    given = stack.settings.model_dump(exclude_none=True)
    env = {name.upper(): plain(value) for name, value in given.items()}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "connector",
        env={**os.environ, **env, "HTTP_PORT": "0", "FAILPOINT": failpoint},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=1024 * 1024,
    )


def plain(value):
    return value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)


async def answering(url):
    async with httpx.AsyncClient() as client:
        while True:
            with suppress(httpx.HTTPError):
                if (await client.get(f"{url}/health/live")).status_code == 200:
                    return
            await asyncio.sleep(0.1)


async def time_passes(stack):
    """Leases run out, and what waits for a while is due."""
    await stack.db.execute("UPDATE token_sets SET lease_until = now() WHERE lease_until > now()")
    await stack.db.execute("UPDATE token_sets SET refresh_after = now() WHERE refresh_pending")
    await stack.db.execute("UPDATE cleanups SET lease_until = NULL, next_attempt_at = now()")
    await stack.db.execute(
        "UPDATE connections SET fenced_at = now() - interval '1 minute' WHERE fenced_at IS NOT NULL"
    )
    ports = stack.apps[0].state.deps
    await refresh_due(ports)
    await resume_disconnects(ports)


async def works(stack):
    async with stack.caller() as client:
        answer = await client.get("/v1/accounts/acc-1/xero/Organisation")
    return answer.status_code == 200


@pytest.mark.parametrize("step", [*CONNECT, *AFTERWARDS])
async def test_connecting(stack, step):
    stack.consent()
    async with (
        victim(stack, step) as url,
        stack_browser(stack, url) as browser,
    ):
        back = await browser.consent(await browser.to_xero())
        with pytest.raises(httpx.HTTPError):
            await browser.pipeline.get(back.replace("http://localhost:8001", url))
    await time_passes(stack)
    if step in AFTERWARDS:
        assert (await stack.status("acc-1"))["status"] == "CONNECTED"
        assert await works(stack)
    await stack.connect("acc-1")
    assert await works(stack)
    sequences = [event.sequence for event in await stack.events("acc-1")]
    assert sequences == list(range(1, len(sequences) + 1))
    assert await stack.db.fetchval("SELECT count(*) FROM token_sets") == 1


@pytest.mark.parametrize("step", [*UNWANTED, "disconnect:after_revoke", "disconnect:after_cleanup"])
async def test_undoing_a_consent_with_too_few_permissions(stack, step):
    stack.consent()
    async with victim(stack, step) as url, stack_browser(stack, url) as browser:
        address = (await browser.to_xero()).replace("accounting.contacts", "openid")
        back = await browser.consent(address)
        with pytest.raises(httpx.HTTPError):
            await browser.pipeline.get(back.replace("http://localhost:8001", url))
    await time_passes(stack)
    assert stack.sim.world.grants.connections == {}
    assert stack.sim.world.grants.refreshes == {}
    for table in ("token_sets", "cleanups"):
        assert await stack.db.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608 - constants
    await stack.connect("acc-1")
    assert await works(stack)


@pytest.mark.parametrize("step", [*SWITCH, "connect:before_bind", *AFTERWARDS])
async def test_switching_the_organisation(stack, step):
    await stack.connect("acc-1", "demo@example.com", (NZ,))
    stack.consent("demo@example.com", (US,))
    async with victim(stack, step) as url, stack_browser(stack, url) as browser:
        back = await browser.consent(await browser.to_xero())
        await browser.arrive(back.replace("http://localhost:8001", url))
        form = switch_form(await browser.pipeline.get(f"{browser.card}/switch"))
        with pytest.raises(httpx.HTTPError):
            await browser.pipeline.post(f"{browser.card}/switch", data=form)
        session = browser.pipeline.cookies["xero_session"]
    calls = len(stack.calls("/api.xro/"))
    assert await works(stack) == (step in AFTERWARDS)
    assert len(stack.calls("/api.xro/")) == calls + (step in AFTERWARDS)
    await time_passes(stack)
    if step not in AFTERWARDS:
        status = await stack.status("acc-1")
        assert (status["status"], status["tenant_name"]) == ("DISCONNECTED", NZ)
        async with stack.browser("acc-1") as same:
            same.pipeline.cookies.set("xero_session", session)
            await same.pipeline.post(f"{same.card}/switch", data=form)
    status = await stack.status("acc-1")
    assert (status["tenant_name"], status["reason"]) == (US, "ORGANISATION_SWITCHED")
    assert await works(stack)
    await time_passes(stack)
    left = {row.tenant_id for row in stack.sim.world.grants.connections.values()}
    assert left == {status["tenant_id"]}
    assert [event.sequence for event in await stack.events("acc-1")] == [1, 2, 3]


def switch_form(page):
    found = dict(re.findall(r'name="(csrf|tenant_id)" value="([0-9a-f-]+)"', page.text))
    return found | {"confirmed": "yes"}


def stack_browser(stack, url):
    from_conftest = type(stack.browser("acc-1"))
    return from_conftest(stack, "acc-1", stack.keys.person_token("acc-1"), 0, url)


@pytest.mark.parametrize("step", REFRESH)
async def test_refreshing(stack, step):
    await stack.connect("acc-1")
    await stack.db.execute("UPDATE token_sets SET access_expires_at = now() - interval '1 second'")
    stack.sim.world.grants.expire_access(stack.sim.world.clock.now())
    token = stack.keys.service_token("invoice-sync")
    async with victim(stack, step) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        with pytest.raises(httpx.HTTPError):
            await client.get(
                "/v1/accounts/acc-1/xero/Organisation", headers={"Authorization": f"Bearer {token}"}
            )
    await time_passes(stack)
    assert await works(stack)
    assert (await stack.status("acc-1"))["status"] == "CONNECTED"
    assert len(await stack.events("acc-1")) == 1
    # And the chain goes on: the stored refresh token is one Xero takes.
    userid = await stack.db.fetchval("SELECT xero_userid FROM token_sets")
    version = await stack.db.fetchval("SELECT version FROM token_sets")
    assert (
        await access_token(stack.apps[0].state.deps, userid, stale_version=version)
    ).version > version


@pytest.mark.parametrize("step", DISCONNECT)
async def test_disconnecting(stack, step):
    await stack.connect("acc-1")
    async with victim(stack, step) as url, stack_browser(stack, url) as browser:
        token = await browser.form_token()
        with pytest.raises(httpx.HTTPError):
            await browser.pipeline.post(f"{browser.card}/disconnect", data={"csrf": token})
    calls = len(stack.calls("/api.xro/"))
    assert not await works(stack)
    assert len(stack.calls("/api.xro/")) == calls
    await time_passes(stack)
    status = await stack.status("acc-1")
    assert (status["status"], status["changed_by"]) == ("DISCONNECTED", "user-1")
    assert stack.sim.world.grants.connections == {}
    for table in ("token_sets", "cleanups"):
        assert await stack.db.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608 - constants
    assert [event.sequence for event in await stack.events("acc-1")] == [1, 2]


@pytest.mark.parametrize("step", ANNOUNCE)
async def test_announcing_a_low_day(stack, step):
    await stack.connect("acc-1")
    await stack.db.execute(
        "UPDATE tenant_budgets SET day_remaining = 1, day_limit = 5000 WHERE tenant_id <> ''"
    )
    # It is a chore of the background, and so the first thing a process does.
    process = await started(stack, step)
    async with asyncio.timeout(60):
        await process.stdout.read()
        assert await process.wait() == -9, "the step was not passed"
    for _ in range(2):
        await announce_days(stack.apps[0].state.deps)
    told = [(event.sequence, event.reason) for event in await stack.events("acc-1")]
    assert told == [(1, "CONNECTED_BY_USER"), (2, "DAY_BUDGET_LOW")]


def new_key(version):
    return f"{version}:" + base64.b64encode(os.urandom(32)).decode()


@pytest.mark.parametrize("step", ROTATE)
async def test_rotating_the_keys(make_stack, step):
    old, new = new_key("v1"), new_key("v2")
    stack = await make_stack(token_keys=f"{old},{new}")
    await stack.connect("acc-1")
    killed = await command(stack.dsn, f"{new},{old}", "rotate-keys", failpoint=step)
    assert killed.status == -9, killed.said
    # The service that still seals under the old key goes on, and what it stores is found by the next run.
    assert await works(stack)
    await access_token(stack.apps[0].state.deps, await userid_of(stack), stale_version=1)
    done = await command(stack.dsn, f"{new},{old}", "rotate-keys")
    assert (done.status, done.said.count("Every value is under key v2")) == (0, 1)
    assert await works(stack)
    chain = await stack.db.fetch("SELECT happening FROM key_rotations ORDER BY sequence")
    assert [row["happening"] for row in chain] == ["begun", "ended"]


@pytest.mark.parametrize("step", GIVE_UP)
async def test_giving_up_a_lost_key(make_stack, step):
    lost, new = new_key("v1"), new_key("v2")
    stack = await make_stack(token_keys=f"{lost},{new}")
    await stack.connect("acc-1")
    await stack.connect("acc-2", "demo@example.com", (NZ,))
    # A key under which something was renewed lately is not lost.
    await stack.db.execute("UPDATE token_sets SET refreshed_at = now() - interval '2 hours'")
    killed = await command(stack.dsn, new, "rotate-keys", "--give-up", "v1", failpoint=step)
    assert killed.status == -9, killed.said
    done = await command(stack.dsn, new, "rotate-keys", "--give-up", "v1")
    assert done.status == 0, done.said
    for account_id in ("acc-1", "acc-2"):
        assert (await stack.status(account_id))["reason"] == "KEY_LOST"
        assert [event.sequence for event in await stack.events(account_id)] == [1, 2]
    await stack.connect("acc-1")
    assert await works(stack)


async def userid_of(stack):
    return await stack.db.fetchval("SELECT xero_userid FROM token_sets")


def test_every_step_named_in_the_code_is_killed_here():
    named = {
        step
        for path in SOURCES.rglob("*.py")
        for step in re.findall(r'failpoint\("([^"]+)"\)', path.read_text())
    }
    assert named == {
        *CONNECT,
        *AFTERWARDS,
        *UNWANTED,
        *SWITCH,
        *REFRESH,
        *DISCONNECT,
        *ANNOUNCE,
        *ROTATE,
        *GIVE_UP,
    }
