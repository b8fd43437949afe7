"""What would become of an invoice, and why: every check and the exact bytes, without sending or recording anything."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from math import ceil

from invoice_sync.choose_work import known_around
from invoice_sync.compare_invoice import contacts_of, decision_on
from invoice_sync.deps import Deps
from invoice_sync.domain import forecast, mapping, trouble, update
from invoice_sync.domain.account_settings import InvoiceStatus
from invoice_sync.domain.blocks import block
from invoice_sync.domain.forecast import Ahead, Finding, Forecast, Request
from invoice_sync.domain.locks import UNISSUED, LockDates
from invoice_sync.domain.outcome import matches
from invoice_sync.domain.plan import (
    Known,
    create_of,
    draft_of,
    elsewhere,
    rests,
    unconnected,
)
from invoice_sync.domain.state import Choice, Invoice, Link, Operation
from invoice_sync.domain.update import Change
from invoice_sync.find_by_number import find_by_number
from invoice_sync.read_codes import read_organisation
from invoice_sync.read_invoices import read_in_xero
from invoice_sync.store import accounts, invoices, preview_allowances, resolutions
from pipeline_contracts.invoice import Invoice as InvoiceBody
from pipeline_contracts.problems import ProblemCode
from pipeline_messaging.connection import Connection
from pipeline_service_defaults.problems import Problem
from pipeline_xero.errors import XeroError


async def preview_sync(
    deps: Deps, account_id: str, invoice_id: str, body: InvoiceBody | None
) -> Forecast | None:
    """Forecast an invoice's next step. Xero is read, in the lane of people, and never written to.

    Args:
        deps: What the verbs share.
        account_id: The account.
        invoice_id: Its invoice.
        body: The whole invoice as Pipeline may publish it; None for the newest version that was published.

    Returns:
        The forecast; None if nothing was published and no body is given.

    Raises:
        Problem: 429 PREVIEWS_USED_UP. What is asked of Xero here is taken from what invoices and payments need.
    """
    async with deps.pool.acquire() as conn, conn.transaction(readonly=True):
        row = await invoices.find_invoice(conn, account_id, invoice_id)
        if body is not None:
            row = forecast.as_published(row, body)
        if row is None:
            return None
        account, now = await accounts.find(conn, account_id)
        known = await known_around(conn, deps, account, [row], now)
        contact_id = await _contact_of(conn, row, known)
        choices = await resolutions.choices_of(conn, account_id, [invoice_id])
    begun = _before_xero(row, known)
    if not account.is_connected or elsewhere(row, known):
        return forecast.judged(begun)
    async with deps.pool.acquire() as conn:
        wait = await preview_allowances.spend(conn, account_id, preview_allowances.A_PREVIEW)
    if wait is not None:
        raise _used_up(wait)
    link = known.links.get(invoice_id)
    try:
        if not rests(row, known):
            known = await _with_locks_read(deps, known)
            begun = _before_xero(row, known)
        if link is not None:
            choice = choices.get(invoice_id)
            begun = await _compared(deps, known, begun, link, contact_id, choice)
        else:
            begun = await _looked_up(deps, known, begun)
    except XeroError as error:
        found = trouble.of(error, count=1, chance=deps.chance())
        begun = replace(begun, findings=(*begun.findings, Finding(found.block, is_certain=False)))
    return forecast.judged(begun)


def _used_up(wait: timedelta) -> Problem:
    seconds = ceil(wait.total_seconds())
    return Problem(
        429,
        "PREVIEWS_USED_UP",
        "Too many previews",
        "Previews ask Xero, whose calls the invoices and payments of this account need.",
        hint=f"Ask again in {seconds} seconds; what was published is sent meanwhile, and its state says what is in the way.",
        headers={"Retry-After": str(seconds)},
    )


async def _contact_of(conn: Connection, row: Invoice, known: Known) -> str | None:
    links = list(known.links.values())
    contacts = await contacts_of(conn, row.account_id, [row], links)
    return contacts.get(row.customer_id or "")


def _before_xero(row: Invoice, known: Known) -> Forecast:
    """What can be told without asking Xero."""
    found: list[Finding] = []
    if not known.account.is_connected:
        found.append(Finding(unconnected(known.account)))
    if stays := elsewhere(row, known):
        found.append(Finding(stays.row.block or block(ProblemCode.TENANT_CHANGED)))
    if row.operation is Operation.VOID:
        return Forecast(row, Ahead.NOTHING, tuple(found))
    draft = draft_of(row, known)
    if draft is None:
        found.append(Finding(block(ProblemCode.INTERNAL_ERROR)))
        return Forecast(row, Ahead.STOP, tuple(found))
    if not rests(row, known):
        found.extend(forecast.all_objections(row, draft, known))
    figures = forecast.figures_of(draft, known)
    if draft.is_linked:
        return Forecast(row, Ahead.NOTHING, tuple(found), figures=figures)
    request = None
    if draft.body.customer_id in known.mappings:
        element = create_of(row, draft, known).element
        request = Request("PUT", "Invoices", mapping.invoices_body([element]))
    return Forecast(row, Ahead.CREATE, tuple(found), request, figures)


async def _looked_up(deps: Deps, known: Known, begun: Forecast) -> Forecast:
    """An invoice that is not in Xero: whether somebody else has its number, and whether its date may be locked."""
    row = begun.invoice
    draft = draft_of(row, known)
    if draft is None or row.operation is Operation.VOID:
        return begun
    found = list(begun.findings)
    number = draft.ours.invoice_number.strip()
    if number:
        tenant_id = known.account.tenant_id or ""
        listed = await find_by_number(deps, row.account_id, tenant_id, [number], "people")
        marker = mapping.marker(deps.write.pipeline_web_url, row.account_id, row.invoice_id)
        same = [each for each in listed if matches(each, number)]
        if taken := forecast.number_in_use(number, same, marker):
            found.append(taken)
    if known.terms.settings.invoice_status is not InvoiceStatus.DRAFT:
        found += _suspected_locks(known, [draft.body.issue_date])
    return replace(begun, findings=tuple(found))


async def _compared(
    deps: Deps,
    known: Known,
    begun: Forecast,
    link: Link,
    contact_id: str | None,
    choice: Choice | None,
) -> Forecast:
    """An invoice that is in Xero: it is read there and compared, as the worker would."""
    row = begun.invoice
    read = (await read_in_xero(deps, [link], "people"))[row.invoice_id]
    if read.error is not None:
        raise read.error
    contacts = {row.customer_id or "": contact_id} if contact_id else {}
    decision = decision_on(
        deps, known.account, row, link, contacts, known.terms, read, known.now, choice
    )
    after = replace(forecast.after_reading(begun, decision), in_xero=read.invoice)
    draft = draft_of(row, known)
    if draft is not None and read.invoice is not None and row.operation is not Operation.VOID:
        after = forecast.compared(after, draft, link, contact_id, decision)
    if not isinstance(decision, Change) or decision.push.link.xero_status in UNISSUED:
        return after
    found = _suspected_locks(known, update.days_of(decision.push))
    return replace(after, findings=(*after.findings, *found))


async def _with_locks_read(deps: Deps, known: Known) -> Known:
    """What is known, with the lock dates as Xero shows them now."""
    organisation = await read_organisation(deps, known.account, "people")
    before = known.terms.locks
    locks = LockDates(
        organisation.period_lock_date,
        organisation.end_of_year_lock_date,
        read_at=known.now,
        tried_at=known.now,
        refused_on=before.refused_on if before else None,
    )
    return replace(known, terms=replace(known.terms, locks=locks))


def _suspected_locks(known: Known, days: Sequence[date]) -> list[Finding]:
    locks = known.terms.locks
    found = forecast.locked(days, locks) if locks is not None and days else None
    return [found] if found else []
