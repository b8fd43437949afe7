"""Whether an invoice of Pipeline's is one that is in Xero already: by its number, and only if nothing differs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from invoice_sync.domain import confirm, lifecycle, mapping, telling, three_way
from invoice_sync.domain.blocks import block
from invoice_sync.domain.outcome import GONE, matches
from invoice_sync.domain.state import Invoice, Note, Operation, State, Step
from pipeline_contracts.invoice import Invoice as InvoiceBody
from pipeline_contracts.problems import ProblemCode
from pipeline_xero.documents import XeroInvoice

_MOST_DIFFERENCES: Final = 5
# What waits for something else says so until it has it; only what would be sent now, or was refused for its number,
# is told that the one in Xero differs.
_TOLD = frozenset({ProblemCode.INVOICE_NUMBER_TAKEN, ProblemCode.INVOICE_IN_XERO_DIFFERS})


class Outcome(StrEnum):
    """What became of one invoice of an import."""

    LINKED = "linked"
    DIFFERENT = "different"
    ABSENT = "absent"
    AMBIGUOUS = "ambiguous"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of it, in words, and the step to record, if any."""

    outcome: Outcome
    message: str
    xero_invoice_id: str | None = None
    step: Step | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """An invoice of Pipeline's to be looked for."""

    row: Invoice
    body: InvoiceBody
    """As it would be sent: in Xero's codes, its number with its prefix."""
    number_prefix: str
    contact_id: str | None
    """Its customer's contact; None if there is none."""
    twins: int
    """How many invoices of the import bear its number, itself included."""


def number_key(number: str | None) -> str:
    """A number as it is compared: Xero's are unique without case and surrounding blanks."""
    return (number or "").strip().casefold()


def unfit(row: Invoice | None, key: str) -> Verdict | None:
    """Why an invoice is not looked for after all; None if it is. Much may have happened since it was listed."""
    if row is None or row.operation is Operation.VOID or row.state is State.VOIDED:
        return _skipped("It was voided in Pipeline meanwhile.")
    if row.synced_version is not None:
        return _skipped("It is in Xero and linked by now.")
    if row.intent is not None:
        return _skipped(
            "It is being sent to Xero. Should Xero refuse it for its number, import again."
        )
    if number_key(row.invoice_number) != key:
        return _skipped("Its number was changed in Pipeline meanwhile; import again.")
    if not key:
        return _skipped("It has no number to look for.")
    return None


def unasked(why: str) -> Verdict:
    """Xero could not say anything about its number."""
    return _skipped(f"Xero could not be asked for its number ({why}); import again.")


def _skipped(message: str) -> Verdict:
    return Verdict(Outcome.SKIPPED, message)


def live_ones(wanted: Wanted, elements: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of what Xero showed, the live sales invoices with the number wanted, each once.

    One is shown twice where another created meanwhile pushes it onto the next page, or where its number was asked for
    in upper and in lower case.
    """
    number = wanted.body.invoice_number
    live = [each for each in elements if matches(each, number) and each.get("Status") not in GONE]
    return list({each.get("InvoiceID"): each for each in live}.values())


def judge(  # noqa: PLR0911 - one return per cause, in their order
    wanted: Wanted,
    live: Sequence[Mapping[str, Any]],
    seen: confirm.Seen | None,
    taken_as: str | None,
    asked_by: str,
) -> Verdict:
    """Decide on one invoice.

    Args:
        wanted: The invoice, its row locked.
        live: What Xero has under its number (``live_ones``).
        seen: The only one of them, read; None if it is not the only one.
        taken_as: Which other invoice of Pipeline's it is already, in words, if any: by its link, or by the mark it
            was sent with.
        asked_by: By whose order.
    """
    number = wanted.body.invoice_number.strip()
    if not live:
        return Verdict(Outcome.ABSENT, f"Xero has no live invoice with the number {number}.")
    if len(live) > 1 or seen is None:
        return Verdict(
            Outcome.AMBIGUOUS,
            f"Xero has {len(live)} live invoices with the number {number}; change the number of all but one there.",
        )
    xero_id = seen.invoice.invoice_id
    if wanted.twins > 1:
        return Verdict(
            Outcome.AMBIGUOUS,
            f"Pipeline has {wanted.twins} invoices with the number {number}, and Xero has one; no telling which it is. "
            "Give them different numbers in Pipeline.",
            xero_id,
        )
    if taken_as is not None:
        return _different(wanted, xero_id, f"it is {taken_as}")
    if wanted.contact_id is None:
        # It waits for the contact, and says so.
        return replace(_different(wanted, xero_id, _no_contact(wanted, seen.invoice)), step=None)
    differences = differences_of(wanted, seen.invoice)
    if differences:
        ours = mapping.desired_snapshot(wanted.body, wanted.contact_id)
        things = telling.in_words(differences, ours)
        told = things[:_MOST_DIFFERENCES]
        if more := len(things) - len(told):
            told.append(f"and {more} more")
        return _different(wanted, xero_id, "; ".join(told))
    step = confirm.adopted(
        replace(wanted.row, number_prefix=wanted.number_prefix),
        wanted.body,
        wanted.row.version,
        seen,
    )
    note = Note(
        "imported",
        f"linked to {number}, which was in Xero already, by {asked_by}",
        version=wanted.row.version,
    )
    step = replace(step, notes=(note, *step.notes))
    return Verdict(Outcome.LINKED, f"It is the same as {number} in Xero.", xero_id, step)


def differences_of(wanted: Wanted, xero: XeroInvoice) -> tuple[three_way.FieldDifference, ...]:
    """Every field on which the two differ; of those Pipeline leaves to Xero, none does.

    Lines are compared in their order: whoever typed the invoice into Xero may have meant anything by another one.
    """
    line_item_ids = mapping.pair_lines(
        [line.line_id for line in wanted.body.lines],
        [line.line_item_id for line in xero.lines or () if line.line_item_id],
        {},
    )
    return three_way.compare(
        None,
        mapping.desired_snapshot(wanted.body, wanted.contact_id),
        mapping.xero_snapshot(xero, line_item_ids),
    ).differences


def _no_contact(wanted: Wanted, xero: XeroInvoice) -> str:
    name = xero.contact.name if xero.contact else None
    return (
        f"the customer {wanted.body.customer_id} is linked to no contact, and the invoice in Xero is of the contact "
        f"“{name or 'without a name'}”; link the customer to it first"
    )


def _different(wanted: Wanted, xero_invoice_id: str, detail: str) -> Verdict:
    number = wanted.body.invoice_number.strip()
    why = block(ProblemCode.INVOICE_IN_XERO_DIFFERS, invoice_number=number, detail=detail)
    row = wanted.row
    is_told = row.block is not None and row.block.code in _TOLD
    step = None
    if row.state is State.PENDING or (row.state is State.FAILED and is_told):
        # The same words again are no news.
        is_news = row.block is None or row.block.message != why.message
        step = lifecycle.failed(row, why) if is_news else None
    return Verdict(Outcome.DIFFERENT, f"{why.message} {why.hint}", xero_invoice_id, step)


def sentence(counts: Mapping[str, int], *, dry_run: bool) -> str:
    """What an import came to, in one sentence for people."""
    told = {each: counts.get(each, 0) for each in Outcome}
    linked = "would be linked" if dry_run else "were linked"
    return (
        f"Of {sum(told.values())} invoices, {told[Outcome.LINKED]} {linked}, {told[Outcome.DIFFERENT]} are different "
        f"in Xero, {told[Outcome.ABSENT]} are not in Xero, {told[Outcome.AMBIGUOUS]} are ambiguous, and "
        f"{told[Outcome.SKIPPED]} were passed over."
    )
