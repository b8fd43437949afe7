"""Go and look at the documents of which a webhook told, and ring exactly the invoices on which they pay something else."""

import structlog

from payment_ingest import metrics
from payment_ingest.deps import Deps
from payment_ingest.domain.applied import Applied, differing
from payment_ingest.domain.delivery import Ring
from payment_ingest.domain.ledger import FoundBy
from payment_ingest.store import document_doorbells, doorbells, sweeps
from payment_ingest.store.document_doorbells import DocumentDoorbell
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.worker import Lease
from pipeline_xero.errors import RequestRejected, UnexpectedAnswer

log = structlog.get_logger(__name__)

_AT_ONCE = 5
"""Each takes a call of its own; whatever waits longer has a turn after the doorbells of invoices."""


async def answer_documents(deps: Deps, lease: Lease, tenant_id: str) -> None:
    """Answer some of the tenant's document doorbells. Dying anywhere means looking again.

    A document that cannot be understood asks for a sweep in its place: that finds whatever it changed.

    Raises:
        LeaseLost, and whatever of pipeline_xero.errors kept us from reading; the doorbells stay.
    """
    async with deps.pool.acquire() as conn:
        rung = await document_doorbells.waiting(conn, tenant_id, _AT_ONCE)
    for one in rung:
        shown = await _shown(deps, lease, one)
        await _record(deps, lease, one, shown)


async def _shown(deps: Deps, lease: Lease, one: DocumentDoorbell) -> Applied | None:
    try:
        return await deps.documents.applied(
            lease.account_id, one.tenant_id, one.kind, one.document_id
        )
    except (RequestRejected, UnexpectedAnswer) as error:
        metrics.FETCHES.labels("document", "refused").inc()
        log.warning("document_not_read", kind=one.kind.value, error=str(error)[:200])
        return None


async def _record(deps: Deps, lease: Lease, one: DocumentDoorbell, shown: Applied | None) -> None:
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        if shown is not None:
            known = await document_doorbells.applied(conn, one.tenant_id, one.kind, one.document_id)
            rings = [
                (Ring(one.tenant_id, invoice), one.rung_at, one.delivery)
                for invoice in sorted(differing(shown, known))
            ]
            await doorbells.ring(conn, rings, FoundBy.WEBHOOK)
        # In the order in which whoever rings locks: doorbells, documents, sweeps.
        await document_doorbells.answer(conn, one)
        if shown is None:
            await sweeps.hurry(conn, [one.tenant_id], deps.sweep.pause)
        failpoint("document:before_commit")
    failpoint("document:after_commit")
