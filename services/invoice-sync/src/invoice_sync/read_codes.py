"""Read which codes the connected organisation has, and release exactly what waited for one that is there now."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from invoice_sync.deps import Deps
from invoice_sync.domain import codes as known_codes
from invoice_sync.domain import xero_messages
from invoice_sync.domain.codes import PROBLEM_OF, CodeKind, CodeListing, Terms
from invoice_sync.domain.plan import read_body
from invoice_sync.domain.state import Account, Intent, Step
from invoice_sync.store import accounts, codes, invoices, setting_changes, steps
from pipeline_messaging.connection import Connection
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.worker import Lease
from pipeline_xero.errors import XeroError
from pipeline_xero.wire import elements

log = structlog.get_logger(__name__)

# Refusals in a row ask for one reading, not for one each.
_REST = timedelta(minutes=10)
COLLECTIONS = {
    CodeKind.ACCOUNT: "Accounts",
    CodeKind.TAX: "TaxRates",
    CodeKind.TRACKING: "TrackingCategories",
    CodeKind.ITEM: "Items",
}
# Whether a tax can be used depends on the account beside it.
_WITH = {CodeKind.TAX: frozenset({CodeKind.TAX, CodeKind.ACCOUNT})}


async def read_codes(
    deps: Deps, lease: Lease, account: Account, asked: frozenset[CodeKind] | None
) -> None:
    """Read the lists of these kinds; None: those that were never read, and those that invoices wait for.

    A list that cannot be read stops nothing: Xero then decides on each invoice.

    Raises:
        LeaseLost: Nothing was recorded.
    """
    kinds = await _kinds(deps, account, asked)
    found = await _read(deps, account, kinds)
    failpoint("codes:after_read")
    tenant_id = account.tenant_id or ""
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        current, now = await accounts.lock(conn, account.account_id)
        if current.tenant_id != tenant_id:
            return  # the change of organisation has asked for a reading of its own
        terms = await codes.terms_of(
            conn, account.account_id, tenant_id, deps.write.default_account_code
        )
        for kind in kinds:
            await codes.save_list(conn, account.account_id, tenant_id, kind, found.get(kind))
        again = await release_usable(conn, account.account_id, terms, found) or len(found) < len(
            kinds
        )
        await codes.read_at(
            conn, account.account_id, now + known_codes.LOOK_AGAIN if again else None
        )
    failpoint("codes:after_record")
    deps.on_recorded()


async def release_usable(
    conn: Connection,
    account_id: str,
    terms: Terms,
    found: Mapping[CodeKind, CodeListing],
) -> bool:
    """Release exactly what waited for a code that these readings brought; whether anything goes on waiting.

    ``terms`` hold the readings before.
    """
    waiting = await codes.waited_for(conn, account_id)
    names = [name for each in waiting.values() for name in each]
    fixed = known_codes.newly_usable(names, terms, found)
    await invoices.release_for_codes(conn, account_id, fixed)
    return bool(set(names) - set(fixed))


async def _kinds(
    deps: Deps, account: Account, asked: frozenset[CodeKind] | None
) -> tuple[CodeKind, ...]:
    async with deps.pool.acquire() as conn:
        terms = await codes.terms_of(
            conn, account.account_id, account.tenant_id, deps.write.default_account_code
        )
        waiting = await codes.waited_for(conn, account.account_id)
    if asked is None:
        asked = frozenset(
            kind for kind in CodeKind if kind not in terms.lists or PROBLEM_OF[kind] in waiting
        )
    wide = frozenset[CodeKind]().union(*(_WITH.get(kind, {kind}) for kind in asked))
    return tuple(kind for kind in CodeKind if kind in wide)


async def _read(
    deps: Deps, account: Account, kinds: Sequence[CodeKind]
) -> dict[CodeKind, CodeListing]:
    found: dict[CodeKind, CodeListing] = {}
    for kind in kinds:
        collection = COLLECTIONS[kind]
        try:
            reply = await deps.gateway.get(
                account.account_id, collection, tenant_id=account.tenant_id, lane="sweeps"
            )
            found[kind] = known_codes.listing_of(kind, elements(reply.json(), collection))
        except XeroError as error:
            log.warning(
                "codes_not_read",
                account_id=account.account_id,
                kind=kind,
                error=type(error).__name__,
            )
            break  # what stopped one stops the others too, and each try would cost a call
    return found


async def record_steps(
    conn: Connection, account_id: str, recorded: Sequence[Step], now: datetime
) -> None:
    """Record these steps; while one waits for a code, Xero's lists are read again before long.

    The caller holds the account's lock: a mapping made between its look and its commit would find nothing to release.
    """
    await steps.save(conn, recorded, now)
    if any(step.row.block is not None and step.row.block.waits_for for step in recorded):
        await codes.read_by(conn, account_id, now + known_codes.LOOK_AGAIN)


async def await_codes(
    conn: Connection, deps: Deps, intent: Intent, recorded: Sequence[Step], now: datetime
) -> list[Step]:
    """The steps; what Xero refused for a code waits for that code, whose list is to be read again.

    A refused invoice whose account changed a setting or mapping while the call was under way is due at once: the
    release has passed it by.
    """
    if not any(_is_coded(step) for step in recorded):
        return list(recorded)
    terms = await codes.terms_of(
        conn, intent.account_id, intent.tenant_id, deps.write.default_account_code
    )
    newest = max((each.read_at for each in terms.lists.values()), default=now - _REST)
    await codes.read_at(conn, intent.account_id, max(now, newest + _REST))
    changed = await setting_changes.any_since(conn, intent.account_id, intent.first_sent_at)
    waiting: list[Step] = []
    for step in recorded:
        why, body = step.row.block, read_body(step.row.desired)
        if why is None or body is None or not _is_coded(step):
            waiting.append(step)
            continue
        named = xero_messages.facts_of(why.xero_errors)
        fixes = known_codes.candidates(body, why.code, named, terms)
        row = replace(
            step.row,
            block=replace(why, waits_for=fixes),
            due_at=now if changed else step.row.due_at,
        )
        waiting.append(replace(step, row=row))
    return waiting


def _is_coded(step: Step) -> bool:
    return step.row.block is not None and step.row.block.code in codes.CODED
