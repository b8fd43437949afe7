"""The calls outside the Accounting API: login, identity, connections; with the faults they know."""

from collections.abc import Callable

from xero_simulator import messages, oauth
from xero_simulator.faults import Fault, ReplyLost
from xero_simulator.http import HttpRequest
from xero_simulator.idempotency import Answer
from xero_simulator.routes.request import TEXT, not_found
from xero_simulator.world import World

Page = Callable[[World, HttpRequest], Answer]

_PAGES: dict[tuple[str, str], Page] = {
    ("GET", "/identity/connect/authorize"): oauth.authorize_page,
    ("POST", "/identity/connect/authorize"): oauth.authorize_answer,
    ("GET", oauth.LIMIT_PATH): oauth.connection_limit,
    ("POST", "/connect/token"): oauth.token,
    ("POST", "/connect/revocation"): oauth.revocation,
    ("GET", "/.well-known/openid-configuration"): oauth.discovery,
    ("GET", "/.well-known/openid-configuration/jwks"): oauth.jwks,
    ("GET", "/connections"): oauth.connections,
}
_LOST = frozenset({"commit_then_reset", "commit_then_timeout", "refresh_reply_lost"})


async def answer(world: World, request: HttpRequest) -> Answer:
    """Answers one call and logs it, without its query: codes travel there.

    Raises:
        ReplyLost: A scripted fault cuts the connection.
    """
    call = world.calls.open(world.clock.timestamp(), request.method, request.path, "")
    call.bytes_in = len(request.body)
    fault = world.faults.draw(request.method, request.path, "")
    if fault is not None:
        call.fault = fault.kind
    found = await _before(world, request, fault) or _page(world, request)
    found = await _after(request, fault, found)
    call.status, call.bytes_out = found.status, len(found.body)
    return found


def _page(world: World, request: HttpRequest) -> Answer:
    page = _PAGES.get((request.method, request.path))
    if request.method == "DELETE" and request.path.startswith("/connections/"):
        page = oauth.delete_connection
    return not_found() if page is None else page(world, request)


async def _before(world: World, request: HttpRequest, fault: Fault | None) -> Answer | None:
    if fault is None:
        return None
    if fault.kind == "slow":
        await request.hang(fault.seconds)
    if fault.kind == "reset_before":
        raise ReplyLost
    if fault.kind == "token_expired":
        world.grants.expire_access(world.clock.now())
    if fault.kind == "unavailable_503":
        return Answer(503, (TEXT,), messages.OFFLINE[fault.text].encode())
    return _unhandled() if fault.kind == "error_500_before" else None


async def _after(request: HttpRequest, fault: Fault | None, found: Answer) -> Answer:
    if fault is None:
        return found
    if fault.kind in {"slow_reply", "commit_then_timeout"}:
        await request.hang(fault.seconds)
    if fault.kind in _LOST:
        raise ReplyLost(fault.seconds if fault.kind == "commit_then_timeout" else 0.0)
    return _unhandled() if fault.kind == "error_500_after" else found


def _unhandled() -> Answer:
    return Answer(500, (TEXT,), messages.UNHANDLED.encode())
