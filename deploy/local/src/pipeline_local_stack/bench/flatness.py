"""Does a figure stay where it is under a constant load? Values in, values out."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import linear_regression, mean
from typing import Any

WARM_UP_SHARE = 1 / 3
"""Of the samples: caches fill, pools open, statements are planned."""


@dataclass(frozen=True, slots=True)
class Series:
    """One figure, sampled over time.

    Attributes:
        tolerance: how much it may grow over the time looked at and still count as flat.
        may_grow: whether it is shown only: what was synced is kept.
    """

    name: str
    unit: str
    samples: Sequence[tuple[float, float]]
    """Seconds and values."""
    tolerance: float = 0.0
    may_grow: bool = False

    @property
    def steady(self) -> Sequence[tuple[float, float]]:
        """The samples after the warm-up."""
        return self.samples[int(len(self.samples) * WARM_UP_SHARE) :]

    @property
    def an_hour(self) -> float:
        """How much it grows in an hour, by the line nearest to the samples."""
        seconds, values = zip(*self.steady, strict=True)
        return linear_regression(seconds, values).slope * 3600

    @property
    def grown(self) -> float:
        """How much of that growth fell into the time looked at."""
        return self.an_hour * (self.steady[-1][0] - self.steady[0][0]) / 3600

    @property
    def is_flat(self) -> bool:
        """Whether it grew no more than it may."""
        return self.may_grow or self.grown <= self.tolerance

    def as_json(self) -> dict[str, Any]:
        """The series in a few numbers."""
        values = [value for _, value in self.steady]
        return {
            "name": self.name, "unit": self.unit, "mean": round(mean(values), 2),
            "highest": round(max(values), 2), "grown": round(self.grown, 2),
            "an_hour": round(self.an_hour, 2), "tolerance": self.tolerance,
            "verdict": "grows as it must" if self.may_grow else "flat" if self.is_flat else "GROWS",
        }  # fmt: skip
