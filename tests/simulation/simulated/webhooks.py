"""The way of Xero's webhooks: each may be late, lost, or answered and the answer lost; Xero's simulator then repeats it.

Also lost are webhooks that Xero never sends; those are switched off in the simulator itself, as doubling and reordering are.
"""

import asyncio
import hashlib
from itertools import count

import httpx

from payment_ingest.handlers.webhooks import AsgiApp
from pipeline_local_stack.ledgers import Webhook
from simulated.seams import Life, Seams

ADDRESS = "http://payment-ingest.test/webhooks/xero"


class Webhooks(httpx.AsyncBaseTransport):
    """One address before all replicas of payment-ingest, each in turn."""

    def __init__(self, seams: Seams) -> None:
        self._seams = seams
        self._gates: dict[Life, AsgiApp] = {}
        self._turn = count()
        self.troubles: list[str] = []
        """What becomes of the next ones: `lost`, or `unanswered`."""
        self.answered: list[Webhook] = []

    def open(self, life: Life, gate: AsgiApp) -> None:
        """This replica can be reached from now on."""
        self._gates[life] = gate

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        able = [each for each in self._gates if not each.is_dead and not each.is_frozen]
        if not able:
            raise httpx.ConnectError("nobody listens")
        life = able[next(self._turn) % len(able)]
        answer: asyncio.Future[httpx.Response] = asyncio.get_running_loop().create_future()
        # It is on the network: Xero may have given up when it arrives, and its answer when that does.
        self._seams.start(self._carry(request, life, answer), None)
        return await answer

    async def _carry(
        self, request: httpx.Request, life: Life, answer: asyncio.Future[httpx.Response]
    ) -> None:
        await self._seams.pause(f"webhook to {life.name}")
        trouble = self.troubles.pop() if self.troubles else ""
        if trouble == "lost" or life.is_dead:
            self._seams.strike("webhook lost")
            return
        served = self._seams.start(self._serve(request, life), life)
        await asyncio.wait([served])
        if served.cancelled() or served.exception():
            self._seams.strike("webhook of the dead")
            return
        await self._seams.pause(f"webhook answered by {life.name}")
        if trouble == "unanswered":
            self._seams.strike("webhook unanswered")
        elif not answer.done():
            answer.set_result(served.result())

    async def _serve(self, request: httpx.Request, life: Life) -> httpx.Response:
        reply = await httpx.ASGITransport(self._gates[life]).handle_async_request(request)
        await reply.aread()
        body = await request.aread()
        self._seams.note(f"webhook {reply.status_code} from {life.name}")
        hashed = hashlib.sha256(body).hexdigest()
        self.answered.append(
            Webhook(hashed, is_genuine=True, has_events=True, status=reply.status_code)
        )
        return httpx.Response(reply.status_code, headers=reply.headers)
