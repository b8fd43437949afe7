"""Say what a code of Pipeline's is called in Xero, and let it be the same in both again."""

from collections.abc import Sequence
from dataclasses import dataclass

from invoice_sync.deps import Deps
from invoice_sync.domain.codes import NO_TAX, CodeKind, CodeListing, fix, listing_of, nearest
from invoice_sync.read_codes import COLLECTIONS, release_usable
from invoice_sync.store import accounts, codes, invoices, setting_changes
from invoice_sync.store.codes import CodeMapping
from pipeline_messaging.connection import Connection
from pipeline_messaging.worker import mark_due
from pipeline_service_defaults.problems import Problem
from pipeline_xero.errors import XeroError
from pipeline_xero.wire import elements

# What people call it, and where Xero shows it.
_IN_XERO = {
    CodeKind.ACCOUNT: ("account with the code", "Accounting, Chart of accounts"),
    CodeKind.TAX: ("tax rate of the type", "Accounting, Tax rates"),
    CodeKind.TRACKING: ("tracking category and option", "Accounting, Tracking categories"),
    CodeKind.ITEM: ("item with the code", "Business, Products and services"),
}


@dataclass(frozen=True, slots=True)
class Mapped:
    """A mapping as it now is, how many invoices the change released, and whether Xero is known to have the code."""

    mapping: CodeMapping
    released: int
    is_checked: bool


async def map_code(
    deps: Deps, account_id: str, kind: CodeKind, code: str, xero_code: str, actor: str
) -> Mapped:
    """Say what a code of Pipeline's is called in Xero; what waited for that code is released.

    The same mapping again releases only what Xero's list brought, if it had to be read again.

    Raises:
        Problem: 422 XERO_CODE_UNKNOWN, Xero has no such code.
    """
    looked = await _look(deps, account_id, kind, xero_code)
    async with deps.pool.acquire() as conn, conn.transaction():
        await mark_due(conn, [account_id])
        account, _ = await accounts.lock(conn, account_id)
        released = 0
        if looked.listing is not None and account.tenant_id == looked.tenant_id:
            released = await _keep(conn, deps, account_id, kind, looked.listing, looked.tenant_id)
        is_checked = looked.is_checked and account.tenant_id == looked.tenant_id
        before = await codes.find_mapping(conn, account_id, kind, code)
        if before is not None and before.xero_code == xero_code:
            return Mapped(before, released, is_checked=is_checked)
        await codes.save_mapping(conn, account_id, kind, code, xero_code, actor)
        after = await codes.find_mapping(conn, account_id, kind, code)
        assert after is not None  # noqa: S101 - just saved, under the account's lock
        released += await _remapped(conn, account_id, before, after, actor)
    deps.on_recorded()
    return Mapped(after, released, is_checked=is_checked)


@dataclass(frozen=True, slots=True)
class _Look:
    """Whether the organisation is known to have a code, and its list where it was read for that."""

    tenant_id: str | None
    is_checked: bool
    listing: CodeListing | None = None


async def _look(deps: Deps, account_id: str, kind: CodeKind, xero_code: str) -> _Look:
    """Look the code up in the list last read; one that is not there may have been added since, so Xero is asked.

    Raises:
        Problem: 422 XERO_CODE_UNKNOWN.
    """
    async with deps.pool.acquire() as conn:
        account, _ = await accounts.find(conn, account_id)
        terms = await codes.terms_of(
            conn, account_id, account.tenant_id, deps.write.default_account_code
        )
    known = terms.lists.get(kind)
    is_none = kind is CodeKind.TAX and xero_code == NO_TAX
    if is_none or (known is not None and xero_code.casefold() in known.entries):
        return _Look(account.tenant_id, is_checked=True)
    if not account.is_connected:
        return _Look(account.tenant_id, is_checked=False)
    collection = COLLECTIONS[kind]
    try:
        reply = await deps.gateway.get(
            account_id, collection, tenant_id=account.tenant_id, lane="people"
        )
        listed = elements(reply.json(), collection)
        listing, near = listing_of(kind, listed), nearest(kind, listed, xero_code)
    except XeroError:
        return _Look(account.tenant_id, is_checked=False)
    if xero_code.casefold() not in listing.entries:
        raise _unknown(kind, xero_code, near)
    return _Look(account.tenant_id, is_checked=True, listing=listing)


async def _keep(
    conn: Connection,
    deps: Deps,
    account_id: str,
    kind: CodeKind,
    listing: CodeListing,
    tenant_id: str | None,
) -> int:
    """Keep the list that was read, as the one before would stop what the mapping releases; how many it released."""
    tenant = tenant_id or ""
    terms = await codes.terms_of(conn, account_id, tenant, deps.write.default_account_code)
    await codes.save_list(conn, account_id, tenant, kind, listing)
    released, _ = await release_usable(conn, account_id, terms, {kind: listing})
    return released


def _unknown(kind: CodeKind, xero_code: str, near: Sequence[str]) -> Problem:
    word, place = _IN_XERO[kind]
    named = f" It has, among others: {', '.join(near)}." if near else ""
    told = f"the connected Xero organisation has no active {word} {xero_code}"
    return Problem(
        422,
        "XERO_CODE_UNKNOWN",
        "No such code in Xero",
        f"{told[0].upper()}{told[1:]}.{named}",
        hint=f"Choose one that Xero shows under {place}, or add or restore it there and send this again.",
        errors=[{"field": "body.xero_code", "message": told}],
        nearest=list(near),
    )


async def unmap_code(deps: Deps, account_id: str, kind: CodeKind, code: str, actor: str) -> bool:
    """Let a code be the same in both again; False if it is already. What is in Xero stays as it is."""
    async with deps.pool.acquire() as conn, conn.transaction():
        await mark_due(conn, [account_id])
        await accounts.lock(conn, account_id)
        before = await codes.find_mapping(conn, account_id, kind, code)
        if before is None:
            return False
        await codes.remove_mapping(conn, account_id, kind, code)
        await _remapped(conn, account_id, before, None, actor)
    deps.on_recorded()
    return True


async def _remapped(
    conn: Connection,
    account_id: str,
    before: CodeMapping | None,
    after: CodeMapping | None,
    actor: str,
) -> int:
    """Record the change of a mapping and release what waited for its code."""
    now = after or before
    assert now is not None  # noqa: S101 - a change has a side
    subject = fix(now.kind, now.code)
    await setting_changes.add(
        conn,
        account_id,
        actor=actor,
        subject=subject,
        before=before.xero_code if before else None,
        after=after.xero_code if after else None,
    )
    return await invoices.release_for_codes(conn, account_id, [subject])
