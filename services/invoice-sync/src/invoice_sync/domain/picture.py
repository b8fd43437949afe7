"""An invoice on both sides at one moment: what each has, where they differ, and what proves which of it was seen."""

import hashlib
import json
from dataclasses import dataclass, replace

from invoice_sync.domain import mapping, merging, three_way
from invoice_sync.domain.state import Invoice, Link, Operation
from invoice_sync.domain.three_way import FieldDifference, Plan, Snapshot
from pipeline_contracts.invoice import Invoice as InvoiceBody


@dataclass(frozen=True, slots=True)
class Picture:
    """One invoice compared.

    Attributes:
        row: Pipeline's side as stored.
        link: The link with ``observed`` as looked at here, and lines of both sides that are the same one linked.
        wanted: What Pipeline wants, in its own words.
        ours: The same in Xero's words, open opinions filled.
        plan: What the comparison says to do.
        differences: Every field on which both sides differ.
        resolved_by: Whose hand it is, should a conflict end with this.
    """

    row: Invoice
    link: Link
    wanted: Snapshot
    ours: Snapshot
    plan: Plan
    differences: tuple[FieldDifference, ...]
    resolved_by: str

    @property
    def fingerprint(self) -> str:
        """What a person who decides gives back, so that nothing is decided on differences nobody saw."""
        seen = [
            self.row.version,
            self.row.operation,
            self.link.observed.get(three_way.STATUS),
            [[each.field, each.base, each.pipeline, each.xero] for each in self.differences],
        ]
        return fingerprint_of(seen)

    @property
    def apart(self) -> tuple[FieldDifference, ...]:
        """Every field on which both sides differ, and those that a person let differ besides."""
        shown = {each.field for each in self.differences}
        observed = self.link.observed
        accepted = merging.still_kept(self.link.kept, self.wanted, observed) - shown
        return self.differences + tuple(
            FieldDifference(
                path, self.link.base.get(path), self.wanted.get(path), observed.get(path)
            )
            for path in sorted(accepted)
        )


def fingerprint_of(seen: object) -> str:
    """What names a picture: any other one has another name."""
    canonical = json.dumps(seen, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def picture_of(
    row: Invoice, link: Link, body: InvoiceBody, contact_id: str | None, observed: Snapshot
) -> Picture:
    """Compare an invoice that is in Xero.

    Args:
        row: The invoice.
        link: Its link.
        body: What Pipeline wants, in Xero's codes (for a void: what it wanted before).
        contact_id: The customer's contact now; None when it is mapped no more.
        observed: What Xero has, its lines named as the link names them.
    """
    wanted = mapping.desired_snapshot(body, contact_id or link.base.get("contact"))
    if row.operation is Operation.VOID:
        wanted = mapping.withdrawn({**link.agreed})
    else:
        if row.synced_version == row.version:
            wanted = mapping.as_agreed(wanted, link.agreed)
        link, observed = linked(link, wanted, observed)
        base = merging.reopened(link.base, link.agreed, wanted, observed, link.kept)
        link = replace(link, base=base)
    if wanted.get(three_way.RATE) is None:
        # Left to Xero, it is the rate of the day: what it was is agreed by nobody.
        base = {**link.base, three_way.RATE: observed.get(three_way.RATE)}
        link = replace(link, base=base)
    ours = mapping.in_xeros_words(wanted, link.agreed, link.base)
    compared = three_way.compare(link.base, ours, observed)
    if three_way.compare(link.base, wanted, observed).plan is Plan.IN_SYNC:
        # Equal word for word, whatever was agreed before.
        compared = three_way.Comparison(Plan.IN_SYNC)
    return Picture(
        row,
        replace(link, observed=observed),
        wanted,
        three_way.with_opinions(ours, link.base, observed),
        compared.plan,
        compared.differences,
        _moved_last(row, link, observed),
    )


def _moved_last(row: Invoice, link: Link, observed: Snapshot) -> str:
    """Whose hand it is: Xero's where it changed since it was last seen, or where Pipeline has nothing new."""
    xero_moved = observed != link.observed or row.synced_version == row.version
    return "xero_change" if xero_moved else "pipeline_change"


def linked(link: Link, wanted: Snapshot, observed: Snapshot) -> tuple[Link, Snapshot]:
    """The link with the lines that both sides have and nobody linked, and what was observed in its names.

    A line is the same also where it is as both last agreed, though Pipeline wants another one by now.
    """
    pairs = mapping.same_lines(wanted, observed)
    pairs |= mapping.same_lines(link.base, mapping.renamed(observed, pairs))
    if pairs:
        link = replace(
            link,
            line_item_ids={**link.line_item_ids, **pairs},
            base=mapping.renamed(link.base, pairs),
            agreed=mapping.renamed(link.agreed, pairs),
            observed=mapping.renamed(link.observed, pairs),
            kept=frozenset(mapping.renamed(dict.fromkeys(link.kept), pairs)),
        )
        observed = mapping.renamed(observed, pairs)
    return _with_replaced(link, wanted, observed)


def _with_replaced(link: Link, wanted: Snapshot, observed: Snapshot) -> tuple[Link, Snapshot]:
    """The same with the lines that Pipeline has under other line ids than it had, under these."""
    replaced = mapping.replaced_lines(wanted, link.base, observed)
    if not replaced:
        return link, observed
    former = {theirs: ours for ours, theirs in replaced.items()}
    keys = {f"line {before}": f"line {after}" for before, after in former.items()}
    renamed = replace(
        link,
        line_item_ids={
            former.get(key, key): each
            for key, each in link.line_item_ids.items()
            if key not in replaced
        },
        base=mapping.with_lines_named(link.base, keys),
        agreed=mapping.with_lines_named(link.agreed, keys),
        observed=mapping.with_lines_named(link.observed, keys),
        kept=frozenset(mapping.with_lines_named(dict.fromkeys(link.kept), keys)),
    )
    return renamed, mapping.with_lines_named(observed, keys)
