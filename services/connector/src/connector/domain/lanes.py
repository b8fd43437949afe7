"""Lanes: in which order calls of one tenant are served, and who may use which."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Lane(StrEnum):
    """Kinds of work, the most urgent first."""

    PEOPLE = "people"
    PAYMENTS = "payments"
    INVOICES = "invoices"
    SWEEPS = "sweeps"

    def goes_before(self, other: "Lane") -> bool:
        """Whether this lane is served before `other`."""
        return _ORDER[self] < _ORDER[other]


_ORDER: Final[Mapping[Lane, int]] = {lane: place for place, lane in enumerate(Lane)}

_OPEN_TO: Final[Mapping[str, tuple[Lane, ...]]] = {
    "invoice-sync": (Lane.INVOICES, Lane.PEOPLE, Lane.SWEEPS),
    "payment-ingest": (Lane.PAYMENTS, Lane.SWEEPS),
}
"""The lanes of each caller; the first is the one for calls that name none."""


def lane_of(caller: str, named: str | None) -> Lane | None:
    """The lane of a caller's request, by the name it gives; None when the caller may not use such a lane."""
    lanes = _OPEN_TO.get(caller, ())
    if named is None:
        return lanes[0] if lanes else None
    return next((lane for lane in lanes if lane == named), None)
