"""Every query of Grafana's dashboards brings data from a Prometheus that scrapes the running system; every rule can be evaluated."""

import asyncio
import time
from decimal import Decimal

import httpx
import pytest
from company import Company

from pipeline_local_stack.dashboards import FOLDER, expressions, written
from pipeline_local_stack.prometheus import running_prometheus

_PATIENCE_SECONDS = 90


def test_the_dashboards_in_the_repository_are_those_of_the_code():
    found = {file.name: file.read_text("utf-8") for file in FOLDER.glob("*.json")}
    assert found == written(), "run `python -m pipeline_local_stack.dashboards`"


@pytest.fixture
async def metrics(prometheus, stack):
    with running_prometheus(stack, print):
        async with httpx.AsyncClient(base_url=stack.urls["prometheus"], timeout=10) as client:
            yield client
        del stack.urls["prometheus"]


async def ask(metrics: httpx.AsyncClient, path: str, **params: str) -> dict:
    reply = await metrics.get(f"/api/v1/{path}", params=params)
    assert reply.status_code == 200, f"{params}: {reply.text}"
    return reply.json()["data"]


async def test_every_panel_shows_something(metrics: httpx.AsyncClient, company: Company):
    empty = expressions()
    assert len(empty) > 40
    deadline = time.monotonic() + _PATIENCE_SECONDS
    number = 0
    while empty and time.monotonic() < deadline:
        number += 1
        invoice = await company.issue(f"panel-{number}")
        (row,) = company.in_xero(invoice)
        await asyncio.to_thread(company.xero.pay, row["document_id"], Decimal("15.00"))
        await asyncio.sleep(1)  # a round of traffic a second is enough: Prometheus looks every two
        empty = [each for each in empty if not (await ask(metrics, "query", query=each))["result"]]
    assert empty == []
    targets = (await ask(metrics, "targets"))["activeTargets"]
    assert {each["health"] for each in targets} == {"up"}, targets
    rules = (await ask(metrics, "rules"))["groups"]
    assert {rule["health"] for group in rules for rule in group["rules"]} <= {"ok", "unknown"}
