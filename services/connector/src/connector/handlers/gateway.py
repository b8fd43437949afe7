"""The gateway: other services call Xero through here, and no token ever leaves."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Annotated, Any, Final

import asyncpg
import structlog
from fastapi import APIRouter, Depends
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from connector import metrics
from connector.call_xero import GatewayCall, NotConnected, OtherTenant, call_xero
from connector.clients.bounded import Answer, Lost, NotSent, TimedOut, TooLarge
from connector.deps import Deps
from connector.domain.allowlist import ALLOWED, Refused, check
from connector.domain.lanes import lane_of
from connector.handlers.browser import AccountId, deps_of
from connector.refresh_tokens import Unavailable
from connector.take_slot import OutOfBudget
from connector.trace_calls import carrying
from connector.watch_xero import XeroDown
from pipeline_service_defaults.auth import Service, require_service
from pipeline_service_defaults.docs import PROBLEM_CONTENT
from pipeline_service_defaults.problems import MEDIA_TYPE, Problem

log = structlog.get_logger(__name__)

admitted: Final = require_service(*ALLOWED)
Caller = Annotated[Service, Depends(admitted)]
_ACCOUNT_ID: Final[TypeAdapter[str]] = TypeAdapter(AccountId)


class GatewayRoute(APIRoute):
    """A route that asks for its caller and its account itself.

    FastAPI documents the route by its signature as it does any other, but to work out the parameters of each call anew
    takes it a tenth of the call's processor time.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Who calls, for which account, and then the route: in FastAPI's order, with its refusals."""

        async def handle(request: Request) -> Response:
            caller = await admitted(request)
            return await gateway(request, account_of(request), request.path_params["path"], caller)

        return handle


def account_of(request: Request) -> str:
    """The account in the address. Raises RequestValidationError."""
    try:
        return _ACCOUNT_ID.validate_python(request.path_params["account_id"])
    except ValidationError as error:
        found = [{**each, "loc": ("path", "account_id")} for each in error.errors()]
        raise RequestValidationError(found) from None


router = APIRouter(tags=["gateway"], route_class=GatewayRoute)

PASSED_ON: Final = ("accept", "content-type", "idempotency-key", "if-modified-since")
UNDERSTOOD: Final = (*PASSED_ON, "x-expected-tenant", "x-lane")
PASSED_BACK: Final = (
    "content-type",
    "date",
    "retry-after",
    "x-rate-limit-problem",
    "x-daylimit-remaining",
    "x-minlimit-remaining",
    "x-appminlimit-remaining",
    "xero-correlation-id",
    "www-authenticate",
)
_LONGEST_HEADER: Final = 500


class CallerGone(Exception):  # noqa: N818 - reads as what happened
    """Nobody reads the reply any more."""


class BrokenOff(Exception):  # noqa: N818 - reads as what happened
    """A reply that had begun did not end well: the server breaks the connection off, so that nobody takes it for whole."""


async def gateway(
    request: Request,
    account_id: AccountId,
    path: str,  # noqa: ARG001 - documents the route; the raw path is what is judged
    caller: Caller,
) -> Response:
    """Everything after `/xero/` goes to `api.xro/2.0/`; Xero's answers come back as they are.

    Answers made here carry `X-Gateway-Error`. A write is never repeated here, whatever happens.
    """
    call = await judged(request, account_id, caller.name)
    if isinstance(call, Response):
        count(caller.name, request.method, call.headers["x-gateway-error"])
        return call
    return Carried(deps_of(request), call)


XEROS: Final[dict[str, Any]] = {"application/json": {}}
OURS: Final = {
    400: "HEADER_TOO_LONG, HEADER_NOT_ASCII, HEADER_REPEATED or LANE_UNKNOWN",
    403: "NOT_ALLOWED: this caller may not do that, or the path is not a path",
    404: "Xero has no such thing",
    409: "NOT_CONNECTED or TENANT_CHANGED: nothing was sent",
    413: "BODY_TOO_LARGE: nothing was sent",
    422: "INVALID_REQUEST: this cannot be the id of an account",
    502: "XERO_UNREACHABLE (outcome not_sent; Retry-After while Xero is known to be down) "
    "or XERO_CONNECTION_LOST (outcome unknown)",
    503: "GATEWAY_UNAVAILABLE: nothing was sent",
    504: "XERO_TIMEOUT: the outcome is unknown",
}
"""What the gateway answers by itself (with X-Gateway-Error); Xero may answer with the same statuses."""

for _method in ("GET", "PUT", "POST", "DELETE", "PATCH"):
    router.add_api_route(
        "/v1/accounts/{account_id}/xero/{path:path}",
        gateway,
        methods=[_method],
        operation_id=f"call_xero_{_method.lower()}",
        summary="Call Xero's accounting API for an account",
        response_class=Response,
        responses={
            **{
                status: {"description": words, "content": {**XEROS, MEDIA_TYPE: PROBLEM_CONTENT}}
                for status, words in OURS.items()
            },
            429: {
                "description": "RATE_LIMITED without a body, or Xero's own; Retry-After says when",
                "content": XEROS,
            },
            "default": {"description": "Xero's own answer, as it came", "content": XEROS},
        },
    )


async def judged(request: Request, account_id: str, caller: str) -> GatewayCall | Response:
    """The call a request asks for, or the refusal. Raises HTTPException 413 for a body over the limit."""
    allowed = check(caller, request.method, raw_rest(request), request.scope["query_string"])
    if isinstance(allowed, Refused):
        return refusal(
            403, "NOT_ALLOWED", allowed.why, hint="Only the listed resources and methods are open."
        )
    if (unfit := unfit_header(request)) is not None:
        return unfit
    lane = lane_of(caller, request.headers.get("x-lane"))
    if lane is None:
        return refusal(
            400,
            "LANE_UNKNOWN",
            "This caller has no such lane.",
            hint="Leave X-Lane out for the caller's own lane.",
        )
    return GatewayCall(
        account_id=account_id,
        caller=caller,
        lane=lane,
        method=request.method,
        path=allowed.path,
        query=request.scope["query_string"].decode("ascii"),
        headers=passed_on(request),
        # Read whole (the limit is small, and kept while reading): after a 401 the same bytes are sent again, and no
        # slot or connection to Xero may wait for a caller that is slow to send.
        body=await request.body(),
        expected_tenant=request.headers.get("x-expected-tenant"),
    )


def unfit_header(request: Request) -> Response | None:
    """Why a header cannot go on to Xero, if one cannot. Left out, a write would lose its key and could happen twice."""
    for name in UNDERSTOOD:
        values = request.headers.getlist(name)
        if len(values) > 1:
            return refusal(400, "HEADER_REPEATED", f"{name} is given twice.", hint="Send it once.")
        if any(len(value) > _LONGEST_HEADER for value in values):
            return refusal(
                400, "HEADER_TOO_LONG", f"{name} is too long.", hint="Send a shorter one."
            )
        if not all(value.isascii() and value.isprintable() for value in values):
            return refusal(
                400,
                "HEADER_NOT_ASCII",
                f"{name} has more than printable ASCII.",
                hint="Send plain ASCII.",
            )
    return None


class Carried(Response):
    """Makes the call when its turn to answer comes, and holds it open for as long as the reply takes."""

    def __init__(self, deps: Deps, call: GatewayCall) -> None:
        super().__init__()
        self._deps = deps
        self._carried = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        call = self._carried
        told = {"account_id": call.account_id, "caller": call.caller, "lane": call.lane}
        traceparent = Headers(scope=scope).get("traceparent")
        with carrying(call.method, call.path, traceparent, told) as span:
            outcome = await self._answer(scope, receive, send)
            span.set_attribute("outcome", outcome)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> str:
        """Answer one request; how it ended."""
        call, started, outcome = self._carried, time.monotonic(), "CALLER_GONE"
        begun = False

        async def noting_send(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with call_xero(self._deps, call) as answer:
                outcome = f"{answer.status // 100}xx"
                await pass_back(answer, receive, noting_send)
        except CallerGone:
            log.info("caller_gone", account_id=call.account_id, caller=call.caller)
        except Exception as error:
            refused = refusal_of(error)
            if refused is None:
                raise
            outcome = refused.headers["x-gateway-error"]
            if begun:
                log.warning("reply_broken_off", account_id=call.account_id, code=outcome)
                raise BrokenOff(outcome) from None
            await refused(scope, receive, send)
        finally:
            count(call.caller, call.method, outcome)
            metrics.CALL_SECONDS.labels(caller=call.caller).observe(time.monotonic() - started)
        return outcome


async def pass_back(answer: Answer, receive: Receive, send: Send) -> None:
    """Xero's reply, with the headers callers may rely on. Raises CallerGone, and what reading the rest raises."""
    headers = [
        (name.encode(), answer.headers[name].encode("latin-1", "replace"))
        for name in PASSED_BACK
        if name in answer.headers
    ]
    if answer.rest is None and answer.status not in {204, 304}:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if answer.rest is None:
        await send({"type": "http.response.body", "body": answer.body})
    else:
        await unless_gone(receive, stream(answer, send))


async def stream(answer: Answer, send: Send) -> None:
    """The body as it comes; `send` waits while the caller is slow, and so does Xero."""
    await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    if answer.rest is not None:
        async for part in answer.rest:
            await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, but stop when the caller goes away: a server's `send` would swallow the rest without a word.

    Raises CallerGone, and what the work raises.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(until_gone(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise CallerGone
        await working
    finally:
        for task in (working, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def until_gone(receive: Receive) -> None:
    """Return when the caller has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def count(caller: str, method: str, outcome: str) -> None:
    """Count one call by how it ended."""
    metrics.CALLS.labels(caller=caller, method=method, outcome=outcome).inc()


def refusal_of(error: Exception) -> Response | None:  # noqa: PLR0911 - one return per way it can end
    """What a caller is told about an error of `call_xero`; None for a fault of ours."""
    match error:
        case NotConnected():
            return not_connected(error)
        case OtherTenant():
            return refusal(
                409,
                "TENANT_CHANGED",
                "The account is connected to another organisation than the request names.",
                hint="Read the connection again.",
            )
        case OutOfBudget():
            return out_of_budget(error)
        case XeroDown():
            return refusal(
                502,
                "XERO_UNREACHABLE",
                "Xero has not answered lately, so nothing was sent.",
                hint="Try again after the given time.",
                retry_after=error.retry_after,
                outcome="not_sent",
            )
        case NotSent() | Unavailable():
            return refusal(
                502,
                "XERO_UNREACHABLE",
                "Nothing reached Xero.",
                hint="Try again later.",
                outcome="not_sent",
            )
        case TimedOut():
            return refusal(
                504,
                "XERO_TIMEOUT",
                "Xero did not answer in time.",
                hint=UNKNOWN_HINT,
                outcome="unknown",
            )
        case Lost():
            return refusal(
                502,
                "XERO_CONNECTION_LOST",
                "The connection broke.",
                hint=UNKNOWN_HINT,
                outcome="unknown",
            )
        case TooLarge():
            return refusal(
                502,
                "XERO_REPLY_TOO_LARGE",
                "Xero's reply is larger than accepted.",
                hint="Ask for smaller pages.",
                outcome="unknown",
            )
        case OSError() | asyncpg.PostgresError() | asyncpg.InterfaceError():
            # Only steps before sending, and after a refusal by Xero, let these through: nothing was carried out.
            log.warning("gateway_database_failed", error=type(error).__name__)
            return refusal(
                503,
                "GATEWAY_UNAVAILABLE",
                "The connector's database does not answer.",
                hint="Try again.",
                outcome="not_sent",
            )
        case _:
            return None


UNKNOWN_HINT: Final = (
    "A write may have happened: repeat it with the same bytes and Idempotency-Key, or look it up."
)


def raw_rest(request: Request) -> bytes:
    """The undecoded path after `/v1/accounts/{id}/xero/`; empty when there is none."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    # Four fixed parts and an account id without a separator: a sixth part exists only beyond them.
    parts = raw.split(b"?")[0].split(b"/", 5)
    return parts[5] if len(parts) == 6 and parts[4] == b"xero" else b""  # noqa: PLR2004 - counted above


def passed_on(request: Request) -> dict[str, str]:
    """The request headers that go to Xero; everything else stays here."""
    headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
    if headers.get("accept", "") in {"", "*/*"}:
        # Xero answers XML by default.
        headers["accept"] = "application/json"
    return headers


def refusal(
    status: int, code: str, detail: str, *, hint: str, retry_after: int | None = None, **extra: str
) -> Response:
    """A problem document made here, marked as such."""
    headers = {"X-Gateway-Error": code}
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return Problem(status, code, detail=detail, hint=hint, headers=headers, **extra).response()


def not_connected(error: NotConnected) -> Response:
    """409 with why the connection cannot be used."""
    connection = error.connection
    words = connection.words
    return refusal(
        409,
        "NOT_CONNECTED",
        "The account has no usable connection to Xero.",
        hint=words.hint,
        status_name=connection.status.value,
        reason=connection.reason.value,
        message=words.message,
    )


def out_of_budget(error: OutOfBudget) -> Response:
    """429 in Xero's own form: no body, Retry-After and the limit's name (developer.xero.com, API limits)."""
    return Response(
        status_code=429,
        headers={
            "Retry-After": str(error.retry_after),
            "X-Rate-Limit-Problem": error.problem,
            "X-Gateway-Error": "RATE_LIMITED",
        },
    )
