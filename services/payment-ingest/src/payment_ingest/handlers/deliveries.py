"""`POST …/replay`: have a stored webhook delivery read again."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field

from payment_ingest.replay_delivery import Requester, UnknownDeliveryError, replay_delivery
from pipeline_service_defaults.auth import Person, Principal, require_access
from pipeline_service_defaults.database import Pool
from pipeline_service_defaults.problems import Problem

router = APIRouter(tags=["deliveries"])

DeliveryId = Annotated[
    str, Path(pattern=r"^[0-9a-f]{64}$", description="The delivery: SHA-256 of its body, in hex.")
]


class ReplayAccepted(BaseModel):
    """The replay was written down and will be done at once."""

    delivery_id: str
    requested_at: datetime = Field(description="When, by the database's clock.")


@router.post(
    "/v1/deliveries/{delivery_id}/replay",
    status_code=202,
    summary="Read a stored webhook delivery again",
    responses={404: {"description": "No such delivery, or it does not concern your account."}},
)
async def replay(
    request: Request,
    delivery_id: DeliveryId,
    principal: Annotated[Principal, Depends(require_access("operator", "pipeline-backend"))],
) -> ReplayAccepted:
    """Ring again for every invoice the delivery names. Harmless however often it is done; who asked is kept."""
    pool: Pool = request.app.state.pool
    wake: Callable[[], None] = request.app.state.wake_ringer
    async with pool.acquire() as conn:
        try:
            at = await replay_delivery(conn, bytes.fromhex(delivery_id), _requester(principal))
        except UnknownDeliveryError:
            raise Problem(
                404,
                "DELIVERY_NOT_FOUND",
                "Not found",
                "There is no such delivery.",
                hint="The delivery id stands in the story of each payment.",
            ) from None
    wake()
    return ReplayAccepted(delivery_id=delivery_id, requested_at=at)


def _requester(principal: Principal) -> Requester:
    if isinstance(principal, Person):
        return Requester(principal.user_id, principal.account_id)
    return Requester(f"service:{principal.name}", None)
