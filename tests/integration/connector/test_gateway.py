"""The gateway: limits held together by all replicas, fences, and honest answers about what may have happened."""

import asyncio
import json
from urllib.parse import unquote

import pytest

INVOICES = "/v1/accounts/acc-1/xero/Invoices"
ORGANISATION = "/v1/accounts/acc-1/xero/Organisation"


def fault(stack, kind, path="/api.xro/2.0/*", **more):
    return stack.sim.world.faults.add(kind=kind, path=path, **more)


async def test_xeros_answer_comes_back_as_it_is(stack):
    await stack.connect("acc-1")
    async with stack.caller() as client:
        answer = await client.get(ORGANISATION, headers={"Accept": "*/*"})
    assert answer.status_code == 200
    assert answer.json()["Organisations"][0]["Name"] == "Kiwi Records Ltd"
    assert "x-gateway-error" not in answer.headers
    assert int(answer.headers["x-daylimit-remaining"]) > 0
    assert answer.headers["xero-correlation-id"]
    assert answer.headers["date"]


async def test_queries_bodies_and_keys_are_passed_on_unchanged(stack):
    await stack.connect("acc-1")
    body = json.dumps({"Contacts": [{"Name": "Kōwhai & Söhne"}]}, ensure_ascii=False).encode()
    async with stack.caller() as client:
        put = await client.put(
            "/v1/accounts/acc-1/xero/Contacts?summarizeErrors=false",
            content=body,
            headers={"Idempotency-Key": "key-1", "Content-Type": "application/json"},
        )
        assert put.status_code == 200, put.text
        found = await client.get(
            '/v1/accounts/acc-1/xero/Contacts?where=Name=="Kōwhai & Söhne"'.replace("&", "%26")
        )
    assert found.json()["Contacts"][0]["Name"] == "Kōwhai & Söhne"
    [call] = [c for c in stack.calls("/Contacts") if c.method == "PUT"]
    assert call.idempotency_key == "key-1"
    assert call.bytes_in == len(body)
    assert call.query == "summarizeErrors=false"


async def test_payment_ingest_can_only_read(stack):
    await stack.connect("acc-1")
    async with stack.caller("payment-ingest") as client:
        assert (await client.get("/v1/accounts/acc-1/xero/Payments")).status_code == 200
        for method in ("PUT", "POST", "DELETE", "PATCH"):
            answer = await client.request(method, INVOICES, content=b"{}")
            assert answer.status_code == 403
            assert answer.headers["x-gateway-error"] == "NOT_ALLOWED"
    assert all(call.method == "GET" for call in stack.calls("/api.xro/"))


@pytest.mark.parametrize(
    "path",
    [
        "/v1/accounts/acc-1/xero/../../connections",
        "/v1/accounts/acc-1/xero/Invoices/../../../connections",
        "/v1/accounts/acc-1/xero/%2e%2e/connections",
        "/v1/accounts/acc-1/xero/Invoices/%2e%2e/%2e%2e",
        "/v1/accounts/acc-1/xero/Invoices%2f..%2fUsers",
        "/v1/accounts/acc-1/xero/Invoices/%5c..%5cUsers",
        "/v1/accounts/acc-1/xero//Invoices",
        "/v1/accounts/acc-1/xero/Invoices//x",
        "/v1/accounts/acc-1/xero/http://evil.example/",
        "/v1/accounts/acc-1/xero/https:%2f%2fevil.example",
        "/v1/accounts/acc-1/xero/@evil.example/",
        "/v1/accounts/acc-1/xero/Invoices%00",
        "/v1/accounts/acc-1/xero/Invoices%0d%0aX-Evil:1",
        "/v1/accounts/acc-1/xero/Invoices%3fa=b",
        "/v1/accounts/acc-1/xero/Invoices%",
        "/v1/accounts/acc-1/xero/",
        "/v1/accounts/acc-1/xero/Users",
        "/v1/accounts/acc-1/xero/invoices",
        "/v1/accounts/acc-1/xero/Invoices/" + "x" * 700,
        "/v1/accounts/acc-1/xero/Invoices/1/Email",
    ],
)
async def test_path_tricks_never_reach_xero(stack, path):
    await stack.connect("acc-1")
    before = len(stack.sim.world.calls.calls)
    status = await raw_request(stack, path)
    assert status in {403, 404}
    assert len(stack.sim.world.calls.calls) == before


async def raw_request(stack, path):
    """Straight at the ASGI application: an HTTP client would tidy the path first."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    token = stack.keys.service_token("invoice-sync")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"authorization", f"Bearer {token}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 8001),
    }
    await stack.apps[0](scope, receive, send)
    return sent[0]["status"]


async def test_a_large_body_is_refused_before_anything_happens(stack):
    await stack.connect("acc-1")

    async def chunks():
        for _ in range(6):
            yield b"x" * 1_000_000

    async with stack.caller() as client:
        for content in (b"x" * 5_000_000, chunks()):
            answer = await client.put(INVOICES, content=content)
            assert answer.status_code == 413
    assert stack.calls("/Invoices") == []


async def test_an_expired_token_is_renewed_and_the_request_sent_again_once(stack):
    await stack.connect("acc-1")
    fault(stack, "token_expired")
    async with stack.caller() as client:
        answer = await client.put(
            "/v1/accounts/acc-1/xero/Contacts",
            content=b'{"Contacts":[{"Name":"Once"}]}',
            headers={"Idempotency-Key": "k", "Content-Type": "application/json"},
        )
    assert answer.status_code == 200
    assert [c.status for c in stack.calls("/Contacts")] == [401, 200]
    assert len(stack.calls("/connect/token")) == 2


async def test_no_connection_is_409_with_the_reason(stack):
    async with stack.caller() as client:
        answer = await client.get("/v1/accounts/nobody/xero/Invoices")
    assert answer.status_code == 409
    assert answer.headers["x-gateway-error"] == "NOT_CONNECTED"
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert (document["status_name"], document["reason"]) == ("DISCONNECTED", "NEVER_CONNECTED")
    assert document["message"]
    assert document["hint"]


async def test_the_expected_organisation_is_checked_before_sending(stack):
    await stack.connect("acc-1")
    tenant = (await stack.status("acc-1"))["tenant_id"]
    before = len(stack.calls("/api.xro/"))
    async with stack.caller() as client:
        refused = await client.get(ORGANISATION, headers={"X-Expected-Tenant": "another"})
        assert (refused.status_code, refused.json()["code"]) == (409, "TENANT_CHANGED")
        assert len(stack.calls("/api.xro/")) == before
        assert (
            await client.get(ORGANISATION, headers={"X-Expected-Tenant": tenant})
        ).status_code == 200


async def test_disconnected_inside_xero_is_found_and_said(stack):
    await stack.connect("acc-1")
    stack.sim.world.grants.disconnect_tenant((await stack.status("acc-1"))["tenant_id"])
    async with stack.caller() as client:
        answer = await client.get(ORGANISATION)
        assert (answer.status_code, answer.json()["reason"]) == (409, "REVOKED_IN_XERO")
        calls = len(stack.sim.world.calls.calls)
        assert (await client.get(ORGANISATION)).status_code == 409
        assert len(stack.sim.world.calls.calls) == calls
    assert [e.reason for e in await stack.events("acc-1")] == [
        "CONNECTED_BY_USER",
        "REVOKED_IN_XERO",
    ]


async def test_disconnected_inside_xero_answering_401(stack):
    await stack.connect("acc-1")
    stack.sim.world.switches.disconnected_status = 401
    stack.sim.world.grants.disconnect_tenant((await stack.status("acc-1"))["tenant_id"])
    async with stack.caller() as client:
        answer = await client.get(ORGANISATION)
    assert (answer.status_code, answer.json()["reason"]) == (409, "REVOKED_IN_XERO")


async def test_timeouts_and_broken_connections_have_an_unknown_outcome(make_stack):
    stack = await make_stack(gateway_read_seconds=0.3, gateway_total_seconds=1.0)
    await stack.connect("acc-1")
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    async with stack.caller() as client:
        fault(stack, "commit_then_timeout", seconds=0.6)
        slow = await client.put(
            "/v1/accounts/acc-1/xero/Contacts",
            content=b'{"Contacts":[{"Name":"A"}]}',
            headers=headers,
        )
        assert (slow.status_code, slow.headers["x-gateway-error"]) == (504, "XERO_TIMEOUT")
        assert slow.json()["outcome"] == "unknown"
        fault(stack, "commit_then_reset")
        lost = await client.get(ORGANISATION)
        assert (lost.status_code, lost.headers["x-gateway-error"]) == (502, "XERO_CONNECTION_LOST")
        assert lost.json()["outcome"] == "unknown"
    # Neither was sent a second time.
    assert len(stack.calls("/Contacts")) == 1
    assert len([c for c in stack.calls("/Organisation") if c.fault]) == 1


async def test_nothing_listening_is_not_sent(make_stack):
    stack = await make_stack(xero_api_url="http://127.0.0.1:9")
    await stack.connect("acc-1")
    await stack.db.execute(
        """
        INSERT INTO connections (account_id, status, reason, since, sequence, tenant_id, xero_userid)
        SELECT 'acc-1', 'CONNECTED', 'CONNECTED_BY_USER', now(), 1, 't', xero_userid FROM token_sets
        """
    )
    async with stack.caller() as client:
        answer = await client.put(INVOICES, content=b"{}")
    assert (answer.status_code, answer.headers["x-gateway-error"]) == (502, "XERO_UNREACHABLE")
    assert answer.json()["outcome"] == "not_sent"
    assert (
        await stack.db.fetchval("SELECT count(*) FROM call_slots WHERE account_id IS NOT NULL") == 0
    )


async def test_xeros_429_is_honoured_for_every_caller(make_stack):
    stack = await make_stack(replicas=2)
    await stack.connect("acc-1")
    fault(stack, "rate_limit_minute", seconds=40)
    async with stack.caller() as client:
        first = await client.get(ORGANISATION)
    assert first.status_code == 429
    assert "x-gateway-error" not in first.headers
    assert first.headers["retry-after"] == "40"
    calls = len(stack.calls("/api.xro/"))
    async with stack.caller("payment-ingest", app=1) as client:
        second = await client.get(ORGANISATION)
    assert (second.status_code, second.headers["x-gateway-error"]) == (429, "RATE_LIMITED")
    assert second.headers["x-rate-limit-problem"] == "minute"
    assert 35 <= int(second.headers["retry-after"]) <= 40
    assert second.content == b""
    assert len(stack.calls("/api.xro/")) == calls


async def test_the_app_limit_stops_every_tenant(stack):
    await stack.connect("acc-1")
    await stack.connect("acc-2", "demo@example.com", ("Demo Company (NZ)",))
    fault(stack, "rate_limit_appminute")
    async with stack.caller() as client:
        assert (await client.get(ORGANISATION)).status_code == 429
        other = await client.get("/v1/accounts/acc-2/xero/Organisation")
    assert (other.status_code, other.headers["x-rate-limit-problem"]) == (429, "appminute")


async def test_two_replicas_together_keep_five_at_once_and_sixty_a_minute(make_stack):
    stack = await make_stack(replicas=2)
    await stack.connect("acc-1")
    stack.sim.world.switches.base_latency_seconds = 0.03
    tenant = (await stack.status("acc-1"))["tenant_id"]
    async with stack.caller(app=0) as one, stack.caller("payment-ingest", app=1) as two:
        one.headers["X-Lane"] = "people"
        answers = await asyncio.gather(
            *(client.get(ORGANISATION, timeout=60) for _ in range(60) for client in (one, two))
        )
    summary = stack.sim.world.calls.summary()["tenants"][tenant]
    assert summary["limited"] == 0
    assert summary["max_in_flight"] <= 5
    assert summary["max_per_minute"] <= 60
    # Connecting used one call of the minute; all the rest was used, none too many.
    carried = [a for a in answers if a.status_code == 200]
    assert len(carried) == 59
    refused = [a for a in answers if a.status_code != 200]
    assert {(a.status_code, a.headers["x-gateway-error"]) for a in refused} == {
        (429, "RATE_LIMITED")
    }
    assert all(int(a.headers["retry-after"]) >= 1 for a in refused)


async def test_a_killed_replicas_slots_come_back(stack):
    await stack.connect("acc-1")
    tenant = (await stack.status("acc-1"))["tenant_id"]
    await stack.db.execute(
        """
        INSERT INTO call_slots (tenant_id, account_id, caller, started_at, lease_until)
        SELECT $1, 'acc-1', 'invoice-sync', now(), now() + interval '30 seconds' FROM generate_series(1, 5)
        """,
        tenant,
    )
    async with stack.caller() as client:
        full = await client.get(ORGANISATION)
        assert (full.status_code, full.headers["x-rate-limit-problem"]) == (429, "concurrent")
        await stack.db.execute(
            "UPDATE call_slots SET lease_until = now() WHERE finished_at IS NULL"
        )
        assert (await client.get(ORGANISATION)).status_code == 200


async def test_the_day_count_is_learnt_and_shown(stack):
    await stack.connect("acc-1")
    async with stack.caller() as client:
        left = int((await client.get(ORGANISATION)).headers["x-daylimit-remaining"])
    async with stack.browser("acc-1") as browser:
        assert f"{left:,}" in (await browser.pipeline.get(browser.card)).text


async def test_no_call_goes_out_after_a_recorded_disconnect(make_stack):
    stack = await make_stack(replicas=2, xero_minute_limit=6000)
    stack.sim.world.limits.__init__()
    await stack.connect("acc-1")
    stop = asyncio.Event()
    refused = []

    async def load(app):
        async with stack.caller(app=app) as client:
            while not stop.is_set():
                answer = await client.get(ORGANISATION, timeout=60)
                if answer.headers.get("x-gateway-error") == "NOT_CONNECTED":
                    refused.append(answer)
                await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(load(n % 2)) for n in range(4)]
    await asyncio.sleep(0.5)
    async with stack.browser("acc-1") as browser:
        answer = await browser.press("disconnect")
        assert answer.headers["location"] == browser.card
        page = await browser.pipeline.get(browser.card)
    await asyncio.sleep(0.3)
    stop.set()
    await asyncio.gather(*tasks)
    recorded = (await stack.events("acc-1"))[-1]
    assert recorded.status == "DISCONNECTED"
    assert all(call.time <= recorded.since.timestamp() for call in stack.calls("/api.xro/"))
    assert refused
    assert "DISCONNECTED" in page.text


async def test_answers_never_carry_a_token(stack):
    await stack.connect("acc-1")
    async with stack.caller() as client:
        answers = [
            await client.get(ORGANISATION),
            await client.get("/v1/accounts/acc-1/connection"),
        ]
    text = b"".join(a.content + str(a.headers).encode() for a in answers)
    for token in (*stack.sim.world.grants.accesses, *stack.sim.world.grants.refreshes):
        assert token.encode() not in text
