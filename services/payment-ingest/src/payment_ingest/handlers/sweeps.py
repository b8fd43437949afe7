"""`GET …/sweeps`: how fresh an account's payments are, webhooks aside."""

from datetime import datetime

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from payment_ingest.domain.sweeping import SweepKind
from payment_ingest.store import sweeps
from pipeline_contracts.fields import Id
from pipeline_service_defaults.auth import require_access
from pipeline_service_defaults.database import Pool

router = APIRouter(tags=["payments"])


class Freshness(BaseModel):
    """When the account's organisation was last looked through for payments of which no webhook told."""

    account_id: str
    recent: datetime | None = Field(
        description="When all that had changed in Xero was last read; null before the first time."
    )
    deep: datetime | None = Field(
        description="When every invoice was last read; null before the first time."
    )


@router.get(
    "/v1/accounts/{account_id}/sweeps",
    summary="When payments were last looked for",
    dependencies=[Depends(require_access("viewer", "pipeline-backend"))],
)
async def show_sweeps(request: Request, account_id: Id) -> Freshness:
    """The last completed sweep of each kind; an account never heard of has none."""
    pool: Pool = request.app.state.pool
    async with pool.acquire() as conn:
        found = await sweeps.completed(conn, account_id)
    return Freshness(
        account_id=account_id,
        recent=found.get(SweepKind.RECENT),
        deep=found.get(SweepKind.DEEP),
    )
