"""The whole system on this machine: Postgres, Kafka, Xero's simulator, the services, Pipeline's sign-in."""

import asyncio
import contextlib
import json
import secrets
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from pipeline_local_stack.databases import as_superuser, create_database
from pipeline_local_stack.identities import (
    ACCOUNT,
    STAFF_ACCOUNT,
    Identities,
    make_identities,
)
from pipeline_local_stack.kafka import (
    Broker,
    await_coordinator,
    create_topics,
    start_kafka,
    start_tansu,
)
from pipeline_local_stack.paths import LOCAL, LOGS, STACK_FILE, StackError
from pipeline_local_stack.postgres import Postgres, start_postgres
from pipeline_local_stack.processes import (
    Child,
    forget_launcher,
    free_port,
    note_launcher,
    refuse_second_launcher,
    stop_leftovers,
    wait_until_listening,
)
from pipeline_local_stack.releases import THIS, Release
from pipeline_local_stack.token_keys import TOKEN_KEYS_FILE, new_key, write_keys
from pipeline_service_defaults.migrate import migrate

SERVICES = {
    "connector": "connector",
    "invoice-sync": "invoice_sync",
    "payment-ingest": "payment_ingest",
}
DASHBOARD = {"ops-dashboard": "ops_dashboard"}
"""Reads what the others publish and nothing needs it: left out where their speed is measured."""
_CLIENT_ID = "pipeline-local"
_READY_SECONDS = 60


async def prepare_kafka(bootstrap_servers: str) -> None:
    """Create the topics, and wait until consumers can be taken in."""
    await create_topics(bootstrap_servers)
    await await_coordinator(bootstrap_servers)


@dataclass(frozen=True, slots=True)
class Servers:
    """How Kafka and Postgres are started and made ready; others than these are for tests of entering them."""

    kafka: Callable[[], Broker]
    postgres: Callable[[], Postgres] = start_postgres
    prepare_kafka: Callable[[str], Coroutine[Any, Any, None]] = prepare_kafka
    """Given the bootstrap servers."""


@dataclass(slots=True)
class Stack:
    """Everything that runs, and how to reach it."""

    broker: Broker
    postgres: Postgres
    children: dict[str, Child]
    urls: dict[str, str]
    dsns: dict[str, str]
    identities: Identities
    ports: dict[str, int]
    """Of each child. `urls` holds what others call: with several replicas, that is the port of their front."""
    services: Mapping[str, str]
    """What runs of ours: name and package."""
    restarts: dict[str, int] = field(default_factory=dict)

    def replicas(self, service: str) -> list[str]:
        """The names of the children that run a service."""
        return [
            name
            for name in self.children
            if name == service or name.removeprefix(f"{service}-").isdecimal()
        ]

    def own_url(self, name: str) -> str:
        """The address of one child itself, whatever stands in front of it."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def restart_what_died(self) -> list[str]:
        """Start again each child that ended, as Kubernetes would; the names of those."""
        died = [name for name, child in self.children.items() if not child.is_running()]
        for name in died:
            self.restarts[name] = self.restarts.get(name, 0) + 1
            self.children[name].start()
        return died

    def write_file(self) -> None:
        """Write `.local/stack.json`, what other programs are told; its service tokens last ten minutes."""
        described = {
            "kafka_bootstrap_servers": self.broker.bootstrap_servers,
            "kafka_implementation": self.broker.implementation,
            "kafka_supports_idempotence": self.broker.supports_idempotence,
            "urls": self.urls,
            "replicas": {
                service: {name: self.own_url(name) for name in self.replicas(service)}
                for service in self.services
            },
            "dsns": self.dsns,
            "simulator_url": self.urls["simulator"],
            "simulator_admin_url": f"{self.urls['simulator']}/admin",
            "account_id": ACCOUNT,
            "admin_session_token": self.identities.person_token(
                ACCOUNT, "admin", name="Ada Admin", user_id="user-ada"
            ),
            "service_tokens": {
                name: self.identities.service_token("pipeline-backend", name)
                for name in self.services
            },
            "webhook_key": self.children["payment-ingest"].env["XERO_WEBHOOK_KEYS"],
            "pids": {n: c.process.pid for n, c in self.children.items() if c.process is not None},
        }
        fresh = STACK_FILE.with_suffix(".tmp")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(described, indent=2))
        fresh.replace(STACK_FILE)  # readers see the old file or the new one, never half of one


@contextlib.contextmanager
def running_stack(
    *,
    broker: str = "kafka",
    say: Callable[[str], None] = print,
    replicas: Mapping[str, int] | None = None,
    environment: Mapping[str, Mapping[str, str]] | None = None,
    release: Release = THIS,
    dashboard: bool = False,
    servers: Servers | None = None,
) -> Iterator[Stack]:
    """Start everything, empty; stop everything on the way out, whatever happened.

    Args:
        broker: `kafka`, or `tansu` for the demo broker of last resort.
        say: told what is going on, one line at a time.
        replicas: how many processes of a service run behind its address, where it is more than one.
        environment: more environment variables for the simulator or a service, by its name.
        release: whose services run and whose migrations are applied.
        dashboard: whether the ops dashboard runs beside the services.
        servers: instead of `broker` and the stack's own Postgres.

    Raises:
        StackError: something is missing on this machine or did not start.
    """
    refuse_second_launcher()
    for name in stop_leftovers():
        say(f"Stopped {name}, left over from an earlier run.")
    shutil.rmtree(LOGS, ignore_errors=True)
    note_launcher()
    with contextlib.ExitStack() as undo:
        undo.callback(forget_launcher)
        services = SERVICES | DASHBOARD if dashboard else SERVICES
        kafka_and_postgres = servers or _servers(broker, say)
        stack = _start(
            undo, kafka_and_postgres, say, services, replicas or {}, environment or {}, release
        )
        undo.callback(STACK_FILE.unlink, missing_ok=True)
        stack.write_file()
        yield stack


def _servers(kind: str, say: Callable[[str], None]) -> Servers:
    if kind == "tansu":
        say("WARNING: BROKER=tansu keeps everything in memory and has no idempotent producer.")
        say(
            "         It is for a look at the system where Apache Kafka cannot be had, for nothing else."
        )
        return Servers(start_tansu)
    return Servers(partial(start_kafka, say=say))


def _start(
    undo: contextlib.ExitStack,
    servers: Servers,
    say: Callable[[str], None],
    running: Mapping[str, str],
    replicas: Mapping[str, int],
    environment: Mapping[str, Mapping[str, str]],
    release: Release,
) -> Stack:
    started = time.monotonic()
    LOCAL.mkdir(parents=True, exist_ok=True)
    broker = servers.kafka()
    undo.callback(broker.stop)
    postgres = servers.postgres()
    undo.callback(postgres.stop)
    identities = make_identities(LOCAL / "keys")
    ports = {name: free_port() for name in ("simulator", "portal", *running)}
    # Xero accepts http://localhost as a redirect URI and refuses http://127.0.0.1, so people get `localhost`.
    urls = {name: f"http://localhost:{port}" for name, port in ports.items()}
    dsns = asyncio.run(_create_databases(postgres.dsn, running.values()))
    write_keys([new_key(1)])
    children = _children(running, broker, identities, ports, urls, dsns)
    for name in running:
        children[name].env = {**children[name].env, **release.environment}
    for name, more in environment.items():
        children[name].env = {**children[name].env, **more}
    for name, count in replicas.items():
        if count > 1:
            _replicate(children, ports, name, count)
    stack = Stack(broker, postgres, children, urls, dsns, identities, ports, running)

    # What does not depend on the database and the topics starts first; then every replica of the services.
    services = [name for service in running for name in stack.replicas(service)]
    for name in [name for name in children if name not in services]:
        children[name].start()
        undo.callback(children[name].stop)
    for package in running.values():
        migrate(as_superuser(postgres.dsn, package), *release.migrations(package))
    broker.wait_until_ready()
    asyncio.run(servers.prepare_kafka(broker.bootstrap_servers))
    for name in services:
        children[name].start()
        undo.callback(children[name].stop)
    for name, child in children.items():
        wait_until_listening(child, ports[name])
    for name in services:
        wait_until_ready(children[name], stack.own_url(name))
    say(f"{broker.implementation}, Postgres, Xero's simulator and the services: "
        f"ready in {time.monotonic() - started:.1f} s.")  # fmt: skip
    return stack


def _replicate(children: dict[str, Child], ports: dict[str, int], name: str, count: int) -> None:
    """Turn one child into several on ports of their own, with a forwarder at the address that others call."""
    front, first = f"{name}-front", children[name]
    ports[front] = ports[name]
    replicas = [name, *(f"{name}-{number}" for number in range(2, count + 1))]
    for replica in replicas:
        ports[replica] = free_port()
        children[replica] = Child(
            replica, first.command, {**first.env, "HTTP_PORT": str(ports[replica])}
        )
    children[front] = Child(
        front,
        [sys.executable, "-m", "pipeline_local_stack.forwarder"],
        {
            "FORWARD_PORT": str(ports[front]),
            "FORWARD_TO": ",".join(str(ports[replica]) for replica in replicas),
        },
    )


@contextlib.asynccontextmanager
async def supervised(stack: Stack, say: Callable[[str], None]) -> AsyncIterator[None]:
    """Restart what dies, as Kubernetes would, for as long as the block lasts."""

    async def watch() -> None:
        while True:
            for name in stack.restart_what_died():
                say(f"{name} was started again.")
            await asyncio.sleep(0.2)

    watching_over = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching_over.cancel()


def wait_until_ready(child: Child, url: str, seconds: float = _READY_SECONDS) -> None:
    """Return once the service says that it is ready.

    Raises:
        StackError: it ended, or the time ran out; with its last answer and the end of its log.
    """
    deadline = time.monotonic() + seconds
    answer = "no answer"
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            reply = httpx.get(f"{url}/health/ready", timeout=5)
            if reply.status_code == httpx.codes.OK:
                return
            answer = reply.text
        if not child.is_running():
            break
        time.sleep(0.1)
    raise StackError(
        f"{child.name} did not become ready ({answer}). Its log ends:\n{child.last_words()}"
    )


async def _create_databases(superuser_dsn: str, roles: Iterable[str]) -> dict[str, str]:
    """The address of each service's own database, as its own role."""
    dsns = {}
    for role in roles:
        password = secrets.token_urlsafe(24)
        await create_database(superuser_dsn, role, password)
        address = superuser_dsn.rsplit("@", 1)[1].rsplit("/", 1)[0]
        dsns[role] = f"postgresql://{role}:{password}@{address}/{role}"
    return dsns


def _children(
    running: Mapping[str, str],
    broker: Broker,
    identities: Identities,
    ports: dict[str, int],
    urls: dict[str, str],
    dsns: dict[str, str],
) -> dict[str, Child]:
    client_secret, webhook_key = secrets.token_urlsafe(24), secrets.token_urlsafe(32)
    gateway = f"http://127.0.0.1:{ports['connector']}"
    own: dict[str, dict[str, str]] = {
        "connector": {
            "PUBLIC_URL": urls["connector"],
            "INVOICE_SYNC_URL": f"http://127.0.0.1:{ports['invoice-sync']}",
            "XERO_LOGIN_URL": urls["simulator"],
            "XERO_IDENTITY_URL": urls["simulator"],
            "XERO_API_URL": urls["simulator"],
            "XERO_CLIENT_ID": _CLIENT_ID,
            "XERO_CLIENT_SECRET": client_secret,
            "TOKEN_KEYS_FILE": str(TOKEN_KEYS_FILE),
        },
        "invoice-sync": {"CONNECTOR_URL": gateway, "PIPELINE_WEB_URL": urls["portal"]},
        "payment-ingest": {"CONNECTOR_URL": gateway, "XERO_WEBHOOK_KEYS": webhook_key},
        "ops-dashboard": {
            "INVOICE_SYNC_URL": f"http://127.0.0.1:{ports['invoice-sync']}",
            "PAYMENT_INGEST_URL": f"http://127.0.0.1:{ports['payment-ingest']}",
            "PIPELINE_WEB_URL": urls["portal"],
            "CARD_URL": urls["connector"],
            "STAFF_ACCOUNT_ID": STAFF_ACCOUNT,
            "SECURE": "false",
        },
    }
    children = {
        "simulator": Child(
            "simulator",
            [sys.executable, "-m", "xero_simulator"],
            {
                "SIM_HOST": "127.0.0.1",
                "SIM_PORT": str(ports["simulator"]),
                "SIM_CLIENT_ID": _CLIENT_ID,
                "SIM_CLIENT_SECRET": client_secret,
                "SIM_REDIRECT_URIS": f"{urls['connector']}/oauth/xero/callback",
                "SIM_WEBHOOK_URL": f"{urls['payment-ingest']}/webhooks/xero",
                "SIM_WEBHOOK_KEY": webhook_key,
            },
        ),
        "portal": Child(
            "portal",
            [sys.executable, "-m", "pipeline_local_stack.portal"],
            {
                "PORTAL_PORT": str(ports["portal"]),
                "PORTAL_CARD_URL": f"{urls['connector']}/accounts/{ACCOUNT}/xero",
                "PORTAL_DASHBOARD_URL": urls.get("ops-dashboard", ""),
                "PORTAL_KEYS": str(identities.directory),
            },
        ),
    }  # fmt: skip
    for name, package in running.items():
        children[name] = Child(
            name,
            [sys.executable, "-m", package],
            {
                "HTTP_HOST": "127.0.0.1",
                "HTTP_PORT": str(ports[name]),
                "DATABASE_URL": dsns[package],
                "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
                "KAFKA_ENABLE_IDEMPOTENCE": str(broker.supports_idempotence).lower(),
                "AUTH_ISSUERS_FILE": str(identities.issuers_file),
                "SERVICE_KEY_FILE": str(identities.key_file(name)),
                **own[name],
            },
        )
    return children


def read_stack_file(path: Path = STACK_FILE) -> dict[str, Any]:
    """What a running stack says of itself.

    Raises:
        StackError: no stack is running.
    """
    if not path.exists():
        raise StackError("No local stack is running: start one with `make up`.")
    described: dict[str, Any] = json.loads(path.read_text())
    return described
