"""Every secret of a running system is known here, everything goes wrong once, and none of them may be found afterwards.

Looked through: the logs of all processes but Xero's own, every record of every topic, every table of the four databases,
every trace that was exported, and every page, document and header that a caller was sent.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import pytest
from otlp_receiver import OtlpReceiver, receiving

from connector.domain.sealing import place, unseal
from pipeline_local_stack import exposed
from pipeline_local_stack.browser import forms_of
from pipeline_local_stack.canaries import Canaries
from pipeline_local_stack.paths import LOGS
from pipeline_local_stack.processes import Child, free_port
from pipeline_local_stack.stack import DASHBOARD, SERVICES, Stack, running_stack, wait_until_ready

ACCOUNT = "demo"
CANARY = "c4n4ry-Zq8vT1xK7mB3wR9dJ5hN2fL6"
ENDS_SOON = 30.0
ALL = SERVICES | DASHBOARD


@pytest.fixture(scope="module")
def collector() -> Iterator[OtlpReceiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def stack(collector: OtlpReceiver) -> Iterator[Stack]:
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    environment = dict.fromkeys(ALL, traced)
    with running_stack(say=lambda _: None, dashboard=True, environment=environment) as running:
        yield running


class Drive:
    """Callers of every kind. What they are sent is kept; what is secret in it is watched for."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.canaries = Canaries()
        self.received: list[tuple[str, bytes]] = []
        self.base = stack.urls["connector"]
        self.card = f"{self.base}/accounts/{ACCOUNT}/xero"
        self.simulator = f"{stack.urls['simulator']}/admin"
        self.environment = dict(stack.children["connector"].env)
        self.ring = exposed.watch_what_is_configured(stack, self.canaries)
        self.session = stack.identities.person_token(
            ACCOUNT, "admin", name="Ada Admin", user_id="user-ada"
        )
        self.person = self.browser(self.session)
        self.canaries.watch("session", self.session.split(".", 1)[1])
        self.canaries.watch("planted in broken settings", CANARY)

    def browser(self, session: str | None) -> httpx.Client:
        cookies = {"pipeline_session": session} if session else {}
        return httpx.Client(cookies=cookies, timeout=60, event_hooks={"response": [self.keep]})

    def keep(self, response: httpx.Response) -> None:
        """Keep an answer of ours as a caller sees it; a cookie and the way to Xero hold secrets by their nature."""
        response.read()
        if str(response.url).startswith(self.stack.urls["simulator"]):
            return
        to_xero = response.headers.get("location", "").startswith(self.stack.urls["simulator"])
        headers = [
            f"{name}: {value}"
            for name, value in response.headers.multi_items()
            if name != "set-cookie" and not (name == "location" and to_xero)
        ]
        where = f"{response.request.method} {response.url.path} -> {response.status_code}"
        self.received.append((where, "\n".join(headers).encode() + b"\n" + response.content))
        for name in ("xero_session", "__Host-xero_session"):
            if value := response.cookies.get(name):
                self.canaries.watch("browser session", value)

    # What people do.

    def csrf(self) -> str:
        page = self.person.get(f"{self.card}/problem/code-expired").text
        return next(
            value for form in forms_of(page) for name, value in form.fields if name == "csrf"
        )

    def post(self, action: str, **fields: str) -> httpx.Response:
        return self.person.post(f"{self.card}/{action}", data={"csrf": self.csrf(), **fields})

    def follow(self, response: httpx.Response) -> httpx.Response:
        while response.has_redirect_location:
            response = self.person.get(str(response.url.join(response.headers["location"])))
        return response

    def start_consent(self, action: str = "allow") -> str:
        """Press Connect and let the person at Xero answer; the address they are sent back to."""
        consent = {"user": "demo@example.com", "tenants": ["Demo Company (NZ)"], "action": action}
        httpx.put(f"{self.simulator}/consent", json=consent | {"times": 1}).raise_for_status()
        to_xero = self.post("connect").headers["location"]
        state = parse_qs(urlsplit(to_xero).query)["state"][0]
        self.canaries.watch("state", state)
        asyncio.run(self.watch_attempt(state))
        back = httpx.get(to_xero).headers["location"]
        for code in parse_qs(urlsplit(back).query).get("code", ()):
            self.canaries.watch("authorisation code", code)
        return back

    def connect(self) -> None:
        page = self.follow(self.person.get(self.start_consent()))
        assert page.status_code == 200, page.text
        assert self.status()["status"] == "CONNECTED"
        asyncio.run(self.watch_tokens())

    def refresh(self) -> httpx.Response:
        answer = self.follow(self.post("refresh"))
        asyncio.run(self.watch_tokens())
        return answer

    def disconnect(self) -> None:
        """Press Disconnect, as often as a page asks for it."""
        page = self.person.get(self.card)
        for _ in range(3):
            form = next(
                (
                    form
                    for form in forms_of(page.text)
                    if any(text.startswith("Disconnect") for *_, text in form.buttons)
                ),
                None,
            )
            if form is None:
                break
            target = str(page.url.join(form.action))
            fields = dict(form.fields)
            page = self.follow(
                self.person.post(target, data=fields)
                if form.method == "POST"
                else self.person.get(target, params=fields)
            )
        if self.status()["status"] != "DISCONNECTED":
            self.follow(self.post("disconnect"))
        assert self.status()["status"] == "DISCONNECTED"

    def status(self) -> dict:
        return self.call("GET", f"/v1/accounts/{ACCOUNT}/connection").json()

    # What programs do.

    def call(
        self, method: str, path: str, *, caller: str = "invoice-sync", **more
    ) -> httpx.Response:
        token = self.stack.identities.service_token(caller, "connector")
        self.canaries.watch("service token", token.split(".", 1)[1])
        with self.browser(None) as client:
            return client.request(
                method, self.base + path, headers={"Authorization": f"Bearer {token}"}, **more
            )

    def gateway(self, method: str, path: str, **more) -> httpx.Response:
        return self.call(method, f"/v1/accounts/{ACCOUNT}/xero/{path}", **more)

    def fault(self, kind: str, path: str = "*") -> None:
        body = {"kind": kind, "path": path, "times": 0, "seconds": 1}
        httpx.post(f"{self.simulator}/faults", json=body).raise_for_status()

    def heal(self) -> None:
        httpx.delete(f"{self.simulator}/faults").raise_for_status()

    # What happens to the processes.

    def restart_connector(self, **changed: str) -> None:
        child = self.stack.children["connector"]
        child.kill()
        child.env = self.environment | changed
        child.start()
        wait_until_ready(child, self.base)

    def start_broken(self, name: str, **changed: str) -> str:
        """Start one more connector that cannot work; what it says before it ends."""
        port = str(free_port())
        child = Child(
            f"connector-{name}",
            [sys.executable, "-m", "connector"],
            self.environment | {"HTTP_PORT": port} | changed,
        )
        child.start()
        try:
            assert child.process is not None
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(ENDS_SOON)
        finally:
            child.kill()
            child.stop()
        return child.last_words(1000)

    # What only the owner of the database and the keys can read.

    async def database(self, name: str) -> asyncpg.Connection:
        return await asyncpg.connect(self.stack.postgres.dsn.rsplit("/", 1)[0] + f"/{name}")

    async def watch_tokens(self) -> None:
        await exposed.watch_tokens(self.stack, self.canaries, self.ring)

    async def watch_attempt(self, state: str) -> None:
        hashed = hashlib.sha256(state.encode()).digest()
        conn = await self.database("connector")
        try:
            row = await conn.fetchrow(
                "SELECT verifier, nonce FROM oauth_states WHERE state_hash = $1", hashed
            )
        finally:
            await conn.close()
        for name in ("verifier", "nonce"):
            where = place("oauth_states", hashed.hex(), name)
            self.canaries.watch(name, unseal(self.ring, row[name], where))

    async def in_database(self, statement: str) -> None:
        conn = await self.database("connector")
        try:
            await conn.execute(statement)
        finally:
            await conn.close()


@pytest.fixture(scope="module")
def driven(stack) -> Iterator[Drive]:
    """The system after a bad day."""
    drive = Drive(stack)
    connecting(drive)
    calling(drive)
    refreshing_fails(drive)
    rows_that_do_not_open(drive)
    webhooks_and_events(drive)
    looking_on(drive)
    refused_callers(drive)
    broken_starts(drive)
    drive.disconnect()
    yield drive
    drive.person.close()


def connecting(drive: Drive) -> None:
    """Every way in, and most ways to fail."""
    drive.person.get(drive.card)
    drive.follow(drive.person.get(drive.start_consent("cancel")))
    back = drive.start_consent()
    assert drive.follow(drive.person.get(back)).status_code == 200
    drive.follow(drive.person.get(back))  # opened twice
    asyncio.run(drive.watch_tokens())
    drive.disconnect()
    with drive.browser(drive.session) as other:  # the same person, in another browser
        other.get(drive.start_consent(), follow_redirects=True)
    with drive.browser(None) as nobody:  # cookies cleared
        nobody.get(drive.start_consent(), follow_redirects=True)
    drive.follow(drive.person.get(drive.start_consent().replace("code=", f"code={CANARY}")))
    for kind in ("unavailable_503", "reset_before"):
        back = drive.start_consent()
        drive.fault(kind, "/connect/token")
        drive.follow(drive.person.get(back))
        drive.heal()
    drive.restart_connector(FAILPOINT="connect:after_exchange")
    with suppress(httpx.TransportError):
        drive.person.get(drive.start_consent())
    drive.restart_connector()
    drive.connect()


def calling(drive: Drive) -> None:
    """The gateway, well and ill."""
    assert drive.gateway("GET", "Organisation").status_code == 200
    assert drive.gateway("GET", "Invoices/00000000-0000-4000-8000-000000000000").status_code == 404
    assert drive.gateway("PUT", "Invoices", content=b'{"Invoices": [{').status_code in {400, 415}
    for path in ("../connections", "%2e%2e/connections", "Users", "https://example.com/"):
        assert drive.gateway("GET", path).status_code in {403, 404}
    assert drive.gateway("PUT", "Invoices", caller="payment-ingest").status_code == 403
    for kind in ("unavailable_503", "reset_before", "commit_then_reset", "token_expired"):
        drive.fault(kind, "/api.xro/2.0/*")
        assert drive.gateway("GET", "Organisation").status_code >= 400
        drive.heal()
    asyncio.run(drive.watch_tokens())


def refreshing_fails(drive: Drive) -> None:
    """Rotation, Xero away, the app refused, the grant taken back, the process killed."""
    drive.refresh()
    drive.fault("unavailable_503", "/connect/token")
    drive.refresh()
    drive.heal()
    drive.restart_connector(XERO_CLIENT_SECRET=CANARY)
    drive.refresh()
    drive.restart_connector()
    httpx.post(f"{drive.simulator}/tokens/revoke", json={"user": "demo@example.com"})
    drive.refresh()
    assert drive.status()["status"] == "TOKEN_EXPIRED"
    assert drive.gateway("GET", "Organisation").status_code == 409
    drive.connect()
    drive.restart_connector()


def rows_that_do_not_open(drive: Drive) -> None:
    """Two ciphertexts change places: neither opens there."""
    swap = "UPDATE token_sets SET access_token = refresh_token, refresh_token = access_token"
    asyncio.run(drive.in_database(swap))
    assert drive.gateway("GET", "Organisation").status_code >= 400
    drive.follow(drive.post("refresh"))
    asyncio.run(drive.in_database(swap))
    drive.restart_connector()


def webhooks_and_events(drive: Drive) -> None:
    key = drive.stack.children["payment-ingest"].env["XERO_WEBHOOK_KEYS"]
    address = f"{drive.stack.urls['payment-ingest']}/webhooks/xero"
    body = json.dumps({"events": [], "firstEventSequence": 0, "lastEventSequence": 0}).encode()
    right = base64.b64encode(hmac.digest(key.encode(), body, hashlib.sha256)).decode()
    with drive.browser(None) as xero:
        for signature, status in ((right, 200), (right[::-1], 401), (CANARY, 401)):
            sent = xero.post(address, content=body, headers={"x-xero-signature": signature})
            assert sent.status_code == status
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline_local_stack.publish",
         "--number", "CANARY-1", "--customer", "Ridgeway Bank", "--amount", "115.00"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


def refused_callers(drive: Drive) -> None:
    """Secrets sent to the wrong places come back in no answer."""
    body = drive.session.split(".")[1]
    with drive.browser(None) as stranger:
        for token in (drive.session[:-6] + "AAAAAA", f"x.{body}.y", CANARY):
            for service in ALL:
                url = f"{drive.stack.urls[service]}/v1/accounts/{ACCOUNT}/{token}"
                for path in (url, f"{drive.stack.urls[service]}/metrics"):
                    stranger.get(path, headers={"Authorization": f"Bearer {token}"})
        stranger.post(f"{drive.card}/connect", data={"csrf": CANARY})
    drive.person.post(f"{drive.card}/connect", data={"csrf": CANARY})
    drive.person.post(
        f"{drive.card}/organisation", data={"csrf": drive.csrf(), "tenant_id": CANARY}
    )
    drive.person.get(f"{drive.base}/oauth/xero/callback?state={CANARY}&code={CANARY}")
    drive.person.get(f"{drive.card}/problem/{CANARY}")


def broken_starts(drive: Drive) -> None:
    """A process that complains about its settings quotes none of them."""
    dsn = drive.environment["DATABASE_URL"]
    password = urlsplit(dsn).password or ""
    bad_keys = LOGS.parent / "bad-token-keys"
    bad_keys.write_text(f"v1:{CANARY}\n")
    for name, changed in {
        "no-database": {"DATABASE_URL": dsn.replace(password, CANARY)},
        "bad-address": {"DATABASE_URL": f"postgresql://connector:{CANARY}@@localhost:x/connector"},
        "bad-key": {"TOKEN_KEYS_FILE": str(bad_keys)},
        "two-keys": {"TOKEN_KEYS": f"v1:{CANARY}"},
        "bad-url": {"XERO_API_URL": f"https://user:{CANARY}@api.example.com"},
    }.items():
        assert drive.start_broken(name, **changed), f"{name} said nothing"


def looking_on(drive: Drive) -> None:
    """Every page of the dashboard, once it has shown the invoice, and forms that are refused there."""
    board = f"{drive.stack.urls['ops-dashboard']}/accounts/{ACCOUNT}"
    deadline = time.monotonic() + 60
    while "CANARY-1" not in drive.person.get(f"{board}/invoices").text:
        assert time.monotonic() < deadline, "the dashboard never showed the invoice"
        time.sleep(0.5)
    for page in (
        "", "/connection", "/invoices?q=CANARY-1", f"/invoice?id={CANARY}", "/failures", "/out-of-sync", "/payments",
        "/dead-letters", f"/dead-letters/{CANARY}/0/0/replay",
    ):  # fmt: skip
        drive.person.get(board + page, headers={"Accept": "text/html"})
    drive.person.post(f"{board}/dead-letters/{CANARY}/0/0/replay", data={"csrf": CANARY})


async def test_none_of_the_secrets_is_anywhere(driven, collector):
    events = await exposed.records(driven.stack)
    dumps = await exposed.tables(driven.stack, ALL.values())
    for name in ALL:
        for path in ("/metrics", "/health/ready", "/docs", "/openapi.json"):
            with driven.browser(None) as client:
                client.get(driven.stack.urls[name] + path)
    traces = [("trace", body) for body in list(collector.bodies)]
    assert {span.service for span in collector.spans} >= set(SERVICES)
    everything = [*exposed.logs(), *events, *dumps, *driven.received, *traces]
    kinds = {where.split()[0] for where, _ in everything}
    assert {"log", "topic", "table", "trace", "GET", "POST", "PUT"} <= kinds
    assert {
        "state", "verifier", "nonce", "authorisation code", "access token", "refresh token",
        "previous refresh token", "browser session", "session", "service token", "client secret",
    } <= driven.canaries.names  # fmt: skip
    found = set().union(*(driven.canaries.leaks(where, text) for where, text in everything))
    assert not found, "\n".join(sorted(map(str, found)))


def test_the_bad_day_was_bad(driven):
    """Every trouble left its trace in words; without them nothing would have been tried."""
    said = (LOGS / "connector.log").read_text()
    for word in (
        "consent-cancelled", "already-used", "xero_refuses_the_app", "token_unreadable",
        "refresh_without_result", "connect_ended",
    ):  # fmt: skip
        assert word in said, word
    statuses = {where.rsplit(" ", 1)[-1] for where, _ in driven.received}
    assert {"200", "303", "401", "403", "404", "409", "502"} <= statuses
