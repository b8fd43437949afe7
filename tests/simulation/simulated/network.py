"""The way to Xero: requests that may be late, lost, or done and never answered; and what the gateway says of that.

A request once sent belongs to the network: it may reach Xero after its sender has died, for as long as a connection can
stand still (`LATEST`).
"""

import asyncio
import json
from typing import Any

import httpx

from simulated.seams import LIFE, Life, Seams
from xero_simulator.app import XeroSimulator

PATIENCE = 60.0
"""How long the gateway waits for Xero; the services' clients wait longer."""
LATEST = 300.0
_PASSED = ("content-type", "accept", "idempotency-key", "if-modified-since")


class Gateway(httpx.AsyncBaseTransport):
    """The gateway's HTTP form over the simulator in process: token, tenant, and the words for what went wrong."""

    def __init__(self, seams: Seams, simulator: XeroSimulator) -> None:
        self._seams = seams
        self._xero = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=simulator), base_url="http://xero.test"
        )
        self.tenants: dict[str, str] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        account_id = request.url.path.split("/")[3]
        tenant_id = self.tenants.get(account_id)
        if request.url.path.endswith("/connection"):
            return httpx.Response(200, json={"sequence": int(tenant_id is not None)})
        if tenant_id is None:
            return _problem(
                409,
                "NOT_CONNECTED",
                status_name="DISCONNECTED",
                reason="REVOKED",
                message="Access was revoked.",
                hint="Connect.",
            )
        if request.headers.get("x-expected-tenant", tenant_id) != tenant_id:
            return _problem(409, "TENANT_CHANGED")
        answer: asyncio.Future[httpx.Response] = asyncio.get_running_loop().create_future()
        self._seams.start(self._carry(request, tenant_id, answer, LIFE.get()), None)
        try:
            async with asyncio.timeout(PATIENCE):
                return await answer
        except TimeoutError:
            return _problem(504, "XERO_TIMEOUT", outcome="unknown")

    async def _carry(
        self,
        request: httpx.Request,
        tenant_id: str,
        answer: asyncio.Future[httpx.Response],
        sender: Life | None,
    ) -> None:
        seams, loop = self._seams, self._seams.loop
        path = request.url.raw_path.decode().split("/xero/", 1)[1]
        what = f"{request.method} {path.partition('?')[0]} of {sender and sender.name}"
        sent = loop.now
        await seams.pause(f"to xero {what}")
        if loop.now - sent > LATEST:
            seams.strike("request gone")
            return
        if sender is not None and sender.is_dead:
            seams.strike("request of the dead")
        elif answer.done():
            seams.strike("request arrives after the caller gave up")
        reply = await self._ask(request, path, tenant_id)
        seams.note(f"xero {what}: {reply.status_code}")
        await seams.pause(f"from xero {what}")
        if not answer.done():
            answer.set_result(reply)

    async def _ask(self, request: httpx.Request, path: str, tenant_id: str) -> httpx.Response:
        headers = {name: request.headers[name] for name in _PASSED if name in request.headers}
        headers |= {"authorization": "Bearer test-token", "xero-tenant-id": tenant_id}
        try:
            reply = await self._xero.request(
                request.method, f"/api.xro/2.0/{path}", headers=headers, content=request.content
            )
        except httpx.HTTPError:
            return _problem(502, "XERO_CONNECTION_LOST", outcome="unknown")
        kept = {
            name: value
            for name, value in reply.headers.items()
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}
        }
        return httpx.Response(reply.status_code, headers=kept, content=reply.content)


def _problem(status: int, code: str, **members: Any) -> httpx.Response:
    return httpx.Response(
        status,
        headers={"X-Gateway-Error": code, "Content-Type": "application/problem+json"},
        content=json.dumps({"code": code, **members}).encode(),
    )
