"""Have accounts' books compared with Xero's by the services that run, and wait for what that comes to."""

import asyncio
import time
from dataclasses import dataclass

import asyncpg

from invoice_sync.reconcile_account import CLEAN, ask_reconciliation
from invoice_sync.store import accounts, reconciliations

ASKED_BY = "command:reconcile"
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Told:
    """What came of it, in a sentence per account."""

    sentences: tuple[str, ...]
    is_clean: bool
    """Whether every account asked about was compared, and nothing was found."""


async def watch_reconciliations(
    pool: asyncpg.Pool, account_id: str | None, *, wait_seconds: float
) -> Told:
    """Ask for reconciliations and wait until they are done.

    Args:
        pool: The service's database.
        account_id: Whose books; None for every connected account.
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
                is_clean = is_clean and found.outcome == CLEAN
        if open_runs:
            await asyncio.sleep(_LOOK_SECONDS)
    sentences += [
        f"{each}: not done after {wait_seconds:g} s; it goes on while the services run."
        for each in open_runs
    ]
    return Told(tuple(sentences), is_clean and not open_runs)
