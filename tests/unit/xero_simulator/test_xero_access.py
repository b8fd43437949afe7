import re

import pytest

from xero_simulator.ids import is_guid


def shape(reply, status, title):
    body = reply.json()
    assert reply.status_code == status
    assert set(body) == {"Type", "Title", "Status", "Detail", "Instance", "Extensions"}
    assert (body["Type"], body["Title"], body["Status"]) == (None, title, status)
    assert is_guid(body["Instance"])
    assert reply.headers["Xero-Correlation-Id"] == body["Instance"]
    return body["Detail"]


async def test_expired_token_says_since_when(sim):
    sim.world.clock.advance(31 * 60)
    reply = await sim.call("GET", "Organisation")
    detail = shape(reply, 401, "Unauthorized")
    pattern = r"TokenExpired: token expired at \d\d/\d\d/\d{4} \d\d:\d\d:\d\d"
    assert re.fullmatch(pattern, detail)
    moment = sim.world.clock.now().strftime("%m/%d/%Y")
    assert moment in detail


@pytest.mark.parametrize("header", ["Bearer nonsense", "Basic abc", ""])
async def test_bad_token(sim, header):
    sim.headers["Authorization"] = header
    reply = await sim.call("GET", "Organisation")
    assert shape(reply, 401, "Unauthorized") == "AuthenticationUnsuccessful"
    assert "invalid_token" in reply.headers["WWW-Authenticate"]


async def test_foreign_missing_and_disconnected_tenant(sim):
    own = sim.tenant
    organisations = await sim.admin("GET", "/organisations")
    foreign = next(row["tenant_id"] for row in organisations if row["name"] == "Kiwi Records Ltd")
    for tenant in (foreign, "", "11111111-1111-4111-8111-111111111111"):
        sim.headers["xero-tenant-id"] = tenant
        reply = await sim.call("GET", "Organisation")
        assert shape(reply, 403, "Forbidden") == "AuthenticationUnsuccessful"
    sim.headers["xero-tenant-id"] = own
    await sim.admin("DELETE", f"/connections/{own}")
    assert shape(await sim.call("GET", "Organisation"), 403, "Forbidden")
    await sim.admin("PATCH", "/switches", {"disconnected_status": 401})
    assert shape(await sim.call("GET", "Organisation"), 401, "Unauthorized")
    # Disconnecting inside Xero leaves refreshing alone.
    assert (await sim.refresh(sim.tokens["refresh_token"])).status_code == 200


@pytest.mark.parametrize(
    ("scope", "method", "path", "allowed"),
    [
        ("accounting.invoices.read", "GET", "Invoices", True),
        ("accounting.invoices.read", "PUT", "Invoices", False),
        ("accounting.invoices", "PUT", "CreditNotes", True),
        ("accounting.payments.read", "GET", "Payments", True),
        ("accounting.payments.read", "PUT", "Payments", False),
        ("accounting.contacts", "GET", "Invoices", False),
        ("accounting.settings.read", "GET", "Organisation", True),
        ("accounting.invoices", "GET", "Accounts", False),
    ],
)
async def test_scopes(raw_sim, scope, method, path, allowed):
    await raw_sim.connect(scope=f"openid {scope}")
    body = None if method == "GET" else {"Type": "x"}
    reply = await raw_sim.call(method, path, body)
    if allowed:
        assert reply.status_code != 401
    else:
        assert "insufficient_scope" in shape(reply, 401, "Unauthorized")
        assert "insufficient_scope" in reply.headers["WWW-Authenticate"]


async def test_admin_is_for_loopback_callers_only(sim):
    messages = []
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": "/admin/users", "raw_path": b"/admin/users", "root_path": "",
        "query_string": b"", "headers": [], "client": ("192.0.2.1", 1), "server": ("x", 80),
    }  # fmt: skip

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        messages.append(message)

    await sim.app(scope, receive, send)
    assert messages[0]["status"] == 403


async def test_expiring_and_revoking_by_admin(sim):
    await sim.admin("POST", "/tokens/expire", {"user": "demo@example.com"})
    assert "TokenExpired" in (await sim.call("GET", "Organisation")).json()["Detail"]
    await sim.admin("POST", "/tokens/revoke", {})
    reply = await sim.refresh(sim.tokens["refresh_token"])
    assert reply.json() == {"error": "invalid_grant"}
    await sim.admin("POST", "/tokens/expire", {"user": "nobody@example.com"}, status=404)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("DELETE", "Invoices", 501),
        ("PATCH", "Contacts", 501),
        ("GET", "Nonsense", 404),
        ("GET", "Invoices/1/2/3/4", 404),
        ("PUT", "Invoices/1", 501),
    ],
)
async def test_what_is_not_there(sim, method, path, status):
    assert (await sim.call(method, path, {})).status_code == status


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b'"x"', b'{"Invoices": [1]}', b'{"a": NaN}'])
async def test_unreadable_bodies(sim, body):
    reply = await sim.http.put("/api.xro/2.0/Invoices", headers=sim.headers, content=body)
    assert reply.status_code == 400
    found = reply.json()
    assert (found["ErrorNumber"], found["Type"]) == (14, "PostDataInvalidException")


async def test_xml_is_not_spoken(sim):
    sim.headers["Accept"] = "*/*"
    assert (await sim.call("GET", "Organisation")).status_code == 406


async def test_oversized_bodies(sim):
    await sim.admin("PATCH", "/switches", {"max_body_bytes": 100})
    assert (await sim.call("PUT", "Invoices", {"x": "y" * 200})).status_code == 413
