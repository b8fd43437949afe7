"""Why is this invoice not in Xero? Everything known about one invoice, in one answer."""

from dataclasses import dataclass
from datetime import datetime

from invoice_sync.domain.blocks import block, contact_pending, mover_of
from invoice_sync.domain.plan import unconnected
from invoice_sync.domain.queue import MOST_COUNTED, Place, kind_of, place
from invoice_sync.domain.state import Account, Block, Invoice, Link, Note, State
from invoice_sync.store import accounts, contact_mappings, invoice_links, invoices, timeline
from invoice_sync.store.timeline import TimelineEntry
from pipeline_contracts.problems import ProblemCode
from pipeline_messaging.connection import Connection
from pipeline_xero.queries import invoice_link

_UNDER_WAY = frozenset({State.PENDING, State.SYNCING, State.WAITING_FOR_BUDGET})


@dataclass(frozen=True, slots=True)
class Cause:
    """What the invoice waits for first, in words, and whose move it is."""

    block: Block
    whose_move: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """One invoice: where it stands, why, and how it came there."""

    invoice: Invoice
    state: State
    cause: Cause | None
    next_attempt_at: datetime | None
    place: Place | None
    """Its place in the account's queue; None if it waits for something else than its turn."""
    link: Link | None
    deep_link: str | None
    timeline: tuple[TimelineEntry, ...]


async def explain_sync(
    conn: Connection, account_id: str, invoice_id: str, xero_web_url: str
) -> Explanation | None:
    """Explain one invoice; None if this account has none of that id."""
    invoice = await invoices.find_invoice(conn, account_id, invoice_id)
    if invoice is None:
        return None
    account, now = await accounts.find(conn, account_id)
    link = (await invoice_links.links_of(conn, account_id, [invoice_id])).get(invoice_id)
    state, cause = _cause(invoice, account, now)
    next_attempt_at = _next_attempt(invoice, account, now)
    return Explanation(
        invoice=invoice,
        state=state,
        cause=cause,
        next_attempt_at=next_attempt_at,
        place=await _place(conn, invoice, next_attempt_at),
        link=link,
        deep_link=invoice_link(xero_web_url, account.short_code, link.xero_invoice_id)
        if link
        else None,
        timeline=await _timeline(conn, invoice, account),
    )


async def _timeline(
    conn: Connection, invoice: Invoice, account: Account
) -> tuple[TimelineEntry, ...]:
    """What happened to the invoice; the linking of its customer stands where it came in between."""
    entries = await timeline.timeline_of(conn, invoice.account_id, invoice.invoice_id)
    customer_id, tenant_id = invoice.customer_id or "", account.tenant_id or ""
    mapped = await contact_mappings.mappings_of(conn, invoice.account_id, tenant_id, [customer_id])
    linked = mapped.get(customer_id)
    if linked is None or linked.mapped_at is None:
        return tuple(entries)
    earlier = [each for each in entries if each.at <= linked.mapped_at]
    if not earlier:
        return tuple(entries)
    told = f"customer {customer_id} linked to {linked.contact_name or linked.contact_id} by {linked.mapped_by}"
    note = TimelineEntry(linked.mapped_at, Note("contact_mapped", told))
    return (*earlier, note, *entries[len(earlier) :])


async def _place(conn: Connection, invoice: Invoice, starts_at: datetime | None) -> Place | None:
    if starts_at is None or invoice.is_settled:
        return None
    kind = kind_of(invoice)
    most = MOST_COUNTED + 1
    ahead = await invoices.due_before(
        conn, invoice.account_id, invoice.invoice_id, kind, limit=most
    )
    due = await invoices.due_kinds(conn, invoice.account_id)
    return place(ahead, kind, due, starts_at)


def _cause(invoice: Invoice, account: Account, now: datetime) -> tuple[State, Cause | None]:
    """The state as a person should see it, and the first thing in its way.

    An account that rests or is not connected stops all its work; that is not written on each of its rows.
    """
    state = invoice.state
    if state in {State.SYNCED, State.VOIDED}:
        return state, None
    is_going_on = state in _UNDER_WAY or (
        state is State.WAITING_FOR_CONTACT and invoice.block is None
    )
    if is_going_on and account.is_heard_of and not account.is_connected:
        return State.WAITING_FOR_CONNECTION, _named(unconnected(account))
    if state in _UNDER_WAY and account.paused_until is not None and account.paused_until > now:
        code = ProblemCode(account.paused_code or ProblemCode.XERO_UNAVAILABLE)
        why = _named(block(code, retry_at=f"at {account.paused_until:%H:%M} UTC"))
        limited = code is ProblemCode.RATE_LIMITED and state is not State.SYNCING
        return (State.WAITING_FOR_BUDGET if limited else state), why
    if invoice.block is not None:
        return state, _named(invoice.block)
    if state is State.WAITING_FOR_CONTACT:
        return state, _named(contact_pending())
    return state, None


def _named(why: Block) -> Cause:
    return Cause(why, mover_of(why.code))


def _next_attempt(invoice: Invoice, account: Account, now: datetime) -> datetime | None:
    if invoice.due_at is None or not account.is_connected:
        return None
    return max(invoice.due_at, account.paused_until or invoice.due_at, now)
