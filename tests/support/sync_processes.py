"""invoice-sync as processes of its own, and the stand-in for the gateway as a server they can reach."""

import signal
from contextlib import asynccontextmanager

import httpx
from service_processes import running_module, until

from pipeline_local_stack.processes import free_port


def gateway_app(gateway):
    """The stand-in for the gateway as an ASGI application."""

    async def serve(scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        query = scope["query_string"].decode()
        url = f"http://gateway{scope['raw_path'].decode().partition('?')[0]}" + (
            f"?{query}" if query else ""
        )
        headers = [(name.decode(), value.decode()) for name, value in scope["headers"]]
        request = httpx.Request(scope["method"], url, headers=headers, content=body)
        answer = await gateway.handle_async_request(request)
        await send(
            {
                "type": "http.response.start",
                "status": answer.status_code,
                "headers": [
                    (name.encode(), value.encode()) for name, value in answer.headers.items()
                ],
            }
        )
        await send({"type": "http.response.body", "body": answer.content})

    return serve


@asynccontextmanager
async def running_process(sync_dsn, gateway_url, identities, *, failpoint=None, lease_seconds=1):
    """The service as a process of its own. Kafka is away: the work in the tables must get done all the same."""
    port = free_port()
    environment = {
        "DATABASE_URL": sync_dsn,
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "HTTP_PORT": str(port),
        "AUTH_ISSUERS_FILE": str(identities[0] / "issuers.json"),
        "SERVICE_KEY_FILE": str(identities[0] / "own.pem"),
        "CONNECTOR_URL": gateway_url,
        "WORKER_LEASE_SECONDS": str(lease_seconds),
        "LOG_LEVEL": "ERROR",
    }
    if failpoint:
        environment["FAILPOINT"] = failpoint
    async with running_module("invoice_sync", environment) as process:
        yield process


@asynccontextmanager
async def one_of_two_frozen(service, sync_dsn, identities, serve, *, begun):
    """Two replicas, one of which is frozen as soon as work has begun, and goes on when the block is over."""
    # On a busy machine a lease of one second is lost between two renewals, and the work starts over and over.
    seconds = {"lease_seconds": 5}
    service.books.world.switches.base_latency_seconds = 0.2
    async with (
        serve(gateway_app(service.gateway)) as gateway_url,
        running_process(sync_dsn, gateway_url, identities, **seconds) as frozen,
        running_process(sync_dsn, gateway_url, identities, **seconds),
    ):
        await until(begun, "work has begun")
        frozen.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            frozen.send_signal(signal.SIGCONT)
