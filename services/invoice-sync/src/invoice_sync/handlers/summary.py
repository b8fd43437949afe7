"""`GET …/summary`: how many invoices of an account are where."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from invoice_sync.domain.state import WAITING, State
from invoice_sync.handlers.access import BACKEND, deps_of
from invoice_sync.handlers.views import SummaryView
from invoice_sync.store import invoices
from pipeline_contracts.fields import Id
from pipeline_service_defaults.auth import Principal, require_access

router = APIRouter(tags=["invoices"])

# The connector tells an administrator about to disconnect what will wait.
Asker = Annotated[Principal, Depends(require_access("viewer", BACKEND, "connector"))]


@router.get("/v1/accounts/{account_id}/summary", summary="How many invoices are in which state")
async def get_summary(request: Request, account_id: Id, _: Asker) -> SummaryView:
    """Every state is named, also with 0; an account nothing was ever heard of has 0 in all."""
    async with deps_of(request).pool.acquire() as conn:
        found = await invoices.count_by_state(conn, account_id)
    return SummaryView(
        account_id=account_id,
        states={state.value: found.get(state, 0) for state in State},
        waiting=sum(found.get(state, 0) for state in WAITING),
        failed=found.get(State.FAILED, 0),
        synced=found.get(State.SYNCED, 0),
    )
