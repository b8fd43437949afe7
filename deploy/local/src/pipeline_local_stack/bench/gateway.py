"""What the gateway costs, how many calls it carries, and how much of a tenant's limit it makes usable."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from pipeline_local_stack.bench.accounts import BenchAccount, connect_accounts
from pipeline_local_stack.bench.callers import CallResult, CallSpec, call, get_request
from pipeline_local_stack.bench.direct import connect_directly
from pipeline_local_stack.bench.drain import MINUTES, measure_drain
from pipeline_local_stack.bench.report import Figure, Reference, Report
from pipeline_local_stack.bench.statistics import Measured, difference, over_rounds, over_samples
from pipeline_local_stack.bench.surroundings import Surroundings, restart_connector
from pipeline_local_stack.call_log import Call, Limits, broken_limits, shares_of_minutes
from pipeline_local_stack.connect import connect_account
from pipeline_local_stack.paths import StackError
from pipeline_local_stack.processes import Child, free_port, wait_until_listening
from pipeline_local_stack.stack import Stack, wait_until_ready

TENANTS = 20
_ROUNDS, _ROUND_SECONDS, _CALLS_A_SECOND = 3, 6.0, 50.0
_RATE_SECONDS, _DIRECT_RATE_SECONDS, _CALLERS_OF_A_TENANT = 30.0, 5.0, 2
_SATURATED_SECONDS = 60.0 * MINUTES + 6
"""The last calls to count leave a few seconds into the minute after the last."""

_LIFTED = Limits(at_once=5, per_minute=6_000, app_per_minute=100_000)
"""Twenty tenants may make 20 calls a second together, and an app 167: the gateway itself is measured above that.
Xero lifts a tenant's minute itself while it syncs rapidly (developer.xero.com, OAuth 2.0 API limits)."""
_LANES = (
    ("invoice-sync", "people"), ("invoice-sync", "invoices"), ("invoice-sync", "sweeps"),
    ("payment-ingest", "payments"), ("payment-ingest", "sweeps"),
)  # fmt: skip
_SAME = "the same GETs by the same clock straight to Xero"


@dataclass(frozen=True, slots=True)
class _Way:
    """The same question to each tenant, through the gateway and straight to Xero."""

    through_gateway: Sequence[tuple[int, str]]
    directly: Sequence[tuple[int, str]]


async def measure_gateway(around: Surroundings, report: Report, say: Callable[[str], None]) -> None:
    """Add `gateway_added_p50_ms`, `gateway_added_p99_ms`, `gateway_rate`, `budget_use` and `drain_use` to the report.

    Raises:
        StackError: an account could not be connected, or the load generator failed.
    """
    (draining,) = await connect_accounts(around, "drain", 1)
    await around.until_idle()
    await asyncio.to_thread(_set_limits, around, _LIFTED)
    way = await _way_to_tenants(around)
    since = await asyncio.to_thread(around.xero.calls_so_far)
    await _added(way, report)
    say("Measured what the gateway adds.")
    await _rate(way, report, say)
    calls = await asyncio.to_thread(around.xero.calls, since)
    report.broken += broken_limits(calls, _LIFTED)
    await _budget_use(around, draining, report)
    say("Measured how much of a tenant's limit can be used.")


async def _way_to_tenants(around: Surroundings) -> _Way:
    """Connect the accounts, each to an organisation of its own Xero user, through the card and directly."""
    stack, through_gateway, directly = around.stack, [], []
    port, xero_port = stack.ports["connector"], stack.ports["simulator"]
    for number in range(1, TENANTS + 1):
        account, email, name = f"bench-{number}", f"bench-{number}@example.com", f"Bench {number}"
        await asyncio.to_thread(connect_account, stack, account, email, name)
        direct = await connect_directly(stack, around.http, name, email)
        through_gateway.append(_asking(stack, port, account, "invoice-sync", "invoices"))
        headers = {"Authorization": f"Bearer {direct.token}", "xero-tenant-id": direct.tenant_id}
        directly.append(get_request(xero_port, "/api.xro/2.0/Organisation", headers))
    return _Way(through_gateway, directly)


def _asking(stack: Stack, port: int, account: str, service: str, lane: str) -> tuple[int, str]:
    token = stack.identities.service_token(service, "connector")
    headers = {"Authorization": f"Bearer {token}", "X-Lane": lane}
    return get_request(port, f"/v1/accounts/{account}/xero/Organisation", headers)


async def _added(way: _Way, report: Report) -> None:
    """Both ways in turns, calls spread evenly over the tenants, at a rate that neither notices."""
    ours: list[float] = []
    bare: list[float] = []
    for number in range(_ROUNDS + 1):
        for targets, samples in ((way.directly, bare), (way.through_gateway, ours)):
            seconds = _ROUND_SECONDS if number else 1.0  # the first round warms up
            result = await call(CallSpec(targets, seconds, rate=_CALLS_A_SECOND))
            _note(result, report)
            samples.extend(result.milliseconds if number else [])
    for percent in (50, 99):
        direct = over_samples(bare, percent)
        added = difference(over_samples(ours, percent), direct)
        report.figures.append(
            Figure(f"gateway_added_p{percent}_ms", "ms", added, Reference(_SAME, direct))
        )


async def _rate(way: _Way, report: Report, say: Callable[[str], None]) -> None:
    """As many calls as one replica carries: each tenant has a few callers that ask without a pause."""
    rates: list[list[float]] = [[], []]
    for targets, found, seconds in (
        (way.through_gateway, rates[0], _RATE_SECONDS / _ROUNDS),
        (way.directly, rates[1], _DIRECT_RATE_SECONDS / _ROUNDS),
    ):
        for _ in range(_ROUNDS):
            result = await call(CallSpec(targets, seconds, callers=_CALLERS_OF_A_TENANT))
            _note(result, report)
            found.append(result.statuses.get("200", 0) / result.seconds)
            own = result.cpu_seconds / max(1, len(result.milliseconds)) * 1e6
    say(
        f"Gateway: {rates[0][-1]:,.0f} calls a second; a call costs the load generator {own:.0f} us."
    )
    report.figures.append(
        Figure(
            "gateway_rate", "calls/s", over_rounds(rates[0]),
            Reference(
                f"the same callers of {TENANTS} tenants straight to Xero", over_rounds(rates[1])
            ),
        )
    )  # fmt: skip


async def _budget_use(around: Surroundings, draining: BenchAccount, report: Report) -> None:
    """One tenant with Xero's own limits, asked by every lane of both services at two replicas, for some minutes.

    Beside it, in the same minutes, another drains a backlog of invoices.
    """
    # The app's minute stays lifted: the calls of the measurement before still count in it.
    stack, limits = around.stack, Limits(app_per_minute=_LIFTED.app_per_minute)
    tenant_id = await asyncio.to_thread(
        connect_account, stack, "bench-full", "bench-full@example.com", "Bench Full"
    )
    await asyncio.to_thread(_set_limits, around, limits)
    await asyncio.to_thread(restart_connector, stack, XERO_MINUTE_LIMIT=str(limits.per_minute))
    since = await asyncio.to_thread(around.xero.calls_so_far)
    async with _second_replica(stack) as second:
        targets = [
            _asking(stack, port, "bench-full", service, lane)
            for service, lane in _LANES
            for port in (stack.ports["connector"], second)
        ]
        result, _ = await asyncio.gather(
            call(CallSpec(targets, _SATURATED_SECONDS)),
            measure_drain(around, draining, limits, report),
        )
    _note(result, report, full=True)
    calls = await asyncio.to_thread(around.xero.calls, since)
    own = [each for each in calls if each.tenant_id == tenant_id]
    report.broken += broken_limits(own, limits)
    report.figures.append(
        Figure(
            "budget_use", "of the limit", _share(own),
            Reference("Xero's limit itself", Measured(1, 1, 1)),
        )
    )  # fmt: skip


def _share(calls: Sequence[Call]) -> Measured:
    """How much of the minutes was used; at most all of it.

    Raises:
        StackError: too few calls for a figure.
    """
    shares = shares_of_minutes([call.time for call in calls], Limits().per_minute, MINUTES)
    if not shares:
        raise StackError(f"A saturated tenant had {len(calls)} calls in {_SATURATED_SECONDS} s.")
    return over_rounds(shares)


def _note(result: CallResult, report: Report, *, full: bool = False) -> None:
    """Note what must not come back; a 429 is nothing broken, but without a `full` tenant it is worth a word."""
    if result.lost:
        report.broken.append(f"the gateway's load: {result.lost} calls got no answer")
    for status, count in result.statuses.items():
        what = f"the gateway's load: {count} calls were answered {status} {result.limits}"
        if status not in {"200", "429"}:
            report.broken.append(what)
        elif status == "429" and not full:
            report.remarks.append(f"{what}: this machine was too busy for them")


def _set_limits(around: Surroundings, limits: Limits) -> None:
    """What Xero's simulator enforces. The day has room for everything: it is not measured."""
    around.xero.http.put(
        "/limits",
        json={
            "concurrent": limits.at_once, "minute": limits.per_minute, "day": 1_000_000,
            "app_minute": limits.app_per_minute,
        },
    ).raise_for_status()  # fmt: skip


@contextlib.asynccontextmanager
async def _second_replica(stack: Stack) -> AsyncIterator[int]:
    """Another connector beside the first, without a front: callers name the one they ask. Gives its port."""
    first, port = stack.children["connector"], free_port()
    child = Child("connector-2", first.command, {**first.env, "HTTP_PORT": str(port)})
    child.start()
    try:
        await asyncio.to_thread(wait_until_listening, child, port)
        await asyncio.to_thread(wait_until_ready, child, f"http://127.0.0.1:{port}")
        yield port
    finally:
        await asyncio.to_thread(child.stop)
