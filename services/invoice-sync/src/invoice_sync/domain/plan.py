"""What to do with an invoice whose time has come: decided from values alone, before anything is sent."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime

from pydantic import ValidationError

from invoice_sync.domain import codes, lifecycle, locks, mapping, taxes, validate
from invoice_sync.domain.account_settings import AccountSettings, InvoiceStatus
from invoice_sync.domain.blocks import block, never_connected, not_connected
from invoice_sync.domain.freshness import Standing
from invoice_sync.domain.state import (
    Account,
    Block,
    ContactMapping,
    Customer,
    Invoice,
    Link,
    Operation,
    State,
    Step,
)
from pipeline_contracts.invoice import Invoice as InvoiceBody
from pipeline_contracts.invoice import InvoiceCreated
from pipeline_contracts.problems import ProblemCode


@dataclass(frozen=True, slots=True)
class Create:
    """Send it to Xero as a new invoice: the element, ready."""

    row: Invoice
    element: dict[str, object]
    sent: str | None
    """The body behind the element, where it is not the desired one: in Xero's codes, its number with its prefix."""
    number_prefix: str


@dataclass(frozen=True, slots=True)
class Compare:
    """It is in Xero already: read it there and compare."""

    row: Invoice


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing is sent: the step to record."""

    step: Step


@dataclass(frozen=True, slots=True)
class Reread:
    """What stops an invoice, or may, was read too long ago: it is to be read again first."""

    kind: codes.CodeKind | None
    """Which of Xero's lists; None for the lock dates."""


Decision = Create | Compare | Stop | Reread


@dataclass(frozen=True, slots=True)
class Known:
    """What is known around an account's due invoices."""

    account: Account
    mappings: Mapping[str, ContactMapping]
    customers: Mapping[str, Customer]
    links: Mapping[str, Link]
    settings: mapping.WriteSettings
    terms: codes.Terms
    now: datetime


@dataclass(frozen=True, slots=True)
class Draft:
    """An invoice as Pipeline wants it, and as it would be in Xero."""

    body: InvoiceBody
    ours: InvoiceBody
    """In Xero's codes, its number with its prefix, the cents carried."""
    number_prefix: str
    is_linked: bool


@dataclass(frozen=True, slots=True)
class Objection:
    """Something in an invoice's way: the step that records it, and which of Xero's lists says so."""

    step: Step
    by_list: codes.CodeKind | None = None

    def standing(self, known: Known) -> Standing:
        """How far it may be believed: what no list says is certain."""
        if self.by_list is None:
            return Standing.FRESH
        return known.terms.lists[self.by_list].standing(known.now)


def decide(row: Invoice, known: Known) -> Decision:  # noqa: PLR0911 - one return per cause, in their order
    """Decide on one invoice. The order of the checks is the order in which causes are told."""
    if stays := elsewhere(row, known):
        return Stop(stays)
    if rests(row, known):
        return Compare(row)
    is_linked = row.invoice_id in known.links
    draft = draft_of(row, known)
    if locks.in_doubt(known.terms.locks, _days_of(row, draft, known), known.now):
        return Reread(None)
    if row.operation is Operation.VOID:
        # Unsent and cancelled: there is nothing for Xero to hear of.
        return Compare(row) if is_linked else Stop(lifecycle.never_sent(row))
    if draft is None:
        return Stop(lifecycle.failed(row, block(ProblemCode.INTERNAL_ERROR)))
    for found in objections(row, draft, known):
        match found.standing(known):
            case Standing.FRESH:
                return Stop(found.step)
            case Standing.OLD if found.by_list is not None:
                return Reread(found.by_list)
            case _:
                continue
    return Compare(row) if is_linked else create_of(row, draft, known)


def rests(row: Invoice, known: Known) -> bool:
    """Whether this version is in Xero already, so that being due only means to look at it there again."""
    return row.invoice_id in known.links and row.is_settled and row.synced_version == row.version


def draft_of(row: Invoice, known: Known) -> Draft | None:
    """The invoice as it would be in Xero; None if what is stored cannot be read."""
    body = read_body(row.desired)
    if body is None:
        return None
    link = known.links.get(row.invoice_id)
    prefix = _number_prefix(row, known.terms.settings, has_link=link is not None)
    ours = (
        taxes.for_xero(body, known.terms, prefix)
        if link is None
        else taxes.for_update(body, known.terms, prefix, link.agreed)
    )
    return Draft(body, ours, prefix, link is not None)


def objections(row: Invoice, draft: Draft, known: Known) -> Iterator[Objection]:
    """Everything in the invoice's way before Xero is asked, in the order in which causes are told."""
    if row.void_version is not None:
        yield Objection(lifecycle.failed(row, block(ProblemCode.UPDATE_AFTER_VOID)))
    start = known.terms.settings.start_date
    if not draft.is_linked and (too_early := _before_start(row, draft.body, start)):
        yield Objection(too_early)
    for finding in validate.check(draft.ours):
        yield Objection(lifecycle.failed(row, block(finding.code, **finding.facts)))
    if not draft.is_linked:
        for kind, why in _by_lists(draft.body, known.terms):
            yield Objection(lifecycle.failed(row, why), kind)
        days = _days_of(row, draft, known)
        locked = locks.stops_now(known.terms.locks, days, known.now)
        if locked is not None:
            yield Objection(lifecycle.failed(row, locked))
    customer_id = draft.body.customer_id
    contact = known.mappings.get(customer_id)
    if contact is None:
        yield Objection(_without_contact(row, customer_id, known.customers.get(customer_id)))
    elif contact.problem is not None and not draft.is_linked:
        why = block(ProblemCode(contact.problem), contact=contact.contact_name)
        yield Objection(lifecycle.waits(row, State.WAITING_FOR_CONTACT, why))


def _days_of(row: Invoice, draft: Draft | None, known: Known) -> list[date]:
    """The days of the document that no lock date may close: where it is in Xero, and where it is to go."""
    link = known.links.get(row.invoice_id)
    is_draft = known.terms.settings.invoice_status is InvoiceStatus.DRAFT
    if is_draft if link is None else link.xero_status in locks.UNISSUED:
        return []
    days = locks.days_of([link.observed.get("issue_date")] if link else [])
    if draft is None or row.operation is Operation.VOID:
        return days
    return [*days, draft.body.issue_date]


def create_of(row: Invoice, draft: Draft, known: Known) -> Create:
    """The invoice as a new one in Xero; its customer has a contact."""
    contact = known.mappings[draft.body.customer_id]
    element = mapping.to_xero(draft.ours, contact.contact_id, known.settings)
    return Create(row, element, sent_body(draft.body, draft.ours), draft.number_prefix)


def _number_prefix(row: Invoice, settings: AccountSettings, *, has_link: bool) -> str:
    """The prefix of what may be in Xero stays: under another number, a write that lands late would be a second one."""
    if has_link or row.number_prefix is not None:
        return row.number_prefix or ""
    return settings.number_prefix


def sent_body(body: InvoiceBody, ours: InvoiceBody) -> str | None:
    """The body as sent, to be kept where it is not the desired one."""
    return None if ours is body else ours.model_dump_json(exclude_none=True)


def by_codes(
    row: Invoice, body: InvoiceBody, terms: codes.Terms, now: datetime, *, new_amounts: bool
) -> Step | None:
    """What a fresh list of Xero's says to the codes and the tax of an invoice that is there; None when it may go.

    An old list stops none of these: Xero decides. Unless amounts change, the tax in Xero stays as it was agreed,
    whatever the rate is by now: the total is then not reckoned again.
    """
    for kind, why in _by_lists(body, terms):
        if why.code == ProblemCode.TOTAL_MISMATCH and not new_amounts:
            continue
        if terms.lists[kind].standing(now) is Standing.FRESH:
            return lifecycle.failed(row, why)
    return None


def _by_lists(body: InvoiceBody, terms: codes.Terms) -> Iterator[tuple[codes.CodeKind, Block]]:
    """Everything Xero's lists say against the invoice, and which list says it."""
    for found in codes.unmapped(body, terms):
        yield found.kind, replace(block(found.code, **found.facts), waits_for=found.fixes)
    if wrong := taxes.mismatch(body, terms):
        yield codes.CodeKind.TAX, block(wrong.code, **wrong.facts)


def _before_start(row: Invoice, body: InvoiceBody, start: date | None) -> Step | None:
    if start is None or body.issue_date >= start:
        return None
    why = block(ProblemCode.BEFORE_START_DATE, issue_date=body.issue_date, start_date=start)
    return lifecycle.failed(row, why)


def read_body(desired: str | None) -> InvoiceBody | None:
    """The stored body; None if there is none or a newer release wrote one that this one cannot read."""
    if desired is None:
        return None
    try:
        return InvoiceCreated.model_validate_json(desired)
    except ValidationError:
        return None


def elsewhere(row: Invoice, known: Known) -> Step | None:
    """What is in another organisation stays there; what never was in Xero goes to the one connected now.

    The connector binds an account to another organisation only after a person confirmed it.
    """
    link = known.links.get(row.invoice_id)
    if link is None or link.tenant_id == known.account.tenant_id:
        return None
    if row.is_settled:
        return lifecycle.look_again(row, None)
    return lifecycle.waits(row, State.WAITING_FOR_CONNECTION, block(ProblemCode.TENANT_CHANGED))


def _without_contact(row: Invoice, customer_id: str, customer: Customer | None) -> Step:
    if customer is not None and (customer.intent_id is not None or customer.due_at is not None):
        detail = f"the contact of {customer.name} is being created in Xero"
        return lifecycle.waits_quietly(row, State.WAITING_FOR_CONTACT, detail)
    if customer is not None and customer.block is not None:
        return lifecycle.waits(row, State.WAITING_FOR_CONTACT, customer.block)
    unmapped = block(ProblemCode.CUSTOMER_NOT_MAPPED, customer=customer_id)
    return lifecycle.waits(row, State.WAITING_FOR_CONTACT, unmapped)


def unconnected(account: Account) -> Block:
    """Why work of this account cannot be sent."""
    if not account.message:
        return never_connected()
    return not_connected(account.message, account.hint)
