"""A bookkeeper's hands in the simulator, and a gateway that adds only the token: what tests of payments need of Xero."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

import httpx

from xero_simulator.app import XeroSimulator
from xero_simulator.config import Settings

REDIRECT = "http://localhost/callback"
SCOPES = "openid profile email offline_access accounting.invoices accounting.payments.read accounting.contacts"


class ThinGateway:
    """What the connector adds for one tenant: the token, the tenant, and the check of the expected one."""

    def __init__(self, xero: httpx.AsyncClient, token: str, tenant_id: str) -> None:
        self.xero, self.token, self.tenant_id = xero, token, tenant_id
        self.calls = 0

    async def __call__(self, scope, receive, send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        assert headers["x-expected-tenant"] == self.tenant_id
        path = scope["path"].split("/xero/", 1)[1]
        passed = {
            name: headers[name] for name in ("accept", "if-modified-since") if name in headers
        }
        passed |= {"authorization": f"Bearer {self.token}", "xero-tenant-id": self.tenant_id}
        self.calls += 1
        answer = await self.xero.get(
            f"/api.xro/2.0/{path}?{scope['query_string'].decode()}", headers=passed
        )
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


class Xero:
    """The simulator as a bookkeeper of its first organisation sees it."""

    def __init__(self, simulator: XeroSimulator, http: httpx.AsyncClient, tenant_id: str) -> None:
        self.simulator, self.http, self.tenant_id = simulator, http, tenant_id

    async def act(self, method: str, path: str, **body) -> dict:
        answer = await self.http.request(
            method, f"/admin/tenants/{self.tenant_id}{path}", json=body or None
        )
        assert answer.is_success, answer.text
        return answer.json()

    async def invoice(self, total: str, contact_id: str | None = None) -> str:
        if contact_id is None:
            made = await self.act("POST", "/contacts", Name=secrets.token_hex(8))
            contact_id = made["contact_id"]
        made = await self.act(
            "POST",
            "/invoices",
            Contact={"ContactID": contact_id},
            LineAmountTypes="NoTax",
            LineItems=[
                {"Description": "Work", "Quantity": 1, "UnitAmount": total, "AccountCode": "200"}
            ],
        )
        return made["document_id"]

    async def settled(self) -> dict[str, Decimal]:
        """What is live on each invoice, by Xero's own ledger."""
        books = await self.act("GET", "/ledger")
        return {
            row["document_id"]: sum(
                (
                    Decimal(one["amount"])
                    for one in (*books["payments"], *books["allocations"])
                    if row["document_id"] in (one.get("document_id"), one.get("invoice_id"))
                    and one.get("status") != "DELETED"
                ),
                Decimal(0),
            )
            for row in books["invoices"]
        }

    async def disturb(self, **changes) -> None:
        (await self.http.patch("/admin/webhooks", json=changes)).raise_for_status()

    async def switch(self, **changes) -> None:
        (await self.http.patch("/admin/switches", json=changes)).raise_for_status()

    async def webhooks_are_out(self) -> None:
        async with asyncio.timeout(20):
            while not self.simulator.world.webhooks.idle:  # noqa: ASYNC110 - it has no event to wait on
                await asyncio.sleep(0.01)


@asynccontextmanager
async def simulated(
    *,
    webhook_url: str = "http://ingest.test/",
    webhook_key: str = "k",
    webhooks_to: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[tuple[Xero, str]]:
    """A simulator in this process, its bookkeeper, and a token of its first organisation.

    The organisation's limits are lifted: to keep them is the connector's concern, which stands aside here.
    """
    settings = Settings(redirect_uris=(REDIRECT,), webhook_url=webhook_url, webhook_key=webhook_key)
    simulator = XeroSimulator(settings, webhook_transport=webhooks_to)
    async with (
        simulator,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app=simulator), base_url="http://xero.test"
        ) as http,
    ):
        token = await access_token(http, simulator)
        (await http.put("/admin/limits", json={"unlimited": True})).raise_for_status()
        yield Xero(simulator, http, next(iter(simulator.world.books))), token


async def access_token(http: httpx.AsyncClient, simulator: XeroSimulator) -> str:
    await http.put("/admin/consent", json={"user": "demo@example.com"})
    asked = await http.get(
        "/identity/connect/authorize",
        params={
            "response_type": "code",
            "client_id": Settings().client_id,
            "redirect_uri": REDIRECT,
            "scope": SCOPES,
            "state": "s",
        },
    )
    (code,) = parse_qs(urlsplit(asked.headers["location"]).query)["code"]
    basic = base64.b64encode(f"{Settings().client_id}:{Settings().client_secret}".encode()).decode()
    reply = await http.post(
        "/connect/token",
        data={"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT},
        headers={"authorization": f"Basic {basic}"},
    )
    return reply.json()["access_token"]
