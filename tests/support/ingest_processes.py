"""payment-ingest as processes of its own."""

from contextlib import asynccontextmanager

import httpx
from service_processes import running_module, until
from small_xero import KEY, OTHER_KEY

from pipeline_local_stack.processes import free_port

NO_KAFKA = "127.0.0.1:1"


def environment_of(dsn, gateway, identities, kafka=NO_KAFKA, **more: str) -> dict[str, str]:
    """What the service, or a command of it, needs to know."""
    return {
        "DATABASE_URL": dsn,
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "HTTP_PORT": str(free_port()),
        "AUTH_ISSUERS_FILE": str(identities[0] / "issuers.json"),
        "SERVICE_KEY_FILE": str(identities[0] / "own.pem"),
        "CONNECTOR_URL": gateway,
        "XERO_WEBHOOK_KEYS": f"{KEY.decode()},{OTHER_KEY.decode()}",
        "LOG_LEVEL": "WARNING",
        **more,
    }


@asynccontextmanager
async def running_ingest(environment: dict[str, str], *, failpoint: str | None = None):
    """A replica and a client of it, once it is ready, or has died already at its failpoint."""
    if failpoint:
        environment = environment | {"FAILPOINT": failpoint}
    async with (
        running_module("payment_ingest", environment) as process,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{environment['HTTP_PORT']}", timeout=10, trust_env=False
        ) as client,
    ):
        await until(lambda: ready(client, process), "the service is ready")
        yield process, client


async def ready(client, process) -> bool:
    if process.returncode is not None:
        return True
    try:
        return (await client.get("/health/ready")).status_code == 200
    except httpx.TransportError:
        return False
