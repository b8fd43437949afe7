"""`GET …/budget`: how many calls Xero still takes today."""

import asyncio
from typing import Final

import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from invoice_sync.handlers.access import Reader, deps_of
from pipeline_contracts.fields import Id
from pipeline_service_defaults.problems import Problem
from pipeline_xero.errors import XeroError

log = structlog.get_logger(__name__)

router = APIRouter(tags=["invoices"])

_SECONDS: Final = 3.0
"""The connector answers this from its own database; whoever waits looks at a page."""


class BudgetView(BaseModel):
    """The calls that Xero takes for an organisation within a day."""

    account_id: str
    calls_left_today: int | None = Field(description="Null until Xero has said it today.")
    calls_a_day: int | None = Field(description="Of how many; null as the above.")


@router.get(
    "/v1/accounts/{account_id}/budget",
    summary="How many calls does Xero still take today?",
    responses={503: {"description": "The connector, which counts them, does not answer."}},
)
async def get_budget(request: Request, account_id: Id, _: Reader) -> BudgetView:
    """As the connector counts them. Costs no call to Xero."""
    try:
        async with asyncio.timeout(_SECONDS):
            found = await deps_of(request).gateway.connection(account_id)
    except (XeroError, TimeoutError) as error:
        log.warning("connection_not_asked", account_id=account_id, error=type(error).__name__)
        raise Problem(
            503,
            "CONNECTOR_UNAVAILABLE",
            "Not known at the moment",
            "The connector, which counts the calls, does not answer.",
            hint="Ask again in a minute.",
        ) from None
    return BudgetView(
        account_id=account_id,
        calls_left_today=found.calls_left_today,
        calls_a_day=found.calls_a_day,
    )
