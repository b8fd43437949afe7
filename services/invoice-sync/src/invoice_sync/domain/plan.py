"""What to do with an invoice whose time has come: decided from values alone, before anything is sent."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from invoice_sync.domain import lifecycle, mapping, validate
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


@dataclass(frozen=True, slots=True)
class Compare:
    """It is in Xero already: read it there and compare."""

    row: Invoice


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing is sent: the step to record."""

    step: Step


Decision = Create | Compare | Stop


@dataclass(frozen=True, slots=True)
class Known:
    """What is known around an account's due invoices."""

    account: Account
    mappings: Mapping[str, ContactMapping]
    customers: Mapping[str, Customer]
    links: Mapping[str, Link]
    settings: mapping.WriteSettings


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
    if findings := validate.check(body):
        return Stop(lifecycle.failed(row, block(findings[0].code, **findings[0].facts)))
    contact = known.mappings.get(body.customer_id)
    if contact is None:
        return Stop(_without_contact(row, body.customer_id, known.customers.get(body.customer_id)))
    if has_link:
        return Compare(row)
    if contact.problem is not None:
        why = block(ProblemCode(contact.problem), contact=contact.contact_name)
        return Stop(lifecycle.waits(row, State.WAITING_FOR_CONTACT, why))
    return Create(row, mapping.to_xero(body, contact.contact_id, known.settings))


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
