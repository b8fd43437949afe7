"""Start blocked invoices afresh, by hand: one, or all of one cause."""

from invoice_sync.deps import Deps
from invoice_sync.domain.lifecycle import OUT_OF_SYNC
from invoice_sync.domain.state import State
from invoice_sync.store import (
    accounts,
    audit,
    contact_mappings,
    customers,
    intents,
    invoices,
    lock_dates,
)
from pipeline_contracts.problems import ProblemCode
from pipeline_messaging.worker import mark_due

_AT_REST = frozenset({State.SYNCED, State.VOIDED})


async def retry_invoice(deps: Deps, account_id: str, invoice_id: str, actor: str) -> State | None:
    """Take up one invoice again now, whatever it waits for.

    A failure starts a new generation; a conflict is compared again; a write of unknown outcome is looked into.

    Returns:
        The state the invoice was in; ``SYNCED`` and ``VOIDED`` mean that nothing was to be done. None if this
        account has no such invoice.
    """
    async with deps.pool.acquire() as conn, conn.transaction():
        await mark_due(conn, [account_id])
        await accounts.lock(conn, account_id)
        await lock_dates.doubt(conn, account_id)
        seen = await invoices.find_invoice(conn, account_id, invoice_id)
        if seen is not None and seen.state is State.WAITING_FOR_CONTACT and seen.customer_id:
            await customers.retry(conn, account_id, customer_id=seen.customer_id)
            await contact_mappings.check_again(conn, account_id, customer_id=seen.customer_id)
        invoice = await invoices.lock_invoice(conn, account_id, invoice_id)
        if invoice is None or invoice.state in _AT_REST:
            return invoice.state if invoice else None
        if invoice.state is State.OUT_OF_SYNC:
            await invoices.compare_again(conn, [(account_id, invoice_id)])
        elif invoice.intent is not None:
            await intents.look_now(conn, invoice.intent.id)
        else:
            await invoices.restart(conn, account_id, invoice_id)
        await audit.add(conn, account_id, actor=actor, action="retry", subject=invoice_id)
        return invoice.state


async def retry_cause(deps: Deps, account_id: str, code: str, actor: str) -> int:
    """Take up every invoice of the account that this cause stops; how many those are."""
    async with deps.pool.acquire() as conn, conn.transaction():
        await mark_due(conn, [account_id])
        await accounts.lock(conn, account_id)
        await lock_dates.doubt(conn, account_id)
        if code == OUT_OF_SYNC:
            released = await invoices.compare_conflicts(conn, [account_id])
        else:
            await customers.retry(conn, account_id, code=code)
            await contact_mappings.check_again(conn, account_id, code=code)
            released = await invoices.release_failed(conn, account_id, code)
        await audit.add(
            conn, account_id, actor=actor, action="retry_cause", subject=code, detail=str(released)
        )
        return released


def is_cause(code: str) -> bool:
    """Whether this is the code of a cause at all."""
    return code == OUT_OF_SYNC or code in set(ProblemCode)
