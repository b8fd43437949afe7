"""Invoices as Pipeline publishes them: each event carries the whole invoice."""

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from pipeline_contracts import topics
from pipeline_contracts.event import Event, Value
from pipeline_contracts.fields import Code, Day, Id, Known, LongText, ShortText, Version, Word
from pipeline_contracts.money import Money, Quantity

AmountsAre = Annotated[Word, Known("tax_exclusive", "tax_inclusive", "no_tax")]
"""How the amounts of the lines relate to tax."""

MAX_LINES = 5_000
MAX_TRACKING = 10


class TrackingOption(Value):
    """One tracking category of a line and the option chosen in it."""

    category: ShortText = Field(description="Name of the tracking category, e.g. `Region`.")
    option: ShortText = Field(description="Name of the option in that category, e.g. `North`.")


class InvoiceLine(Value):
    """One line of an invoice."""

    line_id: Id = Field(
        description="Id of the line, unique within the invoice and stable over versions."
    )
    description: LongText = Field(description="What was sold.")
    quantity: Quantity = Field(description="How many.")
    unit_amount: Money = Field(description="Price of one, before discount.")
    discount_rate: Quantity | None = Field(
        default=None, description="Discount in percent, e.g. `10`."
    )
    account_code: Code | None = Field(
        default=None, description="Pipeline's revenue account code, mapped per account to Xero's."
    )
    tax_code: Code | None = Field(
        default=None, description="Pipeline's tax code, mapped per account to Xero's tax type."
    )
    tax_amount: Money | None = Field(
        default=None, description="Tax on the line, where Pipeline's figure must stand."
    )
    item_code: Code | None = Field(default=None, description="Code of the item sold.")
    tracking: tuple[TrackingOption, ...] = Field(
        default=(), max_length=MAX_TRACKING, description="Tracking options of the line."
    )


class InvoiceEvent(Event):
    """What every event about an invoice of Pipeline names."""

    TOPIC: ClassVar[str] = topics.INVOICES.name
    KEY: ClassVar[str] = "invoice_id"

    invoice_id: Id = Field(description="The invoice; key of the record.")
    version: Version = Field(
        description="1 for the first state of the invoice, then one more each."
    )

    @property
    def revision(self) -> str:
        """The invoice's version."""
        return str(self.version)


class Invoice(InvoiceEvent):
    """The whole invoice at one version: the body shared by InvoiceCreated and InvoiceUpdated."""

    invoice_number: ShortText = Field(description="The number printed on the invoice.")
    reference: ShortText | None = Field(default=None, description="The customer's own reference.")
    customer_id: Id = Field(description="The customer billed.")
    issue_date: Day = Field(description="Date of the invoice.")
    due_date: Day = Field(description="Day by which it is to be paid.")
    currency: Code = Field(description="ISO 4217 code of all amounts, e.g. `EUR`.")
    currency_rate: Quantity | None = Field(
        default=None,
        description="Units of `currency` per unit of the organisation's base currency; absent: day rate.",
    )
    amounts_are: AmountsAre = Field(
        description="Whether line amounts are `tax_exclusive`, `tax_inclusive` or `no_tax`."
    )
    lines: tuple[InvoiceLine, ...] = Field(max_length=MAX_LINES, description="The lines, in order.")
    total: Money = Field(description="What the customer is to pay, tax included.")


_EXAMPLE: JsonDict = {
    "account_id": "acc-7",
    "invoice_id": "inv-1001",
    "version": 1,
    "invoice_number": "INV-1001",
    "reference": "PO 4711",
    "customer_id": "cust-42",
    "issue_date": "2026-03-01",
    "due_date": "2026-03-31",
    "currency": "NZD",
    "amounts_are": "tax_exclusive",
    "lines": [
        {
            "line_id": "1",
            "description": "Consulting, February",
            "quantity": "2.5",
            "unit_amount": "100.00",
            "account_code": "200",
            "tax_code": "OUTPUT2",
            "tax_amount": "37.50",
            "tracking": [{"category": "Region", "option": "North"}],
        }
    ],
    "total": "287.50",
}


class InvoiceCreated(Invoice):
    """An invoice was issued in Pipeline."""

    TYPE: ClassVar[str] = "pipeline.invoice.created.v1"

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})


class InvoiceUpdated(Invoice):
    """An invoice was changed in Pipeline; this is its whole new state."""

    TYPE: ClassVar[str] = "pipeline.invoice.updated.v1"

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**_EXAMPLE, "version": 2, "reference": "PO 4712"}]}
    )


class InvoiceVoided(InvoiceEvent):
    """An invoice was cancelled in Pipeline; nothing follows for it."""

    TYPE: ClassVar[str] = "pipeline.invoice.voided.v1"

    reason: LongText | None = Field(
        default=None, description="Why, in the words of who cancelled it."
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "account_id": "acc-7",
                    "invoice_id": "inv-1001",
                    "version": 3,
                    "reason": "Billed to the wrong customer",
                }
            ]
        }
    )
