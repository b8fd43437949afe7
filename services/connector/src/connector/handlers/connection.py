"""A connection's status for programs, and for people's own pages."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from connector.describe_connection import how_it_stands
from connector.domain.connection import Connection, Status
from connector.domain.day_budget import Outlook
from connector.domain.standing import Standing
from connector.handlers.browser import AccountId, deps_of
from pipeline_service_defaults.auth import Principal, require_access

router = APIRouter(tags=["connection"])

Reader = Annotated[
    Principal,
    Depends(require_access("viewer", "invoice-sync", "payment-ingest", "pipeline-backend")),
]


class ConnectionView(BaseModel):
    """An account's connection to Xero."""

    model_config = ConfigDict(frozen=True)

    account_id: str
    status: Status = Field(description="CONNECTED, TOKEN_EXPIRED or DISCONNECTED")
    reason: str = Field(
        description="why, as a stable word; XERO_UNAVAILABLE while connected: renewing does not work at the moment"
    )
    since: datetime | None = Field(description="since when; null if never connected")
    changed_by: str | None = Field(
        description="the person who brought this about; null for Xero or the system"
    )
    message: str = Field(description="what happened, for people")
    hint: str = Field(description="the next step, for people")
    can_refresh: bool = Field(description="whether Refresh Token can work")
    tenant_id: str | None
    tenant_name: str | None
    short_code: str | None
    base_currency: str | None
    sequence: int = Field(description="number of the last change")
    calls_left_today: int | None = Field(
        description="calls to Xero left to the organisation today; null while that is not known"
    )
    calls_a_day: int | None = Field(description="of how many; null as the above")


def view(connection: Connection, now: Standing, day: Outlook | None) -> ConnectionView:
    """The connection as shown: what is recorded, with the reason, the words and the budget of this moment."""
    return ConnectionView(
        account_id=connection.account_id,
        status=connection.status,
        reason=now.reason.value,
        since=connection.since,
        changed_by=connection.changed_by,
        message=now.words.message,
        hint=now.words.hint,
        can_refresh=now.can_refresh,
        tenant_id=connection.tenant_id,
        tenant_name=connection.tenant_name,
        short_code=connection.short_code,
        base_currency=connection.base_currency,
        sequence=connection.sequence,
        calls_left_today=day.day_remaining if day else None,
        calls_a_day=day.day_limit if day else None,
    )


@router.get("/v1/accounts/{account_id}/connection", summary="The connection's status")
async def connection_status(request: Request, account_id: AccountId, _: Reader) -> ConnectionView:
    """Status, reason, organisation. An account that was never connected is DISCONNECTED, NEVER_CONNECTED."""
    return view(*await how_it_stands(deps_of(request), account_id))
