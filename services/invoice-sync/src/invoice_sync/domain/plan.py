"""What to do with an invoice whose time has come: decided from values alone, before anything is sent."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime

from pydantic import ValidationError

from invoice_sync.domain import codes, lifecycle, mapping, taxes, validate
from invoice_sync.domain.account_settings import AccountSettings
from invoice_sync.domain.blocks import block, never_connected, not_connected
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
    """A code is missing in a list that is too old to stop an invoice: it is to be read again first."""

    kind: codes.CodeKind


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


def decide(row: Invoice, known: Known) -> Decision:  # noqa: PLR0911 - one return per cause, in their order
    """Decide on one invoice. The order of the checks is the order in which causes are told."""
    if elsewhere := _elsewhere(row, known):
        return Stop(elsewhere)
    has_link = row.invoice_id in known.links
    if has_link and row.is_settled and row.synced_version == row.version:
        return Compare(row)
    if row.operation is Operation.VOID:
        # Unsent and cancelled: there is nothing for Xero to hear of.
        return Compare(row) if has_link else Stop(lifecycle.never_sent(row))
    if row.void_version is not None:
        return Stop(lifecycle.failed(row, block(ProblemCode.UPDATE_AFTER_VOID)))
    body = read_body(row.desired)
    if body is None:
        return Stop(lifecycle.failed(row, block(ProblemCode.INTERNAL_ERROR)))
    if not has_link and (too_early := _before_start(row, body, known.terms.settings.start_date)):
        return Stop(too_early)
    prefix = _number_prefix(row, known.terms.settings, has_link=has_link)
    ours = taxes.for_xero(body, known.terms, prefix)
    if findings := validate.check(ours):
        return Stop(lifecycle.failed(row, block(findings[0].code, **findings[0].facts)))
    if not has_link and (stopped := by_codes(row, body, known.terms, known.now)):
        return stopped
    contact = known.mappings.get(body.customer_id)
    if contact is None:
        return Stop(_without_contact(row, body.customer_id, known.customers.get(body.customer_id)))
    if has_link:
        return Compare(row)
    if contact.problem is not None:
        why = block(ProblemCode(contact.problem), contact=contact.contact_name)
        return Stop(lifecycle.waits(row, State.WAITING_FOR_CONTACT, why))
    element = mapping.to_xero(ours, contact.contact_id, known.settings)
    return Create(row, element, sent_body(body, ours), prefix)


def _number_prefix(row: Invoice, settings: AccountSettings, *, has_link: bool) -> str:
    """The prefix of what may be in Xero stays: under another number, a write that lands late would be a second one."""
    if has_link or row.number_prefix is not None:
        return row.number_prefix or ""
    return settings.number_prefix


def sent_body(body: InvoiceBody, ours: InvoiceBody) -> str | None:
    """The body as sent, to be kept where it is not the desired one."""
    return None if ours is body else ours.model_dump_json(exclude_none=True)


def by_codes(
    row: Invoice, body: InvoiceBody, terms: codes.Terms, now: datetime
) -> Stop | Reread | None:
    """What Xero's lists say to the invoice's codes and its tax; None when it may go. Only a fresh list stops anything."""
    for kind, why in _by_lists(body, terms):
        match terms.lists[kind].standing(now):
            case codes.Standing.FRESH:
                return Stop(lifecycle.failed(row, why))
            case codes.Standing.OLD:
                return Reread(kind)
            case codes.Standing.UNREADABLE:
                continue
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


def _elsewhere(row: Invoice, known: Known) -> Step | None:
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
