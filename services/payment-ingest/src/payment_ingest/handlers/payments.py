"""`GET …/payments`: the payments of an invoice, each with its story."""

from datetime import date, datetime

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from payment_ingest.domain.ledger import Change
from payment_ingest.store import ledger, xero_invoices
from payment_ingest.store.ledger import Step
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
    fetched_at: datetime = Field(description="When the invoice was read from Xero.")
    recorded_at: datetime = Field(
        description="When it was written into the ledger; time of the event."
    )
    published_at: datetime | None = Field(
        description="When the event was committed to be published."
    )
    amount_paid: Money = Field(description="Paid on the invoice in all, as Xero said.")
    amount_due: Money = Field(description="Still due on the invoice, as Xero said.")
    invoice_status: str = Field(description="Status of the invoice in Xero.")


class PaymentWithStory(BaseModel):
    """A payment or allocation on an invoice."""

    payment_id: str = Field(description="Pipeline's id of the payment.")
    xero_payment_id: str = Field(description="Xero's PaymentID, or the id of what was allocated.")
    kind: str = Field(description="`payment`, `credit_note`, `overpayment` or `prepayment`.")
    amount: Money
    currency: str
    paid_on: date | None
    reference: str | None
    reversed: bool = Field(description="Whether it was removed in Xero.")
    story: list[StoryStep]


class InvoicePayments(BaseModel):
    """The payments of one invoice, oldest first."""

    account_id: str
    invoice_id: str
    payments: list[PaymentWithStory]


@router.get(
    "/v1/accounts/{account_id}/invoices/{invoice_id}/payments",
    summary="Payments of an invoice, each with its story",
    dependencies=[Depends(require_access("viewer", "pipeline-backend", "invoice-sync"))],
    responses={404: {"description": "No such account, or the invoice is not known to be in Xero."}},
)
async def list_payments(request: Request, account_id: Id, invoice_id: Id) -> InvoicePayments:
    """Every payment and allocation ever seen on the invoice: doorbell or sweep, delivery, read and event."""
    pool: Pool = request.app.state.pool
    async with pool.acquire() as conn:
        if not await xero_invoices.is_known(conn, account_id, invoice_id):
            raise Problem(
                404,
                "INVOICE_NOT_IN_XERO",
                "Not found",
                "This invoice is not known to be in Xero.",
                hint="Look at the invoice's sync state: a payment can only be seen once the invoice is in Xero.",
            )
        steps = await ledger.story_of(conn, account_id, invoice_id)
    return InvoicePayments(account_id=account_id, invoice_id=invoice_id, payments=_payments(steps))


def _payments(steps: list[Step]) -> list[PaymentWithStory]:
    found: dict[str, PaymentWithStory] = {}
    for step in steps:
        payment = found.setdefault(str(step.payment_id), _payment(step))
        payment.reversed = step.change == Change.REVERSED
        payment.story.append(_step(step))
    return list(found.values())


def _payment(step: Step) -> PaymentWithStory:
    return PaymentWithStory(
        payment_id=str(step.payment_id),
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
    )
