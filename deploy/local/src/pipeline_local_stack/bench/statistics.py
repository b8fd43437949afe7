"""The arithmetic of measuring: medians over rounds, percentiles over samples, and the noise beside them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Measured:
    """One measured quantity: its value, and the lowest and highest that any round gave."""

    value: float
    low: float
    high: float


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that at least `percent` % of all samples do not exceed (nearest rank).

    Raises:
        ValueError: there are no samples, or `percent` is not within 0 to 100.
    """
    if not samples:
        raise ValueError("a percentile of nothing")
    if not 0 <= percent <= 100:  # noqa: PLR2004 - per cent
        raise ValueError(f"{percent} is not a percentage")
    ordered = sorted(samples)
    return ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1]


def over_rounds(values: Sequence[float]) -> Measured:
    """The median of the rounds, with the lowest and the highest of them.

    Raises:
        ValueError: there was no round.
    """
    if not values:
        raise ValueError("no round was measured")
    return Measured(median(values), min(values), max(values))


def over_samples(samples: Sequence[float], percent: float, *, rounds: int = 3) -> Measured:
    """A percentile of all samples; its noise is how far it differs between `rounds` consecutive parts of them.

    Raises:
        ValueError: there are fewer samples than rounds.
    """
    if len(samples) < rounds:
        raise ValueError(f"{len(samples)} samples cannot be divided into {rounds} rounds")
    size = len(samples) / rounds
    parts = [samples[round(i * size) : round((i + 1) * size)] for i in range(rounds)]
    of_parts = [percentile(part, percent) for part in parts]
    value = percentile(samples, percent)
    return Measured(value, min(*of_parts, value), max(*of_parts, value))


def difference(value: Measured, subtracted: Measured) -> Measured:
    """What is left of one quantity when another is taken off, at the widest that the two noises allow."""
    return Measured(
        value.value - subtracted.value, value.low - subtracted.high, value.high - subtracted.low
    )
