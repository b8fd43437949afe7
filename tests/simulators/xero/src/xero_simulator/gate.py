"""The way of an API call: fault, token, tenant, limits, idempotency, then the books."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from xero_simulator import accounting, messages
from xero_simulator.access import AccessRefused, bearer, check_tenant, insufficient_scope
from xero_simulator.calls import Call
from xero_simulator.faults import Fault, ReplyLost
from xero_simulator.http import HttpRequest
from xero_simulator.idempotency import MAX_KEY_LENGTH, Answer, KeyMismatch, fingerprint
from xero_simulator.limits import Refusal
from xero_simulator.routes.request import TEXT, ApiRequest, post_data_invalid
from xero_simulator.world import World

PREFIX = "/api.xro/2.0/"
_KEYED = frozenset({"PUT", "POST", "PATCH"})
_PROBLEMS = {
    "rate_limit_minute": "minute",
    "rate_limit_day": "day",
    "rate_limit_concurrent": "concurrent",
    "rate_limit_appminute": "appminute",
}
_log = logging.getLogger(__name__)

Deliver = Callable[[Answer, dict[str, str]], Awaitable[None]]


async def serve(world: World, http: HttpRequest, deliver: Deliver) -> None:
    """Answers one call; the tenant's place stays taken until the reply is on its way.

    Raises:
        ReplyLost: A scripted fault cuts the connection.
    """
    started = time.monotonic()
    call = world.calls.open(world.clock.timestamp(), http.method, http.path, http.query_string)
    call.bytes_in = len(http.body)
    call.idempotency_key = http.headers.get("idempotency-key", "")
    tenant_id = http.headers.get("xero-tenant-id", "").lower()
    call.tenant_id = tenant_id if tenant_id in world.books else ""
    held: list[str] = []
    # A reset meanwhile brings new counters: the place goes back to those it was taken from.
    limits = world.limits
    try:
        answer = await _answer(world, http, call, held)
        headers = {"Xero-Correlation-Id": world.ids.guid()} | dict(answer.headers)
        headers |= world.limits.headers(call.tenant_id or None, world.clock.timestamp())
        call.status, call.bytes_out = answer.status, len(answer.body)
        await deliver(answer, headers)
    finally:
        for tenant in held:
            limits.leave(tenant)
        call.seconds = round(time.monotonic() - started, 6)


async def _answer(world: World, http: HttpRequest, call: Call, held: list[str]) -> Answer:
    fault = world.faults.draw(http.method, http.path, call.tenant_id)
    if fault is not None:
        call.fault = fault.kind
    try:
        path, tenant_id = await _admit(world, http, fault)
    except AccessRefused as refused:
        return refused.answer
    early = _refused(world, fault)
    if early is not None:
        call.limited = dict(early.headers).get("X-Rate-Limit-Problem", "")
        return early
    refusal = world.limits.enter(tenant_id, world.clock.timestamp())
    if refusal is not None:
        call.limited = refusal.problem
        return _too_many(world, refusal)
    held.append(tenant_id)
    call.in_flight = world.limits.tenant(tenant_id).in_flight
    answer = await _keyed(world, http, call, path, fault)
    await _lose_reply(http, call, fault)
    return answer


async def _admit(
    world: World, http: HttpRequest, fault: Fault | None
) -> tuple[tuple[str, ...], str]:
    """Applies faults of the way in, then token, tenant and scope."""
    tenant_id = http.headers.get("xero-tenant-id", "").lower()
    kind = fault.kind if fault else ""
    if fault is not None and kind == "slow":
        await http.hang(fault.seconds)
    if kind == "reset_before":
        raise ReplyLost
    access = bearer(world, http.headers)
    if kind == "token_expired":
        world.grants.expire_access(world.clock.now(), access.user_id)
        access = bearer(world, http.headers)
    if kind == "disconnect":
        world.grants.disconnect_tenant(tenant_id)
    if kind == "revoke_consent":
        world.grants.revoke_user(access.user_id)
    check_tenant(world, access, tenant_id)
    segments = tuple(unquote(part) for part in http.path[len(PREFIX) :].split("/") if part)
    path = accounting.canonical(segments)
    if not accounting.allowed(path, http.method, access.scopes):
        raise AccessRefused(insufficient_scope(world))
    return path, tenant_id


def _refused(world: World, fault: Fault | None) -> Answer | None:
    if fault is None:
        return None
    if problem := _PROBLEMS.get(fault.kind):
        return _too_many(world, Refusal(problem, max(1, int(fault.seconds))))
    if fault.kind == "unavailable_503":
        return Answer(503, (TEXT,), messages.OFFLINE[fault.text].encode())
    return None


def _too_many(world: World, refusal: Refusal) -> Answer:
    """429 as recorded: nothing in the body, not even a content type."""
    switches, problem = world.switches, refusal.problem
    if problem == "appminute":
        headers = [("X-Rate-Limit-Problem", switches.app_limit_problem)]
        with_delay = switches.retry_after_on_app
    else:
        headers = [("X-Rate-Limit-Problem", problem)]
        with_delay = problem != "concurrent" or switches.retry_after_on_concurrent
    if with_delay:
        headers.append(("Retry-After", str(refusal.retry_after)))
    return Answer(429, tuple(headers), b"")


async def _keyed(
    world: World, http: HttpRequest, call: Call, path: tuple[str, ...], fault: Fault | None
) -> Answer:
    async def run() -> Answer:
        # Inside the keyed part: a repeat that comes meanwhile has something to wait for.
        await asyncio.sleep(world.switches.base_latency_seconds)
        return _work(world, http, call, path, fault)

    key = call.idempotency_key
    if not key or http.method not in _KEYED:
        return await run()
    if fault is not None and fault.kind == "idempotency_store_down":
        return _unhandled()
    if len(key) > MAX_KEY_LENGTH:
        return post_data_invalid(f"Idempotency Key is longer than {MAX_KEY_LENGTH} characters.")
    request = fingerprint(
        http.method, f"{http.path}?{http.query_string}", call.tenant_id, http.body
    )
    try:
        answer, replayed = await world.keys.once(key, request, world.clock.timestamp(), run)
    except KeyMismatch:
        return Answer(400, (TEXT,), messages.IDEMPOTENCY_MISMATCH.format(key=key).encode())
    call.replayed = replayed
    return answer


def _work(
    world: World, http: HttpRequest, call: Call, path: tuple[str, ...], fault: Fault | None
) -> Answer:
    if fault is not None and fault.kind == "error_500_before":
        return _unhandled()
    books = world.books[call.tenant_id]
    request = ApiRequest(
        world=world,
        books=books,
        method=http.method,
        path=path,
        query={name.lower(): text for name, text in http.query.items()},
        headers=http.headers,
        body=http.body,
        refusal=fault.text if fault is not None and fault.kind == "refused" else "",
    )
    try:
        with books.atomic():
            answer = accounting.dispatch(request)
    except Exception:  # noqa: BLE001 -- a bug here must look like Xero's own 500, and be logged
        _log.exception("the simulator failed on %s %s", http.method, http.path)
        return _unhandled()
    if fault is not None and fault.kind == "error_500_after":
        return _unhandled()
    return answer


async def _lose_reply(http: HttpRequest, call: Call, fault: Fault | None) -> None:
    if fault is None:
        return
    if fault.kind == "slow_reply":
        await http.hang(fault.seconds)
    if fault.kind == "commit_then_timeout":
        await http.hang(fault.seconds)
        raise ReplyLost(fault.seconds)
    if fault.kind == "commit_then_reset":
        raise ReplyLost


def _unhandled() -> Answer:
    return Answer(500, (TEXT,), messages.UNHANDLED.encode())
