"""Link invoices that are in Xero already: somebody's order, looked for by number and linked where nothing differs.

It goes on in the account's own turns, ahead of what is to be sent: nothing of the account is being written meanwhile,
its lease fences a replica that was taken over, and each batch commits its links together with what is told of them.
Nothing is written to Xero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
import structlog

from invoice_sync.deps import Deps
from invoice_sync.domain import codes, confirm, importing, mapping, trouble
from invoice_sync.domain.importing import Outcome, Verdict, Wanted
from invoice_sync.domain.plan import read_body
from invoice_sync.domain.state import Account, Invoice, Link
from invoice_sync.find_by_number import find_by_number
from invoice_sync.store import (
    accounts,
    audit,
    contact_mappings,
    imports,
    invoice_links,
    invoices,
    steps,
)
from invoice_sync.store import codes as stored_codes
from invoice_sync.store.imports import Import, Listed
from pipeline_messaging.connection import Connection
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.worker import Lease, mark_due
from pipeline_service_defaults.problems import Problem
from pipeline_xero.documents import XeroInvoice
from pipeline_xero.errors import RequestRejected, UnexpectedAnswer, XeroError

log = structlog.get_logger(__name__)

DONE, STOPPED = "done", "stopped"
_AT_ONCE = 100


@dataclass(slots=True)
class _Found:
    """What Xero has under the numbers asked for, and the numbers it could say nothing about."""

    asked: frozenset[str] = frozenset()
    elements: list[Mapping[str, Any]] = field(default_factory=list)
    unasked: dict[str, str] = field(default_factory=dict)


async def ask_import(
    pool: asyncpg.Pool, account_id: str, *, dry_run: bool, asked_by: str
) -> tuple[Import, int]:
    """Order an import of what is in Xero already.

    Returns:
        The import, and how many invoices it looks for.

    Raises:
        Problem: 409, the account is not connected, or an import of it is under way.
    """
    async with pool.acquire() as conn, conn.transaction():
        await mark_due(conn, [account_id])
        account, now = await accounts.lock(conn, account_id)
        if not account.is_connected:
            raise Problem(
                409,
                "NOT_CONNECTED",
                "Not connected",
                "The account is not connected to Xero, so there is nothing to import from.",
                hint="Open the Xero card, which names the next step; then ask again.",
            )
        if under_way := await imports.find_open(conn, account_id):
            raise Problem(
                409,
                "IMPORT_UNDER_WAY",
                "An import is under way",
                f"Import {under_way.number} of this account is not done yet.",
                hint="Wait for its result; it goes on by itself.",
            )
        run = await imports.begin(
            conn, account_id, account.tenant_id or "", dry_run=dry_run, asked_by=asked_by
        )
        counts = await imports.counts_of(conn, account_id, [run.number])
        await accounts.import_at(conn, account_id, now)
        await audit.add(
            conn,
            account_id,
            actor=asked_by,
            action="import_dry_run" if dry_run else "import",
            subject=str(run.number),
        )
        return run, sum(counts[run.number].values())


async def import_invoices(deps: Deps, lease: Lease, account: Account) -> None:
    """Look for the next invoices of the account's import.

    Raises:
        LeaseLost: Another worker has the account; nothing of this step was written.
    """
    run, listed, numbers = await _next(deps, lease)
    if run is None:
        return
    try:
        found = await _look_up(deps, run, numbers)
    except XeroError as error:
        await _postpone(deps, lease, account, error)
        return
    failpoint("import:after_read")
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        current, now = await accounts.lock(conn, run.account_id)
        if current.tenant_id != run.tenant_id:
            return  # what was read says nothing about the organisation connected now; the next step ends the import
        verdicts = await _judge_all(conn, deps, current, run, listed, found, now)
        if not run.dry_run:
            recorded = [each.step for each in verdicts.values() if each.step is not None]
            await steps.save(conn, recorded, now)
        await imports.record(conn, run, verdicts)
        if account.pause_count:
            await accounts.resume(conn, run.account_id)
        failpoint("import:before_commit")
    failpoint("import:after_commit")
    deps.on_recorded()


async def _next(deps: Deps, lease: Lease) -> tuple[Import | None, list[Listed], list[str]]:
    """The import to go on with, its next invoices and the numbers to look for; no import if it came to its end."""
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        account, _ = await accounts.lock(conn, lease.account_id)
        run = await imports.find_open(conn, account.account_id)
        if run is None:
            await accounts.import_at(conn, account.account_id, None)
            return None, [], []
        if run.tenant_id != account.tenant_id:
            why = "The account was connected to another organisation meanwhile. Order an import from this one."
            await _end(conn, run, STOPPED, why)
            return None, [], []
        listed = await imports.next_listed(conn, run, limit=_AT_ONCE)
        if not listed:
            counts = await imports.counts_of(conn, run.account_id, [run.number])
            told = importing.sentence(counts[run.number], dry_run=run.dry_run)
            await _end(conn, run, DONE, told)
            return None, [], []
        ids = [each.invoice_id for each in listed]
        wanted = await _wanted(conn, deps, account, listed, await _rows(conn, account, ids))
        numbers = {each.body.invoice_number.strip() for each in wanted.values()}
        return run, listed, sorted(numbers - {""})


async def _end(conn: Connection, run: Import, outcome: str, message: str) -> None:
    await imports.finish(conn, run, outcome=outcome, message=message)
    await accounts.import_at(conn, run.account_id, None)


async def _rows(conn: Connection, account: Account, ids: Sequence[str]) -> dict[str, Invoice]:
    rows = await invoices.lock_invoices(conn, account.account_id, ids)
    return {row.invoice_id: row for row in rows}


async def _wanted(
    conn: Connection,
    deps: Deps,
    account: Account,
    listed: Sequence[Listed],
    rows: Mapping[str, Invoice],
) -> dict[int, Wanted]:
    """Those of the invoices that can be looked for, as they would be sent, by place."""
    tenant_id = account.tenant_id or ""
    customer_ids = sorted({row.customer_id for row in rows.values() if row.customer_id})
    mapped = await contact_mappings.mappings_of(conn, account.account_id, tenant_id, customer_ids)
    default_code = deps.write.default_account_code
    terms = await stored_codes.terms_of(conn, account.account_id, tenant_id, default_code)
    found: dict[int, Wanted] = {}
    for each in listed:
        row = rows.get(each.invoice_id)
        body = read_body(row.desired) if row is not None else None
        if row is None or body is None or importing.unfit(row, each.number_key):
            continue
        prefix = terms.settings.number_prefix if row.number_prefix is None else row.number_prefix
        contact = mapped.get(body.customer_id)
        found[each.place] = Wanted(
            row,
            codes.in_xeros_codes(body, terms, prefix),
            prefix,
            contact.contact_id if contact else None,
            each.twins,
        )
    return found


async def _look_up(deps: Deps, run: Import, numbers: Sequence[str]) -> _Found:
    """Ask Xero for these numbers; in halves, should it refuse them together or answer more than can be taken in."""
    if not numbers:
        return _Found()
    try:
        elements = await find_by_number(deps, run.account_id, run.tenant_id, numbers)
        return _Found(frozenset(numbers), elements)
    except (RequestRejected, UnexpectedAnswer) as error:
        if len(numbers) == 1:
            return _Found(frozenset(numbers), unasked={numbers[0]: str(error)[:200]})
        middle = len(numbers) // 2
        first = await _look_up(deps, run, numbers[:middle])
        second = await _look_up(deps, run, numbers[middle:])
        return _Found(
            first.asked | second.asked,
            first.elements + second.elements,
            first.unasked | second.unasked,
        )


async def _judge_all(
    conn: Connection,
    deps: Deps,
    account: Account,
    run: Import,
    listed: Sequence[Listed],
    found: _Found,
    now: datetime,
) -> dict[int, Verdict]:
    """A verdict on each invoice by place, under the locks that commit it."""
    rows = await _rows(conn, account, [each.invoice_id for each in listed])
    wanted = await _wanted(conn, deps, account, listed, rows)
    keys = {(run.tenant_id, str(each.get("InvoiceID")).lower()) for each in found.elements}
    links = await invoice_links.links_by_xero(conn, sorted(keys))
    verdicts: dict[int, Verdict] = {}
    for each in listed:
        if unfit := importing.unfit(rows.get(each.invoice_id), each.number_key):
            verdicts[each.place] = unfit
        elif each.place not in wanted:
            verdicts[each.place] = importing.unasked("its data cannot be read")
        else:
            verdict = _judge(deps, account, run, wanted[each.place], found, links, now)
            if verdict.step is not None and (link := verdict.step.link) is not None:
                links[run.tenant_id, link.xero_invoice_id] = link
            verdicts[each.place] = verdict
    return verdicts


def _judge(
    deps: Deps,
    account: Account,
    run: Import,
    wanted: Wanted,
    found: _Found,
    links: Mapping[tuple[str, str], Link],
    now: datetime,
) -> Verdict:
    number = wanted.body.invoice_number.strip()
    if number not in found.asked:
        return importing.unasked("the prefix of numbers was changed meanwhile")
    if number in found.unasked:
        return importing.unasked(found.unasked[number])
    live = importing.live_ones(wanted, found.elements)
    seen = taken_as = None
    if len(live) == 1:
        try:
            invoice = XeroInvoice.from_json(live[0])
        except UnexpectedAnswer as error:
            return importing.unasked(str(error)[:200])
        seen = confirm.Seen(invoice, account, run.tenant_id, deps.xero_web_url, now)
        link = links.get((run.tenant_id, invoice.invoice_id))
        marker = mapping.marker(deps.write.pipeline_web_url, run.account_id, wanted.row.invoice_id)
        # One sent for another invoice may not be linked yet: what became of its write is still to be looked up.
        taken_as = (
            f"linked to the invoice {link.invoice_id} of Pipeline's already"
            if link
            else mapping.other_of(live, marker)
        )
    return importing.judge(wanted, live, seen, taken_as, run.asked_by)


async def _postpone(deps: Deps, lease: Lease, account: Account, error: XeroError) -> None:
    """Xero cannot be asked now: the account rests, and the import goes on where it was."""
    found = trouble.of(error, count=account.pause_count + 1, chance=deps.chance())
    log.warning(
        "import_put_off",
        account_id=account.account_id,
        error=type(error).__name__,
        request_id=error.request_id,
    )
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        _, now = await accounts.lock(conn, account.account_id)
        until = now + (found.pause or trouble.LOOK_AGAIN)
        await accounts.import_at(conn, account.account_id, until)
        if found.pause is not None:
            await accounts.pause(
                conn,
                account.account_id,
                until=until,
                code=found.block.code,
                count=account.pause_count + 1,
            )


async def progress(
    conn: Connection, account_id: str, runs: Sequence[Import]
) -> dict[int, dict[str, int]]:
    """How many invoices came to what, by the imports' numbers, every outcome named."""
    counts = await imports.counts_of(conn, account_id, [run.number for run in runs])
    return {
        number: {name: found.get(name, 0) for name in (*Outcome, "left")}
        for number, found in counts.items()
    }
