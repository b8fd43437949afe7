"""An invoice at rest that is not the same on both sides: what differs, why that is left so, and what would end it."""

from dataclasses import dataclass

from invoice_sync.domain import telling
from invoice_sync.domain.picture import Picture
from invoice_sync.domain.three_way import FieldDifference

EDITED, KEPT = "edited_in_xero", "kept_in_xero"
_MOST_TOLD = 3


@dataclass(frozen=True, slots=True)
class LeftApart:
    """What differs, and why it is left so."""

    kind: str
    message: str
    hint: str
    differences: tuple[FieldDifference, ...]
    in_words: tuple[str, ...]


def left_apart(found: Picture) -> LeftApart | None:
    """Where a synced invoice differs and no person is asked; None if it is the same on both sides.

    Somebody edited it in Xero alone, which is not overwritten; or somebody chose to keep Xero's version, and Pipeline
    has not taken it over.
    """
    if not found.apart:
        return None
    differences = tuple(telling.total_first(found.apart))
    words = tuple(telling.in_words(differences, {**found.link.observed, **found.wanted}))
    told = "; ".join(words[:_MOST_TOLD])
    if more := len(words) - _MOST_TOLD:
        told += f"; and {more} more" if more > 0 else ""
    if found.differences:
        return LeftApart(
            EDITED,
            f"Edited in Xero, left as it is: {told}.",
            "Make the same change in Pipeline, or undo it in Xero; Pipeline's version is not pushed over it.",
            differences,
            words,
        )
    who = found.link.kept_by or "somebody"
    return LeftApart(
        KEPT,
        f"Left as it is in Xero, because {who} chose to keep Xero's version: {told}.",
        "Take Xero's version over into Pipeline; the event SyncResumed carries it.",
        differences,
        words,
    )
