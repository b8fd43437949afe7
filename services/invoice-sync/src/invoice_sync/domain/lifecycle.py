"""The transitions of one invoice: a row and what happened in, the complete next step out.

Every function takes the row as read under its lock and returns the new row together with the events, the timeline
and the link that must commit with it. Sequences are given here, so that events of one invoice number 1, 2, 3, …
without a gap.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from invoice_sync.domain import retry, xero_messages
from invoice_sync.domain.blocks import block
from invoice_sync.domain.state import (
    Block,
    Choice,
    IntentRef,
    Invoice,
    Keep,
    Link,
    Note,
    State,
    Step,
)
from invoice_sync.domain.telling import total_first
from invoice_sync.domain.three_way import STATUS, WITHDRAWN, FieldDifference
from pipeline_contracts.event import Event
from pipeline_contracts.invoice import Invoice as InvoiceBody
from pipeline_contracts.observed import ObservedInvoice
from pipeline_contracts.problems import ProblemCode
from pipeline_contracts.sync import Difference, InvoiceSynced, OutOfSync, SyncFailed, SyncResumed

# An event has a size limit; a conflict of a thousand lines must not exceed it. The message counts the rest.
_MOST_DIFFERENCES = 200
_LONGEST_VALUE = 200

OUT_OF_SYNC = "OUT_OF_SYNC"
PERSON = "person"
"""How a conflict was resolved that was not resolved by aligning the two versions: somebody chose; the note before says who."""
_RESUMED_ALONE = "Pipeline and Xero agree again"
_RESUMED = {PERSON: "the version that was chosen stands"}

# Linking the customer to another contact is what helps here, and it releases what waits for it.
_FIXED_BY_MAPPING = frozenset(
    {ProblemCode.CONTACT_ARCHIVED, ProblemCode.CONTACT_NOT_FOUND, ProblemCode.CUSTOMER_NOT_MAPPED}
)


@dataclass(frozen=True, slots=True)
class InXero:
    """The facts of an invoice as Xero confirmed them."""

    link: Link
    total: Decimal
    currency: str
    deep_link: str
    xero_updated_at: datetime | None = None
    correlation_id: str | None = None


def sending(
    row: Invoice, intent: IntentRef, tenant_id: str, sent: str | None, number_prefix: str
) -> Step:
    """The invoice is part of a write that is about to leave.

    ``sent`` is its body as sent, in Xero's codes; None where that is the desired body itself.
    """
    return Step(
        replace(
            row,
            state=State.SYNCING,
            due_at=None,
            intent=intent,
            tenant_id=tenant_id,
            block=None,
            sent=sent,
            number_prefix=number_prefix,
        )
    )


def waits(row: Invoice, state: State, why: Block, *, look_again_at: datetime | None = None) -> Step:
    """Stop and wait for what ``why`` names; whoever brings it about releases the invoice.

    ``look_again_at`` is for a wait whose end may already have been announced before it began.
    """
    waiting = replace(row, state=state, due_at=look_again_at, intent=None)
    return _blocked(waiting, why, None)


def failed(row: Invoice, why: Block, *, correlation_id: str | None = None) -> Step:
    """Stop for good until a person, a new version or a fix comes."""
    stopped = replace(row, state=State.FAILED, due_at=None, intent=None)
    return _blocked(stopped, why, None, correlation_id)


def refused_with(
    row: Invoice,
    messages: Sequence[str],
    now: datetime,
    correlation_id: str | None = None,
    *,
    sent: InvoiceBody | None = None,
) -> Step:
    """Xero read the invoice and refused it with these messages; ``sent`` tells on which line what they name stands."""
    code = xero_messages.code_of_all(messages)
    return refused_as(row, code, messages, now, correlation_id, sent=sent)


def refused_as(
    row: Invoice,
    code: ProblemCode,
    messages: Sequence[str],
    now: datetime,
    correlation_id: str | None = None,
    *,
    sent: InvoiceBody | None = None,
    other: str | None = None,
) -> Step:
    """What was sent is refused for this cause. Should Pipeline have moved on meanwhile, the next version is due."""
    number = row.xero_number
    if row.synced_version is None:
        row = replace(row, number_prefix=None)
    if row.intent is not None and row.version > row.intent.version:
        newer = replace(row, state=State.PENDING, due_at=now, intent=None, block=None)
        told = "; ".join(messages)
        return Step(newer, notes=(Note("refused", told, code, row.intent.version, correlation_id),))
    facts: dict[str, object] = {
        "invoice_number": number,
        "customer": row.customer_id,
        "other": other,
        "issue_date": sent.issue_date if sent else None,
    }
    found = block(
        code, xero_errors=messages, **(facts | xero_messages.placed_facts(messages, sent))
    )
    if code in _FIXED_BY_MAPPING:
        return waits(row, State.WAITING_FOR_CONTACT, found)
    return failed(row, found, correlation_id=correlation_id)


def number_taken(messages: Sequence[str]) -> bool:
    """Whether a refusal says that the number exists: by a stranger, or by ourselves after an unknown outcome."""
    return xero_messages.code_of_all(messages) is ProblemCode.INVOICE_NUMBER_TAKEN


def taken(row: Invoice, messages: Sequence[str]) -> Step:
    """The number exists in Xero: whose it is must be looked up before anything is said. Stays ``syncing``."""
    found = block(
        ProblemCode.INVOICE_NUMBER_TAKEN, invoice_number=row.xero_number, xero_errors=messages
    )
    note = Note("number_taken", "; ".join(messages), found.code, row.version)
    return Step(replace(row, block=found), notes=(note,))


def unsettled(row: Invoice) -> Step:
    """Xero's answer does not say what became of it: to be looked up. Stays ``syncing``."""
    return Step(
        row, notes=(Note("outcome_unknown", "the answer was not clear", version=row.version),)
    )


def with_warnings(step: Step, warnings: Sequence[str]) -> Step:
    """The step, with what Xero warned of on the timeline."""
    notes = tuple(
        Note("xero_warning", text, xero_messages.code_of(text), step.row.version)
        for text in warnings
    )
    return replace(step, notes=step.notes + notes)


def chosen(row: Invoice, choice: Choice) -> Note:
    """A person chose whose version is to stand; Xero is read before anything follows from it."""
    whose = "Xero" if choice.keep is Keep.XERO else "Pipeline"
    return Note("chosen", f"{choice.actor} chose to keep {whose}'s version", version=row.version)


def with_note(step: Step, kind: str, detail: str) -> Step:
    """The step, with one more thing on the timeline."""
    return replace(step, notes=(*step.notes, Note(kind, detail, version=step.row.version)))


def waits_quietly(row: Invoice, state: State, detail: str) -> Step:
    """Wait for something already under way; there is nothing anybody would have to do."""
    waiting = replace(row, state=state, due_at=None, intent=None, block=None)
    return Step(waiting, notes=(Note(state, detail, version=row.version),))


def postponed(row: Invoice, state: State, until: datetime, why: Block) -> Step:
    """Come back at ``until`` without anybody's help. Told to the world at the third time, once."""
    attempts = row.attempts + 1
    later = replace(row, state=state, due_at=until, intent=None, attempts=attempts)
    if state is State.WAITING_FOR_BUDGET or attempts < retry.TELL_FROM_ATTEMPT:
        note = Note("postponed", why.message, why.code, row.version)
        return Step(replace(later, block=why), notes=(note,))
    return _blocked(later, why, until)


def unclear(row: Invoice, until: datetime | None, why: Block, *, tell: bool) -> Step:
    """A write left and nobody knows what became of it: it stays ``syncing`` until that is found out."""
    if row.block is not None and row.block.code == ProblemCode.INVOICE_NUMBER_TAKEN:
        return Step(row)  # what Xero said is needed to judge what looking it up will show
    if not tell:
        note = Note(
            "outcome_unknown", why.message, why.code, row.intent.version if row.intent else None
        )
        return Step(replace(row, block=why), notes=(note,))
    return _blocked(row, why, until)


def still_unclear(row: Invoice, until: datetime) -> Step:
    """Xero was asked what became of it, and its answer about this one cannot be read."""
    why = block(ProblemCode.OUTCOME_UNKNOWN, retry_at="in a few minutes")
    return unclear(row, until, why, tell=True)


def again_alone(row: Invoice, due_at: datetime, detail: str) -> Step:
    """Nothing of it is in Xero; take it up from the start, in a call of its own."""
    pending = replace(
        row,
        state=State.PENDING,
        due_at=due_at,
        intent=None,
        block=None,
        send_alone=True,
        attempts=row.attempts + 1,
    )
    return Step(pending, notes=(Note("sent_again", detail, version=row.version),))


def synced(
    row: Invoice, found: InXero, version: int, now: datetime, *, adopted: bool = False
) -> Step:
    """Xero holds ``version``. If Pipeline has moved on meanwhile, the next version is due at once."""
    behind = row.version > version
    done = replace(
        row,
        state=State.PENDING if behind else State.SYNCED,
        due_at=now if behind else None,
        intent=None,
        attempts=0,
        block=None,
        send_alone=False,
        told=None,
        tenant_id=found.link.tenant_id,
        synced_version=version,
    )
    event = _synced_event(done, found, version)
    if row.synced_version is None and not adopted:
        event = event.model_copy(update={"xero_created_at": found.xero_updated_at})
    kind = "adopted" if adopted else "synced"
    note = Note(kind, f"{found.link.xero_number} in Xero", None, version, found.correlation_id)
    return _published(done, (event,), (note,), found.link)


def in_step(row: Invoice, link: Link) -> Step:
    """Both sides agree without anything having been written."""
    return Step(_at_rest(row, State.SYNCED), link=link)


def _at_rest(row: Invoice, state: State) -> Invoice:
    """Xero holds the newest version, and nothing is left to do or to tell."""
    return replace(
        row,
        state=state,
        due_at=None,
        intent=None,
        attempts=0,
        block=None,
        told=None,
        synced_version=row.version,
    )


def never_sent(row: Invoice) -> Step:
    """Cancelled before anything was sent, or after finding that nothing ever arrived."""
    done = replace(row, state=State.VOIDED, due_at=None, intent=None, attempts=0, block=None)
    return Step(done, notes=(Note("voided", "cancelled; it is not in Xero", version=row.version),))


def voided(row: Invoice, found: InXero) -> Step:
    """The invoice is cancelled in Xero too."""
    done = _at_rest(row, State.VOIDED)
    note = Note("voided", "voided in Xero", None, row.version, found.correlation_id)
    return _published(done, (_synced_event(done, found, row.version),), (note,), found.link)


def out_of_sync(
    row: Invoice,
    link: Link,
    differences: Sequence[FieldDifference],
    why: Block,
    xero_updated_at: datetime | None,
) -> Step:
    """Both sides changed: nothing is pushed until they agree. Told once per set of differences."""
    told = f"{OUT_OF_SYNC}/{_digest(row.version, differences)}"
    stopped = replace(row, state=State.OUT_OF_SYNC, due_at=None, intent=None, block=why, told=told)
    if row.state is State.OUT_OF_SYNC and row.told == told:
        return Step(stopped, link=link)
    event = OutOfSync(
        **_named(stopped, row.version),
        tenant_id=link.tenant_id,
        xero_invoice_id=link.xero_invoice_id,
        xero_updated_at=xero_updated_at,
        differences=tuple(
            Difference(
                field=each.field,
                base=_short(each.base),
                pipeline=_short(each.pipeline),
                xero=_short(each.xero),
            )
            for each in total_first(differences)[:_MOST_DIFFERENCES]
        ),
        message=why.message,
        hint=why.hint,
        kind=conflict_kind(link),
    )
    note = Note("out_of_sync", why.message, why.code, row.version)
    return _published(stopped, (event,), (note,), link)


def conflict_kind(link: Link) -> str:
    """What stands between the two versions: edits, or that Xero's was withdrawn."""
    if link.observed.get(STATUS) != WITHDRAWN:
        return "edited"
    return "deleted_in_xero" if link.xero_status == "DELETED" else "voided_in_xero"


def _digest(version: int, differences: Sequence[FieldDifference]) -> str:
    seen = [version, [[each.field, each.base, each.pipeline, each.xero] for each in differences]]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]


def _short(value: str | None) -> str | None:
    return value if value is None else value[:_LONGEST_VALUE]


def resumed(row: Invoice, link: Link, by: str, adopt: ObservedInvoice | None = None) -> Step:
    """Both sides agree again; what follows (a push, or rest) is for the caller to add.

    ``adopt`` is the invoice as Xero has it, for Pipeline to take over.
    """
    event = SyncResumed(
        **_named(row, row.version),
        tenant_id=link.tenant_id,
        xero_invoice_id=link.xero_invoice_id,
        resolved_by=by,
        invoice=adopt,
    )
    note = Note("sync_resumed", _RESUMED.get(by, _RESUMED_ALONE), version=row.version)
    return _published(replace(row, block=None), (event,), (note,), link)


def noticed(row: Invoice, link: Link, detail: str) -> Step:
    """Something changed in Xero that asks for nothing; the invoice rests as it was."""
    resting = replace(row, state=State.SYNCED, due_at=None, attempts=0, block=None)
    return Step(resting, notes=(Note("changed_in_xero", detail, version=row.version),), link=link)


def look_again(row: Invoice, at: datetime | None) -> Step:
    """As it is, to be looked at again at ``at``, or (None) when something new comes.

    What a person sees of a settled invoice stays: looking again in vain is no failure of its sync.
    """
    return Step(replace(row, due_at=at))


def then(first: Step, second: Step) -> Step:
    """Two steps of one invoice in one transaction; ``second`` was made from ``first.row``."""
    return Step(
        second.row,
        first.events + second.events,
        first.notes + second.notes,
        second.link or first.link,
    )


def _blocked(
    row: Invoice, why: Block, until: datetime | None, correlation_id: str | None = None
) -> Step:
    note = Note("sync_failed", why.message, why.code, row.version, correlation_id)
    told = f"{row.generation}/{why.code}"
    if row.told == told:
        return Step(replace(row, block=why), notes=(note,))
    event = SyncFailed(
        **_named(row, row.version),
        code=why.code,
        message=why.message,
        hint=why.hint,
        retryable=why.retryable,
        next_attempt_at=until,
        generation=row.generation,
        xero_errors=why.xero_errors,
    )
    return _published(replace(row, block=why, told=told), (event,), (note,), None)


def _synced_event(row: Invoice, found: InXero, version: int) -> InvoiceSynced:
    return InvoiceSynced(
        **_named(row, version),
        tenant_id=found.link.tenant_id,
        xero_invoice_id=found.link.xero_invoice_id,
        invoice_number=found.link.xero_number,
        xero_status=found.link.xero_status,
        total=found.total,
        currency=found.currency,
        deep_link=found.deep_link,
    )


def _named(row: Invoice, version: int) -> dict[str, Any]:
    return {
        "account_id": row.account_id,
        "invoice_id": row.invoice_id,
        "version": version,
        "sequence": row.sequence + 1,
    }


def _published(
    row: Invoice, events: tuple[Event, ...], notes: tuple[Note, ...], link: Link | None
) -> Step:
    return Step(replace(row, sequence=row.sequence + len(events)), events, notes, link)
