"""An invoice that is in Xero already: read it there, compare the three states, and do what the comparison says."""

import time
import uuid
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from invoice_sync.deps import Deps
from invoice_sync.domain import confirm, lifecycle, mapping, trouble, update
from invoice_sync.domain.blocks import block
from invoice_sync.domain.plan import read_body
from invoice_sync.domain.state import (
    Account,
    Intent,
    IntentRef,
    Invoice,
    Link,
    Operation,
    State,
)
from invoice_sync.send_intent import send_intent
from invoice_sync.store import (
    accounts,
    contact_mappings,
    intents,
    invoice_links,
    invoices,
    steps,
)
from pipeline_contracts.invoice import Invoice as InvoiceBody
from pipeline_contracts.problems import ProblemCode
from pipeline_messaging.connection import Connection
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.worker import Lease
from pipeline_xero.client import Lane
from pipeline_xero.documents import XeroInvoice
from pipeline_xero.errors import NotFound, RateLimited, UnexpectedAnswer, XeroError
from pipeline_xero.wire import elements

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Read:
    """The invoice as Xero just showed it; None when Xero has it no more."""

    invoice: XeroInvoice | None
    correlation_id: str | None = None


async def compare_in_xero(deps: Deps, lease: Lease, account: Account, row: Invoice) -> None:
    """Compare one invoice with Xero and push, adopt, stop, or leave it.

    Raises:
        LeaseLost: Nothing was recorded.
    """
    async with deps.pool.acquire() as conn:
        links = await invoice_links.links_of(conn, row.account_id, [row.invoice_id])
    link = links[row.invoice_id]
    try:
        read = await _read(deps, link, _lane(row))
    except XeroError as error:
        await _postpone(deps, lease, account, row, error)
        return
    failpoint("compare:after_read")
    intent = await _record(deps, lease, account, row, read)
    deps.on_recorded()
    if intent is not None:
        await send_intent(deps, lease, account, intent, chosen_at=time.monotonic())


def _lane(row: Invoice) -> Lane:
    """A look at what is settled has time; what Pipeline wants changed has not."""
    return "sweeps" if row.is_settled else "invoices"


async def _read(deps: Deps, link: Link, lane: Lane) -> _Read:
    path = f"Invoices/{link.xero_invoice_id}"
    try:
        reply = await deps.gateway.get(
            link.account_id, path, params={"unitdp": "4"}, tenant_id=link.tenant_id, lane=lane
        )
    except NotFound as error:
        if error.by_gateway:
            raise
        return _Read(None)
    found = elements(reply.json(), "Invoices")
    if len(found) != 1:
        raise UnexpectedAnswer(f"{path}: {len(found)} invoices answered")
    return _Read(XeroInvoice.from_json(found[0]), reply.correlation_id)


async def _postpone(
    deps: Deps, lease: Lease, account: Account, row: Invoice, error: XeroError
) -> None:
    """The invoice could not be read: nothing has happened, so it simply waits."""
    found = trouble.of(error, count=account.pause_count + 1, chance=deps.chance())
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        _, now = await accounts.find(conn, row.account_id)
        current = await invoices.lock_invoice(conn, row.account_id, row.invoice_id)
        if current is None:
            return
        until = now + (found.pause or trouble.LOOK_AGAIN)
        # A limit of the sweeps' lane is none of the account's: invoices to be sent need not wait for it.
        only_lane = isinstance(error, RateLimited) and _lane(row) == "sweeps"
        if found.pause is not None and not only_lane:
            await accounts.pause(
                conn,
                row.account_id,
                until=until,
                code=found.block.code,
                count=account.pause_count + 1,
            )
        if current.is_settled:
            await steps.save(conn, [lifecycle.look_again(current, until)], now)
        elif found.state is State.WAITING_FOR_CONNECTION:
            at = until if found.pause else None
            step = lifecycle.waits(current, found.state, found.block, look_again_at=at)
            await steps.save(conn, [step], now)
        else:
            state = found.state if found.state is State.WAITING_FOR_BUDGET else State.PENDING
            await steps.save(conn, [lifecycle.postponed(current, state, until, found.block)], now)
    deps.on_recorded()


async def _record(
    deps: Deps, lease: Lease, account: Account, row: Invoice, read: _Read
) -> Intent | None:
    """Record the comparison, and the intent if something is to be pushed."""
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        current_account, now = await accounts.find(conn, row.account_id)
        if account.pause_count:
            await accounts.resume(conn, row.account_id)
        current = await invoices.lock_invoice(conn, row.account_id, row.invoice_id)
        links = await invoice_links.links_of(conn, row.account_id, [row.invoice_id])
        link = links.get(row.invoice_id)
        if current is None or link is None:
            return None
        body = read_body(current.desired)
        if read.invoice is None and current.operation is Operation.VOID:
            await steps.save(conn, [lifecycle.never_sent(current)], now)
            return None
        if body is None:
            unreadable = block(ProblemCode.INTERNAL_ERROR)
            await steps.save(conn, [lifecycle.failed(current, unreadable)], now)
            return None
        if read.invoice is None:
            gone = block(ProblemCode.INVOICE_GONE_FROM_XERO, invoice_number=link.xero_number)
            await steps.save(conn, [lifecycle.failed(current, gone)], now)
            return None
        contact_id = await _contact_of(conn, current, link.tenant_id)
        seen = confirm.Seen(
            read.invoice,
            current_account,
            link.tenant_id,
            deps.xero_web_url,
            now,
            read.correlation_id,
        )
        verdict = update.judge(current, link, body, contact_id, seen)
        if not isinstance(verdict, update.Push):
            await steps.save(conn, [verdict], now)
            return None
        return await _push(conn, deps, verdict, body, contact_id, now)


async def _contact_of(conn: Connection, row: Invoice, tenant_id: str) -> str | None:
    if row.customer_id is None:
        return None
    found = await contact_mappings.mappings_of(conn, row.account_id, tenant_id, [row.customer_id])
    mapped = found.get(row.customer_id)
    return mapped.contact_id if mapped else None


async def _push(
    conn: Connection,
    deps: Deps,
    push: update.Push,
    body: InvoiceBody,
    contact_id: str | None,
    now: datetime,
) -> Intent:
    row, link = push.step.row, push.link
    is_void = row.operation is Operation.VOID
    element = (
        update.void_element(link)
        if is_void
        else update.update_element(
            body, contact_id or link.base.get("contact") or "", deps.write, push
        )
    )
    failpoint("update:before_intent")
    intent = await intents.add(
        conn,
        account_id=row.account_id,
        tenant_id=link.tenant_id,
        kind="void" if is_void else "update",
        method="POST",
        path=f"Invoices/{link.xero_invoice_id}",
        body=mapping.invoices_body([element]),
        idempotency_key=f"{'void' if is_void else 'update'}-{uuid.uuid4().hex}",
    )
    ref = IntentRef(intent.id, 0, row.version)
    sending = lifecycle.sending(row, ref, link.tenant_id)
    step = lifecycle.then(push.step, replace(sending, link=link))
    await steps.save(conn, [step], now)
    failpoint("update:after_intent")
    return intent
