"""Have accounts' books compared with Xero's by the services that run, and wait for what that comes to."""

import asyncio
import time
from dataclasses import dataclass

import asyncpg

from invoice_sync.domain.reconciliation import Named, of_one
from invoice_sync.reconcile_account import CLEAN, ask_reconciliation
from invoice_sync.store import accounts, reconciled, reconciliations
from invoice_sync.store.reconciliations import Reconciliation
from pipeline_xero.queries import invoice_link

ASKED_BY = "command:reconcile"
_LOOK_SECONDS = 0.5
_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Told:
    """What came of it: a sentence per account, each followed by one per thing found."""

    sentences: tuple[str, ...]
    is_clean: bool
    """Whether every account asked about was compared, and nothing was found."""


async def watch_reconciliations(
    pool: asyncpg.Pool, account_id: str | None, xero_web_url: str, *, wait_seconds: float
) -> Told:
    """Ask for reconciliations and wait until they are done.

    Args:
        pool: The service's database.
        account_id: Whose books; None for every connected account.
        xero_web_url: Where Xero's pages are.
        wait_seconds: How long to wait. What is not done by then goes on all the same.
    """
    if account_id is None:
        async with pool.acquire() as conn:
            asked = await accounts.connected(conn)
    else:
        asked = [account_id]
    if not asked:
        return Told(("No account is connected to Xero.",), is_clean=True)
    sentences: list[str] = []
    open_runs: dict[str, int] = {}
    for each in asked:
        run = await ask_reconciliation(pool, each, ASKED_BY)
        if run is None:
            sentences.append(f"{each}: not connected to Xero, so there is nothing to compare with.")
        else:
            open_runs[each] = run.number
    is_clean = not sentences
    ends = time.monotonic() + wait_seconds
    while open_runs and time.monotonic() < ends:
        for each, number in list(open_runs.items()):
            async with pool.acquire() as conn:
                found = await reconciliations.find(conn, each, number)
            if found is not None and found.finished_at is not None:
                del open_runs[each]
                sentences.append(f"{each}: {found.message}")
                sentences += await _one_by_one(pool, found, xero_web_url)
                is_clean = is_clean and found.outcome == CLEAN
        if open_runs:
            await asyncio.sleep(_LOOK_SECONDS)
    sentences += [
        f"{each}: not done after {wait_seconds:g} s; it goes on while the services run."
        for each in open_runs
    ]
    return Told(tuple(sentences), is_clean and not open_runs)


async def _one_by_one(pool: asyncpg.Pool, run: Reconciliation, xero_web_url: str) -> list[str]:
    """The first things found, each with its page in Xero."""
    async with pool.acquire() as conn:
        account, _now = await accounts.find(conn, run.account_id)
        found = await reconciled.named(conn, run.account_id, run.number, after=0, limit=_MOST_NAMED)
    short_code = account.short_code if account.tenant_id == run.tenant_id else None
    told = [
        f"  {of_one(each)} {_page_of(each, xero_web_url, short_code)}".rstrip() for each in found
    ]
    if (more := sum(run.findings.values()) - len(found)) > 0:
        told.append(f"  … and {more} more: GET …/reconciliations/{run.number}/findings.")
    return told


def _page_of(found: Named, xero_web_url: str, short_code: str | None) -> str:
    linked = found.xero_invoice_id
    return invoice_link(xero_web_url, short_code, linked) if linked else ""
