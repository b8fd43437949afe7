"""What became of Pipeline's invoices and customers in Xero."""

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from pipeline_contracts import topics
from pipeline_contracts.event import Event, Value
from pipeline_contracts.fields import (
    Count,
    Flag,
    Id,
    Known,
    LongText,
    ShortText,
    Timestamp,
    Version,
    Word,
)
from pipeline_contracts.money import Money
from pipeline_contracts.observed import ObservedInvoice

MAX_DIFFERENCES = 10_000
MAX_XERO_ERRORS = 1_000

ConflictKind = Annotated[Word, Known("edited", "voided_in_xero", "deleted_in_xero")]
"""What stands between the two versions of an invoice."""

ResolvedBy = Annotated[Word, Known("pipeline_change", "xero_change", "person")]
"""By whose hand an invoice came back into step."""


class SyncEvent(Event):
    """What every event about an invoice on its way to Xero names."""

    TOPIC: ClassVar[str] = topics.SYNC.name
    KEY: ClassVar[str] = "invoice_id"

    invoice_id: Id = Field(description="Pipeline's invoice; key of the record.")
    version: Version = Field(description="Version of Pipeline's invoice it speaks of.")
    sequence: Version = Field(
        description="1, 2, … per invoice, without gaps, over all event types."
    )

    @property
    def revision(self) -> str:
        """The event's place in the invoice's history."""
        return str(self.sequence)


class InvoiceSynced(SyncEvent):
    """Xero holds the invoice as this version of Pipeline's."""

    TYPE: ClassVar[str] = "pipeline.invoice.synced.v1"

    tenant_id: Id = Field(description="Xero organisation that holds it.")
    xero_invoice_id: Id = Field(description="Xero's InvoiceID.")
    invoice_number: ShortText = Field(description="InvoiceNumber as it stands in Xero.")
    xero_status: Word = Field(
        description="Status in Xero, e.g. `AUTHORISED` or `VOIDED`; `DELETED` also where Xero has it no more."
    )
    total: Money = Field(description="Total in Xero.")
    currency: Word = Field(description="ISO 4217 code of `total`.")
    deep_link: ShortText = Field(
        description="Address that opens the invoice in Xero; empty where Xero has it no more."
    )
    xero_created_at: Timestamp | None = Field(
        default=None,
        description="When Xero created it, by Xero's clock; only in the event of the write that created it.",
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "account_id": "acc-7",
                    "invoice_id": "inv-1001",
                    "version": 1,
                    "sequence": 1,
                    "tenant_id": "9b8f2f6e-4d0c-4a5a-9d55-2f5d2f4cb9c1",
                    "xero_invoice_id": "243216c5-369e-4056-ac67-05388f86dc81",
                    "invoice_number": "INV-1001",
                    "xero_status": "AUTHORISED",
                    "total": "287.50",
                    "currency": "NZD",
                    "deep_link": "https://go.xero.com/app/!Abc1D/invoicing/view/243216c5-369e-4056-ac67-05388f86dc81",
                }
            ]
        }
    )


class SyncFailed(SyncEvent):
    """This version of the invoice is not in Xero, and here is why and what to do."""

    TYPE: ClassVar[str] = "pipeline.invoice.sync_failed.v1"

    code: Word = Field(description="The cause, for programs: a `ProblemCode`.")
    message: LongText = Field(description="The cause, for the owner of the invoice.")
    hint: LongText = Field(description="The next step.")
    retryable: Flag = Field(description="Whether it is tried again without anybody doing anything.")
    next_attempt_at: Timestamp | None = Field(
        default=None, description="When it is tried again, if so."
    )
    generation: Count = Field(description="How many times the work was started afresh.")
    xero_errors: tuple[LongText, ...] = Field(
        default=(), max_length=MAX_XERO_ERRORS, description="Xero's own messages, unchanged."
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "account_id": "acc-7",
                    "invoice_id": "inv-1001",
                    "version": 1,
                    "sequence": 1,
                    "code": "CUSTOMER_NOT_MAPPED",
                    "message": "Customer cust-42 is not linked to a contact in Xero.",
                    "hint": "Link the customer to its Xero contact; the invoice then follows by itself.",
                    "retryable": False,
                    "generation": 1,
                    "xero_errors": [],
                }
            ]
        }
    )


class Difference(Value):
    """One field in which Pipeline and Xero disagree; an absent value means the field is not set there."""

    field: ShortText = Field(description="The field, e.g. `due_date` or `lines[2].quantity`.")
    base: LongText | None = Field(default=None, description="Value both last agreed on.")
    pipeline: LongText | None = Field(default=None, description="Value in Pipeline.")
    xero: LongText | None = Field(default=None, description="Value in Xero.")


class OutOfSync(SyncEvent):
    """The invoice was changed in both systems; nothing is overwritten until they agree."""

    TYPE: ClassVar[str] = "pipeline.invoice.out_of_sync.v1"

    tenant_id: Id = Field(description="Xero organisation that holds it.")
    xero_invoice_id: Id = Field(description="Xero's InvoiceID.")
    xero_updated_at: Timestamp | None = Field(
        default=None, description="Xero's version: UpdatedDateUTC of the state compared."
    )
    differences: tuple[Difference, ...] = Field(
        max_length=MAX_DIFFERENCES, description="Where the two versions differ."
    )
    message: LongText = Field(description="What happened, for the owner of the invoice.")
    hint: LongText = Field(description="The next step.")
    kind: ConflictKind | None = Field(
        default=None,
        description="`edited` on both sides, or withdrawn in Xero: `voided_in_xero`, `deleted_in_xero`.",
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "account_id": "acc-7",
                    "invoice_id": "inv-1001",
                    "version": 2,
                    "sequence": 2,
                    "tenant_id": "9b8f2f6e-4d0c-4a5a-9d55-2f5d2f4cb9c1",
                    "xero_invoice_id": "243216c5-369e-4056-ac67-05388f86dc81",
                    "xero_updated_at": "2026-03-02T21:14:05Z",
                    "differences": [
                        {
                            "field": "due_date",
                            "base": "2026-03-31",
                            "pipeline": "2026-04-15",
                            "xero": "2026-04-30",
                        }
                    ],
                    "message": "Invoice INV-1001 was changed both in Pipeline and in Xero.",
                    "hint": "Make the invoice the same in both; syncing resumes by itself.",
                }
            ]
        }
    )


class SyncResumed(SyncEvent):
    """Both systems agree on the invoice again."""

    TYPE: ClassVar[str] = "pipeline.invoice.sync_resumed.v1"

    tenant_id: Id = Field(description="Xero organisation that holds it.")
    xero_invoice_id: Id = Field(description="Xero's InvoiceID.")
    resolved_by: ResolvedBy = Field(
        description="`pipeline_change` or `xero_change` made them agree; `person`: somebody, or a program, chose a side."
    )
    invoice: ObservedInvoice | None = Field(
        default=None,
        description="The invoice as Xero has it, in Xero's codes, where a person chose Xero's version: for Pipeline to "
        "take over. Absent too where it is beyond the size of an event.",
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "account_id": "acc-7",
                    "invoice_id": "inv-1001",
                    "version": 3,
                    "sequence": 3,
                    "tenant_id": "9b8f2f6e-4d0c-4a5a-9d55-2f5d2f4cb9c1",
                    "xero_invoice_id": "243216c5-369e-4056-ac67-05388f86dc81",
                    "resolved_by": "pipeline_change",
                }
            ]
        }
    )


class ContactMapped(Event):
    """A customer of Pipeline is now linked to this contact in Xero."""

    TYPE: ClassVar[str] = "pipeline.customer.contact_mapped.v1"
    TOPIC: ClassVar[str] = topics.SYNC.name
    KEY: ClassVar[str] = "customer_id"

    customer_id: Id = Field(description="Pipeline's customer; key of the record.")
    contact_id: Id = Field(description="Xero's ContactID.")
    contact_name: ShortText | None = Field(default=None, description="Name of the contact in Xero.")
    mapped_by: ShortText = Field(description="Who linked them: `user:<id>` or `service:<name>`.")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "account_id": "acc-7",
                    "customer_id": "cust-42",
                    "contact_id": "025867f1-d741-4d6b-b1af-9ac774b59ba7",
                    "contact_name": "Ridgeway University",
                    "mapped_by": "service:invoice-sync",
                }
            ]
        }
    )
