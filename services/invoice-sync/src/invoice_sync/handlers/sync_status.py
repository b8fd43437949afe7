"""`GET …/invoices/{id}/sync` and `POST …/sync/retry`."""

from typing import Any

from fastapi import APIRouter, Request

from invoice_sync.domain.left_apart import LeftApart
from invoice_sync.domain.resolution import Conflict
from invoice_sync.domain.state import State
from invoice_sync.explain_sync import Explanation, explain_sync
from invoice_sync.handlers.access import Reader, Writer, deps_of, name_of
from invoice_sync.handlers.views import (
    CauseView,
    ConflictView,
    InXeroView,
    LeftApartView,
    PlaceView,
    RetryView,
    SyncView,
    TimelineView,
)
from invoice_sync.resolve_conflict import find_conflict, find_left_apart
from invoice_sync.retry_sync import retry_invoice
from pipeline_contracts.fields import Id
from pipeline_service_defaults.problems import Problem

router = APIRouter(tags=["invoices"])
_UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: {"description": "This account has no such invoice."}
}


@router.get(
    "/v1/accounts/{account_id}/invoices/{invoice_id}/sync",
    summary="Why is this invoice not in Xero?",
    responses=_UNKNOWN,
)
async def get_sync(request: Request, account_id: Id, invoice_id: Id, _: Reader) -> SyncView:
    """State, the first thing in the way in words with whose move it is, the next attempt, link and timeline."""
    deps = deps_of(request)
    async with deps.pool.acquire() as conn:
        found = await explain_sync(conn, account_id, invoice_id, deps.xero_web_url)
    if found is None:
        raise no_invoice()
    _invoice, conflict = await find_conflict(deps, account_id, invoice_id)
    apart = await find_left_apart(deps, account_id, invoice_id)
    return _view(found, conflict, apart)


@router.post(
    "/v1/accounts/{account_id}/invoices/{invoice_id}/sync/retry",
    status_code=202,
    summary="Take an invoice up again now",
    responses=_UNKNOWN
    | {409: {"description": "There is nothing to retry: it is in Xero, or voided."}},
)
async def post_retry(request: Request, account_id: Id, invoice_id: Id, caller: Writer) -> RetryView:
    """A failure starts afresh, a conflict is compared again, a write of unknown outcome is looked into."""
    state = await retry_invoice(deps_of(request), account_id, invoice_id, name_of(caller))
    if state is None:
        raise no_invoice()
    if state in {State.SYNCED, State.VOIDED}:
        raise Problem(
            409,
            "NOTHING_TO_RETRY",
            "Nothing to retry",
            f"The invoice is {state}.",
            hint="Change the invoice in Pipeline if Xero should change.",
        )
    request.app.state.worker.wake()
    return RetryView(released=1)


def no_invoice() -> Problem:
    """The answer about an invoice that this account does not have."""
    return Problem(
        404,
        "INVOICE_UNKNOWN",
        "Not found",
        "No event about this invoice has arrived for this account.",
        hint="Check the id; an invoice appears here as soon as its InvoiceCreated has been read.",
    )


def _view(found: Explanation, conflict: Conflict | None, apart: LeftApart | None) -> SyncView:
    invoice, link, cause = found.invoice, found.link, found.cause
    decision = ConflictView.of(conflict) if conflict else None
    left = LeftApartView.of(apart) if apart else None
    differing = decision or left
    return SyncView(
        account_id=invoice.account_id,
        invoice_id=invoice.invoice_id,
        state=found.state,
        version=invoice.version,
        synced_version=invoice.synced_version,
        generation=invoice.generation,
        cause=None
        if cause is None
        else CauseView(
            code=cause.block.code,
            message=cause.block.message,
            hint=cause.block.hint,
            whose_move=cause.whose_move,
            retryable=cause.block.retryable,
            xero_errors=list(cause.block.xero_errors),
        ),
        next_attempt_at=found.next_attempt_at,
        queue=None
        if found.place is None
        else PlaceView(
            ahead=found.place.ahead,
            is_exact=found.place.is_exact,
            expected_at=found.place.expected_at,
        ),
        in_xero=None
        if link is None
        else InXeroView(
            tenant_id=link.tenant_id,
            xero_invoice_id=link.xero_invoice_id,
            invoice_number=link.xero_number,
            status=link.xero_status,
            deep_link=found.deep_link or "",
            observed_at=link.observed_at,
        ),
        differences=differing.differences if differing else [],
        conflict=decision,
        left_apart=left,
        timeline=[
            TimelineView(
                at=entry.at,
                kind=entry.note.kind,
                version=entry.note.version,
                code=entry.note.code,
                detail=entry.note.detail,
                xero_correlation_id=entry.note.correlation_id,
            )
            for entry in found.timeline
        ],
    )
