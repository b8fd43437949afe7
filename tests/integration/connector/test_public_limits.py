"""People's pages answer one internet address so often a minute and no more; nobody else notices."""

import re
from functools import partial

import httpx
import pytest

from pipeline_service_defaults.source_limit import SourceLimit

PER_MINUTE = 60
PUBLIC = (
    "/accounts/acc-1/xero",
    "/accounts/acc-1/xero/disconnect",
    "/oauth/xero/callback",
    "/oauth/xero/continue",
    "/oauth/xero/problem/code-expired",
    "/static/pages.css",
)


@pytest.fixture
async def limited(make_stack, monkeypatch):
    # However long the requests take, none is forgotten meanwhile.
    stopped = partial(SourceLimit, clock=lambda: 0.0)
    monkeypatch.setattr("connector.app.SourceLimit", stopped)
    return await make_stack(public_requests_per_minute=PER_MINUTE, trusted_proxies=1)


def asking(stack, address: str, *others: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(stack.apps[0]),
        base_url="http://localhost:8001",
        headers={"X-Forwarded-For": ", ".join((*others, address)), "Accept": "text/html"},
    )


@pytest.mark.parametrize("path", PUBLIC)
async def test_a_noisy_address_reads_when_to_come_back_and_others_do_not_notice(limited, path):
    async with asking(limited, "203.0.113.5") as noisy:
        answers = [await noisy.get(path) for _ in range(PER_MINUTE + 1)]
    assert 429 not in {answer.status_code for answer in answers[:-1]}
    refused = answers[-1]
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 60

    async with asking(limited, "203.0.113.6") as other:
        assert (await other.get(path)).status_code == answers[0].status_code


async def test_a_person_reads_a_page_and_a_program_a_problem(limited):
    async with asking(limited, "203.0.113.5") as noisy:
        for _ in range(PER_MINUTE):
            await noisy.get("/oauth/xero/continue")
        page = await noisy.get("/oauth/xero/continue")
        problem = await noisy.get("/oauth/xero/continue", headers={"Accept": "application/json"})
    assert re.search(r'data-problem="([a-z-]+)"', page.text)[1] == "too-many-requests"
    assert problem.json()["code"] == "TOO_MANY_REQUESTS"


async def test_nobody_gets_another_bucket_by_what_he_writes_into_the_header(limited):
    codes = []
    for number in range(PER_MINUTE + 1):
        async with asking(limited, "203.0.113.5", f"198.51.100.{number}") as noisy:
            codes.append((await noisy.get("/oauth/xero/continue")).status_code)
    assert codes[-1] == 429


async def test_other_services_and_probes_are_not_limited(limited):
    async with asking(limited, "203.0.113.5") as noisy:
        for _ in range(PER_MINUTE + 1):
            await noisy.get("/oauth/xero/continue")
        assert (await noisy.get("/health/live")).status_code == 200
        token = limited.keys.service_token("invoice-sync")
        asked = await noisy.get(
            "/v1/accounts/acc-1/connection", headers={"Authorization": f"Bearer {token}"}
        )
        assert asked.status_code == 200
