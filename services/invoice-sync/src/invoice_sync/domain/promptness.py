"""How long it took until Xero was as Pipeline wished: the figure behind "in Xero within five minutes while connected"."""

from collections.abc import Iterable
from datetime import datetime

from invoice_sync.domain.blocks import mover_of
from invoice_sync.domain.state import Invoice, State, Step
from pipeline_contracts.problems import Mover

_DONE = frozenset({State.SYNCED, State.VOIDED})


def seconds_taken(before: Iterable[Invoice], steps: Iterable[Step], now: datetime) -> list[float]:
    """Of each invoice that is now in Xero as wished: the seconds since Pipeline wished it.

    Left out is what had to wait for a person: a link, a correction, a connection. What waited for Xero or for its limits
    counts, however long it took.

    Args:
        before: The invoices as they were.
        steps: What became of them.
        now: The database's clock.
    """
    waited = {row.invoice_id: row for row in before}
    return [
        max(0.0, (now - since).total_seconds())
        for step in steps
        if step.row.state in _DONE
        and (row := waited.get(step.row.invoice_id)) is not None
        and (since := row.waiting_since) is not None
        and not _was_somebodys_move(row)
    ]


def _was_somebodys_move(row: Invoice) -> bool:
    """Whether the last that was told of it was a step for a person."""
    return row.told is not None and mover_of(row.told_code or "") != Mover.SYSTEM
