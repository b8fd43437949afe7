"""What to record once Xero has shown us an invoice of ours: the link, the new base, and whether the books agree."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from invoice_sync.domain import lifecycle, mapping, merging, telling, three_way
from invoice_sync.domain.account_settings import EditPolicy
from invoice_sync.domain.currencies import NO_CURRENCY
from invoice_sync.domain.state import Account, Block, Invoice, Link, Step
from invoice_sync.domain.three_way import RATE, TOTAL, FieldDifference, Snapshot
from pipeline_contracts.invoice import Invoice as InvoiceBody
from pipeline_contracts.money import plain_money, plain_quantity
from pipeline_xero.documents import XeroInvoice
from pipeline_xero.queries import invoice_link

_MOST_NAMES = 10
_MOST_TOLD = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """An invoice as Xero showed it, and the circumstances."""

    invoice: XeroInvoice
    account: Account
    tenant_id: str
    xero_web_url: str
    now: datetime
    correlation_id: str | None = None
    edit_policy: EditPolicy = EditPolicy.BLOCK

    @property
    def is_paid(self) -> bool:
        """Whether something is paid or credited, so that Xero lets little of it change."""
        return bool(self.invoice.amount_paid or self.invoice.amount_credited)


def created(row: Invoice, body: InvoiceBody, version: int, seen: Seen) -> Step:
    """Xero stored what we just sent. Its rendition is the base; only its total is held against Pipeline's."""
    return _settled(row, body, version, seen, adopted=False)


def adopted(row: Invoice, body: InvoiceBody, version: int, seen: Seen) -> Step:
    """We found our own invoice in Xero after an unknown outcome: whatever differs from what was sent is a conflict."""
    return _settled(row, body, version, seen, adopted=True)


def updated(
    row: Invoice,
    body: InvoiceBody,
    version: int,
    seen: Seen,
    link: Link,
    element: Mapping[str, Any],
) -> Step:
    """Xero stored our change of an invoice it had.

    A field we did not send and that looks different now was changed by somebody in between: that is told where the
    account's policy is to block, and kept in any case; it never becomes part of what both agreed on.

    Args:
        row: The invoice, which still carries its intent.
        body: What was sent, in Xero's codes.
        version: The version that was sent.
        seen: What Xero shows now.
        link: The link; ``observed`` is what Xero showed just before the change was sent.
        element: The element that was sent.
    """
    wanted = sent_snapshot(row, body, version, link, element)
    sent = mapping.lines_of(
        merging.target_of(link.base, in_opinions(wanted, link, link.observed), link.observed)
    )
    line_item_ids = mapping.pair_lines(
        [line.line_id for line in body.lines if f"line {line.line_id}" in sent],
        # What was there before and is not linked is somebody else's line, wherever it stands.
        [each for each in ids_of(seen.invoice) if not mapping.is_xeros_line(link.observed, each)],
        link.line_item_ids,
    )
    observed = mapping.xero_snapshot(seen.invoice, line_item_ids)
    ours = in_opinions(wanted, link, observed)
    target = merging.target_of(link.base, ours, link.observed)
    raced = _raced(link.observed, target, observed)
    if wanted.get(RATE) is None:
        raced -= {RATE}
    kept = merging.changed(ours, target) - {TOTAL} | raced
    base = _base_after(wanted, ours, link, observed, target, kept)
    after = replace(
        link_of(row, seen, line_item_ids, wanted, base, observed),
        kept=merging.still_kept(link.kept, wanted, observed),
        kept_by=link.kept_by,
    )
    step = lifecycle.synced(row, in_xero(after, seen), version, seen.now)
    if kept:
        step = lifecycle.with_note(step, "merged", kept_from_xero(kept, wanted, observed))
    if row.version > version:
        return step  # the next version is compared with this base anyway
    blocks = seen.edit_policy is EditPolicy.BLOCK
    told = [
        FieldDifference(path, link.observed.get(path), ours.get(path), observed.get(path))
        for path in sorted(raced)
        if blocks
    ]
    if not any(merging.is_money(path) for path in raced):
        told += wrong_total(target, wanted, observed, seen.invoice)
    if not told:
        return step
    why = conflict_block(after.xero_number, told, ours)
    return lifecycle.then(
        step, lifecycle.out_of_sync(step.row, after, told, why, seen.invoice.updated_at)
    )


def ids_of(invoice: XeroInvoice) -> list[str]:
    """The ids of its lines, in their order."""
    return [line.line_item_id for line in invoice.lines or () if line.line_item_id]


def merged_link(wanted: Snapshot, ours: Snapshot, link: Link, target: Snapshot) -> Link:
    """The link of an invoice in which nothing of Pipeline's is left to write, and Xero's own changes are kept."""
    kept = merging.changed(ours, target) - {TOTAL}
    base = _base_after(wanted, ours, link, link.observed, target, kept)
    kept_by_choice = merging.still_kept(link.kept, wanted, link.observed)
    return replace(link, agreed=wanted, base=base, kept=kept_by_choice)


def sent_snapshot(
    row: Invoice, body: InvoiceBody, version: int, link: Link, element: Mapping[str, Any]
) -> Snapshot:
    """What was sent, in Pipeline's words: a contact that was not sent is the one agreed."""
    contact = (element.get("Contact") or {}).get("ContactID") or link.base.get("contact")
    wanted = mapping.desired_snapshot(body, contact)
    return mapping.as_agreed(wanted, link.agreed) if row.synced_version == version else wanted


def in_opinions(wanted: Snapshot, link: Link, observed: Snapshot) -> Snapshot:
    """What Pipeline wants in Xero's words, with Xero's choice where it has no opinion."""
    ours = mapping.in_xeros_words(wanted, link.agreed, link.base)
    return three_way.with_opinions(ours, link.base, observed)


def wrong_total(
    target: Snapshot, wanted: Snapshot, observed: Snapshot, invoice: XeroInvoice
) -> list[FieldDifference]:
    """The total in Xero, ``invoice`` as observed, as a difference, unless it is what the invoice must come to."""
    total = Decimal(observed.get(TOTAL) or 0)
    possible = merging.totals_of(target, wanted, mapping.own_amounts(invoice))
    if not possible.difference(total):
        return []
    expected = plain_quantity(possible.lowest)
    return [FieldDifference(TOTAL, expected, expected, observed.get(TOTAL))]


def kept_from_xero(kept: Collection[str], wanted: Snapshot, observed: Snapshot) -> str:
    """What stayed as somebody left it in Xero, in words; and both totals, where they now differ."""
    return f"kept as changed in Xero: {_apart(kept, wanted, observed)}"


def kept_by_choice(kept: Collection[str], wanted: Snapshot, link: Link) -> str:
    """What stays as it is in Xero because somebody chose so, though Pipeline has published it anew unchanged."""
    chose = f"{link.kept_by} chose to keep Xero's version" if link.kept_by else "as was chosen"
    return f"still as in Xero ({chose}): {_apart(kept, wanted, link.observed)}"


def _apart(paths: Collection[str], wanted: Snapshot, observed: Snapshot) -> str:
    names = sorted(path for path in paths if path != TOTAL)
    text = telling.names_of(names[:_MOST_NAMES], {**wanted, **observed})
    if len(names) > _MOST_NAMES:
        text += f" and {len(names) - _MOST_NAMES} more"
    ours, theirs = wanted.get(TOTAL), observed.get(TOTAL)
    if ours and theirs and Decimal(ours) != Decimal(theirs):
        text += (
            f"; the total is {plain_money(Decimal(ours))} in Pipeline "
            f"and {plain_money(Decimal(theirs))} in Xero"
        )
    return text


def _raced(before: Snapshot, target: Snapshot, after: Snapshot) -> frozenset[str]:
    """The fields that we left alone and that look different now: somebody changed them in between."""
    sent = merging.changed(before, target) - {TOTAL}
    return frozenset(
        path for path in merging.changed(target, after) - sent - {TOTAL} if not _follows(path, sent)
    )


_TAXES = (": tax_amount", ": tax_type")


def _follows(path: str, sent: Collection[str]) -> bool:
    """Whether Xero works this field out from what we sent: it changes by nobody's hand."""
    if not path.endswith(_TAXES):
        return False
    line = mapping.line_of(path)
    return any(
        each in {"amounts_are", "currency", "contact"} or mapping.line_of(each) == line
        for each in sent
    )


def _base_after(
    wanted: Snapshot,
    ours: Snapshot,
    link: Link,
    observed: Snapshot,
    target: Snapshot,
    kept: Collection[str],
) -> Snapshot:
    """What both agree on now: Xero's rendition of ours. What was changed in Xero alone stays Xero's own change.

    Otherwise Pipeline's next change of such a field would silently overwrite it.
    """
    before = {path: link.base[path] for path in kept if path in link.base}
    base = {path: value for path, value in observed.items() if path not in kept} | before
    is_xeros = merging.is_of_both(target, wanted) and not any(map(merging.is_money, kept))
    total = observed.get(TOTAL) if is_xeros else ours.get(TOTAL)
    return {**base, TOTAL: total}


def _settled(row: Invoice, body: InvoiceBody, version: int, seen: Seen, *, adopted: bool) -> Step:
    line_item_ids = mapping.pair_lines(
        [line.line_id for line in body.lines],
        ids_of(seen.invoice),
        {},
    )
    observed = mapping.xero_snapshot(seen.invoice, line_item_ids)
    contact = seen.invoice.contact.contact_id if seen.invoice.contact else None
    agreed = mapping.desired_snapshot(body, contact)
    base = _filled(agreed, observed) if adopted else {**observed, TOTAL: agreed[TOTAL]}
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
        conflict_block(link.xero_number, differences, agreed),
        seen.invoice.updated_at,
    )
    return lifecycle.then(step, conflict)


def _total_of(snapshot: Snapshot) -> Snapshot:
    return {TOTAL: snapshot.get(TOTAL)}


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
        is_paid=seen.is_paid,
        xero_updated_at=seen.invoice.updated_at,
    )


def in_xero(link: Link, seen: Seen) -> lifecycle.InXero:
    """The facts InvoiceSynced tells."""
    return lifecycle.InXero(
        link=link,
        total=seen.invoice.total or Decimal(0),
        currency=seen.invoice.currency or link.agreed.get("currency") or NO_CURRENCY,
        deep_link=invoice_link(seen.xero_web_url, seen.account.short_code, link.xero_invoice_id),
        xero_updated_at=seen.invoice.updated_at,
        correlation_id=seen.correlation_id,
    )


def withdrawn_block(number: str, xero_status: str) -> Block:
    """An invoice that somebody withdrew in Xero, in words."""
    done = "deleted" if xero_status == "DELETED" else "voided"
    return Block(
        lifecycle.OUT_OF_SYNC,
        f"Invoice {number} was {done} in Xero, and Pipeline still has it.",
        "Void it in Pipeline too, or keep Xero's version; if it is to be billed, issue a new invoice with a new number.",
        retryable=False,
    )


def conflict_block(number: str, differences: Sequence[FieldDifference], ours: Snapshot) -> Block:
    """A conflict in words: what differs, the total to the cent before all. ``ours`` names the lines."""
    things = telling.in_words(differences, ours)
    told = things[:_MOST_TOLD]
    if more := len(things) - len(told):
        told.append(f"and {more} more")
    return Block(
        lifecycle.OUT_OF_SYNC,
        f"Invoice {number} is not the same in Pipeline and in Xero: {'; '.join(told)}.",
        "Review the differences and make the invoice the same in both, or choose which version stands; syncing then "
        "resumes by itself.",
        retryable=False,
    )


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
