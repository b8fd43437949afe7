"""`GET …/failures` and `POST …/failures/{code}/retry`."""

from collections.abc import Sequence

from fastapi import APIRouter, Request

from invoice_sync.domain.blocks import mover_of
from invoice_sync.handlers.access import Reader, Writer, deps_of, name_of
from invoice_sync.handlers.views import FailuresView, FailureView, MoneyView, RetryView
from invoice_sync.retry_sync import is_cause, retry_cause
from invoice_sync.store import failures
from invoice_sync.store.failures import FailureGroup
from pipeline_contracts.fields import Id, Word
from pipeline_service_defaults.problems import Problem

router = APIRouter(tags=["failures"])


@router.get(
    "/v1/accounts/{account_id}/failures",
    summary="What keeps this account's invoices from Xero, by cause",
)
async def get_failures(request: Request, account_id: Id, _: Reader) -> FailuresView:
    """Each cause with the number of invoices, the money in them, and the next step."""
    async with deps_of(request).pool.acquire() as conn:
        groups = await failures.groups(conn, account_id)
    return FailuresView(
        account_id=account_id,
        invoices=sum(group.invoices for group in groups),
        failures=_by_cause(groups),
    )


@router.post(
    "/v1/accounts/{account_id}/failures/{code}/retry",
    status_code=202,
    summary="Take up every invoice of one cause again",
    responses={404: {"description": "There is no such cause."}},
)
async def post_retry_cause(
    request: Request, account_id: Id, code: Word, caller: Writer
) -> RetryView:
    """Starts a new generation of each; the account's budget still decides how fast they go."""
    if not is_cause(code):
        raise Problem(
            404,
            "CAUSE_UNKNOWN",
            "Not found",
            "There is no such cause.",
            hint="Use a code that the list of failures shows.",
        )
    released = await retry_cause(deps_of(request), account_id, code, name_of(caller))
    request.app.state.worker.wake()
    return RetryView(released=released)


def _by_cause(groups: Sequence[FailureGroup]) -> list[FailureView]:
    merged: dict[tuple[str, str | None], list[FailureGroup]] = {}
    for group in groups:
        merged.setdefault((group.code, group.customer_id), []).append(group)
    views = [_view(same) for same in merged.values()]
    return sorted(views, key=lambda view: -view.invoices)


def _view(same: Sequence[FailureGroup]) -> FailureView:
    first = same[0]
    return FailureView(
        code=first.code,
        customer_id=first.customer_id,
        message=first.message,
        hint=first.hint,
        whose_move=mover_of(first.code),
        invoices=sum(group.invoices for group in same),
        totals=[MoneyView(currency=group.currency or "", total=group.total) for group in same],
        waiting_since=min(group.oldest for group in same),
        sample=[invoice_id for group in same for invoice_id in group.sample],
    )
