"""What to do next for an account: one transaction that looks, decides, and commits the intent of what is to be sent."""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from invoice_sync.deps import Deps
from invoice_sync.domain import contact_fields, contacts, lifecycle, mapping
from invoice_sync.domain.account_settings import MappingPolicy
from invoice_sync.domain.codes import CodeKind, Terms
from invoice_sync.domain.mapping import WriteSettings
from invoice_sync.domain.plan import Compare, Create, Known, Reread, Stop, decide, unconnected
from invoice_sync.domain.reconciliation import PATIENCE, next_slot
from invoice_sync.domain.state import (
    Account,
    Block,
    ContactMapping,
    Customer,
    Intent,
    IntentRef,
    Invoice,
    State,
    Step,
)
from invoice_sync.domain.turns import MAX_BODY_BYTES, Kind, next_kind, sharing
from invoice_sync.read_codes import record_steps
from invoice_sync.record_contacts import block_customers
from invoice_sync.store import (
    account_settings,
    accounts,
    codes,
    contact_mappings,
    customers,
    intents,
    invoice_links,
    invoices,
    steps,
)
from pipeline_contracts.problems import ProblemCode
from pipeline_messaging.connection import Connection
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.worker import Lease


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to do before ``until`` (None: before something new comes)."""

    until: datetime | None


@dataclass(frozen=True, slots=True)
class Resume:
    """Writes whose outcome is not known come first: what they carried may be in Xero already."""

    account: Account
    open_intents: tuple[Intent, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """A write is recorded and to be sent now, for the first time."""

    account: Account
    intent: Intent
    chosen_at: float
    """When, by the monotonic clock: one that was frozen since must not send as if nothing had happened."""


@dataclass(frozen=True, slots=True)
class CompareInXero:
    """Invoices of one kind that are in Xero already: they are read there together, and each is compared."""

    account: Account
    rows: tuple[Invoice, ...]


@dataclass(frozen=True, slots=True)
class MatchContacts:
    """Customers that may be contacts in Xero already: they are looked up there."""

    account: Account
    due: tuple[Customer, ...]


@dataclass(frozen=True, slots=True)
class TendContacts:
    """Linked contacts that are to be read in Xero, for what happened to them or what Pipeline changed."""

    account: Account
    due: tuple[ContactMapping, ...]


@dataclass(frozen=True, slots=True)
class LookOn:
    """Something was recorded without a call; there may be more."""


@dataclass(frozen=True, slots=True)
class Ask:
    """The account's connection was never heard of: only the connector knows whether there is one."""


@dataclass(frozen=True, slots=True)
class ReadCodes:
    """Xero's lists of codes are to be read: those of these kinds (None among them: the lock dates), or what is lacking."""

    account: Account
    kinds: frozenset[CodeKind | None] | None = None


@dataclass(frozen=True, slots=True)
class ImportInvoices:
    """Somebody ordered to link what is in Xero already: before any of it is sent there again."""

    account: Account


@dataclass(frozen=True, slots=True)
class Reconcile:
    """The next step of comparing the account's whole books with Xero's."""

    account: Account


Work = (
    Ask
    | Rest
    | Resume
    | Send
    | MatchContacts
    | TendContacts
    | CompareInXero
    | ReadCodes
    | ImportInvoices
    | Reconcile
    | LookOn
)


async def choose_work(  # noqa: PLR0911 - one return per kind of work, in their order
    deps: Deps, lease: Lease, *, asked: bool = False
) -> Work:
    """Choose the next work of the leased account.

    Args:
        deps: What the verbs share.
        lease: The account's lease.
        asked: Whether the connector was asked about an account whose connection we never heard of.

    Raises:
        LeaseLost: Another worker has the account; nothing was written.
    """
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        account, now = await accounts.lock(conn, lease.account_id)
        if not account.is_connected:
            never_heard_of = not (account.is_heard_of or asked)
            limit = 10 * deps.batch_size
            return Ask() if never_heard_of else await _park(conn, account, now, limit=limit)
        if account.paused_until is not None and account.paused_until > now:
            return Rest(account.paused_until)
        if open_intents := await intents.due(conn, account.account_id):
            return Resume(account, tuple(open_intents))
        if work := await _contacts(conn, account, now, limit=deps.batch_size):
            return work
        if account.import_due_at is not None and account.import_due_at <= now:
            return ImportInvoices(account)
        if account.codes_due_at is not None and account.codes_due_at <= now:
            return ReadCodes(account)
        reconcile_at = account.reconcile_due_at
        if reconcile_at is not None and reconcile_at <= now - PATIENCE:
            return Reconcile(account)
        due_kinds = await invoices.due_kinds(conn, account.account_id)
        if kind := next_kind(due_kinds, account.last_kind):
            chosen = await _invoices(conn, deps, account, kind, now)
            if len(due_kinds) > 1 and not isinstance(chosen, LookOn | ReadCodes):
                await accounts.served(conn, account.account_id, kind)
            return chosen
        if reconcile_at is not None and reconcile_at <= now:
            return Reconcile(account)
        if reconcile_at is None and deps.reconcile_every is not None:
            slot = next_slot(account.account_id, now, deps.reconcile_every, deps.chance())
            await accounts.reconcile_at(conn, account.account_id, slot)
        return Rest(await invoices.next_due(conn, account.account_id))


async def _park(conn: Connection, account: Account, now: datetime, *, limit: int) -> Work:
    """No usable connection: what is due waits for one, and says so once."""
    due = await customers.lock_due(conn, account.account_id, limit=limit)
    why = unconnected(account)
    await customers.save(conn, [contacts.waits(customer, why) for customer in due])
    open_intents = await intents.due(conn, account.account_id)
    for intent in open_intents:
        if intent.kind == "contacts":
            due = [*due, *await customers.lock_of_intent(conn, intent.id)]
    # Their invoices waited for a contact under way; now they wait for a connection, and are told so.
    held_up = [customer.customer_id for customer in due]
    await invoices.release_for_contacts(conn, account.account_id, held_up)
    await _tell_open(conn, open_intents, why, now)
    rows = await invoices.lock_due(conn, account.account_id, limit=limit)
    parked = [
        lifecycle.look_again(row, None)
        if row.is_settled
        else lifecycle.waits(row, State.WAITING_FOR_CONNECTION, why)
        for row in rows
    ]
    await steps.save(conn, parked, now)
    return LookOn() if len(rows) == limit or len(due) >= limit else Rest(None)


async def _tell_open(
    conn: Connection, open_intents: Sequence[Intent], why: Block, now: datetime
) -> None:
    """What became of these writes cannot be found out before there is a connection again; said once."""
    for intent in open_intents:
        rows = await invoices.lock_of_intent(conn, intent.id)
        untold = [row for row in rows if row.block is None or row.block.code != why.code]
        await steps.save(
            conn, [lifecycle.unclear(row, None, why, tell=True) for row in untold], now
        )


async def _contacts(
    conn: Connection, account: Account, now: datetime, *, limit: int
) -> Work | None:
    """Customers that are new or changed, then linked contacts to be read in Xero; None if there is neither."""
    if due := await customers.lock_due(conn, account.account_id, limit=limit):
        return await _customers(conn, account, due, now)
    tenant_id = account.tenant_id or ""
    linked = await contact_mappings.to_check(conn, account.account_id, tenant_id, limit=limit)
    return TendContacts(account, tuple(linked)) if linked else None


async def _customers(
    conn: Connection, account: Account, due: Sequence[Customer], now: datetime
) -> Work:
    """The linked ones are compared with their contacts, if Pipeline changed them; the others find theirs.

    They do so together, up to a batch in a call; one that failed before goes alone.
    """
    tenant_id = account.tenant_id or ""
    mapped = await contact_mappings.mappings_of(
        conn, account.account_id, tenant_id, [each.customer_id for each in due]
    )
    await _compare_linked(conn, [each for each in due if each.customer_id in mapped], mapped, now)
    open_ones = [each for each in due if each.customer_id not in mapped]
    policy = (await account_settings.find(conn, account.account_id)).mapping_policy
    left = [each for each in open_ones if each.unlinked or policy is MappingPolicy.STRICT]
    await block_customers(
        conn,
        account.account_id,
        [contacts.unlinkable(each, ProblemCode.CUSTOMER_NOT_MAPPED) for each in left],
    )
    open_ones = [each for each in open_ones if each not in left]
    if not open_ones:
        return LookOn()
    batch = (
        open_ones[:1]
        if open_ones[0].attempts
        else [each for each in open_ones if not each.attempts]
    )
    if policy is MappingPolicy.MATCH:
        return MatchContacts(account, tuple(batch))
    return await _send_contacts(conn, account, batch)


async def _compare_linked(
    conn: Connection,
    linked: Sequence[Customer],
    mapped: Mapping[str, ContactMapping],
    now: datetime,
) -> None:
    """Have the contacts read of those customers in which Pipeline changed something."""
    if not linked:
        return
    changed = [
        each.customer_id
        for each in linked
        if mapped[each.customer_id].agreed != contact_fields.wanted(each)
    ]
    first = linked[0]
    tenant_id = mapped[first.customer_id].tenant_id
    await contact_mappings.check(conn, first.account_id, tenant_id, changed, now)
    await customers.save(
        conn, [replace(contacts.settled(each), attempts=each.attempts) for each in linked]
    )


async def _send_contacts(conn: Connection, account: Account, batch: Sequence[Customer]) -> Work:
    """Customers that are to become contacts, in one call."""
    tenant_id = account.tenant_id or ""
    body = contacts.contacts_body([contacts.to_xero(each) for each in batch])
    failpoint("contacts:before_intent")
    intent = await intents.add(
        conn,
        account_id=account.account_id,
        tenant_id=tenant_id,
        kind="contacts",
        method="PUT",
        path="Contacts",
        body=body,
        idempotency_key=f"contacts-{uuid.uuid4().hex}",
    )
    await customers.save(
        conn,
        [contacts.sending(each, intent.id, place, tenant_id) for place, each in enumerate(batch)],
    )
    failpoint("contacts:after_intent")
    return Send(account, intent, time.monotonic())


async def _invoices(
    conn: Connection, deps: Deps, account: Account, kind: Kind, now: datetime
) -> Work:
    rows = await invoices.lock_due_of(conn, account.account_id, kind, limit=deps.batch_size)
    known = await known_around(conn, deps, account, rows, now)
    decisions = [decide(row, known) for row in rows]
    if kinds := frozenset(each.kind for each in decisions if isinstance(each, Reread)):
        return ReadCodes(account, kinds)
    stops: list[Step] = [each.step for each in decisions if isinstance(each, Stop)]
    await record_steps(conn, account.account_id, stops, now)
    if stops and len(rows) >= deps.batch_size:
        return LookOn()  # others wait that can take the places of those which are not sent
    if creates := _batch([each for each in decisions if isinstance(each, Create)]):
        return await _send_new(conn, account, creates, now)
    compares = sharing([each.row for each in decisions if isinstance(each, Compare)])
    return CompareInXero(account, tuple(compares)) if compares else LookOn()


async def known_around(
    conn: Connection, deps: Deps, account: Account, rows: Sequence[Invoice], now: datetime
) -> Known:
    """What decides on these invoices beside themselves, read and not changed."""
    account_id, tenant_id = account.account_id, account.tenant_id or ""
    terms = await codes.terms_of(conn, account_id, tenant_id, deps.write.default_account_code)
    customer_ids = sorted({row.customer_id for row in rows if row.customer_id is not None})
    mapped = await contact_mappings.mappings_of(conn, account_id, tenant_id, customer_ids)
    unmapped = [each for each in customer_ids if each not in mapped]
    # A link exists exactly for what was synced once; most due invoices are new.
    in_xero = [row.invoice_id for row in rows if row.synced_version is not None]
    return Known(
        account=account,
        mappings=mapped,
        customers=await customers.customers_of(conn, account_id, unmapped) if unmapped else {},
        links=await invoice_links.links_of(conn, account_id, in_xero) if in_xero else {},
        settings=write_settings(deps, terms),
        terms=terms,
        now=now,
    )


def write_settings(deps: Deps, terms: Terms) -> WriteSettings:
    """What goes into an invoice of this account beside its event."""
    return replace(
        deps.write,
        default_account_code=terms.default_account_code,
        status=terms.settings.invoice_status.upper(),
    )


def _batch(creates: Sequence[Create]) -> list[Create]:
    """What goes into one call: one that must go alone, or as many as fit; never the same number twice.

    Two invoices of one number in one call could not be told apart when its outcome must be looked up.
    """
    if creates and creates[0].row.send_alone:
        return [creates[0]]
    chosen: list[Create] = []
    numbers: set[str] = set()
    size = 0
    for create in creates:
        number = (create.row.invoice_number or "").strip().casefold()
        size += len(create.row.desired or "") * 2
        if create.row.send_alone or number in numbers:
            continue
        if chosen and size > MAX_BODY_BYTES:
            break
        numbers.add(number)
        chosen.append(create)
    return chosen


async def _send_new(
    conn: Connection, account: Account, creates: Sequence[Create], now: datetime
) -> Work:
    tenant_id = account.tenant_id or ""
    failpoint("invoices:before_intent")
    intent = await intents.add(
        conn,
        account_id=account.account_id,
        tenant_id=tenant_id,
        kind="create",
        method="PUT",
        path="Invoices",
        body=mapping.invoices_body([each.element for each in creates]),
        idempotency_key=f"invoices-{uuid.uuid4().hex}",
    )
    sent = [
        lifecycle.sending(
            each.row,
            IntentRef(intent.id, place, each.row.version),
            tenant_id,
            each.sent,
            each.number_prefix,
        )
        for place, each in enumerate(creates)
    ]
    await steps.save(conn, sent, now)
    failpoint("invoices:after_intent")
    return Send(account, intent, time.monotonic())
