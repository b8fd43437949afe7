"""Payments made in Xero for invoices that came from Pipeline."""

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from pipeline_contracts import topics
from pipeline_contracts.event import Event
from pipeline_contracts.fields import Day, Id, Known, ShortText, Version, Word
from pipeline_contracts.money import Money

PaymentKind = Annotated[Word, Known("payment", "credit_note", "overpayment", "prepayment")]
"""What paid: money, or a credit note, overpayment or prepayment allocated to the invoice."""

FoundBy = Annotated[Word, Known("webhook", "sweep")]
"""How it came to our notice."""


class Payment(Event):
    """A payment and where it leaves the invoice: the body of PaymentRecorded and PaymentReversed."""

    TOPIC: ClassVar[str] = topics.PAYMENTS.name
    KEY: ClassVar[str] = "invoice_id"

    payment_id: Id = Field(
        description="Our id of the payment; the same for ever, also when reversed."
    )
    xero_payment_id: Id = Field(description="Xero's PaymentID, or the id of what was allocated.")
    invoice_id: Id = Field(description="Pipeline's invoice; key of the record.")
    xero_invoice_id: Id | None = Field(default=None, description="Xero's InvoiceID.")
    tenant_id: Id | None = Field(default=None, description="Xero organisation it was made in.")
    kind: PaymentKind = Field(
        description="`payment`, `credit_note`, `overpayment` or `prepayment`."
    )
    amount: Money = Field(description="Amount applied to the invoice.")
    currency: Word = Field(description="ISO 4217 code of all amounts, that of the invoice.")
    paid_on: Day = Field(description="Date of the payment or allocation.")
    reference: ShortText | None = Field(default=None, description="Reference given in Xero.")
    amount_paid: Money = Field(description="Paid on the invoice in all, after this.")
    amount_due: Money = Field(description="Still due on the invoice, after this.")
    invoice_status: Word = Field(description="Status of the invoice in Xero, e.g. `PAID`.")
    found_by: FoundBy = Field(description="`webhook` or `sweep`.")
    sequence: Version = Field(
        description="1, 2, … per invoice, without gaps, over both event types."
    )

    @property
    def revision(self) -> str:
        """The event's place in the invoice's payments."""
        return str(self.sequence)


_EXAMPLE: JsonDict = {
    "account_id": "acc-7",
    "payment_id": "pay-5f0c1e7a",
    "xero_payment_id": "0d666415-cf77-43fa-80c7-56775591d426",
    "invoice_id": "inv-1001",
    "xero_invoice_id": "243216c5-369e-4056-ac67-05388f86dc81",
    "tenant_id": "9b8f2f6e-4d0c-4a5a-9d55-2f5d2f4cb9c1",
    "kind": "payment",
    "amount": "100.00",
    "currency": "NZD",
    "paid_on": "2026-03-20",
    "reference": "Bank transfer",
    "amount_paid": "100.00",
    "amount_due": "187.50",
    "invoice_status": "AUTHORISED",
    "found_by": "webhook",
    "sequence": 1,
}


class PaymentRecorded(Payment):
    """An invoice was paid in Xero, in full or in part."""

    TYPE: ClassVar[str] = "pipeline.payment.recorded.v1"

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})


class PaymentReversed(Payment):
    """A payment recorded earlier was removed in Xero."""

    TYPE: ClassVar[str] = "pipeline.payment.reversed.v1"

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **_EXAMPLE,
                    "amount_paid": "0.00",
                    "amount_due": "287.50",
                    "found_by": "sweep",
                    "sequence": 2,
                }
            ]
        }
    )
