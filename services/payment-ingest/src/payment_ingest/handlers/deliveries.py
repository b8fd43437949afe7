"""`/v1/deliveries`: find stored webhook deliveries, and have them read again."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from pydantic import AwareDatetime, BaseModel, Field

from payment_ingest.handlers.moments import Moment
from payment_ingest.replay_delivery import (
    Requester,
    UnknownDeliveryError,
    find_deliveries,
    replay_deliveries,
    replay_delivery,
)
from payment_ingest.store.deliveries import FoundDelivery, Search
from pipeline_contracts.fields import Id
from pipeline_service_defaults.auth import Person, Principal, require_access
from pipeline_service_defaults.database import Pool
from pipeline_service_defaults.problems import Problem

router = APIRouter(tags=["deliveries"])

_MOST = 2_000
"""Deliveries in one answer, and read again by one request: more than one commit stores, which all share a moment."""

DeliveryId = Annotated[
    str, Path(pattern=r"^[0-9a-f]{64}$", description="The delivery: SHA-256 of its body, in hex.")
]


class ReplayAccepted(BaseModel):
    """The replay was written down and will be done at once."""

    delivery_id: str
    requested_at: datetime = Field(description="When, by the database's clock.")


class DeliveryFound(BaseModel):
    """A stored webhook delivery, without its body."""

    delivery_id: str = Field(description="SHA-256 of the body, in hex.")
    received_at: AwareDatetime
    processed_at: AwareDatetime | None = Field(description="When it was read; null while it waits.")
    outcome: str | None = Field(
        description="`rung`, `intent_to_receive`, `nothing_to_do` or `unreadable`."
    )
    events: int | None
    not_understood: int | None = Field(description="Events in it that could not be understood.")
    first_sequence: int | None
    last_sequence: int | None


class Deliveries(BaseModel):
    """Deliveries, oldest first."""

    deliveries: list[DeliveryFound]
    more: bool = Field(
        description="Whether there may be more: ask again from the last one's `received_at`."
    )


class ReplayRequest(BaseModel):
    """Which deliveries to read again."""

    received_from: Moment
    received_until: Moment = Field(description="Not included.")
    tenant_id: Id | None = Field(
        None,
        description="Only those that speak of this Xero organisation; a person's own if absent.",
    )


@router.get("/v1/deliveries", summary="Find stored webhook deliveries")
async def find(
    request: Request,
    principal: Annotated[Principal, Depends(require_access("admin", "pipeline-backend"))],
    received_from: Moment,
    received_until: Moment,
    tenant_id: Id | None = None,
) -> Deliveries:
    """By time and organisation. A person finds those that speak of the own account's organisation."""
    pool: Pool = request.app.state.pool
    wanted = _search(received_from, received_until, tenant_id)
    async with pool.acquire() as conn:
        found = await find_deliveries(conn, wanted, _requester(principal), _MOST)
    return _shown(found)


@router.post(
    "/v1/deliveries/replay", status_code=202, summary="Read stored webhook deliveries again"
)
async def replay_many(
    request: Request,
    wanted: ReplayRequest,
    principal: Annotated[Principal, Depends(require_access("admin", "pipeline-backend"))],
) -> Deliveries:
    """Ring again for every invoice that deliveries of a time name. Harmless however often; who asked is kept."""
    pool: Pool = request.app.state.pool
    wake: Callable[[], None] = request.app.state.wake_ringer
    search = _search(wanted.received_from, wanted.received_until, wanted.tenant_id)
    async with pool.acquire() as conn:
        found = await replay_deliveries(conn, search, _requester(principal), _MOST)
    wake()
    return _shown(found)


def _search(since: datetime, until: datetime, tenant_id: str | None) -> Search:
    return Search(since, until, None if tenant_id is None else (tenant_id.lower(),))


def _shown(found: list[FoundDelivery]) -> Deliveries:
    return Deliveries(
        deliveries=[
            DeliveryFound(
                delivery_id=one.body_hash.hex(),
                received_at=one.received_at,
                processed_at=one.processed_at,
                outcome=one.outcome,
                events=one.events,
                not_understood=one.not_understood,
                first_sequence=one.first_sequence,
                last_sequence=one.last_sequence,
            )
            for one in found
        ],
        more=len(found) == _MOST,
    )


@router.post(
    "/v1/deliveries/{delivery_id}/replay",
    status_code=202,
    summary="Read a stored webhook delivery again",
    responses={404: {"description": "No such delivery, or it does not concern your account."}},
)
async def replay(
    request: Request,
    delivery_id: DeliveryId,
    principal: Annotated[Principal, Depends(require_access("admin", "pipeline-backend"))],
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
                "There is no such delivery, or it is older than what is kept.",
                hint="The delivery id stands in the story of each payment. What an old one told of is in Xero still:"
                " sweeps read it.",
            ) from None
    wake()
    return ReplayAccepted(delivery_id=delivery_id, requested_at=at)


def _requester(principal: Principal) -> Requester:
    if isinstance(principal, Person):
        return Requester(f"user:{principal.user_id}", principal.account_id)
    return Requester(f"service:{principal.name}", None)
