"""Whose turn it is among an account's due invoices: they share Xero's calls, and no kind waits for another's backlog.

A call carries up to 50 invoices of one kind. Were they chosen together, those to be compared would take places in the
batches of those to be created.
"""

from collections.abc import Collection, Sequence
from enum import StrEnum

from invoice_sync.domain.state import Invoice

MAX_BODY_BYTES = 3_000_000
"""Xero takes bodies up to about 3.5 MB; what does not fit goes with the next call."""


class Kind(StrEnum):
    """What a due invoice needs, by what is known of it without asking Xero."""

    NEW = "new"
    """It was never in Xero: to be created."""
    CHANGED = "changed"
    """It is in Xero, and Pipeline wants it changed: to be read, compared, and written."""
    LOOK = "look"
    """It rests, in step or in conflict, and something may have changed in Xero: to be read and compared."""


_ROUND = tuple(Kind)


def next_kind(due: Collection[Kind], last: str | None) -> Kind | None:
    """The kind whose turn it is: the next in the round that has anything due, starting behind the last one.

    So a kind with anything due is served at the latest after one call of each of the others.

    Args:
        due: The kinds of which something is due.
        last: The kind that was served last; None, or a word this release does not know, if that is not known.
    """
    start = _ROUND.index(Kind(last)) + 1 if last in _ROUND else 0
    order = (*_ROUND[start:], *_ROUND[:start])
    return next((kind for kind in order if kind in due), None)


def sharing(rows: Sequence[Invoice]) -> list[Invoice]:
    """Those that may share the next call: the first by itself if it must go alone, else all that need not."""
    if rows and rows[0].send_alone:
        return [rows[0]]
    return [row for row in rows if not row.send_alone]


def fitting(sizes: Sequence[int], most: int = MAX_BODY_BYTES) -> int:
    """How many of the first elements fit into one body; one always goes."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if count and total > most:
            return count
    return len(sizes)
