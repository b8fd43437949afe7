"""What else must hold after a run of faults, beyond the three ledgers of `invariants`.

7. What nobody can read was set aside once, and nothing else was.
8. No consent was lost: who was not disconnected in Xero is connected.
13. Xero's limits were kept, by Xero's own log.
14. The chains of the audits are whole.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline_local_stack.call_log import Limits, broken_limits
from pipeline_local_stack.invariants import Violation, violations
from pipeline_local_stack.ledgers import Ledgers


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that was set aside: where it stood, and its value."""

    place: str
    value: bytes


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
    undecided: int
    """How many invoices are left out, because nobody can know yet what became of them."""


def broken_promises(evidence: Evidence) -> list[Violation]:
    """Everything that does not hold, in words; empty is good."""
    return [
        *violations(evidence.ledgers),
        *(Violation(7, words) for words in _set_aside(evidence)),
        *(Violation(8, words) for words in _consents(evidence)),
        *(Violation(13, words) for words in broken_limits(evidence.ledgers.calls, Limits())),
        *(Violation(14, words) for words in evidence.broken_audits),
    ]


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
