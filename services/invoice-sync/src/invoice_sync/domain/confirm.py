"""What to record once Xero has shown us an invoice of ours: the link, the new base, and whether the books agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from invoice_sync.domain import lifecycle, mapping, three_way
from invoice_sync.domain.state import Account, Block, Invoice, Link, State, Step
from invoice_sync.domain.three_way import FieldDifference, Snapshot
from pipeline_contracts.invoice import Invoice as InvoiceBody
from pipeline_contracts.money import plain_money
from pipeline_xero.documents import XeroInvoice
from pipeline_xero.queries import invoice_link

OUT_OF_SYNC = "OUT_OF_SYNC"


@dataclass(frozen=True, slots=True)
class Seen:
    """An invoice as Xero showed it, and the circumstances."""

    invoice: XeroInvoice
    account: Account
    tenant_id: str
    xero_web_url: str
    now: datetime
    correlation_id: str | None = None


def created(row: Invoice, body: InvoiceBody, version: int, seen: Seen) -> Step:
    """Xero stored what we just sent. Its rendition is the base; only its total is held against Pipeline's."""
    return _settled(row, body, version, seen, known_lines={}, adopted=False)


def adopted(row: Invoice, body: InvoiceBody, version: int, seen: Seen) -> Step:
    """We found our own invoice in Xero after an unknown outcome: whatever differs from what was sent is a conflict."""
    return _settled(row, body, version, seen, known_lines={}, adopted=True)


def updated(row: Invoice, body: InvoiceBody, version: int, seen: Seen, link: Link) -> Step:
    """Xero stored our change of an invoice it had.

    ``link.observed`` is what we read just before. A field we did not send and that looks different now was changed
    by somebody in between: that is told, not taken for ours.
    """
    step = _settled(row, body, version, seen, known_lines=link.line_item_ids, adopted=False)
    after = step.link
    if after is None or step.row.state is not State.SYNCED:
        return step
    raced = tuple(
        FieldDifference(
            path, link.observed.get(path), after.agreed.get(path), after.observed.get(path)
        )
        for path in sorted(after.observed.keys() | link.observed.keys())
        if _changed_by_others(path, link, after)
    )
    if not raced:
        return step
    before = {each.field: each.base for each in raced}
    told = replace(after, base={**after.base, **before})
    why = conflict_block(told.xero_number, raced)
    return lifecycle.then(
        step, lifecycle.out_of_sync(step.row, told, raced, why, seen.invoice.updated_at)
    )


# What follows from other fields changes with them, by nobody's hand.
_ABSENT = "\0"
_DERIVED = (mapping.TOTAL, ": tax_amount", ": tax_type")


def _changed_by_others(path: str, before: Link, after: Link) -> bool:
    # An absent path is a line added or removed; None is a field left to Xero.
    ours = before.agreed.get(path, _ABSENT) != after.agreed.get(path, _ABSENT)
    if ours or path.endswith(_DERIVED) or path.startswith("line xero:"):
        return False
    return before.observed.get(path) != after.observed.get(path)


def _settled(
    row: Invoice,
    body: InvoiceBody,
    version: int,
    seen: Seen,
    *,
    known_lines: Mapping[str, str],
    adopted: bool,
) -> Step:
    line_item_ids = mapping.pair_lines(
        [line.line_id for line in body.lines],
        [line.line_item_id for line in seen.invoice.lines or () if line.line_item_id],
        known_lines,
    )
    observed = mapping.xero_snapshot(seen.invoice, line_item_ids)
    contact = seen.invoice.contact.contact_id if seen.invoice.contact else None
    agreed = mapping.desired_snapshot(body, contact)
    base = (
        _filled(agreed, observed) if adopted else {**observed, mapping.TOTAL: agreed[mapping.TOTAL]}
    )
    link = link_of(row, seen, line_item_ids, agreed, base, observed)
    step = lifecycle.synced(row, in_xero(link, seen), version, seen.now, adopted=adopted)
    if row.version > version:
        return step  # the next version is compared with this base anyway
    differences = three_way.compare(
        None, agreed if adopted else _total_of(agreed), observed if adopted else _total_of(observed)
    ).differences
    if not differences:
        return step
    conflict = lifecycle.out_of_sync(
        step.row,
        link,
        differences,
        conflict_block(link.xero_number, differences),
        seen.invoice.updated_at,
    )
    return lifecycle.then(step, conflict)


def _total_of(snapshot: Snapshot) -> Snapshot:
    return {mapping.TOTAL: snapshot.get(mapping.TOTAL)}


def link_of(
    row: Invoice,
    seen: Seen,
    line_item_ids: Mapping[str, str],
    agreed: Snapshot,
    base: Snapshot,
    observed: Snapshot,
) -> Link:
    """The link as it is to be stored."""
    return Link(
        account_id=row.account_id,
        invoice_id=row.invoice_id,
        tenant_id=seen.tenant_id,
        xero_invoice_id=seen.invoice.invoice_id,
        xero_number=seen.invoice.invoice_number or row.invoice_number or "",
        xero_status=seen.invoice.status or "AUTHORISED",
        line_item_ids=dict(line_item_ids),
        agreed=agreed,
        base=base,
        observed=observed,
        observed_at=seen.now,
    )


def in_xero(link: Link, seen: Seen) -> lifecycle.InXero:
    """The facts InvoiceSynced tells."""
    return lifecycle.InXero(
        link=link,
        total=seen.invoice.total or Decimal(0),
        currency=seen.invoice.currency or link.agreed.get("currency") or "XXX",
        deep_link=invoice_link(seen.xero_web_url, seen.account.short_code, link.xero_invoice_id),
        xero_updated_at=seen.invoice.updated_at,
        correlation_id=seen.correlation_id,
    )


def conflict_block(number: str, differences: Sequence[FieldDifference]) -> Block:
    """A conflict in words: which fields differ, and a difference of totals to the cent."""
    told = [_told(each) for each in differences[:3]]
    more = len(differences) - len(told)
    if more:
        told.append(f"and {more} more")
    return Block(
        OUT_OF_SYNC,
        f"Invoice {number} is not the same in Pipeline and in Xero: {'; '.join(told)}.",
        "Review the differences and make the invoice the same in both; syncing resumes by itself.",
        retryable=False,
    )


def _told(difference: FieldDifference) -> str:
    ours, theirs = difference.pipeline, difference.xero
    told = f"{difference.field} is {_shown(ours)} in Pipeline and {_shown(theirs)} in Xero"
    if difference.field == mapping.TOTAL and ours and theirs:
        apart = abs(Decimal(theirs) - Decimal(ours))
        told += f" (a difference of {plain_money(apart)})"
    return told


def _shown(value: str | None) -> str:
    return "not set" if not value else f"“{value[:60]}”"


def _filled(agreed: Snapshot, observed: Snapshot) -> Snapshot:
    return {
        path: value if value is not None else observed.get(path) for path, value in agreed.items()
    }


def voided(row: Invoice, seen: Seen, link: Link) -> Step:
    """Xero holds the invoice as voided."""
    observed = mapping.xero_snapshot(seen.invoice, link.line_item_ids)
    agreed = mapping.withdrawn(link.agreed)
    after = link_of(row, seen, link.line_item_ids, agreed, observed, observed)
    return lifecycle.voided(row, in_xero(after, seen))
