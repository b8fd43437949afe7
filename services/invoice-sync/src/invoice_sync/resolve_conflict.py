"""Decide on an invoice in conflict: what can be chosen, and recording what a person chose.

A choice is recorded with the fingerprint of the picture it was made of. The account's worker reads Xero anew and lets
it take effect on that very picture only; whatever changed since makes it a conflict again, and nothing is overwritten.
"""

from datetime import datetime

from invoice_sync.compare_invoice import contacts_of, terms_of
from invoice_sync.deps import Deps
from invoice_sync.domain import lifecycle, resolution, update
from invoice_sync.domain.blocks import block
from invoice_sync.domain.codes import Terms
from invoice_sync.domain.left_apart import LeftApart, left_apart
from invoice_sync.domain.picture import Picture, picture_of
from invoice_sync.domain.plan import read_body
from invoice_sync.domain.resolution import Conflict
from invoice_sync.domain.state import Account, Choice, Invoice, Keep, State
from invoice_sync.store import accounts, audit, invoice_links, invoices, resolutions, timeline
from pipeline_contracts.problems import ProblemCode
from pipeline_messaging.connection import Connection
from pipeline_messaging.worker import mark_due
from pipeline_service_defaults.problems import Problem


class ConflictChanged(Exception):  # noqa: N818 - what happened, for the handler to show
    """The picture is another one now than the person saw."""

    def __init__(self, conflict: Conflict) -> None:
        super().__init__(conflict.fingerprint)
        self.conflict = conflict


async def conflict_of(
    conn: Connection, deps: Deps, account: Account, invoice: Invoice, now: datetime
) -> Conflict | None:
    """What a person may decide on this invoice, by what was last seen in Xero; None if there is nothing to decide."""
    if not resolution.is_open(invoice):
        return None
    if resolution.is_gone(invoice):
        return resolution.gone(invoice)
    seen = await _last_seen(conn, deps, account, invoice)
    return seen and resolution.conflict_of(seen[0], seen[1].locks, now)


async def _last_seen(
    conn: Connection, deps: Deps, account: Account, invoice: Invoice
) -> tuple[Picture, Terms] | None:
    """The invoice on both sides as last seen, and under which terms; None where it is on one side alone."""
    ids = [invoice.invoice_id]
    link = (await invoice_links.links_of(conn, account.account_id, ids)).get(invoice.invoice_id)
    body = read_body(invoice.desired)
    if link is None or body is None:
        return None
    terms = await terms_of(conn, deps, account, [link])
    contacts = await contacts_of(conn, account.account_id, [invoice], [link])
    ours = update.in_xeros_form(invoice, link, body, terms)
    contact_id = contacts.get(invoice.customer_id or "")
    return picture_of(invoice, link, ours, contact_id, link.observed), terms


async def find_conflict(
    deps: Deps, account_id: str, invoice_id: str
) -> tuple[Invoice | None, Conflict | None]:
    """The invoice, None if this account has none of that id, and what may be decided on it."""
    async with deps.pool.acquire() as conn:
        invoice = await invoices.find_invoice(conn, account_id, invoice_id)
        if invoice is None:
            return None, None
        account, now = await accounts.find(conn, account_id)
        return invoice, await conflict_of(conn, deps, account, invoice, now)


async def find_left_apart(deps: Deps, account_id: str, invoice_id: str) -> LeftApart | None:
    """Where an invoice that is in step differs nevertheless, by what was last seen in Xero, and why that is left so."""
    async with deps.pool.acquire() as conn:
        invoice = await invoices.find_invoice(conn, account_id, invoice_id)
        if invoice is None or invoice.state is not State.SYNCED:
            return None
        account, _now = await accounts.find(conn, account_id)
        seen = await _last_seen(conn, deps, account, invoice)
    return seen and left_apart(seen[0])


async def resolve_conflict(
    deps: Deps, account_id: str, invoice_id: str, choice: Choice
) -> State | None:
    """Record whose version is to stand. The same choice again changes nothing.

    Returns:
        The state the invoice is in; None if this account has no such invoice.

    Raises:
        ConflictChanged: It is another picture now than the one that was seen.
        Problem: 409 NOTHING_TO_RESOLVE, ALREADY_CHOSEN, CHOICE_NOT_POSSIBLE, NOT_CONNECTED or
            TENANT_CHANGED.
    """
    async with deps.pool.acquire() as conn, conn.transaction():
        await mark_due(conn, [account_id])
        account, now = await accounts.lock(conn, account_id)
        invoice = await invoices.lock_invoice(conn, account_id, invoice_id)
        if invoice is None:
            return None
        made = (await resolutions.choices_of(conn, account_id, [invoice_id])).get(invoice_id)
        is_repeated = made is not None and _said(made) == _said(choice)
        conflict = await conflict_of(conn, deps, account, invoice, now)
        if conflict is None:
            if is_repeated:
                return invoice.state
            raise _nothing(invoice)
        if conflict.fingerprint != choice.fingerprint:
            raise ConflictChanged(conflict)
        _check_possible(conflict, choice.keep)
        links = await invoice_links.links_of(conn, account_id, [invoice_id])
        _check_connected(account, links[invoice_id].tenant_id)
        if made is not None and not is_repeated and made.fingerprint == conflict.fingerprint:
            _check_undecided(conflict, made)
        await resolutions.save(conn, account_id, invoice_id, choice)
        if invoice.state is State.OUT_OF_SYNC:
            await invoices.compare_again(conn, [(account_id, invoice_id)])
        else:
            await invoices.restart(conn, account_id, invoice_id)
        if not is_repeated:
            detail = f"{choice.keep} {choice.fingerprint}"
            await audit.add(
                conn,
                account_id,
                actor=choice.actor,
                action="resolve",
                subject=invoice_id,
                detail=detail,
            )
            note = lifecycle.chosen(invoice, choice)
            await timeline.add(conn, [(account_id, invoice_id, note)], now)
    return invoice.state


def _said(choice: Choice) -> tuple[Keep, str]:
    return choice.keep, choice.fingerprint


def _check_possible(conflict: Conflict, keep: Keep) -> None:
    option = conflict.option(keep)
    if option.why_not is not None:
        raise Problem(
            409,
            "CHOICE_NOT_POSSIBLE",
            "This cannot be chosen",
            option.why_not,
            hint=option.follows,
        )


def _check_undecided(conflict: Conflict, made: Choice) -> None:
    """Somebody chose the other side of the same picture, and that is about to take effect."""
    if conflict.option(made.keep).allowed:
        raise Problem(
            409,
            "ALREADY_CHOSEN",
            "Somebody chose already",
            f"{made.actor} chose to keep {'Xero' if made.keep is Keep.XERO else 'Pipeline'}'s version.",
            hint="Look at the invoice again in a moment; if it is still in conflict by then, choose anew.",
        )


def _nothing(invoice: Invoice) -> Problem:
    if invoice.block is not None:
        why, hint = invoice.block.message, invoice.block.hint
    elif invoice.state is State.SYNCED:
        why, hint = "It is in Xero as it is in Pipeline.", "Nothing to do."
    elif invoice.state is State.VOIDED:
        why, hint = "It is voided.", "Nothing to do; issue a new invoice if it is to be billed."
    else:
        why, hint = "It is on its way to Xero.", "Nothing to do: it follows by itself."
    return Problem(
        409,
        "NOTHING_TO_RESOLVE",
        "Nothing to resolve",
        f"There are no two versions of this invoice to choose between. {why}",
        hint=hint,
    )


def _check_connected(account: Account, tenant_id: str) -> None:
    """A choice takes effect at once or not at all: what stands in Xero weeks later is something else than was seen."""
    if not account.is_connected:
        raise Problem(
            409,
            "NOT_CONNECTED",
            "The account is not connected to Xero",
            account.message or "The account was never connected to Xero.",
            hint="Open the Xero card, which names the next step; then look at the differences anew and choose.",
        )
    if account.tenant_id != tenant_id:
        moved = block(ProblemCode.TENANT_CHANGED)
        title = "The invoice is in another Xero organisation"
        raise Problem(409, moved.code, title, moved.message, hint=moved.hint)
