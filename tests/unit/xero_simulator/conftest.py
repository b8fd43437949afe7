"""A simulator in process, and a driver that talks to it the way an app and a person do."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from xero_simulator.app import XeroSimulator, create_app
from xero_simulator.config import Settings

REDIRECT = "http://localhost:8001/cb"
SCOPES = (
    "openid profile email offline_access accounting.invoices accounting.payments "
    "accounting.contacts accounting.settings.read"
)


@dataclass
class Driver:
    """One app with one connected user, and the admin's hands."""

    app: XeroSimulator
    http: httpx.AsyncClient
    headers: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, Any] = field(default_factory=dict)
    tenant: str = ""

    @property
    def world(self):
        return self.app.world

    @property
    def client(self) -> tuple[str, str]:
        settings = self.app.world.settings
        return settings.client_id, settings.client_secret

    def authorize_query(self, **changes: str) -> dict[str, str]:
        query = {
            "response_type": "code",
            "client_id": self.client[0],
            "redirect_uri": REDIRECT,
            "scope": SCOPES,
            "state": "state-1",
        }
        return query | changes

    async def consent(self, user: str = "demo@example.com", **changes: str) -> dict[str, str]:
        """Follows the real redirect and returns the callback's parameters."""
        await self.admin("PUT", "/consent", {"user": user})
        reply = await self.http.get(
            "/identity/connect/authorize", params=self.authorize_query(**changes)
        )
        assert reply.status_code == 302, reply.text
        assert reply.headers["location"].startswith(REDIRECT)
        return dict(parse_qsl(urlsplit(reply.headers["location"]).query))

    async def token(self, **form: str) -> httpx.Response:
        return await self.http.post("/connect/token", data=form, auth=self.client)

    async def exchange(self, code: str, **more: str) -> httpx.Response:
        return await self.token(
            grant_type="authorization_code", code=code, redirect_uri=REDIRECT, **more
        )

    async def refresh(self, token: str) -> httpx.Response:
        return await self.token(grant_type="refresh_token", refresh_token=token)

    async def connect(self, user: str = "demo@example.com", **changes: str) -> None:
        callback = await self.consent(user, **changes)
        self.tokens = (await self.exchange(callback["code"])).json()
        self.headers = {
            "Authorization": f"Bearer {self.tokens['access_token']}",
            "Accept": "application/json",
        }
        rows = (await self.http.get("/connections", headers=self.headers)).json()
        self.tenant = rows[0]["tenantId"]
        self.headers["xero-tenant-id"] = self.tenant

    async def call(
        self, method: str, path: str, body: Any = None, key: str = "", **params: str
    ) -> httpx.Response:
        headers = self.headers | ({"Idempotency-Key": key} if key else {})
        content = None if body is None else json.dumps(body)
        return await self.http.request(
            method, f"/api.xro/2.0/{path}", headers=headers, content=content, params=params
        )

    async def get(self, path: str, **params: str) -> Any:
        reply = await self.call("GET", path, **params)
        assert reply.status_code == 200, reply.text
        return exact(reply)

    async def write(self, method: str, path: str, body: Any, **params: str) -> Any:
        reply = await self.call(method, path, body, **params)
        assert reply.status_code == 200, reply.text
        return exact(reply)

    async def refused(self, method: str, path: str, body: Any, **params: str) -> list[str]:
        """The messages of a write that must be refused with a ValidationException."""
        reply = await self.call(method, path, body, **params)
        assert reply.status_code == 400, reply.text
        found = exact(reply)
        assert found["ErrorNumber"] == 10
        assert found["Type"] == "ValidationException"
        assert found["Message"] == "A validation exception occurred"
        return [row["Message"] for one in found["Elements"] for row in one["ValidationErrors"]]

    async def admin(self, method: str, path: str, body: Any = None, status: int = 0) -> Any:
        reply = await self.http.request(method, f"/admin{path}", json=body)
        assert reply.status_code == status or (not status and reply.is_success), reply.text
        return reply.json()

    async def unlimited(self) -> None:
        await self.admin("PUT", "/limits", {"unlimited": True})

    async def contact(self, name: str = "Acme") -> str:
        found = await self.write("PUT", "Contacts", {"Name": name})
        return found["Contacts"][0]["ContactID"]

    def invoice(self, contact_id: str, number: str = "P-1", **changes: Any) -> dict[str, Any]:
        body = {
            "Type": "ACCREC",
            "InvoiceNumber": number,
            "Contact": {"ContactID": contact_id},
            "Date": "2026-11-01",
            "DueDate": "2026-12-01",
            "Status": "AUTHORISED",
            "LineAmountTypes": "Exclusive",
            "LineItems": [
                {"Description": "Work", "Quantity": 1, "UnitAmount": 100, "AccountCode": "200"}
            ],
        }
        return {name: value for name, value in (body | changes).items() if value is not None}

    async def created(self, number: str = "P-1", **changes: Any) -> dict[str, Any]:
        contact_id = changes.pop("contact_id", None) or await self.contact(f"Contact of {number}")
        reply = await self.write("PUT", "Invoices", self.invoice(contact_id, number, **changes))
        return reply["Invoices"][0]

    async def pay(self, number: str, amount: str | None = None, **more: Any) -> Any:
        body = {"invoice": number} | ({"amount": amount} if amount else {}) | more
        return await self.admin("POST", f"/tenants/{self.tenant}/payments", body)

    async def fault(self, kind: str, path: str = "/api.xro/2.0/Invoices*", **more: Any) -> None:
        await self.admin("POST", "/faults", {"kind": kind, "path": path} | more)


def exact(reply: httpx.Response) -> Any:
    return json.loads(reply.content, parse_float=Decimal)


@pytest.fixture(scope="session")
async def shared_app() -> AsyncIterator[tuple[XeroSimulator, httpx.AsyncClient]]:
    """One app for all tests that reset it; making the admin routes anew takes a while."""
    app = create_app(Settings(redirect_uris=(REDIRECT,)))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://xero.test") as http:
        yield app, http


@pytest.fixture
def raw_sim(shared_app: tuple[XeroSimulator, httpx.AsyncClient]) -> Driver:
    """A simulator nobody is connected to."""
    app, http = shared_app
    app.world.reset()
    http.cookies.clear()
    return Driver(app, http)


@pytest.fixture
async def sim(raw_sim: Driver) -> Driver:
    """A connected app without limits."""
    await raw_sim.connect()
    await raw_sim.unlimited()
    return raw_sim


@pytest.fixture
def drive() -> type[Driver]:
    """For tests that need an app of their own."""
    return Driver
