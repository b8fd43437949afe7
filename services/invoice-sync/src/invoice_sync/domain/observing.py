"""What another service's reading of an invoice of ours comes to: nothing, a note, or a look of our own.

Only Xero's own time of an invoice (``UpdatedDateUTC``) tells which of two states is the later. Some changes leave it as
it was ("Invoices"), so a state that differs under the same time is read again, and so is one without any time. A write
always reads first, whatever was noted here.
"""

from dataclasses import dataclass, replace

from invoice_sync.domain import lifecycle, mapping
from invoice_sync.domain.state import Invoice, Link, Operation, State, Step
from invoice_sync.domain.three_way import RATE, STATUS, WITHDRAWN, Snapshot
from pipeline_contracts.observed import XeroInvoiceObserved


@dataclass(frozen=True, slots=True)
class Look:
    """Read it in Xero and compare."""


Verdict = Step | Link | Look | None
"""A change in Xero to note; what became of a payment or a status alone; a look of our own; nothing new."""


def looks_different(event: XeroInvoiceObserved, link: Link) -> bool:
    """Whether a field that we own is not as we last saw it, and the observation is not known to be older."""
    return not _is_older(event, link) and _observed(event, link) != link.observed


def judge(event: XeroInvoiceObserved, link: Link, row: Invoice) -> Verdict:
    """Judge an observation of an invoice of ours.

    Args:
        event: The observation.
        link: The invoice's link.
        row: The invoice, locked.
    """
    if event.account_id != link.account_id or _is_older(event, link):
        return None
    observed = _observed(event, link)
    if observed == link.observed:
        return _facts(event, link)
    if not (_is_at_rest(row) and _is_newer(event, link) and _is_plain(observed, link)):
        return Look()
    seen = replace(_with_facts(event, link), observed=observed, observed_at=event.observed_at)
    return lifecycle.noticed(row, seen, "changed in Xero; Pipeline's version is not pushed over it")


def _observed(event: XeroInvoiceObserved, link: Link) -> Snapshot:
    shown = mapping.observed_snapshot(event.invoice, link.line_item_ids)
    if event.invoice.currency_rate is None:
        # The event need not tell it: that is no other rate.
        return {**shown, RATE: link.observed.get(RATE)}
    return shown


def _is_older(event: XeroInvoiceObserved, link: Link) -> bool:
    theirs, ours = event.invoice.updated_at, link.xero_updated_at
    return theirs is not None and ours is not None and theirs < ours


def _is_newer(event: XeroInvoiceObserved, link: Link) -> bool:
    theirs, ours = event.invoice.updated_at, link.xero_updated_at
    return theirs is not None and ours is not None and theirs > ours


def _is_at_rest(row: Invoice) -> bool:
    """Whether nothing of ours is in flight, due or wanted: then whatever differs was changed in Xero alone."""
    return (
        row.state is State.SYNCED
        and row.due_at is None
        and row.intent is None
        and row.operation is Operation.WRITE
        and row.synced_version == row.version
    )


def _is_plain(observed: Snapshot, link: Link) -> bool:
    """Whether it is an edit and no more: a withdrawal, or another contact, has consequences that want a look.

    So has a line that was taken out and typed in again: it is the same line, and the edit may be undone by it.
    """
    same_contact = observed.get("contact") == link.observed.get("contact")
    is_typed_again = bool(mapping.same_lines(link.base, observed))
    return same_contact and observed.get(STATUS) != WITHDRAWN and not is_typed_again


def _facts(event: XeroInvoiceObserved, link: Link) -> Link | None:
    """The link with what is no difference, if any of it is new: the status as paid, and whether anything was."""
    if event.invoice.updated_at is None:
        return None
    known = _with_facts(event, link)
    if (known.xero_status, known.is_paid) == (link.xero_status, link.is_paid):
        return None
    return replace(known, observed_at=event.observed_at)


def _with_facts(event: XeroInvoiceObserved, link: Link) -> Link:
    seen = event.invoice
    return replace(
        link,
        xero_status=seen.status,
        is_paid=bool(seen.amount_paid or seen.amount_credited),
        xero_updated_at=seen.updated_at,
    )
