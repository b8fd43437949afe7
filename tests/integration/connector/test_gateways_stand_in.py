"""The gateway that simulated lives call is the real one, as far as invoice-sync can tell: the same requests, the same answers.

Two simulators of Xero alike, one behind the connector with its database, one behind the stand-in.
"""

import asyncio
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from simulated import network
from simulated.network import Gateway
from simulated.seams import Seams

from connector.handlers.gateway import PASSED_BACK
from xero_simulator.app import create_app as create_simulator
from xero_simulator.config import Settings as SimulatorSettings

READ_SECONDS = 0.5
COUNTED = ("x-daylimit-remaining", "x-minlimit-remaining", "x-appminlimit-remaining")
VARY = (*COUNTED, "date", "xero-correlation-id")
"""Headers that are there or not; what they say differs from call to call."""
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_MOMENT = re.compile(r"/Date\([^)]*\)/|\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)?")
JSON = {"Content-Type": "application/json"}
NOBODY = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    method: str
    path: str
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    account_id: str = "acc-1"


def put(path: str, body: Any, key: str = "key-1", **more: Any) -> Asked:
    return Asked("PUT", path, body, {**JSON, "Idempotency-Key": key}, **more)


CONTACT = {"Contacts": [{"Name": "Kōwhai & Söhne"}]}
REFUSED = {"Invoices": [{"Type": "ACCREC", "LineItems": []}]}
ORGANISATION = Asked("GET", "Organisation")

SAID_BY_XERO: dict[str, list[Asked]] = {
    "a read": [ORGANISATION, Asked("GET", "Organisation", headers={"Accept": "*/*"})],
    "a long list": [Asked("GET", "Accounts"), Asked("GET", "TaxRates")],
    "a filter": [put("Contacts", CONTACT), Asked("GET", 'Contacts?where=Name=="Kōwhai %26 Söhne"')],
    "nothing new since": [
        Asked("GET", "Contacts", headers={"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"})
    ],
    "a write and its repeat": [put("Contacts?summarizeErrors=false", CONTACT)] * 2,
    "a key used for another write": [put("Contacts", CONTACT), put("Contacts", {"Contacts": []})],
    "refused": [put("Invoices", REFUSED), put("Invoices?summarizeErrors=false", REFUSED, "key-2")],
    "not to be read": [put("Invoices", "no JSON")],
    "not found": [Asked("GET", f"Invoices/{NOBODY}")],
}
SAID_BY_THE_GATEWAY: dict[str, list[Asked]] = {
    "never connected": [Asked("GET", "Organisation", account_id="acc-2")],
    "another organisation": [
        Asked("GET", "Organisation", headers={"X-Expected-Tenant": NOBODY}),
    ],
    "not allowed": [
        Asked("GET", "Users"),
        Asked("DELETE", "Invoices"),
        Asked("POST", f"Invoices/{NOBODY}/Email"),
    ],
    "no such lane": [Asked("GET", "Organisation", headers={"X-Lane": "sweeps of the moon"})],
    "a header too long": [put("Contacts", CONTACT, "k" * 600)],
}
FAULTS: dict[str, tuple[dict[str, Any], list[Asked]]] = {
    kind: ({"kind": kind, **more}, [put("Contacts", CONTACT), put("Contacts", CONTACT)])
    for kind, more in {
        "rate_limit_minute": {"seconds": 40},
        "rate_limit_day": {"seconds": 4000},
        "rate_limit_concurrent": {},
        "rate_limit_appminute": {"seconds": 20},
        "error_500_before": {},
        "error_500_after": {},
        "unavailable_503": {},
        "idempotency_store_down": {},
        "reset_before": {},
        "commit_then_reset": {},
        "commit_then_timeout": {"seconds": 2 * READ_SECONDS},
    }.items()
}
CASES = {
    **{name: (None, asked) for name, asked in (SAID_BY_XERO | SAID_BY_THE_GATEWAY).items()},
    **FAULTS,
}


@pytest.mark.parametrize(("fault", "requests"), CASES.values(), ids=CASES)
async def test_both_answer_alike(make_stack, monkeypatch, fault, requests):
    stack = await make_stack(gateway_read_seconds=READ_SECONDS, gateway_total_seconds=5.0)
    await stack.connect("acc-1")
    monkeypatch.setattr(network, "PATIENCE", READ_SECONDS)
    simulator = create_simulator(SimulatorSettings())
    seams = _OpenSeams()
    gateway = Gateway(seams, simulator)
    user = simulator.world.user_by_email("single@example.com")
    gateway.connect("acc-1", user)
    for world in (stack.sim.world, simulator.world):
        if fault is not None:
            world.faults.add(**fault, path="/api.xro/2.0/*")
    async with (
        stack.caller() as real,
        httpx.AsyncClient(
            transport=gateway,
            base_url="http://gateway.test",
            headers={"Authorization": "Bearer invoice-sync"},
        ) as stand_in,
    ):
        answers = [await _both(real, stand_in, each) for each in requests]
        sequences = await _both(real, stand_in, Asked("GET", "../connection"))
    for (from_real, from_stand_in), asked in zip(answers, requests, strict=True):
        assert _told(from_stand_in) == _told(from_real), asked
        _assert_waits_alike(from_real, from_stand_in)
    assert sequences[0].json()["sequence"] == sequences[1].json()["sequence"] == 1
    await asyncio.gather(*seams._tasks)


def test_the_stand_ins_patience_is_the_gateways():
    assert network.PATIENCE == 45
    assert network.IN_LINE == 2


class _OpenSeams(Seams):
    """Nobody waits for a turn, and time is the machine's."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            SimpleNamespace(now=0.0, utc=lambda: datetime.now(UTC), create_task=loop.create_task)
        )

    async def pause(self, name: str) -> None:
        await asyncio.sleep(0)


async def _both(
    real: httpx.AsyncClient, stand_in: httpx.AsyncClient, asked: Asked
) -> tuple[httpx.Response, httpx.Response]:
    address = f"/v1/accounts/{asked.account_id}/xero/{asked.path}".replace("xero/../", "")
    body = asked.body if isinstance(asked.body, str | None) else json.dumps(asked.body)
    found = [
        await each.request(asked.method, address, headers=asked.headers, content=body)
        for each in (real, stand_in)
    ]
    return found[0], found[1]


def _told(answer: httpx.Response) -> tuple[int, dict[str, str], str]:
    """What a caller can rely on, without what differs from one simulator to the next: ids and moments."""
    headers = {
        name: "there" if name in VARY else answer.headers[name]
        for name in (*PASSED_BACK, "x-gateway-error")
        if name in answer.headers and name != "retry-after"
    }
    ids: dict[str, str] = {}
    text = _ID.sub(lambda found: ids.setdefault(found[0].lower(), f"id {len(ids)}"), answer.text)
    return answer.status_code, headers, _MOMENT.sub("a moment", text)


def _assert_waits_alike(one: httpx.Response, other: httpx.Response) -> None:
    """The same Retry-After, but for the second that may pass between two calls."""
    assert ("retry-after" in one.headers) == ("retry-after" in other.headers)
    first, second = (int(each.headers.get("retry-after", 0)) for each in (one, other))
    assert abs(first - second) <= 2
