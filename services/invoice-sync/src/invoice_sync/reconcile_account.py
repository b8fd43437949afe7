"""Compare an account's books with Xero's as a whole: one step of it, which is at most one page of Xero's list.

It runs in the account's own turns: nothing of the account is being written meanwhile, its lease fences a replica that
was taken over, and what was committed last is where the next one goes on.
"""

from collections.abc import Sequence
from datetime import datetime

import asyncpg
import structlog

from invoice_sync import metrics
from invoice_sync.deps import Deps
from invoice_sync.domain import reconciliation, trouble
from invoice_sync.domain.reconciliation import SCHEDULE, Sighting, Verdict
from invoice_sync.domain.state import Account, Link
from invoice_sync.read_invoices import read_in_xero
from invoice_sync.store import accounts, invoice_links, invoices, reconciled, reconciliations
from invoice_sync.store.reconciliations import Reconciliation
from invoice_sync.store.steps import record_of
from pipeline_contracts.reconciled import AccountReconciled
from pipeline_messaging import outbox
from pipeline_messaging.connection import Connection
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.worker import Lease, mark_due
from pipeline_xero.documents import XeroInvoice
from pipeline_xero.errors import RateLimited, RequestRejected, UnexpectedAnswer, XeroError
from pipeline_xero.wire import elements

log = structlog.get_logger(__name__)

CLEAN, FINDINGS, STOPPED = "clean", "findings", "stopped"
_SWITCHED = "The account was connected to another organisation meanwhile."
# Those a list did not show are read together, as many as one address can name.
_ASKED_AT_ONCE = 50


async def ask_reconciliation(
    pool: asyncpg.Pool, account_id: str, asked_by: str
) -> Reconciliation | None:
    """Have the account's books compared now. One that is under way is as good: asking twice is asking once.

    Returns:
        The reconciliation to watch; None if the account is not connected.
    """
    async with pool.acquire() as conn, conn.transaction():
        await mark_due(conn, [account_id])
        account, now = await accounts.lock(conn, account_id)
        if not account.is_connected:
            return None
        run = await reconciliations.find_open(conn, account_id)
        if run is not None and run.tenant_id != account.tenant_id:
            await _close(conn, run, _SWITCHED)
            run = None
        if run is None:
            tenant_id = account.tenant_id or ""
            run = await reconciliations.begin(conn, account_id, tenant_id, asked_by)
            await accounts.reconcile_at(conn, account_id, now)
        return run


async def reconcile_account(deps: Deps, lease: Lease, account: Account) -> None:
    """Take the next step of the account's reconciliation; begin one if its time has come.

    Raises:
        LeaseLost: Another worker has the account; nothing of this step was written.
    """
    run = await _under_way(deps, lease)
    if run is None:
        return
    try:
        if run.next_page is not None:
            await _read_page(deps, lease, run, run.next_page)
        elif not await _ask_for_missing(deps, lease, run):
            await _finish(deps, lease, run)
    except XeroError as error:
        await _postpone(deps, lease, account, run, error)


async def _under_way(deps: Deps, lease: Lease) -> Reconciliation | None:
    """The reconciliation to go on with; None if it came to its end here."""
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        account, now = await accounts.lock(conn, lease.account_id)
        run = await reconciliations.find_open(conn, account.account_id)
        if run is None:
            tenant_id = account.tenant_id or ""
            return await reconciliations.begin(conn, account.account_id, tenant_id, SCHEDULE)
        if run.tenant_id == account.tenant_id:
            return run
        await _stop(conn, deps, run, _SWITCHED, now)
        return None


async def _read_page(deps: Deps, lease: Lease, run: Reconciliation, page: int) -> None:
    """Read one page of Xero's sales invoices and keep what is ours.

    In order of InvoiceID, which never changes: in order of change an invoice touched meanwhile would move to the end
    and pull another over a page's edge, unseen. A newcomer pushes others onto later pages, where they are seen again.
    Should Xero ever leave one out between two pages, a linked one is missed at the end and asked for by itself.
    """
    async with deps.pool.acquire() as conn:
        _, read_at = await accounts.find(conn, run.account_id)
    reply = await deps.gateway.get(
        run.account_id,
        "Invoices",
        params={
            "where": 'Type=="ACCREC"',
            "order": "InvoiceID ASC",
            "page": str(page),
            "pageSize": str(run.page_size),
            "unitdp": "4",
        },
        tenant_id=run.tenant_id,
        lane="sweeps",
    )
    shown = elements(reply.json(), "Invoices")
    failpoint("reconcile:after_read")
    sightings = await _sightings(deps, run, shown, read_at)
    next_page, next_size = None, run.page_size
    if len(shown) >= run.page_size:
        next_page, next_size = reconciliation.larger_page(page + 1, run.page_size)
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        _, now = await accounts.lock(conn, run.account_id)
        await _keep(conn, run, sightings)
        await reconciliations.turned_page(conn, run, next_page, next_size, len(shown))
        await accounts.reconcile_at(conn, run.account_id, now)
        failpoint("reconcile:before_commit")
    failpoint("reconcile:after_page")


async def _sightings(
    deps: Deps, run: Reconciliation, shown: Sequence[object], read_at: datetime
) -> list[Sighting]:
    """What of a page is ours: linked, or carrying our mark. What cannot be read is asked for by itself later."""
    by_id = {str(each.get("InvoiceID")).lower(): each for each in shown if isinstance(each, dict)}
    async with deps.pool.acquire() as conn:
        links = await invoice_links.links_by_xero(conn, [(run.tenant_id, key) for key in by_id])
    found: list[Sighting] = []
    for key, element in by_id.items():
        link = links.get((run.tenant_id, key))
        mark = reconciliation.marked_as(
            element.get("Url"), deps.write.pipeline_web_url, run.account_id
        )
        if (link is None and mark is None) or (link and link.account_id != run.account_id):
            continue
        try:
            invoice = XeroInvoice.from_json(element)
        except UnexpectedAnswer:
            continue
        if link is not None:
            found.append(reconciliation.sighted(invoice, link, read_at))
        elif mark is not None and (stray := reconciliation.marked(invoice, mark, read_at)):
            found.append(stray)
    return found


async def _keep(conn: Connection, run: Reconciliation, sightings: Sequence[Sighting]) -> None:
    """Keep what was seen, and have the sync compare what differs: it decides, and tells, what that means."""
    await reconciled.saw(conn, run, sightings)
    doubtful = [
        (run.account_id, each.invoice_id)
        for each in sightings
        if each.is_changed or each.verdict is Verdict.GONE
    ]
    if doubtful:
        await invoices.compare_again(conn, doubtful)


async def _ask_for_missing(deps: Deps, lease: Lease, run: Reconciliation) -> bool:
    """Ask for some of the linked invoices that no page showed; False when there are none.

    A list that does not show an invoice proves nothing; only an answer about that very invoice makes it "gone".
    """
    async with deps.pool.acquire() as conn, conn.transaction():
        await reconciled.expect_many(conn)
        missing = await reconciled.not_seen(conn, run, limit=_ASKED_AT_ONCE)
        links = await invoice_links.links_of(conn, run.account_id, missing)
        _, read_at = await accounts.find(conn, run.account_id)
    if not links:
        return False
    reads = await read_in_xero(deps, list(links.values()), "sweeps")
    failpoint("reconcile:after_asking")
    sightings: list[Sighting] = []
    for invoice_id, read in reads.items():
        link: Link = links[invoice_id]
        if read.invoice is not None:
            sightings.append(reconciliation.sighted(read.invoice, link, read_at))
        else:
            is_gone = read.error is None
            sightings.append(reconciliation.not_shown(link, read_at, is_gone=is_gone))
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        _, now = await accounts.lock(conn, run.account_id)
        await _keep(conn, run, sightings)
        await accounts.reconcile_at(conn, run.account_id, now)
    return True


async def _finish(deps: Deps, lease: Lease, run: Reconciliation) -> None:
    """Everything was read: add up, find what is out of place, and tell."""
    failpoint("reconcile:before_finish")
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        account, now = await accounts.lock(conn, run.account_id)
        if not account.is_connected or account.tenant_id != run.tenant_id:
            return  # what waits for a connection waits rightly now
        await reconciled.expect_many(conn)
        totals = await reconciled.add_up(conn, run)
        findings = await reconciled.find(conn, run)
        finished_at = await reconciliations.finish(
            conn,
            run,
            outcome=FINDINGS if findings else CLEAN,
            message=reconciliation.sentence(totals, findings),
            findings=findings,
        )
        event = AccountReconciled(
            account_id=run.account_id,
            reconciliation=run.number,
            tenant_id=run.tenant_id,
            asked_by=run.asked_by,
            began_at=run.began_at,
            finished_at=finished_at,
            is_clean=not findings,
            totals=reconciliation.ledger_totals(totals),
            states=reconciliation.state_totals(totals),
            findings=tuple(
                reconciliation.in_words(kind, count) for kind, count in findings.items()
            ),
        )
        await outbox.add(conn, record_of(event, now))
        await _plan_next(conn, deps, run.account_id, now)
        failpoint("reconcile:before_finish_commit")
    failpoint("reconcile:after_finish")
    metrics.RECONCILIATIONS.labels(FINDINGS if findings else CLEAN).inc()
    for kind, count in findings.items():
        metrics.RECONCILIATION_FINDINGS.labels(kind).inc(count)
    deps.on_recorded()


async def _postpone(
    deps: Deps, lease: Lease, account: Account, run: Reconciliation, error: XeroError
) -> None:
    """Xero could not be asked, or its answer could not be taken in."""
    found = trouble.of(error, count=account.pause_count + 1, chance=deps.chance())
    log.warning(
        "reconciliation_put_off",
        account_id=run.account_id,
        reconciliation=run.number,
        error=type(error).__name__,
        request_id=error.request_id,
    )
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        _, now = await accounts.lock(conn, run.account_id)
        if isinstance(error, RequestRejected | UnexpectedAnswer):
            # Asking the same again would be answered the same; a page may merely be too large to be taken in.
            smaller = run.next_page and reconciliation.smaller_page(run.next_page, run.page_size)
            if smaller:
                await reconciliations.turned_page(conn, run, *smaller, 0)
            else:
                await _stop(conn, deps, run, f"Xero did not show its invoices: {error}"[:500], now)
            return
        until = now + (found.pause or trouble.LOOK_AGAIN)
        await accounts.reconcile_at(conn, run.account_id, until)
        # A limit may be the sweeps' alone: invoices to be sent find out for themselves.
        if found.pause is not None and not isinstance(error, RateLimited):
            await accounts.pause(
                conn,
                run.account_id,
                until=until,
                code=found.block.code,
                count=account.pause_count + 1,
            )


async def _stop(conn: Connection, deps: Deps, run: Reconciliation, why: str, now: datetime) -> None:
    await _close(conn, run, why)
    await _plan_next(conn, deps, run.account_id, now)


async def _close(conn: Connection, run: Reconciliation, why: str) -> None:
    await reconciliations.finish(conn, run, outcome=STOPPED, message=why, findings={})
    metrics.RECONCILIATIONS.labels(STOPPED).inc()


async def _plan_next(conn: Connection, deps: Deps, account_id: str, now: datetime) -> None:
    at = None
    if deps.reconcile_every is not None:
        at = reconciliation.next_slot(account_id, now, deps.reconcile_every, deps.chance())
    await accounts.reconcile_at(conn, account_id, at)
