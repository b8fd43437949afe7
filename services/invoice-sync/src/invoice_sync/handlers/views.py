"""What the HTTP interface answers with."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from invoice_sync.domain.left_apart import LeftApart
from invoice_sync.domain.resolution import Conflict
from invoice_sync.domain.three_way import FieldDifference
from pipeline_contracts.money import Money, Quantity


class CauseView(BaseModel):
    """The first thing in the invoice's way."""

    code: str = Field(description="Stable name of the cause.")
    message: str = Field(description="The cause in a sentence for the invoice's owner.")
    hint: str = Field(description="The next step.")
    whose_move: str = Field(
        description="`bookkeeper`, `xero_admin`, `account_admin`, `support`, or `system` when it heals by itself."
    )
    retryable: bool = Field(description="Whether it is tried again without anybody doing anything.")
    xero_errors: list[str] = Field(description="Xero's own messages, unchanged.")


class InXeroView(BaseModel):
    """The invoice's counterpart in Xero."""

    tenant_id: str = Field(description="The Xero organisation.")
    xero_invoice_id: str = Field(description="Xero's InvoiceID.")
    invoice_number: str = Field(description="Its number there.")
    status: str = Field(description="Its status when last seen.")
    deep_link: str = Field(description="Address that opens it in Xero.")
    observed_at: datetime = Field(description="When it was last seen.")


class DifferenceView(BaseModel):
    """A field on which Pipeline and Xero differ."""

    field: str
    base: str | None = Field(description="What both last agreed on.")
    pipeline: str | None
    xero: str | None

    @classmethod
    def of(cls, found: FieldDifference) -> Self:
        """The view of a difference."""
        return cls(field=found.field, base=found.base, pipeline=found.pipeline, xero=found.xero)


class OptionView(BaseModel):
    """One side to choose."""

    keep: Literal["pipeline", "xero"]
    allowed: bool = Field(description="Whether it can be chosen.")
    why_not: str | None = Field(description="Why it cannot be chosen.")
    follows: str = Field(
        description="What follows from it; where it cannot be chosen, the next step."
    )


class ConflictView(BaseModel):
    """What a person may decide."""

    kind: str = Field(
        description="`edited` on both sides; `voided_in_xero`, `deleted_in_xero`, `gone_from_xero`; or "
        "`refused_by_xero`: Xero takes Pipeline's change no more."
    )
    fingerprint: str = Field(description="Names what is shown here; given back with the choice.")
    differences: list[DifferenceView] = Field(
        description="Where both sides differ, field by field, the total first."
    )
    in_words: list[str] = Field(
        description="The same for people: the total first, then one sentence per field of the invoice and per line."
    )
    choices: list[OptionView]

    @classmethod
    def of(cls, found: Conflict) -> Self:
        """The view of a conflict."""
        return cls(
            kind=found.kind,
            fingerprint=found.fingerprint,
            differences=[DifferenceView.of(each) for each in found.differences],
            in_words=list(found.in_words),
            choices=[
                OptionView(
                    keep=each.keep.value,
                    allowed=each.allowed,
                    why_not=each.why_not,
                    follows=each.follows,
                )
                for each in found.options
            ],
        )


class LeftApartView(BaseModel):
    """Where an invoice that rests is not the same on both sides, and why that is left so."""

    kind: str = Field(
        description="`edited_in_xero`: somebody changed it there alone; `kept_in_xero`: somebody chose to keep Xero's "
        "version, and Pipeline has another one still."
    )
    message: str
    hint: str = Field(description="What would end it.")
    differences: list[DifferenceView] = Field(description="Field by field, the total first.")
    in_words: list[str] = Field(description="The same for people.")

    @classmethod
    def of(cls, found: LeftApart) -> Self:
        """The view of what is left apart."""
        return cls(
            kind=found.kind,
            message=found.message,
            hint=found.hint,
            differences=[DifferenceView.of(each) for each in found.differences],
            in_words=list(found.in_words),
        )


class TimelineView(BaseModel):
    """One thing that happened to the invoice."""

    at: datetime
    kind: str = Field(
        description="For example `InvoiceCreated`, `sync_failed`, `synced`, `adopted`, `out_of_sync`."
    )
    version: int | None = Field(description="The version of the invoice it concerns.")
    code: str | None = Field(description="The cause, where there is one.")
    detail: str | None
    xero_correlation_id: str | None = Field(
        description="Xero's name for the call, for its support."
    )


class PlaceView(BaseModel):
    """An invoice's place in its account's queue."""

    ahead: int = Field(description="How many invoices are due before it.")
    is_exact: bool = Field(description="False: there are more than `ahead`.")
    expected_at: datetime | None = Field(
        description="About when it is in Xero, at Xero's limit of calls and if nothing comes between; null if nobody "
        "can say."
    )


class SyncView(BaseModel):
    """Where one invoice stands on its way to Xero, why, and how it came there."""

    account_id: str
    invoice_id: str
    state: str = Field(
        description="`pending`, `waiting_for_connection`, `waiting_for_contact`, `waiting_for_budget`, `syncing`, "
        "`synced`, `failed`, `out_of_sync` or `voided`."
    )
    version: int = Field(description="Newest version of Pipeline's invoice.")
    synced_version: int | None = Field(description="Newest version that Xero held.")
    generation: int = Field(description="How often the work was started afresh.")
    cause: CauseView | None = Field(
        description="What it waits for first; null when nothing is in the way."
    )
    next_attempt_at: datetime | None = Field(description="When it is tried again by itself.")
    queue: PlaceView | None = Field(
        description="Its place in the account's queue; null while it waits for something else than its turn."
    )
    in_xero: InXeroView | None = Field(description="Its counterpart in Xero, once there is one.")
    differences: list[DifferenceView] = Field(
        description="Where both sides differ: in conflict, or left apart."
    )
    conflict: ConflictView | None = Field(
        None, description="What a person may decide, where there is anything: see `…/sync/resolve`."
    )
    left_apart: LeftApartView | None = Field(
        None, description="Why a synced invoice differs nevertheless; null where both sides agree."
    )
    timeline: list[TimelineView] = Field(
        description="What happened, oldest first; the newest 200 entries."
    )


class RetryView(BaseModel):
    """What a retry started."""

    released: int = Field(description="How many invoices are taken up again.")


class MoneyView(BaseModel):
    """A sum in one currency."""

    currency: str
    total: Money


class FailureView(BaseModel):
    """The invoices one cause keeps from Xero."""

    code: str = Field(description="The cause.")
    customer_id: str | None = Field(
        description="The customer without a usable contact, where that is the cause."
    )
    message: str
    hint: str
    whose_move: str
    invoices: int = Field(description="How many invoices.")
    totals: list[MoneyView] = Field(description="How much money, by currency.")
    waiting_since: datetime = Field(
        description="Since when the first of them is not in Xero as Pipeline wants it; trying again does not move it."
    )
    sample: list[str] = Field(description="Up to five of the invoices, oldest first, per currency.")


class FailuresView(BaseModel):
    """Everything that keeps an account's invoices from Xero, by cause."""

    account_id: str
    invoices: int
    failures: list[FailureView]


class SummaryView(BaseModel):
    """How many invoices of an account are where."""

    account_id: str
    states: dict[str, int] = Field(description="The number of invoices in each state.")
    waiting: int = Field(
        description="Those on their way to Xero: pending, being sent, or waiting for something."
    )
    failed: int = Field(description="Those that were refused and need somebody's help.")
    synced: int = Field(description="Those that are in Xero as they are in Pipeline.")


class FindingView(BaseModel):
    """One check that fails."""

    code: str = Field(description="Stable name of the cause.")
    message: str = Field(description="The cause in a sentence for the invoice's owner.")
    hint: str = Field(description="The next step.")
    whose_move: str = Field(description="As of a cause.")
    by_xero: bool = Field(
        description="Whether it is sent all the same and Xero refuses it; otherwise Pipeline stops it before."
    )
    is_certain: bool = Field(
        description="False where it rests on a list of Xero's that is read again before it stops anything, or where "
        "Xero could not be asked."
    )


class WriteView(BaseModel):
    """The call to Xero, exactly as it would leave if this invoice went alone."""

    method: str
    path: str
    params: dict[str, str]
    body: Any = Field(description="The body as JSON, for reading.")
    text: str = Field(description="The body byte for byte: amounts keep their digits here.")


class LineSumView(BaseModel):
    """How one line comes to its amount in Xero: rounded to the cent, tax and all, before lines are summed."""

    line_id: str
    description: str
    quantity: Quantity = Field(description="As sent, with four decimals at most.")
    unit_amount: Quantity = Field(description="As sent, with four decimals at most.")
    discount_rate: Quantity | None = Field(description="In percent.")
    account_code: str | None = Field(description="By Xero's name; null is the default account.")
    tax_type: str | None = Field(description="By Xero's name; null leaves it to Xero.")
    line_amount: Money = Field(description="Quantity times unit amount less discount, in cents.")
    tax_amount: Money | None = Field(description="Null where only Xero knows it.")
    carried: Money = Field(
        description="The cent by which the tax differs from Xero's own rounding, so that both totals are equal."
    )


class TotalsView(BaseModel):
    """The totals of both sides."""

    pipeline: Money = Field(description="The total as Pipeline states it.")
    xero_at_least: Money = Field(description="What the lines come to in Xero, at least …")
    xero_at_most: Money = Field(description="… and at most: the same where it is known.")
    difference: Money = Field(
        description="Pipeline's total less Xero's: where nothing would be sent less the one that is there now, else "
        "less what the lines would come to; 0.00 when it fits."
    )
    in_xero_now: Money | None = Field(description="The total of the invoice that is in Xero.")


class PreviewView(BaseModel):
    """What is ahead of an invoice. Nothing was sent and nothing recorded."""

    account_id: str
    invoice_id: str
    version: int = Field(description="The version that is meant.")
    state: str = Field(
        description="Where the invoice stands now; `pending` if it is not published."
    )
    ahead: str = Field(
        description="`create`, `change`, `void`, `nothing` (both agree, or only Xero changed), `stop` (Pipeline stops "
        "it), `refusal` (Xero will refuse it) or `conflict`."
    )
    findings: list[FindingView] = Field(description="Every check that fails, not only the first.")
    request: WriteView | None = Field(
        description="What would be sent, were nothing in the way; null when there is nothing to send or no contact."
    )
    lines: list[LineSumView]
    totals: TotalsView | None
    changed: list[str] = Field(description="The fields a change would touch.")
    differences: list[DifferenceView] = Field(
        description="Where both sides differ, for an invoice that is in Xero."
    )
    left_apart: LeftApartView | None = Field(
        description="Why they would go on to differ, where nothing would be sent and nobody is asked."
    )


class ContactDifferenceView(BaseModel):
    """A field of a contact that both sides changed."""

    field: str = Field(description="`name`, `email`, `phone` or `tax_number`.")
    base: str = Field(description="What Xero held when both last agreed.")
    pipeline: str
    xero: str


class RefusedChangeView(BaseModel):
    """Why Xero did not take Pipeline's last change of a linked customer."""

    code: str
    message: str
    hint: str


class ContactSuggestionView(BaseModel):
    """A contact in Xero that a customer may be."""

    contact_id: str = Field(description="Xero's ContactID.")
    name: str | None
    email: str | None
    reasons: list[str] = Field(
        description="Why, the strongest first: `same_contact_number`, `same_email`, `same_tax_number`, `same_name`, "
        "`similar_name`."
    )
    linked_customers: list[str] = Field(
        description="Customers that are linked to this contact already."
    )
    deep_link: str = Field(description="The contact's page in Xero.")


class CustomerSuggestionsView(BaseModel):
    """A customer, and the contacts it may be, the likeliest first."""

    customer_id: str
    customer_name: str
    code: str | None = Field(description="What keeps the customer from being linked, if known.")
    message: str | None
    hint: str | None
    suggestions: list[ContactSuggestionView]


class SuggestionsView(BaseModel):
    """Customers whose invoices wait for a contact, those with the most invoices first."""

    customers: list[CustomerSuggestionsView]


class ContactMappingView(BaseModel):
    """Which contact in Xero a customer is."""

    account_id: str
    customer_id: str
    contact_id: str = Field(description="Xero's ContactID.")
    contact_name: str | None
    tenant_id: str = Field(description="The Xero organisation the contact is in.")
    mapped_by: str = Field(description="Who linked them: `user:<id>` or `service:<name>`.")
    mapped_at: datetime | None
    released: int | None = Field(
        default=None, description="Invoices released by making this mapping."
    )
    problem: str | None = Field(
        default=None,
        description="Why Xero takes no new invoices for the contact: `CONTACT_ARCHIVED`, `CONTACT_ERASED` or "
        "`CONTACT_NOT_FOUND`.",
    )
    shared_with: list[str] = Field(
        default_factory=list,
        description="Other customers linked to the same contact. While there are any, changes of these customers change "
        "nothing in Xero. Told where one customer is asked for.",
    )
    differences: list[ContactDifferenceView] = Field(
        default_factory=list,
        description="Fields changed both in Pipeline and in Xero. Xero's value stays until both are the same, or the "
        "customer is linked anew.",
    )
    refused_change: RefusedChangeView | None = Field(
        default=None,
        description="Pipeline's last change of the customer, if Xero did not take it. Its invoices go on. Told where one "
        "customer is asked for.",
    )


class ContactMappingsView(BaseModel):
    """A page of mappings in the order of customer ids."""

    mappings: list[ContactMappingView]
    next_after: str | None = Field(
        description="Pass as `after` for the next page; null on the last one."
    )
