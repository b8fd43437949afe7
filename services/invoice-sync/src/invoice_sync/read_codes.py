"""Read which codes the connected organisation has and up to when it is locked; release exactly what that lets in."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from invoice_sync.deps import Deps
from invoice_sync.domain import codes as known_codes
from invoice_sync.domain import locks, xero_messages
from invoice_sync.domain.codes import PROBLEM_OF, CodeKind, CodeListing, Terms
from invoice_sync.domain.freshness import LOOK_AGAIN
from invoice_sync.domain.locks import LockDates
from invoice_sync.domain.plan import read_body
from invoice_sync.domain.state import Account, Intent, Step
from invoice_sync.store import (
    accounts,
    codes,
    invoice_links,
    invoices,
    lock_dates,
    setting_changes,
    steps,
)
from pipeline_contracts.problems import ProblemCode
from pipeline_messaging.connection import Connection
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.worker import Lease
from pipeline_xero.client import Lane
from pipeline_xero.errors import UnexpectedAnswer, XeroError
from pipeline_xero.reference_data import XeroOrganisation
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
    deps: Deps, lease: Lease, account: Account, asked: frozenset[CodeKind | None] | None
) -> None:
    """Read these of Xero's lists (None among them: the lock dates).

    Asked for nothing in particular, those that were never read, and those that invoices wait for. What cannot be read
    stops nothing: Xero then decides on each invoice.

    Raises:
        LeaseLost: Nothing was recorded.
    """
    kinds, with_locks = await _wanted(deps, account, asked)
    found = await _read(deps, account, kinds)
    # What stopped one stops the others too, and each try would cost a call.
    organisation = (
        await _read_organisation(deps, account) if with_locks and len(found) == len(kinds) else None
    )
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
        if with_locks:
            await lock_dates.save(conn, account.account_id, tenant_id, organisation)
        after = None
        if organisation is not None:
            after = await lock_dates.find(conn, account.account_id, tenant_id)
        _, some_wait = await release_usable(conn, account.account_id, terms, found, after)
        all_read = len(found) == len(kinds) and (organisation is not None or not with_locks)
        again = some_wait or not all_read
        await codes.read_at(conn, account.account_id, now + LOOK_AGAIN if again else None)
    failpoint("codes:after_record")
    deps.on_recorded()


async def release_usable(
    conn: Connection,
    account_id: str,
    terms: Terms,
    found: Mapping[CodeKind, CodeListing],
    after: LockDates | None = None,
) -> tuple[int, bool]:
    """Release exactly what waited for a code, or a day, that these readings brought.

    How many invoices those were, and whether anything goes on waiting.
    ``terms`` hold the readings before; ``after`` the lock dates, if they were read again.
    """
    waiting = await codes.waited_for(conn, account_id)
    days = waiting.pop(ProblemCode.PERIOD_LOCKED, [])
    names = [name for each in waiting.values() for name in each]
    fixed = known_codes.newly_usable(names, terms, found)
    fixed += locks.newly_open(days, terms.locks, after)
    released = await invoices.release_for_codes(conn, account_id, fixed)
    return released, bool({*names, *days} - set(fixed))


async def _wanted(
    deps: Deps, account: Account, asked: frozenset[CodeKind | None] | None
) -> tuple[tuple[CodeKind, ...], bool]:
    """The kinds of codes to read, and whether to read the lock dates."""
    async with deps.pool.acquire() as conn:
        terms = await codes.terms_of(
            conn, account.account_id, account.tenant_id, deps.write.default_account_code
        )
        waiting = await codes.waited_for(conn, account.account_id)
    if asked is None:
        lacking = (
            kind for kind in CodeKind if kind not in terms.lists or PROBLEM_OF[kind] in waiting
        )
        locks_lack = terms.locks is None or ProblemCode.PERIOD_LOCKED in waiting
        asked = frozenset[CodeKind | None]((*lacking, *([None] if locks_lack else [])))
    wide = {each for kind in asked if kind for each in _WITH.get(kind, {kind})}
    return tuple(kind for kind in CodeKind if kind in wide), None in asked


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


async def _read_organisation(deps: Deps, account: Account) -> XeroOrganisation | None:
    try:
        return await read_organisation(deps, account, "sweeps")
    except XeroError as error:
        log.warning(
            "lock_dates_not_read", account_id=account.account_id, error=type(error).__name__
        )
        return None


async def read_organisation(deps: Deps, account: Account, lane: Lane) -> XeroOrganisation:
    """What the connected organisation says about itself now.

    Raises:
        XeroError: It cannot be read.
    """
    reply = await deps.gateway.get(
        account.account_id, "Organisation", tenant_id=account.tenant_id, lane=lane
    )
    found = elements(reply.json(), "Organisations")
    if not found:
        raise UnexpectedAnswer("Organisation: an answer without one")
    return XeroOrganisation.from_json(found[0])


async def record_steps(
    conn: Connection, account_id: str, recorded: Sequence[Step], now: datetime
) -> None:
    """Record these steps; while one waits for a code or a day, Xero's lists are read again before long.

    The caller holds the account's lock: a mapping made between its look and its commit would find nothing to release.
    """
    await steps.save(conn, recorded, now)
    if any(step.row.block is not None and step.row.block.waits_for for step in recorded):
        await codes.read_by(conn, account_id, now + LOOK_AGAIN)


async def await_readings(
    conn: Connection, deps: Deps, intent: Intent, recorded: Sequence[Step], now: datetime
) -> list[Step]:
    """The steps; what Xero refused for a code or a lock date waits for that, which is to be read again.

    A refused invoice whose account changed a setting or mapping while the call was under way is due at once: the
    release has passed it by.
    """
    waiting = [await _awaiting_day(conn, intent, step) for step in recorded]
    if not any(_is_coded(step) or _is_locked(step) for step in waiting):
        return waiting
    terms = await codes.terms_of(
        conn, intent.account_id, intent.tenant_id, deps.write.default_account_code
    )
    read = [each.read_at for each in terms.lists.values() if any(map(_is_coded, waiting))]
    if terms.locks is not None and any(map(_is_locked, waiting)):
        read.append(terms.locks.read_at)
    await codes.read_at(conn, intent.account_id, max([now, *(at + _REST for at in read)]))
    changed = await setting_changes.any_since(conn, intent.account_id, intent.first_sent_at)
    return [_awaiting_code(step, terms, now if changed else None) for step in waiting]


def _awaiting_code(step: Step, terms: Terms, due_at: datetime | None) -> Step:
    why, body = step.row.block, read_body(step.row.desired)
    if why is None or body is None or not _is_coded(step):
        return step
    named = xero_messages.facts_of(why.xero_errors)
    fixes = known_codes.candidates(body, why.code, named, terms)
    row = replace(step.row, block=replace(why, waits_for=fixes), due_at=due_at or step.row.due_at)
    return replace(step, row=row)


async def _awaiting_day(conn: Connection, intent: Intent, step: Step) -> Step:
    """The step; where Xero refused it for a lock date, its row waits for its day, and the refusal is remembered."""
    row = step.row
    if row.block is None or not _is_locked(step):
        return step
    body = read_body(row.sent) or read_body(row.desired)
    link = (await invoice_links.links_of(conn, row.account_id, [row.invoice_id])).get(
        row.invoice_id
    )
    days = locks.days_of([link.observed.get("issue_date") if link else None])
    if body is not None:
        days.append(body.issue_date)
    if not days:
        return step
    await lock_dates.refused(conn, intent.account_id, intent.tenant_id, min(days))
    why = replace(row.block, waits_for=(locks.fix(min(days)),))
    return replace(step, row=replace(row, block=why))


def _is_coded(step: Step) -> bool:
    return step.row.block is not None and step.row.block.code in codes.CODED


def _is_locked(step: Step) -> bool:
    return step.row.block is not None and step.row.block.code == ProblemCode.PERIOD_LOCKED
