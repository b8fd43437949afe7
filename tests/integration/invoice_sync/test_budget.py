"""`GET …/budget`: the calls that Xero still takes, as the connector counts them."""

from types import SimpleNamespace

import httpx
import pytest
from invoice_sync_api import Callers, app_over

from pipeline_xero.client import GatewayClient

PATH = "/v1/accounts/acc-1/budget"


class Connector:
    """Its answer about a connection, as the test says."""

    def __init__(self) -> None:
        self.answer = httpx.Response(200, json={"sequence": 1})
        self.asked = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.method, request.url.path, request.headers["authorization"]))
        return self.answer


@pytest.fixture
async def asking(sync_dsn, tmp_path):
    callers, connector = Callers(), Connector()
    async with httpx.AsyncClient(transport=httpx.MockTransport(connector)) as http:
        gateway = GatewayClient(http, "http://connector", lambda: "own-token")
        app = app_over(SimpleNamespace(gateway=gateway), sync_dsn, tmp_path, callers)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://sync") as client:
            yield client, connector, callers


async def test_it_is_asked_of_the_connector_under_our_own_name(asking):
    client, connector, callers = asking
    connector.answer = httpx.Response(
        200, json={"sequence": 4, "calls_left_today": 1812, "calls_a_day": 5000}
    )
    answer = await client.get(PATH, headers=callers.person("acc-1"))
    assert answer.json() == {
        "account_id": "acc-1",
        "calls_left_today": 1812,
        "calls_a_day": 5000,
    }
    # The person's own token opens nothing at the connector but what the card shows.
    assert connector.asked == [("GET", "/v1/accounts/acc-1/connection", "Bearer own-token")]


async def test_what_nobody_knows_yet_is_null(asking):
    client, _, callers = asking
    answer = await client.get(PATH, headers=callers.service("pipeline-backend"))
    assert answer.json() == {"account_id": "acc-1", "calls_left_today": None, "calls_a_day": None}


@pytest.mark.parametrize("answer", [httpx.Response(503), httpx.Response(200, content=b"<html>")])
async def test_a_connector_that_is_away_is_said(asking, answer):
    client, connector, callers = asking
    connector.answer = answer
    told = await client.get(PATH, headers=callers.person("acc-1"))
    assert (told.status_code, told.json()["code"]) == (503, "CONNECTOR_UNAVAILABLE")


async def test_it_is_for_the_accounts_people_and_the_backend(asking):
    client, connector, callers = asking
    assert (await client.get(PATH)).status_code == 401
    assert (await client.get(PATH, headers=callers.person("acc-2"))).status_code == 404
    assert (await client.get(PATH, headers=callers.service("payment-ingest"))).status_code == 403
    assert connector.asked == []
