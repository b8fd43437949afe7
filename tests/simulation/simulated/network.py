"""The way to Xero: requests that may be late, lost, or done and never answered; and what the gateway says of that.

A request once sent belongs to the network: it may reach Xero after its sender has died, for as long as a connection can
stand still (`LATEST`). What is judged before sending and what is said of a failure is the connector's own code; not here
are its database, its tokens, its call slots, and its circuit breaker, which one organisation alone cannot open.
`tests/integration/connector/test_gateways_stand_in.py` puts the same requests to both.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import Response

from connector.call_xero import GatewayCall, NotCarried, NotConnected, OtherTenant
from connector.clients.bounded import ExchangeFailed, Lost, TimedOut
from connector.domain.budget import learn, retry_after_seconds
from connector.domain.connection import never_connected
from connector.handlers.gateway import PASSED_BACK, judged, refusal_of
from connector.settings import Settings
from connector.take_slot import OutOfBudget
from simulated.seams import LIFE, Life, Seams
from xero_simulator.app import XeroSimulator
from xero_simulator.grants import SCOPES, Access
from xero_simulator.seed import User

PATIENCE: float = Settings.model_fields["gateway_read_seconds"].default
"""How long the gateway waits for Xero's first byte, and so for an answer that comes whole; its callers wait longer."""
IN_LINE: float = Settings.model_fields["gateway_slot_wait_seconds"].default
"""How long it keeps a call that has to wait; who would wait longer is sent away."""
LATEST = 300.0
TOKEN = "test-token"


class Gateway(httpx.AsyncBaseTransport):
    """The gateway's HTTP form over the simulator in process: token, tenant, and the words for what went wrong."""

    def __init__(self, seams: Seams, simulator: XeroSimulator) -> None:
        self._seams = seams
        self._world = simulator.world
        self._xero = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=simulator), base_url="http://xero.test"
        )
        self.tenants: dict[str, str] = {}
        self._blocked: dict[str, tuple[datetime, str]] = {}
        """By organisation: until when Xero asked for quiet, and for which of its limits."""

    def connect(self, account_id: str, user: User) -> str:
        """Connect an account to the first organisation of this user; its id."""
        grants, now, tenant_id = self._world.grants, self._world.clock.now(), user.tenant_ids[0]
        until = now + timedelta(days=3650)
        grants.accesses[TOKEN] = Access(user.user_id, SCOPES, "event", until)
        grants._connect(user.user_id, tenant_id, "event", now)
        self.tenants[account_id] = tenant_id
        return tenant_id

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        account_id = request.url.path.split("/")[3]
        if request.url.path.endswith("/connection"):
            return httpx.Response(200, json={"sequence": int(account_id in self.tenants)})
        # In place of a token, a service shows its name.
        caller = request.headers["authorization"].removeprefix("Bearer ")
        call = await judged(_as_received(request), account_id, caller)
        if isinstance(call, Response):
            return _said(call)
        try:
            reply = await self._call_xero(call)
        except (NotCarried, OutOfBudget, ExchangeFailed) as error:
            refused = refusal_of(error)
            assert refused is not None  # each of them has its words
            return _said(refused)
        headers = {name: reply.headers[name] for name in PASSED_BACK if name in reply.headers}
        return httpx.Response(reply.status_code, headers=headers, content=reply.content)

    async def _call_xero(self, call: GatewayCall) -> httpx.Response:
        tenant_id = self.tenants.get(call.account_id)
        if tenant_id is None:
            raise NotConnected(never_connected(call.account_id))
        if call.expected_tenant not in {None, tenant_id}:
            raise OtherTenant
        await self._until_allowed(tenant_id)
        answer: asyncio.Future[httpx.Response | Lost] = asyncio.get_running_loop().create_future()
        self._seams.start(self._carry(call, tenant_id, answer, LIFE.get()), None)
        try:
            async with asyncio.timeout(PATIENCE):
                reply = await answer
        except TimeoutError:
            raise TimedOut from None
        if isinstance(reply, Lost):
            raise reply
        learnt = learn(reply.status_code, reply.headers)
        if learnt.blocked_for is not None:
            until = self._seams.loop.utc() + learnt.blocked_for
            self._blocked[tenant_id] = until, learnt.problem or "unknown"
        return reply

    async def _until_allowed(self, tenant_id: str) -> None:
        """Nothing is asked of an organisation while Xero wants quiet; who need not wait long is kept in line."""
        now = self._seams.loop.utc()
        until, problem = self._blocked.get(tenant_id, (now, ""))
        seconds = (until - now).total_seconds()
        if seconds > IN_LINE:
            raise OutOfBudget(retry_after_seconds(until, now, IN_LINE), problem)
        if seconds > 0:
            await asyncio.sleep(seconds)

    async def _carry(
        self,
        call: GatewayCall,
        tenant_id: str,
        answer: asyncio.Future[httpx.Response | Lost],
        sender: Life | None,
    ) -> None:
        seams, loop = self._seams, self._seams.loop
        what = f"{call.method} {call.path} of {sender and sender.name}"
        sent = loop.now
        await seams.pause(f"to xero {what}")
        if loop.now - sent > LATEST:
            seams.strike("request gone")
            return
        if sender is not None and sender.is_dead:
            seams.strike("request of the dead")
        elif answer.done():
            seams.strike("request arrives after the caller gave up")
        reply = await self._ask(call, tenant_id)
        seams.note(f"xero {what}: {'lost' if isinstance(reply, Lost) else reply.status_code}")
        await seams.pause(f"from xero {what}")
        if not answer.done():
            answer.set_result(reply)

    async def _ask(self, call: GatewayCall, tenant_id: str) -> httpx.Response | Lost:
        own = {"authorization": f"Bearer {TOKEN}", "xero-tenant-id": tenant_id}
        address = httpx.URL(f"/api.xro/2.0/{call.path}", query=call.query.encode())
        try:
            return await self._xero.request(
                call.method, address, headers={**call.headers, **own}, content=call.body
            )
        except httpx.HTTPError as error:
            return Lost(type(error).__name__)


def _as_received(request: httpx.Request) -> Request:
    """A request as the gateway's server would see it."""
    scope: dict[str, Any] = {
        "type": "http",
        "method": request.method,
        "path": request.url.path,
        "raw_path": request.url.raw_path.partition(b"?")[0],
        "query_string": request.url.query,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": request.content, "more_body": False}

    return Request(scope, receive)


def _said(answer: Response) -> httpx.Response:
    """What the gateway says by itself, as a client gets it."""
    return httpx.Response(
        answer.status_code, headers=answer.headers.raw, content=bytes(answer.body)
    )
