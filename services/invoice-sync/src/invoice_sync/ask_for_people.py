"""Before Xero is asked because a person or a program called: whether the account may still spend calls on that."""

from datetime import timedelta
from math import ceil

from invoice_sync.deps import Deps
from invoice_sync.store import preview_allowances
from invoice_sync.store.preview_allowances import A_CALL
from pipeline_service_defaults.problems import Problem


async def spend_calls(deps: Deps, account_id: str, calls: int = 1) -> None:
    """Take these calls from the account's allowance for people.

    Raises:
        Problem: 429 QUESTIONS_USED_UP. What is asked of Xero here is taken from what invoices and payments need.
    """
    async with deps.pool.acquire() as conn:
        wait = await preview_allowances.spend(conn, account_id, calls * A_CALL)
    if wait is not None:
        raise _used_up(wait)


def _used_up(wait: timedelta) -> Problem:
    seconds = ceil(wait.total_seconds())
    return Problem(
        429,
        "QUESTIONS_USED_UP",
        "Too many questions to Xero",
        "This asks Xero, whose calls the invoices and payments of this account need.",
        hint=f"Send it again in {seconds} seconds; what needs no answer from Xero is taken meanwhile.",
        headers={"Retry-After": str(seconds)},
    )
