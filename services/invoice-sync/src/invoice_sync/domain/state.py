"""Invoices, accounts, customers and intents as values: what a row says, and what one transition changes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from invoice_sync.domain.three_way import Snapshot
from pipeline_contracts.event import Event


class State(StrEnum):
    """Where an invoice stands. Waiting is a state, not an error."""

    PENDING = "pending"
    WAITING_FOR_CONNECTION = "waiting_for_connection"
    WAITING_FOR_CONTACT = "waiting_for_contact"
    WAITING_FOR_BUDGET = "waiting_for_budget"
    SYNCING = "syncing"
    SYNCED = "synced"
    FAILED = "failed"
    OUT_OF_SYNC = "out_of_sync"
    VOIDED = "voided"


WAITING: Final = frozenset(
    {
        State.PENDING,
        State.WAITING_FOR_CONNECTION,
        State.WAITING_FOR_CONTACT,
        State.WAITING_FOR_BUDGET,
        State.SYNCING,
    }
)
"""On the way to Xero, and not there yet: what stands still while an account is disconnected."""


class Operation(StrEnum):
    """What Pipeline wants of the document."""

    WRITE = "write"
    VOID = "void"


@dataclass(frozen=True, slots=True)
class Block:
    """Why an invoice is not going on, in words for its owner."""

    code: str
    message: str
    hint: str
    retryable: bool
    xero_errors: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    """Fixes of codes (``domain.codes.fix``), any of which releases it."""


@dataclass(frozen=True, slots=True)
class IntentRef:
    """The write this invoice is part of: which intent, which place in its body, which version was sent."""

    id: int
    position: int
    version: int


@dataclass(frozen=True, slots=True)
class Invoice:
    """A row of ``invoices``, read under its lock."""

    account_id: str
    invoice_id: str
    state: State
    version: int
    operation: Operation
    desired: str | None
    """The event's body as JSON; None while only a void is known."""
    invoice_number: str | None = None
    customer_id: str | None = None
    void_version: int | None = None
    tenant_id: str | None = None
    generation: int = 1
    attempts: int = 0
    due_at: datetime | None = None
    block: Block | None = None
    sequence: int = 0
    intent: IntentRef | None = None
    synced_version: int | None = None
    sent: str | None = None
    """The body as it was when the open intent was made; newer versions may have replaced ``desired`` since."""
    send_alone: bool = False
    """Whether it must not share a call: a batch with it failed as a whole, or its outcome was unknown."""
    told: str | None = None
    """Generation and code of the last SyncFailed, so that trying again in vain does not repeat it."""
    number_prefix: str | None = None
    """What its number in Xero begins with, since it was sent; None before that, and once Xero refused it."""
    waiting_since: datetime | None = None
    """Since when Xero is not as Pipeline wishes it."""
    traceparent: str | None = None
    """The W3C trace context under which the newest version was taken in."""

    @property
    def told_code(self) -> str | None:
        """The code of what was told of it last."""
        first, _, second = (self.told or "").partition("/")
        return (second if first.isdecimal() else first) or None

    @property
    def is_failure_told(self) -> bool:
        """Whether the world last heard that it is not in Xero: that it is, must then be told, too."""
        return self.told is not None and self.told.partition("/")[0].isdecimal()

    @property
    def xero_number(self) -> str:
        """Its number as it is, or would be, in Xero."""
        return (self.number_prefix or "") + (self.invoice_number or "").strip()

    @property
    def is_settled(self) -> bool:
        """Whether it rests (in step or in conflict), so that being due only means "look again in Xero"."""
        return self.state in {State.SYNCED, State.OUT_OF_SYNC}


@dataclass(frozen=True, slots=True)
class Link:
    """Our invoice's counterpart in Xero, the last agreed state and the last state read."""

    account_id: str
    invoice_id: str
    tenant_id: str
    xero_invoice_id: str
    xero_number: str
    xero_status: str
    line_item_ids: dict[str, str]
    """Our line_id -> Xero's LineItemID."""
    agreed: Snapshot
    """What Pipeline wanted when both last agreed, in Pipeline's words."""
    base: Snapshot
    """The same moment in Xero's words: trimmed, with Xero's defaults filled in."""
    observed: Snapshot
    observed_at: datetime
    is_paid: bool = False
    """Whether something was paid or credited when last seen, so that Xero lets little of it change."""
    xero_updated_at: datetime | None = None
    """Xero's own time of the state last seen."""
    kept: frozenset[str] = frozenset()
    """The fields on which a person chose Xero's value and Pipeline has another one still."""
    kept_by: str | None = None
    """Who chose so last."""


class Keep(StrEnum):
    """Whose version of an invoice in conflict is to stand."""

    PIPELINE = "pipeline"
    XERO = "xero"


@dataclass(frozen=True, slots=True)
class Choice:
    """A person's choice, and the picture it was made of."""

    keep: Keep
    fingerprint: str
    actor: str


@dataclass(frozen=True, slots=True)
class Note:
    """One line of an invoice's timeline."""

    kind: str
    detail: str | None = None
    code: str | None = None
    version: int | None = None
    correlation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One transition, complete: the new row, and what must be committed with it."""

    row: Invoice
    events: tuple[Event, ...] = ()
    notes: tuple[Note, ...] = ()
    link: Link | None = field(default=None)


@dataclass(frozen=True, slots=True)
class Account:
    """A row of ``accounts``: the connection as last heard, and until when the account rests."""

    account_id: str
    status: str = "UNKNOWN"
    reason: str | None = None
    message: str | None = None
    hint: str | None = None
    tenant_id: str | None = None
    tenant_name: str | None = None
    short_code: str | None = None
    base_currency: str | None = None
    sequence: int = 0
    paused_until: datetime | None = None
    paused_code: str | None = None
    pause_count: int = 0
    last_kind: str | None = None
    """The kind of invoices that had the account's last turn (``turns.Kind``), while several shared them."""
    codes_due_at: datetime | None = None
    """When the organisation's codes are to be read; None: when an invoice asks for it."""
    import_due_at: datetime | None = None
    """When the next step of its import is due; None: none is under way."""
    reconcile_due_at: datetime | None = None
    """When the next step of its reconciliation is due; None: none was ever planned."""

    @property
    def is_heard_of(self) -> bool:
        """Whether any event about the connection was read; without one we know nothing about it."""
        return self.sequence > 0

    @property
    def is_connected(self) -> bool:
        """Whether work may be sent at all."""
        return self.status == "CONNECTED" and self.tenant_id is not None


@dataclass(frozen=True, slots=True)
class Customer:
    """A row of ``customers``: a customer of Pipeline that becomes a contact in Xero."""

    account_id: str
    customer_id: str
    version: int
    name: str
    email: str | None = None
    phone: str | None = None
    tax_number: str | None = None
    tenant_id: str | None = None
    due_at: datetime | None = None
    attempts: int = 0
    block: Block | None = None
    intent_id: int | None = None
    intent_position: int | None = None
    unlinked: bool = False
    """Whether a person unlinked it: only a person links it again."""
    traceparent: str | None = None
    """Under which its newest version was taken in."""


@dataclass(frozen=True, slots=True)
class ContactDifference:
    """A field of a contact that was changed both in Pipeline and in Xero; Xero's value stays."""

    field: str
    base: str
    pipeline: str
    xero: str


@dataclass(frozen=True, slots=True)
class ContactMapping:
    """Which contact in Xero a customer is, in which organisation, and by whose word."""

    account_id: str
    tenant_id: str
    customer_id: str
    contact_id: str
    contact_name: str | None
    mapped_by: str
    mapped_at: datetime | None = None
    agreed: Mapping[str, str] | None = None
    """What Pipeline wanted of the contact when both last agreed; None if that is not known."""
    base: Mapping[str, str] | None = None
    """What Xero held then; None if that is not known."""
    differences: tuple[ContactDifference, ...] = ()
    problem: str | None = None
    """Why Xero takes no new invoices for the contact, as last read: archived, erased or gone."""
    refused: bool = False
    """Whether Xero refused an invoice because of the contact since it was last read."""
    check_at: datetime | None = None
    """When the contact is to be read in Xero."""
    healed_at: datetime | None = None
    """When it was last found usable again, after Xero had said that it is not."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A write that may be on its way: exact bytes and key, committed before the first sending."""

    id: int
    account_id: str
    tenant_id: str
    kind: str
    method: str
    path: str
    body: bytes
    idempotency_key: str
    first_sent_at: datetime
    must_look_up: bool
    attempts: int
    due_at: datetime
