"""Invoices as they were read from Xero, normalised for comparison with Pipeline's."""

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from pipeline_contracts import topics
from pipeline_contracts.event import Event, Value
from pipeline_contracts.fields import Code, Day, Id, LongText, ShortText, Timestamp, Word
from pipeline_contracts.invoice import MAX_LINES, MAX_TRACKING, AmountsAre, TrackingOption
from pipeline_contracts.money import Money, Quantity


class ObservedLine(Value):
    """One line of an invoice in Xero, in Xero's codes."""

    line_item_id: Id | None = Field(default=None, description="Xero's LineItemID.")
    description: LongText | None = Field(default=None, description="Description.")
    quantity: Quantity | None = Field(default=None, description="Quantity.")
    unit_amount: Money | None = Field(default=None, description="UnitAmount.")
    discount_rate: Quantity | None = Field(default=None, description="DiscountRate in percent.")
    account_code: Code | None = Field(default=None, description="Xero's account code.")
    tax_type: Code | None = Field(default=None, description="Xero's tax type.")
    tax_amount: Money | None = Field(default=None, description="TaxAmount.")
    line_amount: Money | None = Field(default=None, description="LineAmount.")
    item_code: Code | None = Field(default=None, description="Xero's item code.")
    tracking: tuple[TrackingOption, ...] = Field(
        default=(), max_length=MAX_TRACKING, description="Tracking options."
    )
    line_id: Id | None = Field(
        default=None, description="Pipeline's line, where the writer knows which one it is."
    )


class ObservedInvoice(Value):
    """An invoice in Xero at one moment."""

    invoice_number: ShortText | None = Field(default=None, description="InvoiceNumber.")
    reference: ShortText | None = Field(default=None, description="Reference.")
    status: Word = Field(description="Status, e.g. `AUTHORISED`.")
    contact_id: Id | None = Field(default=None, description="ContactID.")
    contact_name: ShortText | None = Field(default=None, description="Name of the contact.")
    issue_date: Day | None = Field(default=None, description="Date.")
    due_date: Day | None = Field(default=None, description="DueDate.")
    currency: Word = Field(description="CurrencyCode.")
    currency_rate: Quantity | None = Field(default=None, description="CurrencyRate.")
    amounts_are: Annotated[AmountsAre, Field(description="LineAmountTypes in Pipeline's words.")]
    lines: tuple[ObservedLine, ...] = Field(
        max_length=MAX_LINES, description="LineItems, in order."
    )
    sub_total: Money | None = Field(default=None, description="SubTotal.")
    total_tax: Money | None = Field(default=None, description="TotalTax.")
    total: Money = Field(description="Total.")
    amount_due: Money | None = Field(default=None, description="AmountDue.")
    amount_paid: Money | None = Field(default=None, description="AmountPaid.")
    amount_credited: Money | None = Field(default=None, description="AmountCredited.")
    updated_at: Timestamp | None = Field(default=None, description="UpdatedDateUTC.")


class XeroInvoiceObserved(Event):
    """An invoice was read from Xero and looked like this."""

    TYPE: ClassVar[str] = "pipeline.xero_invoice.observed.v1"
    TOPIC: ClassVar[str] = topics.CHANGES.name
    KEY: ClassVar[str] = "xero_invoice_id"

    xero_invoice_id: Id = Field(description="Xero's InvoiceID; key of the record.")
    tenant_id: Id = Field(description="Xero organisation that holds it.")
    observed_at: Timestamp = Field(description="When it was read, by Xero's clock.")
    invoice: ObservedInvoice = Field(description="The invoice as read.")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "account_id": "acc-7",
                    "xero_invoice_id": "243216c5-369e-4056-ac67-05388f86dc81",
                    "tenant_id": "9b8f2f6e-4d0c-4a5a-9d55-2f5d2f4cb9c1",
                    "observed_at": "2026-03-20T10:15:30Z",
                    "invoice": {
                        "invoice_number": "INV-1001",
                        "reference": "PO 4711",
                        "status": "AUTHORISED",
                        "contact_id": "025867f1-d741-4d6b-b1af-9ac774b59ba7",
                        "contact_name": "Ridgeway University",
                        "issue_date": "2026-03-01",
                        "due_date": "2026-03-31",
                        "currency": "NZD",
                        "currency_rate": "1",
                        "amounts_are": "tax_exclusive",
                        "lines": [
                            {
                                "line_item_id": "52208ff9-528a-4985-a9ad-b2b1d4210e38",
                                "description": "Consulting, February",
                                "quantity": "2.5",
                                "unit_amount": "100.00",
                                "account_code": "200",
                                "tax_type": "OUTPUT2",
                                "tax_amount": "37.50",
                                "line_amount": "250.00",
                                "tracking": [{"category": "Region", "option": "North"}],
                            }
                        ],
                        "sub_total": "250.00",
                        "total_tax": "37.50",
                        "total": "287.50",
                        "amount_due": "187.50",
                        "amount_paid": "100.00",
                        "amount_credited": "0.00",
                        "updated_at": "2026-03-20T10:15:28Z",
                    },
                }
            ]
        }
    )
