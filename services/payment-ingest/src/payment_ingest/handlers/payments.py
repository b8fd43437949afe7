"""`GET …/payments`: payments by invoice, by id and by time, each with its story."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field

from payment_ingest.domain.ledger import Change
from payment_ingest.handlers.moments import Moment
from payment_ingest.store import connections, stories, xero_invoices
from payment_ingest.store.ledger import Step
from payment_ingest.store.stories import Told
from pipeline_contracts.fields import Id
from pipeline_contracts.money import Money
from pipeline_service_defaults.auth import require_access
from pipeline_service_defaults.database import Pool
from pipeline_service_defaults.problems import Problem

router = APIRouter(tags=["payments"])


class StoryStep(BaseModel):
    """One thing that happened to a payment, and how it came to be known."""

    change: str = Field(description="`recorded` or `reversed`.")
    event_id: str = Field(description="Id of the event that told it.")
    sequence: int | None = Field(description="Its place among the invoice's events.")
    found_by: str = Field(description="`webhook` or `sweep`.")
    delivery_id: str | None = Field(description="The webhook delivery that rang, if one did.")
    rung_at: datetime | None = Field(description="When that delivery arrived.")
    fetched_at: datetime | None = Field(
        description="When the invoice was read from Xero; null where that is not known any more."
    )
    recorded_at: datetime = Field(
        description="When it was written into the ledger; time of the event."
    )
    published_at: datetime | None = Field(
        description="When the event was committed to be published."
    )
    amount_paid: Money = Field(description="Paid on the invoice in all, as Xero said.")
    amount_due: Money = Field(description="Still due on the invoice, as Xero said.")
    invoice_status: str = Field(description="Status of the invoice in Xero.")
    note: str | None = Field(description="What there is to know of this step besides.")


class PaymentWithStory(BaseModel):
    """A payment or allocation on an invoice."""

    payment_id: str = Field(description="Pipeline's id of the payment.")
    invoice_id: str = Field(description="The invoice of Pipeline that was paid.")
    xero_invoice_id: str
    xero_payment_id: str = Field(description="Xero's PaymentID, or the id of what was allocated.")
    kind: str = Field(description="`payment`, `credit_note`, `overpayment` or `prepayment`.")
    amount: Money
    currency: str
    paid_on: date | None
    reference: str | None
    reversed: bool = Field(description="Whether it was removed in Xero.")
    story: list[StoryStep]


class InvoiceStanding(BaseModel):
    """How the invoice stood in Xero when it was last read."""

    invoice_status: str
    currency: str
    amount_paid: Money
    amount_credited: Money
    amount_due: Money
    read_at: datetime = Field(description="When.")


class InvoicePayments(BaseModel):
    """The payments of one invoice, oldest first, and how fresh that is."""

    account_id: str
    invoice_id: str
    payments: list[PaymentWithStory]
    last_read: InvoiceStanding | None = Field(
        description="Null before the invoice was read from Xero by this service."
    )
    connection: str | None = Field(
        description="Status of the account's connection; payments arrive while it is `CONNECTED`, and those made"
        " meanwhile arrive once it is again."
    )


class AccountPayments(BaseModel):
    """Payments in the order in which they were recorded."""

    account_id: str
    payments: list[PaymentWithStory]
    next_after: str | None = Field(description="Ask again with this as `after`; null at the end.")


_PUT_BACK = (
    "Put back from the events of the topic after the ledger was lost: which webhook told of it, and when it was read"
    " from Xero, is not known any more."
)
_reads = Depends(require_access("viewer", "pipeline-backend", "invoice-sync"))
_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
_END = datetime(9999, 1, 1, tzinfo=UTC)


@router.get(
    "/v1/accounts/{account_id}/invoices/{invoice_id}/payments",
    summary="Payments of an invoice, each with its story",
    dependencies=[_reads],
    responses={404: {"description": "No such account, or the invoice is not known to be in Xero."}},
)
async def list_payments(request: Request, account_id: Id, invoice_id: Id) -> InvoicePayments:
    """Every payment and allocation ever seen on the invoice: doorbell or sweep, delivery, read and event."""
    pool: Pool = request.app.state.pool
    # One picture: a payment that commits between two reads would be in one of them only.
    async with pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        if not await xero_invoices.is_known(conn, account_id, invoice_id):
            raise Problem(
                404,
                "INVOICE_NOT_IN_XERO",
                "Not found",
                "This invoice is not known to be in Xero.",
                hint="Look at the invoice's sync state: a payment can only be seen once the invoice is in Xero.",
            )
        told = await stories.of_invoice(conn, account_id, invoice_id)
        standing = await stories.standing_of(conn, account_id, invoice_id)
        connection = await connections.connection_of(conn, account_id)
    return InvoicePayments(
        account_id=account_id,
        invoice_id=invoice_id,
        payments=_payments(told),
        last_read=InvoiceStanding(**asdict(standing)) if standing else None,
        connection=connection.status if connection else None,
    )


@router.get(
    "/v1/accounts/{account_id}/payments",
    summary="Payments of an account by the time they were recorded, each with its story",
    dependencies=[_reads],
)
async def list_by_time(
    request: Request,
    account_id: Id,
    recorded_from: Moment = _BEGINNING,
    recorded_until: Annotated[Moment, Query(description="Not included.")] = _END,
    xero_payment_id: Annotated[
        uuid.UUID | None,
        Query(
            description="Only those with this id in Xero: its PaymentID, or the id of the credit note, prepayment or "
            "overpayment, which may be allocated to several invoices."
        ),
    ] = None,
    after: Annotated[
        uuid.UUID | None, Query(description="The payment to continue behind: `next_after`.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="Payments per page.")] = 100,
) -> AccountPayments:
    """Each payment once, at the time it was recorded, with all that happened to it until now."""
    pool: Pool = request.app.state.pool
    async with pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        place = await stories.place_of(conn, account_id, after) if after else None
        if after and place is None:
            raise _unknown_payment()
        told = await stories.recorded_between(
            conn, account_id, recorded_from, recorded_until, place, limit + 1, xero_payment_id
        )
    found = _payments(told)
    page = found[:limit]
    return AccountPayments(
        account_id=account_id,
        payments=page,
        next_after=page[-1].payment_id if len(found) > limit else None,
    )


@router.get(
    "/v1/accounts/{account_id}/payments/{payment_id}",
    summary="One payment with its story",
    dependencies=[_reads],
    responses={404: {"description": "The account has no such payment."}},
)
async def show_payment(request: Request, account_id: Id, payment_id: uuid.UUID) -> PaymentWithStory:
    """What happened to the payment, and how each step came to be known."""
    pool: Pool = request.app.state.pool
    async with pool.acquire() as conn:
        told = await stories.of_payment(conn, account_id, payment_id)
    if not told:
        raise _unknown_payment()
    return _payments(told)[0]


def _unknown_payment() -> Problem:
    return Problem(
        404,
        "PAYMENT_NOT_FOUND",
        "Not found",
        "There is no such payment.",
        hint="`payment_id` is Pipeline's id of it, as PaymentRecorded and the payments of its invoice show it; by Xero's "
        "id it is found with `GET …/payments?xero_payment_id=`.",
    )


def _payments(told: Sequence[Told]) -> list[PaymentWithStory]:
    found: dict[str, PaymentWithStory] = {}
    for one in told:
        payment = found.setdefault(str(one.step.payment_id), _payment(one))
        payment.reversed = one.step.change == Change.REVERSED
        payment.story.append(_step(one.step))
    return list(found.values())


def _payment(told: Told) -> PaymentWithStory:
    step = told.step
    return PaymentWithStory(
        payment_id=str(step.payment_id),
        invoice_id=told.invoice_id,
        xero_invoice_id=step.xero_invoice_id,
        xero_payment_id=step.xero_payment_id,
        kind=step.kind,
        amount=step.amount,
        currency=step.currency,
        paid_on=step.paid_on,
        reference=step.reference,
        reversed=False,
        story=[],
    )


def _step(step: Step) -> StoryStep:
    return StoryStep(
        change=step.change,
        event_id=str(step.event_id),
        sequence=step.sequence,
        found_by=step.found_by,
        delivery_id=step.delivery.hex() if step.delivery else None,
        rung_at=step.rung_at,
        fetched_at=step.fetched_at,
        recorded_at=step.recorded_at,
        published_at=step.published_at,
        amount_paid=step.amount_paid,
        amount_due=step.amount_due,
        invoice_status=step.invoice_status,
        note=None if step.fetched_at else _PUT_BACK,
    )
