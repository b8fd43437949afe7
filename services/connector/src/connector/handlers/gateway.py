"""The gateway: other services call Xero through here, and no token ever leaves."""

import time
from typing import Annotated, Final

import asyncpg
import structlog
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from connector import metrics
from connector.call_xero import GatewayCall, NotConnected, OtherTenant, call_xero
from connector.clients.bounded import Answer, Lost, NotSent, TimedOut, TooLarge
from connector.domain.allowlist import ALLOWED, Refused, check
from connector.domain.lanes import lane_of
from connector.handlers.browser import AccountId, deps_of
from connector.refresh_tokens import Unavailable
from connector.take_slot import OutOfBudget
from pipeline_service_defaults.auth import Service, require_service
from pipeline_service_defaults.problems import Problem

log = structlog.get_logger(__name__)

router = APIRouter(tags=["gateway"])

Caller = Annotated[Service, Depends(require_service(*ALLOWED))]

PASSED_ON: Final = ("content-type", "idempotency-key", "if-modified-since")
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


async def gateway(
    request: Request,
    account_id: AccountId,
    path: str,  # noqa: ARG001 - documents the route; the raw path is what is judged
    caller: Caller,
) -> Response:
    """Everything after `/xero/` goes to `api.xro/2.0/`; Xero's answers come back as they are.

    Answers made here carry `X-Gateway-Error`. A write is never repeated here, whatever happens.
    """
    started = time.monotonic()
    response = await _carry(request, account_id, caller.name)
    outcome = response.headers.get("x-gateway-error") or f"{response.status_code // 100}xx"
    metrics.CALLS.labels(caller=caller.name, method=request.method, outcome=outcome).inc()
    metrics.CALL_SECONDS.labels(caller=caller.name).observe(time.monotonic() - started)
    return response


for _method in ("GET", "PUT", "POST", "DELETE", "PATCH"):
    router.add_api_route(
        "/v1/accounts/{account_id}/xero/{path:path}",
        gateway,
        methods=[_method],
        operation_id=f"call_xero_{_method.lower()}",
        summary="Call Xero's accounting API for an account",
        response_class=Response,
        responses={
            400: {"description": "HEADER_TOO_LONG, HEADER_NOT_ASCII or LANE_UNKNOWN"},
            403: {
                "description": "NOT_ALLOWED: this caller may not do that, or the path is not a path"
            },
            409: {"description": "NOT_CONNECTED or TENANT_CHANGED: nothing was sent"},
            429: {"description": "RATE_LIMITED, or Xero's own; Retry-After says when"},
            502: {
                "description": "XERO_UNREACHABLE (outcome not_sent) or XERO_CONNECTION_LOST (outcome unknown)"
            },
            504: {"description": "XERO_TIMEOUT: the outcome is unknown"},
        },
    )


async def _carry(  # noqa: PLR0911 - one return per way it can end
    request: Request, account_id: str, caller: str
) -> Response:
    deps = deps_of(request)
    judged = check(caller, request.method, raw_rest(request), request.scope["query_string"])
    if isinstance(judged, Refused):
        return refusal(
            403, "NOT_ALLOWED", judged.why, hint="Only the listed resources and methods are open."
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
    expected = request.headers.get("x-expected-tenant")
    call = GatewayCall(
        account_id=account_id,
        caller=caller,
        lane=lane,
        method=request.method,
        path=judged.path,
        query=request.scope["query_string"].decode("ascii"),
        headers=passed_on(request),
        body=await request.body(),
        expected_tenant=expected,
    )
    try:
        answer = await call_xero(deps, call)
    except NotConnected as error:
        return not_connected(error)
    except OtherTenant:
        return refusal(
            409,
            "TENANT_CHANGED",
            "The account is connected to another organisation than the request names.",
            hint="Read the connection again.",
        )
    except OutOfBudget as error:
        return out_of_budget(error)
    except (NotSent, Unavailable):
        return refusal(
            502,
            "XERO_UNREACHABLE",
            "Nothing reached Xero.",
            hint="Try again later.",
            outcome="not_sent",
        )
    except TimedOut:
        return refusal(
            504,
            "XERO_TIMEOUT",
            "Xero did not answer in time.",
            hint=UNKNOWN_HINT,
            outcome="unknown",
        )
    except Lost:
        return refusal(
            502,
            "XERO_CONNECTION_LOST",
            "The connection broke.",
            hint=UNKNOWN_HINT,
            outcome="unknown",
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        # Only steps before sending, and after a refusal by Xero, let these through: nothing was carried out.
        log.warning("gateway_database_failed", error=type(error).__name__)
        return refusal(
            503,
            "GATEWAY_UNAVAILABLE",
            "The connector's database does not answer.",
            hint="Try again.",
            outcome="not_sent",
        )
    except TooLarge:
        return refusal(
            502,
            "XERO_REPLY_TOO_LARGE",
            "Xero's reply is larger than accepted.",
            hint="Ask for smaller pages.",
            outcome="unknown",
        )
    return passed_back(answer)


UNKNOWN_HINT: Final = (
    "A write may have happened: repeat it with the same bytes and Idempotency-Key, or look it up."
)


def raw_rest(request: Request) -> bytes:
    """The undecoded path after `/v1/accounts/{id}/xero/`; empty when there is none."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    # Four fixed parts and an account id without a separator: a sixth part exists only beyond them.
    parts = raw.split(b"?")[0].split(b"/", 5)
    return parts[5] if len(parts) == 6 and parts[4] == b"xero" else b""  # noqa: PLR2004 - counted above


def unfit_header(request: Request) -> Response | None:
    """Why a header cannot go on to Xero, if one cannot. Left out, a write would lose its key and could happen twice."""
    for name in ("accept", *PASSED_ON):
        value = request.headers.get(name, "")
        if len(value) > _LONGEST_HEADER:
            return refusal(
                400, "HEADER_TOO_LONG", f"{name} is too long.", hint="Send a shorter one."
            )
        if not value.isascii():
            return refusal(
                400, "HEADER_NOT_ASCII", f"{name} has more than ASCII.", hint="Send plain ASCII."
            )
    return None


def passed_on(request: Request) -> dict[str, str]:
    """The request headers that go to Xero; everything else stays here."""
    headers = {"Accept": request.headers.get("accept", "")}
    if headers["Accept"] in {"", "*/*"}:
        # Xero answers XML by default.
        headers["Accept"] = "application/json"
    for name in PASSED_ON:
        value = request.headers.get(name)
        if value is not None:
            headers[name] = value
    return headers


def passed_back(answer: Answer) -> Response:
    """Xero's reply, with the headers callers may rely on."""
    headers = {name: answer.headers[name] for name in PASSED_BACK if name in answer.headers}
    response = Response(answer.body, status_code=answer.status)
    for name, value in headers.items():
        response.headers[name] = value
    return response


def refusal(status: int, code: str, detail: str, *, hint: str, **extra: str) -> Response:
    """A problem document made here, marked as such."""
    return Problem(
        status, code, detail=detail, hint=hint, headers={"X-Gateway-Error": code}, **extra
    ).response()


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
