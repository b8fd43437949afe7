"""Twenty processes and one due refresh, again and again: one call to Xero each time, and no token is ever lost.

Every racer is a process of its own, and so is the simulator, whose log is the witness. `RACES=10000` runs more.
"""

import asyncio
import base64
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import pytest
from racers import BARRIERS, TABLE
from serving import listen

from connector.clients.identity import XeroIdentity
from connector.domain import authorization
from connector.domain.refresh import Pair
from connector.settings import Settings
from connector.store import token_sets
from pipeline_service_defaults.migrate import directories_of
from xero_simulator.config import Settings as SimulatorSettings

RACERS = 20
RACES = int(os.environ.get("RACES", "100"))
USER = "racer"
SIMULATED = SimulatorSettings()
PROGRAM = Path(__file__).parents[2] / "support" / "racers.py"
REDIRECT = "http://localhost:8001/oauth/xero/callback"


@dataclass
class Course:
    """Where races are held: the database, the simulator's address, and the racers' settings."""

    db: asyncpg.Connection
    xero: httpx.AsyncClient
    settings: Settings
    environment: dict[str, str]
    seen: int = 0

    async def close_barriers(self, first: int, last: int) -> None:
        for number in range(first, last + 1):
            await self.db.execute("SELECT pg_advisory_lock($1, $2)", BARRIERS, number)

    async def line_up(self, number: int, racers: int) -> None:
        """Wait until so many processes stand at the barrier."""
        while (  # noqa: ASYNC110 - another process's lock offers nothing to wait on
            await self.db.fetchval(
                """
                SELECT count(*) FROM pg_locks
                 WHERE locktype = 'advisory' AND NOT granted AND classid = $1 AND objid = $2
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                """,
                BARRIERS,
                number,
            )
            < racers
        ):
            await asyncio.sleep(0.005)

    async def start(self, number: int) -> None:
        await self.db.execute("SELECT pg_advisory_unlock($1, $2)", BARRIERS, number)

    async def results(self, number: int, racers: int) -> list[asyncpg.Record]:
        """Everybody's results, once everybody is through."""
        while True:
            rows = await self.db.fetch("SELECT * FROM race_results WHERE race = $1", number)
            if len(rows) >= racers:
                return rows
            await asyncio.sleep(0.005)

    async def expire(self) -> None:
        await self.db.execute(
            "UPDATE token_sets SET access_expires_at = now() - interval '1 second'"
        )

    async def end_lease(self) -> None:
        await self.db.execute("UPDATE token_sets SET lease_until = now()")

    async def refreshes(self) -> int:
        """How often the token endpoint was asked since this was last called; by the simulator's own log."""
        answer = await self.xero.get(
            "/admin/calls", params={"path": "/connect/token", "since": self.seen}
        )
        calls = answer.json()["calls"]
        self.seen = max([self.seen, *(call["sequence"] for call in calls)])
        return len(calls)

    async def stored(self) -> token_sets.TokenSet:
        tokens = await token_sets.find(self.db, USER)
        assert tokens is not None
        return tokens

    @asynccontextmanager
    async def racers(
        self, count: int, first: int, last: int, **more: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """So many processes, lined up for the races from `first` to `last`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PROGRAM),
            env={
                **self.environment,
                "RACERS": str(count),
                "FIRST_RACE": str(first),
                "LAST_RACE": str(last),
                "RACE_OVER": USER,
                **more,
            },
            process_group=0,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


@asynccontextmanager
async def simulator() -> AsyncIterator[httpx.AsyncClient]:
    listener = listen()
    port = listener.getsockname()[1]
    listener.close()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "xero_simulator",
        env={"PATH": os.environ["PATH"], "SIM_PORT": str(port), "SIM_REDIRECT_URIS": REDIRECT},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            async with asyncio.timeout(60):
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        await client.get("/admin/health")
                        break
                    await asyncio.sleep(0.05)
            yield client
    finally:
        process.kill()
        await process.wait()


async def a_grant(xero: httpx.AsyncClient, settings: Settings) -> Pair:
    """What somebody's consent brings."""
    flow = authorization.new_flow()
    await xero.put("/admin/consent", json={"user": "single@example.com", "times": 1})
    answer = await xero.get(
        authorization.url(settings.xero_login_url, settings.xero_client_id, REDIRECT, flow)
    )
    code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
    pair = await XeroIdentity(xero, settings).exchange_code(code, flow.verifier)
    assert isinstance(pair, Pair)
    return pair


@pytest.fixture
async def course(make_database: Any, tmp_path: Path) -> AsyncIterator[Course]:
    dsn = await make_database(*directories_of("connector"))
    issuers = tmp_path / "issuers.json"
    issuers.write_text("{}")
    async with simulator() as xero:
        url = str(xero.base_url).rstrip("/")
        environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": dsn,
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
            "HTTP_PORT": "8001",
            "AUTH_ISSUERS_FILE": str(issuers),
            "PUBLIC_URL": "http://localhost:8001",
            "XERO_LOGIN_URL": url,
            "XERO_IDENTITY_URL": url,
            "XERO_API_URL": url,
            "XERO_CLIENT_ID": SIMULATED.client_id,
            "XERO_CLIENT_SECRET": SIMULATED.client_secret,
            "TOKEN_KEYS": "v1:" + base64.b64encode(os.urandom(32)).decode(),
        }
        settings = Settings(**{name.lower(): value for name, value in environment.items()})
        db = await asyncpg.connect(dsn)
        try:
            await db.execute(TABLE)
            pair = await a_grant(xero, settings)
            now = await db.fetchval("SELECT now()")
            await token_sets.insert_consented(db, settings.key_ring(), USER, pair, now)
            found = Course(db, xero, settings, environment)
            await found.refreshes()
            yield found
        finally:
            await db.close()


async def test_one_refresh_however_many_ask(course):
    await course.close_barriers(1, RACES)
    async with course.racers(RACERS, 1, RACES) as processes:
        for number in range(1, RACES + 1):
            await course.line_up(number, RACERS)
            await course.expire()
            await course.start(number)
            results = await course.results(number, RACERS)
            assert {(row["version"], row["problem"]) for row in results} == {(number + 1, None)}
            assert len({row["token_hash"] for row in results}) == 1
            assert len({row["pid"] for row in results}) == RACERS
            assert await course.refreshes() == 1, number
        assert await processes.wait() == 0
    # Each refresh used the token the one before it stored, so none was lost; the last one works too.
    await still_refreshes(course)
    assert await course.db.fetchval("SELECT count(*) FROM orphan_tokens") == 0


async def test_without_leases_the_log_would_show_it(course):
    """The witness is believed because it speaks up: here the database forgets every lease at once."""
    await course.db.execute(
        """
        CREATE FUNCTION forget_lease() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.lease_until := NULL; RETURN NEW; END $$;
        CREATE TRIGGER forget_lease BEFORE UPDATE ON token_sets FOR EACH ROW EXECUTE FUNCTION forget_lease();
        """
    )
    await course.close_barriers(1, 1)
    await course.expire()
    async with course.racers(RACERS, 1, 1):
        await course.line_up(1, RACERS)
        await course.start(1)
        await course.results(1, RACERS)
        assert await course.refreshes() > 1


async def still_refreshes(course):
    tokens = await course.stored()
    token = tokens.refresh_token(course.settings.key_ring())
    identity = XeroIdentity(course.xero, course.settings)
    assert isinstance(await identity.refresh(token), Pair)


@pytest.mark.parametrize(
    ("step", "asked"),
    [
        ("refresh:before_claim", 1),
        ("refresh:after_claim", 1),
        ("refresh:after_answer", 2),
        ("refresh:after_store", 1),
    ],
)
async def test_the_winner_is_killed_midway(course, step, asked):
    await course.close_barriers(1, 2)
    await course.expire()
    async with (
        course.racers(1, 1, 1, FAILPOINT=step) as winner,
        course.racers(RACERS, 2, 2) as others,
    ):
        await course.line_up(1, 1)
        await course.start(1)
        assert await winner.wait() == signal.SIGKILL
        await course.line_up(2, RACERS)
        await course.end_lease()
        await course.start(2)
        results = await course.results(2, RACERS)
        assert {(row["version"], row["problem"]) for row in results} == {(2, None)}
        assert await course.refreshes() == asked
        assert await others.wait() == 0
    await still_refreshes(course)


async def test_a_winner_that_sleeps_past_its_lease_neither_loses_nor_overwrites(course):
    await course.close_barriers(1, 2)
    await course.expire()
    await course.xero.post(
        "/admin/faults", json={"kind": "slow_reply", "path": "/connect/token", "seconds": 2}
    )
    async with course.racers(1, 1, 1) as sleeper, course.racers(RACERS, 2, 2) as others:
        await course.line_up(1, 1)
        await course.line_up(2, RACERS)
        await course.start(1)
        # The simulator has rotated and keeps the reply back: the winner is in the middle of its call.
        while not (await course.xero.get("/admin/faults")).json()["faults"][0]["struck"]:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.01)
        os.killpg(sleeper.pid, signal.SIGSTOP)
        await course.end_lease()
        await course.start(2)
        results = await course.results(2, RACERS)
        assert {(row["version"], row["problem"]) for row in results} == {(2, None)}
        stored = (await course.stored()).refresh_sealed
        os.killpg(sleeper.pid, signal.SIGCONT)
        late = await course.results(1, 1)
        assert (late[0]["version"], late[0]["problem"]) == (2, None)
        assert await sleeper.wait() == await others.wait() == 0
    assert (await course.stored()).refresh_sealed == stored
    assert await course.db.fetchval("SELECT count(*) FROM orphan_tokens") == 1
    assert await course.refreshes() == 2
    await still_refreshes(course)
