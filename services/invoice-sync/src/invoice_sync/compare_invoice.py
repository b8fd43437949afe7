"""Invoices that are in Xero already: read them there, compare each, and do what its comparison says."""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from invoice_sync.choose_work import write_settings
from invoice_sync.deps import Deps
from invoice_sync.domain import confirm, lifecycle, mapping, retry, trouble, update
from invoice_sync.domain.account_settings import EditPolicy
from invoice_sync.domain.blocks import block
from invoice_sync.domain.codes import Terms
from invoice_sync.domain.state import (
    Account,
    Block,
    Choice,
    Intent,
    IntentRef,
    Invoice,
    Link,
    State,
    Step,
)
from invoice_sync.domain.turns import fitting
from invoice_sync.domain.update import Change
from invoice_sync.read_codes import record_steps
from invoice_sync.read_invoices import Read, read_in_xero
from invoice_sync.send_intent import send_intent
from invoice_sync.store import (
    accounts,
    codes,
    contact_mappings,
    intents,
    invoice_links,
    invoices,
    resolutions,
    steps,
)
from pipeline_contracts.problems import ProblemCode
from pipeline_messaging.connection import Connection
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.worker import Lease
from pipeline_xero.client import Lane
from pipeline_xero.errors import RateLimited, XeroError

log = structlog.get_logger(__name__)

# What pure code raises over values nobody foresaw. One such invoice must not stop its account.
_UNFORESEEN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


async def compare_in_xero(
    deps: Deps, lease: Lease, account: Account, rows: Sequence[Invoice]
) -> None:
    """Compare invoices of one kind with Xero, and push, adopt, stop, or leave each.

    They are read in one call, and what is to be written goes in one call; between them each invoice has a decision
    and a transaction of its own.

    Raises:
        LeaseLost: Another worker has the account; what was not recorded by then is not.
    """
    lane = _lane(rows[0])
    async with deps.pool.acquire() as conn:
        links = await invoice_links.links_of(
            conn, account.account_id, [row.invoice_id for row in rows]
        )
    try:
        reads = await read_in_xero(deps, list(links.values()), lane)
    except XeroError as error:
        await _postpone(deps, lease, account, rows, error, lane)
        return
    failpoint("compare:after_read")
    if account.pause_count:
        await _resume(deps, lease)
    changed = [
        row.invoice_id
        for row in rows
        if row.invoice_id in reads and await _settle(deps, lease, row.invoice_id, reads)
    ]
    deps.on_recorded()
    if not changed:
        return
    for intent in await _intend(deps, lease, changed, reads):
        await send_intent(deps, lease, account, intent, chosen_at=time.monotonic())


def _lane(row: Invoice) -> Lane:
    """A look at what is settled has time; what Pipeline wants changed has not."""
    return "sweeps" if row.is_settled else "invoices"


async def _postpone(
    deps: Deps,
    lease: Lease,
    account: Account,
    rows: Sequence[Invoice],
    error: XeroError,
    lane: Lane,
) -> None:
    """The invoices could not be read: nothing has happened, so they simply wait."""
    found = trouble.of(error, count=account.pause_count + 1, chance=deps.chance())
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        _, now = await accounts.find(conn, account.account_id)
        until = now + (found.pause or trouble.LOOK_AGAIN)
        # A limit of the sweeps' lane is none of the account's: invoices to be sent need not wait for it.
        only_lane = isinstance(error, RateLimited) and lane == "sweeps"
        if found.pause is not None and not only_lane:
            await accounts.pause(
                conn,
                account.account_id,
                until=until,
                code=found.block.code,
                count=account.pause_count + 1,
            )
        current = await invoices.lock_invoices(
            conn, account.account_id, [row.invoice_id for row in rows]
        )
        state = found.state
        if state not in {State.WAITING_FOR_CONNECTION, State.WAITING_FOR_BUDGET}:
            state = State.PENDING
        look_again_at = until if found.pause else None
        await steps.save(
            conn, [_later(row, state, until, found.block, look_again_at) for row in current], now
        )
    deps.on_recorded()


def _later(
    row: Invoice, state: State, until: datetime, why: Block, look_again_at: datetime | None
) -> Step:
    """The invoice waits. One that is settled stays so: looking again in vain is no failure of its sync."""
    if row.is_settled:
        return lifecycle.look_again(row, until)
    if state is State.WAITING_FOR_CONNECTION:
        return lifecycle.waits(row, state, why, look_again_at=look_again_at)
    return lifecycle.postponed(row, state, until, why)


async def _resume(deps: Deps, lease: Lease) -> None:
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        await accounts.resume(conn, lease.account_id)


async def _settle(deps: Deps, lease: Lease, invoice_id: str, reads: Mapping[str, Read]) -> bool:
    """Record the comparison of one invoice; True, with nothing recorded, if it is to be changed in Xero."""
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        account, now = await accounts.lock(conn, lease.account_id)
        decisions = await _decide(conn, deps, account, [invoice_id], reads, now)
        settled = [each for each in decisions if isinstance(each, Step)]
        await record_steps(conn, account.account_id, settled, now)
        return len(settled) < len(decisions)


async def _intend(
    deps: Deps, lease: Lease, invoice_ids: Sequence[str], reads: Mapping[str, Read]
) -> list[Intent]:
    """Record what is to be written: the changes of one call, the voids of another.

    Each is decided again under the locks that commit it: a newer version, or another mapping, may have come since.
    """
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        account, now = await accounts.lock(conn, lease.account_id)
        decisions = await _decide(conn, deps, account, invoice_ids, reads, now)
        settled = [each for each in decisions if isinstance(each, Step)]
        await record_steps(conn, account.account_id, settled, now)
        changes = [each for each in decisions if isinstance(each, Change)]
        changes = changes[
            : fitting([2 * len(each.push.step.row.desired or "") for each in changes])
        ]
        failpoint("update:before_intent")
        batches = {
            "update": [each for each in changes if not each.is_void],
            "void": [each for each in changes if each.is_void],
        }
        intended = [
            await _record_intent(conn, account, kind, batch, now)
            for kind, batch in batches.items()
            if batch
        ]
        failpoint("update:after_intent")
    return intended


async def _decide(
    conn: Connection,
    deps: Deps,
    account: Account,
    invoice_ids: Sequence[str],
    reads: Mapping[str, Read],
    now: datetime,
) -> list[Step | Change]:
    """Decide on each invoice, locked, by what was read of it."""
    rows = await invoices.lock_invoices(conn, account.account_id, invoice_ids)
    links = await invoice_links.links_of(conn, account.account_id, invoice_ids)
    contacts = await contacts_of(conn, account.account_id, rows, list(links.values()))
    await _notice_merges(conn, account, rows, links, contacts, reads, now)
    terms = await terms_of(conn, deps, account, list(links.values()))
    choices = await resolutions.choices_of(conn, account.account_id, invoice_ids)
    return [
        decision_on(
            deps,
            account,
            row,
            links[row.invoice_id],
            contacts,
            terms,
            reads[row.invoice_id],
            now,
            choices.get(row.invoice_id),
        )
        for row in rows
    ]


async def _notice_merges(
    conn: Connection,
    account: Account,
    rows: Sequence[Invoice],
    links: Mapping[str, Link],
    contacts: Mapping[str, str],
    reads: Mapping[str, Read],
    now: datetime,
) -> None:
    """Another contact on an invoice than when we last looked: the customer's may have been merged into it."""
    doubtful: set[str] = set()
    for row in rows:
        seen, contact_id = reads[row.invoice_id].invoice, contacts.get(row.customer_id or "")
        shown = seen.contact.contact_id if seen and seen.contact else None
        known = {contact_id, links[row.invoice_id].observed.get("contact")}
        if row.customer_id and contact_id and shown and shown not in known:
            doubtful.add(row.customer_id)
    if doubtful:
        tenant_id = account.tenant_id or ""
        await contact_mappings.check(conn, account.account_id, tenant_id, sorted(doubtful), now)


async def contacts_of(
    conn: Connection, account_id: str, rows: Sequence[Invoice], links: Sequence[Link]
) -> dict[str, str]:
    """The contacts of these invoices' customers in the organisation they are in, by customer_id."""
    customer_ids = sorted({row.customer_id for row in rows if row.customer_id is not None})
    if not customer_ids or not links:
        return {}
    mapped = await contact_mappings.mappings_of(conn, account_id, links[0].tenant_id, customer_ids)
    return {customer_id: each.contact_id for customer_id, each in mapped.items()}


async def terms_of(conn: Connection, deps: Deps, account: Account, links: Sequence[Link]) -> Terms:
    """The terms under which these invoices are in the organisation they are in."""
    tenant_id = links[0].tenant_id if links else account.tenant_id
    default = deps.write.default_account_code
    return await codes.terms_of(conn, account.account_id, tenant_id, default)


def decision_on(
    deps: Deps,
    account: Account,
    row: Invoice,
    link: Link,
    contacts: Mapping[str, str],
    terms: Terms,
    read: Read,
    now: datetime,
    choice: Choice | None,
) -> Step | Change:
    """What becomes of an invoice by what was read of it; nothing is recorded."""
    if read.error is not None:
        found = trouble.of(read.error, count=row.attempts + 1, chance=deps.chance())
        until = now + (found.pause or trouble.LOOK_AGAIN)
        return _later(row, State.PENDING, until, found.block, until)
    try:
        contact_id = contacts.get(row.customer_id or "")
        policy = terms.settings.edit_policy
        seen = seen_of(deps, account, link, read, now, policy)
        settings = write_settings(deps, terms)
        return update.resolve(row, link, contact_id, seen, settings, terms, choice)
    except _UNFORESEEN:
        log.exception("not_compared", account_id=row.account_id, invoice_id=row.invoice_id)
        until = now + retry.backoff(row.attempts + 1, deps.chance())
        return _later(row, State.PENDING, until, block(ProblemCode.INTERNAL_ERROR), until)


def seen_of(
    deps: Deps, account: Account, link: Link, read: Read, now: datetime, policy: EditPolicy
) -> confirm.Seen | None:
    """What was read, with its circumstances; None when Xero has the invoice no more."""
    if read.invoice is None:
        return None
    return confirm.Seen(
        read.invoice, account, link.tenant_id, deps.xero_web_url, now, read.correlation_id, policy
    )


async def _record_intent(
    conn: Connection, account: Account, kind: str, batch: Sequence[Change], now: datetime
) -> Intent:
    tenant_id = batch[0].push.link.tenant_id
    intent = await intents.add(
        conn,
        account_id=account.account_id,
        tenant_id=tenant_id,
        kind=kind,
        method="POST",
        # Each element names its InvoiceID. By number alone a POST would overwrite whatever bears that number.
        path="Invoices",
        body=mapping.invoices_body([each.element for each in batch]),
        idempotency_key=f"{kind}-{uuid.uuid4().hex}",
    )
    sending: list[Step] = []
    for place, each in enumerate(batch):
        row = each.push.step.row
        ref = IntentRef(intent.id, place, row.version)
        going = lifecycle.sending(row, ref, tenant_id, each.sent, row.number_prefix or "")
        sending.append(lifecycle.then(each.push.step, replace(going, link=each.push.link)))
    await steps.save(conn, sending, now)
    return intent
