"""What people decide here, handed on with their own token: the service asked judges their rights, and records who it was."""

from typing import Annotated, Final

from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ops_dashboard import metrics
from ops_dashboard.clients.api import Answer
from ops_dashboard.handlers.access import AccountId, AccountVisitor, Visitor, deps_of
from ops_dashboard.handlers.odd_records import Number, Offset, Topic, taker_at
from ops_dashboard.handlers.pages import FORM_EXPIRED, PageRoute, account_path, render
from pipeline_service_defaults.problems import Problem

router = APIRouter(tags=["actions"], route_class=PageRoute)

Csrf = Annotated[str, Form(alias="csrf", max_length=200)]
InvoiceId = Annotated[str, Form(alias="id", min_length=1, max_length=255)]
_BAD_GATEWAY: Final = 502


@router.post("/accounts/{account_id}/invoice/retry", summary="Retry", response_class=Response)
async def retry(
    request: Request,
    account_id: AccountId,
    visitor: AccountVisitor,
    invoice_id: InvoiceId,
    csrf: Csrf = "",
) -> Response:
    """Take an invoice up again now; back to it, or a page that says why not."""
    _check(visitor, account_id, csrf)
    client = deps_of(request).invoice_sync
    answer = await client.retry(visitor.token, account_id, invoice_id)
    back = account_path(account_id, "/invoice", id=invoice_id)
    return _answered(request, "retry", answer, back, f"{back}&done=retry")


@router.post("/accounts/{account_id}/invoice/resolve", summary="Choose", response_class=Response)
async def resolve(
    request: Request,
    account_id: AccountId,
    visitor: AccountVisitor,
    invoice_id: InvoiceId,
    keep: Annotated[str, Form(pattern="^(pipeline|xero)$")],
    fingerprint: Annotated[str, Form(min_length=1, max_length=64)],
    csrf: Csrf = "",
) -> Response:
    """Choose whose version of an invoice stands, on the picture that was shown; back to it, or why not."""
    _check(visitor, account_id, csrf)
    client = deps_of(request).invoice_sync
    answer = await client.resolve(visitor.token, account_id, invoice_id, keep, fingerprint)
    back = account_path(account_id, "/invoice", id=invoice_id)
    return _answered(request, "resolve", answer, back, f"{back}&done=resolve")


@router.post(
    "/accounts/{account_id}/failures/retry", summary="Retry a whole cause", response_class=Response
)
async def retry_cause(
    request: Request,
    account_id: AccountId,
    visitor: AccountVisitor,
    code: Annotated[str, Form(min_length=1, max_length=64)],
    csrf: Csrf = "",
) -> Response:
    """Take up every invoice of one cause again; back to the causes, or a page that says why not."""
    _check(visitor, account_id, csrf)
    answer = await deps_of(request).invoice_sync.retry_cause(visitor.token, account_id, code)
    back = account_path(account_id, "/failures")
    return _answered(request, "retry_cause", answer, back, f"{back}?done=retry")


@router.post(
    "/accounts/{account_id}/dead-letters/{topic}/{partition}/{offset}/replay",
    summary="Take up a dead letter",
    response_class=Response,
)
async def take_up(
    request: Request,
    account_id: AccountId,
    visitor: AccountVisitor,
    topic: Topic,
    partition: Number,
    offset: Offset,
    csrf: Csrf = "",
) -> Response:
    """Have a service take in again what it set aside; back to it, or a page that says why not."""
    _check(visitor, account_id, csrf)
    place = f"{topic}/{partition}/{offset}"
    taker = await taker_at(deps_of(request), account_id, (topic, partition, offset))
    answer = await taker.take_up(visitor.token, account_id, place)
    back = account_path(account_id, f"/dead-letters/{place}")
    done = "known" if answer.text("outcome") == "known" else "taken_up"
    return _answered(request, "take_up", answer, back, f"{back}?done={done}")


def _check(visitor: Visitor, account_id: str, csrf: str) -> None:
    if not visitor.sent(csrf):
        raise Problem(403, FORM_EXPIRED, "Not allowed", "The form is not of this session.")
    if not visitor.may_act_on(account_id):
        raise Problem(403, "NOT_ALLOWED", "Not allowed", "This needs the role operator.")


def _answered(request: Request, action: str, answer: Answer, back: str, done: str) -> Response:
    metrics.ACTIONS.labels(action, "done" if answer.is_done else str(answer.status)).inc()
    if answer.is_done:
        return RedirectResponse(done, status_code=303)
    values = {
        "title": answer.text("title") or "It was not done",
        "message": answer.text("detail") or "The service that was asked did not do it.",
        "hint": answer.text("hint"),
        "back": back,
    }
    return render(request, "not_done.html", values, status=answer.status or _BAD_GATEWAY)
