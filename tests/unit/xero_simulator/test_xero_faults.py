import httpx
import pytest

from xero_simulator.faults import FaultScript


async def put(sim, number, key=""):
    body = {"Type": "ACCREC", "Contact": {"Name": "Acme"}, "InvoiceNumber": number}
    return await sim.call("PUT", "Invoices", body, key)


async def saved(sim):
    return [row["number"] for row in (await ledger(sim))["invoices"]]


async def ledger(sim):
    return await sim.admin("GET", f"/tenants/{sim.tenant}/ledger")


@pytest.mark.parametrize("problem", ["minute", "day", "concurrent", "appminute"])
async def test_scripted_429(sim, problem):
    await sim.fault(f"rate_limit_{problem}", seconds=26)
    reply = await put(sim, "P-1")
    assert reply.status_code == 429
    assert reply.headers["X-Rate-Limit-Problem"] == problem
    assert reply.headers.get("Retry-After") == ("26" if problem in {"minute", "day"} else None)
    assert await saved(sim) == []
    assert (await put(sim, "P-1")).status_code == 200


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("maintenance", "The Xero API is currently offline for maintenance"),
        ("unavailable", "The Xero API is temporarily unavailable"),
        ("organisation", "The Organisation is offline"),
    ],
)
async def test_503(sim, text, sentence):
    await sim.fault("unavailable_503", text=text)
    reply = await put(sim, "P-1")
    assert (reply.status_code, reply.text) == (503, sentence)
    assert await saved(sim) == []


@pytest.mark.parametrize(
    ("kind", "error", "numbers"),
    [
        ("reset_before", httpx.RemoteProtocolError, []),
        ("commit_then_reset", httpx.RemoteProtocolError, ["P-1"]),
        ("commit_then_timeout", httpx.ReadTimeout, ["P-1"]),
    ],
)
async def test_lost_connections(sim, kind, error, numbers):
    await sim.fault(kind, seconds=0.01)
    with pytest.raises(error):
        await put(sim, "P-1", "k")
    assert await saved(sim) == numbers
    # The same bytes under the same key find out, and nothing is doubled.
    again = await put(sim, "P-1", "k")
    assert again.status_code == 200
    assert await saved(sim) == ["P-1"]


async def test_the_nth_matching_call_is_hit(sim):
    await sim.fault("error_500_before", method="PUT", nth=2, times=2)
    statuses = [(await put(sim, f"P-{number}")).status_code for number in range(4)]
    assert statuses == [200, 500, 500, 200]
    log = (await sim.admin("GET", "/calls?path=Invoices"))["calls"]
    assert [call["fault"] for call in log] == ["", "error_500_before", "error_500_before", ""]


def test_probability_is_seeded():
    def run(seed):
        script = FaultScript(seed)
        script.add(kind="error_500_before", nth=0, times=0, probability=0.3)
        return [script.draw("PUT", "/x", "") is not None for _ in range(200)]

    assert run(7) == run(7)
    assert run(7) != run(8)
    assert 30 < sum(run(7)) < 90


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="kind must be one of"):
        FaultScript(1).add(kind="gremlin")


async def test_token_disconnect_and_revocation_faults(sim):
    await sim.fault("token_expired")
    assert "TokenExpired" in (await put(sim, "P-1")).json()["Detail"]
    sim.tokens = (await sim.refresh(sim.tokens["refresh_token"])).json()
    sim.headers["Authorization"] = f"Bearer {sim.tokens['access_token']}"
    await sim.fault("disconnect")
    assert (await put(sim, "P-1")).status_code == 403
    assert (await sim.refresh(sim.tokens["refresh_token"])).status_code == 200
    await sim.connect()
    await sim.fault("revoke_consent")
    assert (await put(sim, "P-1")).status_code == 403
    reply = await sim.refresh(sim.tokens["refresh_token"])
    assert reply.json() == {"error": "invalid_grant"}


async def test_a_lost_refresh_reply_is_healed_by_the_previous_token(sim):
    await sim.fault("refresh_reply_lost", "/connect/token")
    token = sim.tokens["refresh_token"]
    with pytest.raises(httpx.RemoteProtocolError):
        await sim.refresh(token)
    assert (await sim.refresh(token)).status_code == 200


async def test_slow_calls_hold_their_place(sim):
    await sim.fault("slow_reply", seconds=0.05)
    assert (await put(sim, "P-1")).status_code == 200
    log = (await sim.admin("GET", "/calls?path=Invoices"))["calls"]
    assert log[0]["seconds"] >= 0.05


async def test_a_misspelt_fault_is_refused(sim):
    await sim.admin("POST", "/faults", {"kind": "slow", "pth": "/x"}, status=422)
    await sim.admin("POST", "/faults", {"kind": "gremlin"}, status=422)


@pytest.mark.parametrize(
    ("kind", "status"),
    [("unavailable_503", 503), ("error_500_before", 500), ("token_expired", 401)],
)
async def test_connections_fail_too(sim, kind, status):
    await sim.fault(kind, "/connections*")
    reply = await sim.http.get("/connections", headers=sim.headers)
    assert reply.status_code == status


async def test_a_deleted_connection_whose_reply_is_lost_is_deleted(sim):
    rows = (await sim.http.get("/connections", headers=sim.headers)).json()
    await sim.fault("commit_then_reset", "/connections/*", method="DELETE")
    with pytest.raises(httpx.RemoteProtocolError):
        await sim.http.delete(f"/connections/{rows[0]['id']}", headers=sim.headers)
    left = (await sim.http.get("/connections", headers=sim.headers)).json()
    assert left == rows[1:]


@pytest.mark.parametrize("kind", ["error_500_before", "error_500_after", "commit_then_timeout"])
async def test_the_token_endpoint_fails_and_the_same_token_still_works(sim, kind):
    await sim.fault(kind, "/connect/token", seconds=0.01)
    token = sim.tokens["refresh_token"]
    if kind == "commit_then_timeout":
        with pytest.raises(httpx.ReadTimeout):
            await sim.refresh(token)
    else:
        assert (await sim.refresh(token)).status_code == 500
    assert (await sim.refresh(token)).status_code == 200


async def test_the_log_of_oauth_calls_has_no_codes(raw_sim):
    callback = await raw_sim.consent()
    text = str(await raw_sim.admin("GET", "/calls"))
    assert "/identity/connect/authorize" in text
    assert callback["code"] not in text
    assert "state-1" not in text
