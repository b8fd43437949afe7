"""Two replicas of each service, which reach Kafka, Postgres, Xero and the connector through links that can be struck."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from pipeline_local_stack.chaos.fault_proxy import Links
from pipeline_local_stack.chaos.schedule import LINKS, SERVICES
from pipeline_local_stack.kafka import Broker, Protection, start_kafka
from pipeline_local_stack.postgres import Postgres, start_postgres
from pipeline_local_stack.processes import free_port
from pipeline_local_stack.releases import THIS, Release
from pipeline_local_stack.stack import Servers, Stack, running_stack

LEASE_SECONDS = 5
_NOBODY = 1  # a port on which nothing listens
_HURRIED = {
    "connector": {
        "GATEWAY_READ_SECONDS": "5",
        "GATEWAY_TOTAL_SECONDS": "8",
        "IDENTITY_SECONDS": "5",
        "BACKGROUND_SECONDS": "1",
    },
    "invoice-sync": {"WORKER_LEASE_SECONDS": str(LEASE_SECONDS)},
    "payment-ingest": {
        "WORKER_LEASE_SECONDS": str(LEASE_SECONDS),
        "SWEEP_INTERVAL_SECONDS": "15",
        "SWEEP_PAUSE_SECONDS": "5",
    },
}
"""Waits that take minutes where the system is run for real, so that a run of seconds goes through them."""


@contextlib.contextmanager
def struck_stack(
    say: Callable[[str], None], release: Release = THIS
) -> Iterator[tuple[Stack, Links, str]]:
    """Start everything; the stack, its links, and Kafka's address for those who must not be struck.

    Args:
        say: told what is going on.
        release: whose services run.

    Raises:
        StackError: something is missing on this machine or did not start.
    """
    behind: dict[str, int] = {}
    direct = free_port()

    def kafka() -> Broker:
        broker = start_kafka(say=say, protection=_two_ways_in(direct, made.port("kafka")))
        behind["kafka"] = broker.port
        return replace(broker, port=made.port("kafka"))

    def postgres() -> Postgres:
        server = start_postgres()
        behind["postgres"] = server.port
        return replace(server, port=made.port("postgres"))

    def behind_the_link(name: str) -> int:
        return behind.get(name, _NOBODY)

    with Links({name: partial(behind_the_link, name) for name in LINKS}) as made:
        xero, connector = (f"http://localhost:{made.port(n)}" for n in ("simulator", "connector"))
        routes = {
            "connector": {"XERO_IDENTITY_URL": xero, "XERO_API_URL": xero},
            "invoice-sync": {"CONNECTOR_URL": connector},
            "payment-ingest": {"CONNECTOR_URL": connector},
        }
        environment = {name: {**_HURRIED[name], **routes[name]} for name in SERVICES}
        with running_stack(
            say=say,
            replicas=dict.fromkeys(SERVICES, 2),
            environment=environment,
            servers=Servers(kafka, postgres),
            release=release,
        ) as stack:
            behind |= {name: stack.ports[name] for name in ("simulator", "connector-front")}
            behind["connector"] = stack.ports["connector-front"]
            yield stack, made, f"127.0.0.1:{direct}"


def _two_ways_in(direct: int, link: int) -> Protection:
    """The broker sends whoever comes by the link back to the link, and us, who watch, to a port of our own."""
    return Protection(
        settings={
            "listeners": f"PLAINTEXT://127.0.0.1:{{port}},DIRECT://127.0.0.1:{direct},"
            "CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{link},DIRECT://127.0.0.1:{direct}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,DIRECT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "DIRECT",
        }
    )
