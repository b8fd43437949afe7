"""Settle a write whose outcome nobody knows: the same bytes again while Xero still knows the key, else look."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from invoice_sync import metrics
from invoice_sync.deps import Deps
from invoice_sync.domain import lifecycle, mapping, retry, trouble
from invoice_sync.domain.outcome import LANDS_WITHIN, Answer, found_in_xero, matches, may_still_land
from invoice_sync.domain.plan import read_body
from invoice_sync.domain.promptness import seconds_taken
from invoice_sync.domain.retry import SendAgain
from invoice_sync.domain.state import Account, Intent, Invoice, Step
from invoice_sync.find_by_number import find_by_number, written_since
from invoice_sync.record_contact_changes import look_up_contact_changes
from invoice_sync.record_contacts import look_up_contacts
from invoice_sync.send_intent import record_trouble, send_intent
from invoice_sync.settle_changes import CHANGES, settle_changes
from invoice_sync.store import accounts, intents, invoices, steps
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.worker import Lease
from pipeline_xero.errors import UnexpectedAnswer, XeroError


async def resume_intent(deps: Deps, lease: Lease, account: Account, intent: Intent) -> None:
    """Find out what became of an open intent and record it.

    Raises:
        LeaseLost: Nothing was recorded.
    """
    chosen_at = time.monotonic()
    async with deps.pool.acquire() as conn:
        _, now = await accounts.find(conn, intent.account_id)
    plan = retry.after_unknown(
        first_sent_at=intent.first_sent_at,
        attempts=intent.attempts,
        must_look_up=intent.must_look_up,
        now=now,
    )
    if intent.kind in CHANGES:
        await settle_changes(deps, lease, account, intent, key_counts=isinstance(plan, SendAgain))
        return
    if intent.kind == "contacts" and intent.method == "POST":
        await _settle_contact_changes(
            deps, lease, account, intent, key_counts=isinstance(plan, SendAgain)
        )
        return
    if isinstance(plan, SendAgain):
        await send_intent(deps, lease, account, intent, chosen_at=chosen_at, is_first=False)
        return
    failpoint("lookup:before")
    try:
        if intent.kind == "create":
            await _look_up_invoices(deps, lease, account, intent)
        else:
            await look_up_contacts(deps, lease, intent)
    except XeroError as error:
        await record_trouble(deps, lease, account, intent, error, is_first=False)
        return
    failpoint("lookup:after")
    deps.on_recorded()


async def _settle_contact_changes(
    deps: Deps, lease: Lease, account: Account, intent: Intent, *, key_counts: bool
) -> None:
    """Look first, as with changes of invoices: repeated blindly, a lost call would write over an edit made since."""
    failpoint("lookup:before")
    read_at = time.monotonic()
    try:
        is_as_before = await look_up_contact_changes(
            deps, lease, account, intent, key_counts=key_counts
        )
    except XeroError as error:
        await record_trouble(deps, lease, account, intent, error, is_first=False)
        return
    failpoint("lookup:after")
    deps.on_recorded()
    if is_as_before:
        await send_intent(deps, lease, account, intent, chosen_at=read_at, is_first=False)


async def _look_up_invoices(deps: Deps, lease: Lease, account: Account, intent: Intent) -> None:
    async with deps.pool.acquire() as conn:
        open_rows = await invoices.lock_of_intent(conn, intent.id)
    numbers = sorted({_number(row) for row in open_rows})
    found = await find_by_number(deps, intent.account_id, intent.tenant_id, numbers)
    if not all(_ours(deps, row, found) for row in open_rows):
        # Somebody may have renumbered ours before we looked: sent again, it would be there twice. Clocks differ.
        since = intent.first_sent_at - LANDS_WITHIN
        found += await written_since(deps, intent.account_id, intent.tenant_id, since)
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        current, now = await accounts.find(conn, intent.account_id)
        answer = Answer(current, intent, deps.xero_web_url, now)
        rows = await invoices.lock_of_intent(conn, intent.id)
        settled: list[Step] = []
        unreadable: list[Step] = []
        for row in rows:
            ours = _ours(deps, row, found)
            elements_of = ours or [each for each in found if matches(each, _number(row))]
            if may_still_land(row, elements_of, answer):
                continue
            marker = _marker(deps, row)
            wait = retry.backoff(row.attempts + 1, deps.chance())
            try:
                settled.append(found_in_xero(row, elements_of, marker, answer, retry_after=wait))
            except UnexpectedAnswer:
                # One invoice that cannot be read must not hold up what else the account has to send.
                unreadable.append(lifecycle.still_unclear(row, now + trouble.LOOK_AGAIN))
        await steps.save(conn, [*settled, *unreadable], now)
        if len(settled) == len(rows):
            await intents.close(conn, intent.id)
        else:
            until = max(intent.first_sent_at + LANDS_WITHIN, now + trouble.LOOK_AGAIN)
            await intents.defer(
                conn, intent.id, until=until, must_look_up=True, attempts=intent.attempts
            )
        if account.pause_count:
            await accounts.resume(conn, intent.account_id)
    metrics.count_in_xero(seconds_taken(rows, settled, now))


def _marker(deps: Deps, row: Invoice) -> str:
    return mapping.marker(deps.write.pipeline_web_url, row.account_id, row.invoice_id)


def _ours(deps: Deps, row: Invoice, found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    marker = _marker(deps, row)
    return [each for each in found if mapping.is_ours(each, marker)]


def _number(row: Invoice) -> str:
    """The number under which the invoice was sent: the newest version may carry another."""
    body = read_body(row.sent)
    return body.invoice_number.strip() if body is not None else row.xero_number
