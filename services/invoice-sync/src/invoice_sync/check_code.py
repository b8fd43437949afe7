"""Whether the connected organisation has a code that somebody names: by the list last read, or by asking Xero."""

from collections.abc import Sequence
from dataclasses import dataclass

from invoice_sync.ask_for_people import spend_calls
from invoice_sync.deps import Deps
from invoice_sync.domain.codes import (
    NO_TAX,
    CodeKind,
    CodeListing,
    listing_of,
    nearest,
    why_unusable,
)
from invoice_sync.domain.state import Account
from invoice_sync.read_codes import COLLECTIONS, release_usable
from invoice_sync.store import accounts, codes
from pipeline_messaging.connection import Connection
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
class Look:
    """Whether the organisation is known to have a code, and its list where it was read for that."""

    kind: CodeKind
    tenant_id: str | None
    is_checked: bool
    listing: CodeListing | None = None


async def look_up(
    deps: Deps, account_id: str, kind: CodeKind, xero_code: str, *, field: str
) -> Look:
    """Look the code up in the list last read; one that is not there may have been added since, so Xero is asked.

    Args:
        deps: What the verbs share.
        account_id: The account.
        kind: What it is a code of.
        xero_code: The code, by Xero's name.
        field: Where in the request it stands, for the answer.

    Raises:
        Problem: 422 XERO_CODE_UNKNOWN or XERO_CODE_UNUSABLE; 429 QUESTIONS_USED_UP.
    """
    async with deps.pool.acquire() as conn:
        account, _ = await accounts.find(conn, account_id)
        terms = await codes.terms_of(
            conn, account_id, account.tenant_id, deps.write.default_account_code
        )
    known = terms.lists.get(kind)
    is_none = kind is CodeKind.TAX and xero_code == NO_TAX
    if is_none or (known is not None and xero_code.casefold() in known.entries):
        return Look(kind, account.tenant_id, is_checked=True)
    if not account.is_connected:
        return Look(kind, account.tenant_id, is_checked=False)
    return await _ask(deps, account, kind, xero_code, field)


async def _ask(deps: Deps, account: Account, kind: CodeKind, xero_code: str, field: str) -> Look:
    await spend_calls(deps, account.account_id)
    collection = COLLECTIONS[kind]
    try:
        reply = await deps.gateway.get(
            account.account_id, collection, tenant_id=account.tenant_id, lane="people"
        )
        listed = elements(reply.json(), collection)
        listing, near = listing_of(kind, listed), nearest(kind, listed, xero_code)
        why_not = why_unusable(kind, listed, xero_code)
    except XeroError:
        return Look(kind, account.tenant_id, is_checked=False)
    if why_not is not None:
        raise _unusable(kind, xero_code, why_not, near, field)
    if xero_code.casefold() not in listing.entries:
        raise _unknown(kind, xero_code, near, field)
    return Look(kind, account.tenant_id, is_checked=True, listing=listing)


async def keep_list(conn: Connection, deps: Deps, account: Account, looked: Look) -> int:
    """Keep the list that was read, as the one before would stop what it lets in; how many invoices it released."""
    if looked.listing is None or account.tenant_id != looked.tenant_id:
        return 0
    account_id, tenant_id = account.account_id, looked.tenant_id or ""
    terms = await codes.terms_of(conn, account_id, tenant_id, deps.write.default_account_code)
    await codes.save_list(conn, account_id, tenant_id, looked.kind, looked.listing)
    released, _ = await release_usable(conn, account_id, terms, {looked.kind: looked.listing})
    return released


def _unusable(kind: CodeKind, xero_code: str, why: str, near: Sequence[str], field: str) -> Problem:
    word, place = _IN_XERO[kind]
    told = f"the {word} {xero_code} {why}"
    return Problem(
        422,
        "XERO_CODE_UNUSABLE",
        "Not for lines of invoices",
        f"In the connected Xero organisation {told}.{_others(near)}",
        hint=f"Choose another one that Xero shows under {place}.",
        errors=[{"field": field, "message": told}],
        nearest=list(near),
    )


def _unknown(kind: CodeKind, xero_code: str, near: Sequence[str], field: str) -> Problem:
    word, place = _IN_XERO[kind]
    told = f"the connected Xero organisation has no active {word} {xero_code}"
    return Problem(
        422,
        "XERO_CODE_UNKNOWN",
        "No such code in Xero",
        f"{told[0].upper()}{told[1:]}.{_others(near)}",
        hint=f"Choose one that Xero shows under {place}, or add or restore it there and send this again.",
        errors=[{"field": field, "message": told}],
        nearest=list(near),
    )


def _others(near: Sequence[str]) -> str:
    return f" It has, among others: {', '.join(near)}." if near else ""
