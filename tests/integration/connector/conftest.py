"""The connector on a real database, against the real simulator behind a real socket."""

import asyncio
import base64
import json
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import pytest
from emptying import EMPTY
from fastapi import FastAPI
from serving import serving

import connector.app
from connector.app import create_app
from connector.settings import Settings
from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.envelope import decode
from pipeline_messaging.outbox import unpack_headers
from pipeline_service_defaults.keys import new_private_key, public_jwk, sign
from pipeline_service_defaults.migrate import directories_of
from xero_simulator.app import XeroSimulator
from xero_simulator.app import create_app as create_simulator
from xero_simulator.config import Settings as SimulatorSettings
from xero_simulator.world import AutoConsent

PUBLIC_URL = "http://localhost:8001"
NZ, US, SOLO = "Demo Company (NZ)", "Demo Company (US)", "Kiwi Records Ltd"
DEMO, SINGLE = "demo@example.com", "single@example.com"


@dataclass
class Keys:
    """The signing keys of Pipeline and its services, and the file that lists them."""

    person: str = field(default_factory=new_private_key)
    services: dict[str, str] = field(
        default_factory=lambda: {
            name: new_private_key()
            for name in ("invoice-sync", "payment-ingest", "pipeline-backend")
        }
    )

    def issuers(self) -> dict[str, Any]:
        found: dict[str, Any] = {"pipeline": {"kind": "person", "keys": [public_jwk(self.person)]}}
        for name, key in self.services.items():
            found[name] = {"kind": "service", "keys": [public_jwk(key)]}
        return found

    def person_token(
        self, account_id: str, role: str = "admin", sub: str = "user-1", **more: Any
    ) -> str:
        claims = {
            "iss": "pipeline",
            "aud": "pipeline-xero",
            "sub": sub,
            "name": "Ada <Admin>",
            "account_id": account_id,
            "role": role,
            "iat": int(time.time()),
            "exp": int(time.time()) + 600,
        }
        return sign(self.person, claims | more)

    def service_token(self, name: str, aud: str = "connector", **more: Any) -> str:
        now = int(time.time())
        claims = {"iss": name, "sub": name, "aud": aud, "iat": now, "exp": now + 300}
        return sign(self.services[name], claims | more)


@dataclass
class Stack:
    """One simulator, one database, and as many connectors as asked for."""

    sim: XeroSimulator
    sim_url: str
    dsn: str
    keys: Keys
    settings: Settings
    apps: list[FastAPI]
    db: asyncpg.Connection

    def browser(
        self, account_id: str, role: str = "admin", sub: str = "user-1", app: int = 0
    ) -> "Browser":
        return Browser(self, account_id, self.keys.person_token(account_id, role, sub), app)

    def caller(self, name: str = "invoice-sync", app: int = 0) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.apps[app]),
            base_url=PUBLIC_URL,
            headers={"Authorization": f"Bearer {self.keys.service_token(name)}"},
        )

    def consent(
        self, user: str = SINGLE, tenants: tuple[str, ...] = (), action: str = "allow"
    ) -> None:
        self.sim.world.auto_consent = AutoConsent(user, tenants, action, times=1)

    def calls(self, path: str) -> list[Any]:
        return [call for call in self.sim.world.calls.calls if path in call.path]

    async def connect(
        self, account_id: str, user: str = SINGLE, tenants: tuple[str, ...] = ()
    ) -> httpx.Response:
        """The whole dance in one browser; the last answer."""
        self.consent(user, tenants)
        async with self.browser(account_id) as browser:
            return await browser.connect()

    async def status(self, account_id: str) -> dict[str, Any]:
        async with self.caller() as client:
            answer = await client.get(f"/v1/accounts/{account_id}/connection")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def events(self, account_id: str) -> list[ConnectionStatusChanged]:
        """What stands in the outbox for an account, decoded by the contracts."""
        rows = await self.db.fetch("SELECT key, value, headers FROM outbox ORDER BY id")
        envelopes = [
            decode(key=row["key"], value=row["value"], headers=unpack_headers(row["headers"]))
            for row in rows
        ]
        found = [envelope.event for envelope in envelopes if envelope.subject == account_id]
        assert all(isinstance(event, ConnectionStatusChanged) for event in found)
        return found


class Browser:
    """A person's browser: keeps cookies, follows redirects by hand between Pipeline and Xero."""

    def __init__(
        self, stack: Stack, account_id: str, token: str, app: int, url: str | None = None
    ) -> None:
        self.stack = stack
        self.account_id = account_id
        self.card = f"/accounts/{account_id}/xero"
        self.pipeline = httpx.AsyncClient(
            transport=None if url else httpx.ASGITransport(stack.apps[app]),
            base_url=url or PUBLIC_URL,
            cookies={"pipeline_session": token},
            timeout=60,
        )
        self.xero = httpx.AsyncClient(base_url=stack.sim_url, timeout=60)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.pipeline.aclose()
        await self.xero.aclose()

    async def form_token(self) -> str:
        # A card on which all is well has nothing to send; the page behind Disconnect has.
        for address in (self.card, f"{self.card}/disconnect"):
            page = await self.pipeline.get(address)
            if found := re.search(r'name="csrf" value="([0-9a-f]+)"', page.text):
                return found[1]
        return ""

    async def press(self, action: str, **form: str) -> httpx.Response:
        """Press a button of the card: its form, with its token."""
        token = form.pop("csrf", None)
        if token is None:
            token = await self.form_token()
        return await self.pipeline.post(f"{self.card}/{action}", data={"csrf": token, **form})

    async def to_xero(self) -> str:
        """Press Connect; the address at Xero."""
        session = await self._session_form_token()
        answer = await self.pipeline.post(f"{self.card}/connect", data={"csrf": session})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    async def _session_form_token(self) -> str:
        # The card shows Connect only where it makes sense; a problem page always carries the form.
        page = await self.pipeline.get(f"{self.card}/problem/code-expired")
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', page.text)
        assert found, page.text
        return found[1]

    async def consent(self, address: str) -> str:
        """Let the person at Xero answer; the address of the callback with its answer."""
        answer = await self.xero.get(address)
        assert answer.status_code in {302, 303}, answer.text
        return answer.headers["location"]

    async def connect(self) -> httpx.Response:
        back = await self.consent(await self.to_xero())
        assert back.startswith(f"{PUBLIC_URL}/oauth/xero/callback?")
        return await self.arrive(back)

    async def arrive(self, back: str) -> httpx.Response:
        """Open the callback and follow its redirect to the page people read."""
        answer = await self.pipeline.get(back)
        assert answer.status_code == 303, answer.text
        assert "code=" not in answer.headers["location"]
        return await self.pipeline.get(answer.headers["location"])


def state_of(address: str) -> str:
    return parse_qs(urlsplit(address).query)["state"][0]


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < end, "the condition was not met in time"
        await asyncio.sleep(0.05)


class IdleRelay:
    """In the relay's place where a test reads the outbox itself."""

    def __init__(self, *_: object) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def wake(self) -> None:
        pass


@pytest.fixture(scope="session")
async def migrated(make_database: Any) -> str:
    """One migrated database for all tests here; each begins with it emptied."""
    dsn: str = await make_database(*directories_of("connector"))
    return dsn


async def emptied(dsn: str) -> str:
    db = await asyncpg.connect(dsn)
    try:
        await db.execute(EMPTY)
        await db.execute("INSERT INTO tenant_budgets (tenant_id) VALUES ('')")
    finally:
        await db.close()
    return dsn


@pytest.fixture
async def make_stack(
    migrated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Awaitable[Stack]]]:
    # test_events.py proves the real one; here events stay where the tests can read them.
    monkeypatch.setattr(connector.app, "Relay", IdleRelay)
    async with AsyncExitStack() as closing:

        async def make(replicas: int = 1, **overrides: Any) -> Stack:
            sim = create_simulator(
                SimulatorSettings(redirect_uris=(f"{PUBLIC_URL}/oauth/xero/callback",))
            )
            sim_url = await closing.enter_async_context(serving(sim, lifespan="on"))
            dsn = await emptied(migrated)
            keys = Keys()
            issuers = tmp_path / "issuers.json"
            issuers.write_text(json.dumps(keys.issuers()))
            given: dict[str, Any] = {
                "database_url": dsn,
                "kafka_bootstrap_servers": "127.0.0.1:1",
                "http_port": 8001,
                "auth_issuers_file": issuers,
                "public_url": PUBLIC_URL,
                "xero_login_url": sim_url,
                "xero_identity_url": sim_url,
                "xero_api_url": sim_url,
                "xero_client_id": sim.world.settings.client_id,
                "xero_client_secret": sim.world.settings.client_secret,
                "token_keys": "v1:" + base64.b64encode(os.urandom(32)).decode(),
                "background_seconds": 300,
                "shutdown_seconds": 5,
            }
            settings = Settings(**(given | overrides))
            apps = [create_app(settings) for _ in range(replicas)]
            for app in apps:
                await closing.enter_async_context(app.router.lifespan_context(app))
            db = await asyncpg.connect(dsn)
            closing.push_async_callback(db.close)
            return Stack(sim, sim_url, dsn, keys, settings, apps, db)

        yield make


@pytest.fixture
async def stack(make_stack: Callable[..., Awaitable[Stack]]) -> Stack:
    return await make_stack()
