"""What else must hold after a run of faults, beyond the three ledgers of `invariants`.

2. What people entered or changed in Xero is still as they left it.
7. What nobody can read was set aside once, and nothing else was.
8. No consent was lost: who was not disconnected in Xero is connected.
10. Nothing without a right to it was answered; forged webhooks are in `payment_invariants`.
13. Xero's limits were kept, by Xero's own log.
14. The chains of the audits are whole, and hold every change of a connection that was announced.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_local_stack.call_log import Limits, broken_limits
from pipeline_local_stack.invariants import Violation, violations
from pipeline_local_stack.ledgers import WITHDRAWN, Document, Ledgers, distinct, readable


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that was set aside: where it stood, and its value."""

    place: str
    value: bytes


@dataclass(frozen=True, slots=True)
class WorkOfPeople:
    """What people did in Xero that nobody may undo, by InvoiceID."""

    entered: dict[str, Document] = field(default_factory=dict)
    """What they entered by hand."""
    due_dates: dict[str, date] = field(default_factory=dict)
    """The due dates that they set."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that a run is judged by."""

    ledgers: Ledgers
    dead_letters: Sequence[DeadLetter]
    poison: frozenset[bytes]
    """The values of the records that nobody can read."""
    statuses: Mapping[str, str]
    """Of the connection of each account that was ever connected."""
    broken_audits: Sequence[str]
    """A sentence for each broken chain."""
    audited: Collection[tuple[str, int, str]]
    """Each change of a connection in its audit: account, sequence and new status."""
    undecided: int
    """How many invoices are left out, because nobody can know yet what became of them."""
    people: WorkOfPeople = field(default_factory=WorkOfPeople)
    asked: Mapping[str, int] = field(default_factory=dict)
    """What was asked without a right to, and the status below 300 that it was answered, or 0."""


def broken_promises(evidence: Evidence) -> list[Violation]:
    """Everything that does not hold, in words; empty is good."""
    return [
        *violations(evidence.ledgers),
        *(Violation(2, words) for words in _overwritten(evidence)),
        *(Violation(7, words) for words in _set_aside(evidence)),
        *(Violation(8, words) for words in _consents(evidence)),
        *(Violation(10, words) for words in _answered(evidence)),
        *(Violation(13, words) for words in broken_limits(evidence.ledgers.calls, Limits())),
        *(Violation(14, words) for words in evidence.broken_audits),
        *(Violation(14, words) for words in _unaudited(evidence)),
    ]


def _overwritten(evidence: Evidence) -> Iterator[str]:
    people, found = evidence.people, {one.document_id: one for one in evidence.ledgers.documents}
    for document_id, entered in people.entered.items():
        if found.get(document_id) != entered:
            yield f"{entered.number}, which a person entered in Xero as {document_id}, was overwritten"
    for document_id, due_date in people.due_dates.items():
        now = found.get(document_id)
        if now is not None and now.status not in WITHDRAWN and now.due_date != due_date:
            yield f"{document_id} is due on {now.due_date} in Xero, and a person had set {due_date}"


def _answered(evidence: Evidence) -> Iterator[str]:
    for what, status in evidence.asked.items():
        if status:
            yield f"{what} was answered {status} to somebody who had no right to it"


def _unaudited(evidence: Evidence) -> Iterator[str]:
    for event in distinct(readable(evidence.ledgers.connections)):
        if not isinstance(event, ConnectionStatusChanged):
            continue
        if (event.account_id, event.sequence, event.status) not in evidence.audited:
            yield f"{event.account_id} became {event.status} as change {event.sequence}, of which the audit knows nothing"


def _set_aside(evidence: Evidence) -> Iterator[str]:
    places = {letter.place: letter.value for letter in evidence.dead_letters}
    times = Counter(places.values())
    for value in sorted(evidence.poison | times.keys()):
        if value not in evidence.poison:
            yield f"{value[:80]!r} can be read, and was set aside"
        elif times[value] == 0:
            yield f"{value!r} cannot be read, and was not set aside"
    copies = Counter(letter.place for letter in evidence.dead_letters)
    yield from (
        f"{place} was set aside {count} times" for place, count in copies.items() if count > 1
    )


def _consents(evidence: Evidence) -> Iterator[str]:
    for account_id, status in evidence.statuses.items():
        if status != "CONNECTED":
            yield f"{account_id} is {status}, and nobody took its consent away"
