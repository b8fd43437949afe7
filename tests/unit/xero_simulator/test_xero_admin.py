import asyncio
import contextlib
import socket
from datetime import timedelta

import httpx
import pytest
import uvicorn

from xero_simulator.app import create_app
from xero_simulator.clock import Clock
from xero_simulator.config import Settings


async def test_people_and_organisations(sim):
    created = await sim.admin(
        "POST",
        "/organisations",
        {
            "name": "New Ltd",
            "country": "US",
            "base_currency": "USD",
            "users": ["single@example.com"],
        },
    )
    assert "OUTPUT" in created["tax_rates"]
    await sim.admin("POST", "/users", {"email": "p@example.com", "tenants": [created["tenant_id"]]})
    await sim.admin("POST", "/users", {"email": "p@example.com"}, status=409)
    users = {row["email"]: row["tenants"] for row in await sim.admin("GET", "/users")}
    assert users["p@example.com"] == [created["tenant_id"]]
    assert created["tenant_id"] in users["single@example.com"]
    await sim.connect("p@example.com")
    assert sim.tenant == created["tenant_id"]
    assert (await sim.get("Organisation"))["Organisations"][0]["BaseCurrency"] == "USD"


async def test_the_ledger_is_exact_and_complete(sim):
    await sim.created()
    await sim.pay("P-1", "0.10")
    ledger = await sim.admin("GET", f"/tenants/{sim.tenant}/ledger")
    invoice = ledger["invoices"][0]
    assert (invoice["total"], invoice["amount_due"]) == ("115.00", "114.90")
    assert invoice["created_by_app"] is True
    assert invoice["payments"] == [ledger["payments"][0]["payment_id"]]
    assert ledger["payments"][0]["amount"] == "0.10"
    single = await sim.admin("GET", f"/tenants/{sim.tenant}/invoices/P-1")
    assert single == invoice
    await sim.admin("GET", f"/tenants/{sim.tenant}/invoices/none", status=404)
    await sim.admin("GET", "/tenants/none/ledger", status=404)


async def test_a_person_edits_and_voids(sim):
    await sim.created()
    path = f"/tenants/{sim.tenant}/invoices/P-1"
    assert (await sim.admin("POST", path, {"Reference": "hand"}))["reference"] == "hand"
    assert (await sim.admin("POST", path, {"Status": "VOIDED"}))["status"] == "VOIDED"
    detail = (await sim.admin("POST", path, {"Status": "DRAFT"}, status=422))["detail"]
    assert detail == ["Invoice not of valid status for modification"]


async def test_call_log(sim):
    await sim.call("GET", "Organisation")
    await sim.call("PUT", "Contacts", {"Name": "A"}, "key-1")
    found = await sim.admin("GET", f"/calls?tenant={sim.tenant}")
    last = found["calls"][-1]
    assert (last["method"], last["path"]) == ("PUT", "/api.xro/2.0/Contacts")
    assert (last["status"], last["idempotency_key"], last["in_flight"]) == (200, "key-1", 1)
    assert last["bytes_in"] == len('{"Name": "A"}')
    assert last["bytes_out"] > 0
    later = await sim.admin("GET", f"/calls?since={last['sequence']}")
    assert later["calls"] == []
    text = str(await sim.admin("GET", "/calls"))
    assert sim.tokens["access_token"] not in text
    assert sim.tokens["refresh_token"] not in text


async def test_reset_is_a_new_beginning(sim):
    tenant = sim.tenant
    await sim.created()
    await sim.fault("error_500_before")
    await sim.admin("PATCH", "/switches", {"base_latency_seconds": 1})
    await sim.admin("POST", "/reset")
    assert (await sim.admin("GET", "/faults"))["faults"] == []
    assert (await sim.admin("GET", "/switches"))["base_latency_seconds"] == 0
    assert (await sim.call("GET", "Organisation")).status_code == 401
    await sim.connect()
    assert sim.tenant == tenant
    assert (await sim.get("Invoices"))["Invoices"] == []


async def test_redirect_uris_can_be_added_within_xeros_rule(sim):
    await sim.admin("POST", "/redirect-uris?uri=http://127.0.0.1/cb", status=422)
    found = await sim.admin("POST", "/redirect-uris?uri=http://localhost:9000/cb")
    assert "http://localhost:9000/cb" in found


async def test_settings_resources(sim):
    account = (await sim.get("Accounts/200"))["Accounts"][0]
    assert (account["Type"], account["TaxType"]) == ("REVENUE", "OUTPUT2")
    bank = (await sim.get("Accounts", where='Type=="BANK"'))["Accounts"]
    assert {row["Code"] for row in bank} == {"090", "091"}
    rate = (await sim.get("TaxRates/OUTPUT2"))["TaxRates"][0]
    assert rate["EffectiveRate"] == 15
    codes = [row["Code"] for row in (await sim.get("Currencies"))["Currencies"]]
    assert codes == ["NZD", "AUD", "USD"]
    assert (await sim.call("GET", "Accounts/nope")).status_code == 404


def test_clock_freezes_and_resumes_where_it_stood():
    real = [1000.0]
    clock = Clock(lambda: real[0])
    clock.freeze()
    real[0] += 50
    assert clock.timestamp() == 1000
    clock.advance(5)
    clock.resume()
    real[0] += 1
    assert clock.timestamp() == 1006


async def test_waiting_ends_when_time_is_moved_or_an_event_is_set():
    clock = Clock()
    clock.freeze()
    waiting = asyncio.create_task(clock.wait_until(clock.now() + timedelta(hours=1)))
    await asyncio.sleep(0)
    clock.advance(3600)
    await asyncio.wait_for(waiting, 5)
    event = asyncio.Event()
    waiting = asyncio.create_task(clock.wait_until(None, event))
    await asyncio.sleep(0)
    event.set()
    await asyncio.wait_for(waiting, 5)


@pytest.fixture
async def served():
    """A simulator on a real socket."""
    app = create_app(Settings(redirect_uris=("http://localhost:8001/cb",)))
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, date_header=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    async with asyncio.timeout(30):
        while not server.started:  # noqa: ASYNC110 -- uvicorn offers a flag only
            await asyncio.sleep(0.01)
    yield app, f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def test_over_a_socket_lost_replies_are_cut_connections(served, drive):
    app, address = served
    async with httpx.AsyncClient(base_url=address, timeout=30) as http:
        sim = drive(app, http)
        await sim.connect()
        body = {"Type": "ACCREC", "Contact": {"Name": "Acme"}}
        await sim.fault("commit_then_reset")
        with pytest.raises(httpx.RemoteProtocolError):
            await sim.call("PUT", "Invoices", body | {"InvoiceNumber": "A"})
        await sim.fault("commit_then_timeout", seconds=20)
        # For this call alone: a busy machine may answer any other late.
        http.timeout = httpx.Timeout(30, read=1)
        with pytest.raises(httpx.ReadTimeout):
            await sim.call("PUT", "Invoices", body | {"InvoiceNumber": "B"})
        http.timeout = httpx.Timeout(30)
        await sim.fault("reset_before")
        with pytest.raises(httpx.RemoteProtocolError):
            await sim.call("PUT", "Invoices", body | {"InvoiceNumber": "C"})
        ledger = await sim.admin("GET", f"/tenants/{sim.tenant}/ledger")
        assert [row["number"] for row in ledger["invoices"]] == ["A", "B"]
        # A client that hung up gives its place back at once, not after twenty seconds.
        async with asyncio.timeout(5):
            while app.world.limits.tenant(sim.tenant).in_flight:  # noqa: ASYNC110 -- a plain counter
                await asyncio.sleep(0.01)
