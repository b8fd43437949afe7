"""Go and look at the documents of which a webhook told, and ring exactly the invoices on which they pay something else."""

from collections.abc import Sequence
from datetime import timedelta

import structlog

from payment_ingest import metrics
from payment_ingest.deps import Deps
from payment_ingest.domain.applied import differing
from payment_ingest.domain.delivery import Ring
from payment_ingest.domain.ledger import FoundBy
from payment_ingest.domain.pace import UNSTATED_LIMIT
from payment_ingest.read_documents import ReadDocument
from payment_ingest.store import document_doorbells, doorbells, sweeps
from payment_ingest.store.document_doorbells import DocumentDoorbell
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.worker import Lease
from pipeline_xero.errors import (
    NotAllowed,
    RateLimited,
    RequestRejected,
    UnexpectedAnswer,
    XeroUnavailable,
)

log = structlog.get_logger(__name__)

_MOST = 5
"""Each takes a call of its own. A sweep takes two, however many there are: of more, it finds whatever they changed."""
_FIRST_PAUSE = timedelta(seconds=2)
_MOST_LOOKS = 10
"""After some 30 minutes, it is this document that Xero cannot show."""


async def answer_documents(deps: Deps, lease: Lease, tenant_id: str) -> int | None:
    """Answer the tenant's document doorbells that are due. Dying anywhere means looking again.

    A document that cannot be understood asks for a sweep in its place, and so do many at once: that finds whatever they
    changed. Returns how many calls Xero says are left in this minute, None when it was not asked or did not say.

    Raises:
        LeaseLost, and whatever of pipeline_xero.errors kept us from reading; the doorbells stay.
    """
    async with deps.pool.acquire() as conn:
        rung = await document_doorbells.due(conn, tenant_id, _MOST + 1)
    if len(rung) > _MOST:
        await _leave_to_sweep(deps, lease, tenant_id)
        return None
    left: int | None = None
    for number, one in enumerate(rung):
        try:
            shown = await deps.documents.read(
                lease.account_id, tenant_id, one.kind, one.document_id
            )
        except RateLimited as error:
            # Like a sweep's, its limit may be its lane's alone: doorbells of invoices go on.
            await _put_off(deps, lease, rung[number:], error.retry_after or UNSTATED_LIMIT)
            return left
        except (NotAllowed, RequestRejected, UnexpectedAnswer) as error:
            _complain(one, error)
            shown = None
        except XeroUnavailable as error:
            if one.attempts < _MOST_LOOKS:
                await _put_off(deps, lease, [one], _FIRST_PAUSE * 2**one.attempts)
                raise
            _complain(one, error)
            shown = None
        await _record(deps, lease, one, shown)
        left = shown.calls_left if shown is not None else left
    return left


def _complain(one: DocumentDoorbell, error: Exception) -> None:
    metrics.FETCHES.labels("document", "refused").inc()
    log.warning("document_not_read", kind=one.kind.value, error=str(error)[:200])


async def _leave_to_sweep(deps: Deps, lease: Lease, tenant_id: str) -> None:
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        number = await document_doorbells.answer_all(conn, tenant_id)
        await sweeps.hurry(conn, [tenant_id], deps.sweep.pause)
    log.info("documents_left_to_sweep", tenant_id=tenant_id, count=number)


async def _put_off(
    deps: Deps, lease: Lease, late: Sequence[DocumentDoorbell], pause: timedelta
) -> None:
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        # In the order in which whoever rings locks them.
        for one in sorted(late, key=lambda one: (one.kind, one.document_id)):
            await document_doorbells.put_off(conn, one, pause)


async def _record(
    deps: Deps, lease: Lease, one: DocumentDoorbell, shown: ReadDocument | None
) -> None:
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        known = await document_doorbells.applied(conn, one.tenant_id, one.kind, one.document_id)
        # Of one that Xero has not, and we know nothing of, the webhook may have outrun what Xero shows.
        is_told = shown is not None and (shown.is_there or bool(known))
        if shown is not None and is_told:
            rings = [
                (Ring(one.tenant_id, invoice), one.rung_at, one.delivery)
                for invoice in sorted(differing(shown.applied, known))
            ]
            await doorbells.ring(conn, rings, FoundBy.WEBHOOK)
        # In the order in which whoever rings locks: doorbells, documents, sweeps.
        await document_doorbells.answer(conn, one)
        if not is_told:
            await sweeps.hurry(conn, [one.tenant_id], deps.sweep.pause)
        failpoint("document:before_commit")
    failpoint("document:after_commit")
