"""How old the picture is, in one sentence."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

BEHIND_IS_TOLD: Final = 1_000
"""Records; fewer are read within a second, and a banner that comes and goes says nothing."""
SILENCE_IS_TOLD: Final = timedelta(seconds=30)
STANDSTILL_IS_TOLD: Final = timedelta(minutes=1)
"""Whoever keeps up has stored, each time that is measured, what was there the time before: seconds earlier."""


@dataclass(frozen=True, slots=True)
class Sample:
    """How many records were still to be read at a moment."""

    at: datetime
    behind: int


@dataclass(frozen=True, slots=True)
class Freshness:
    """How this view stands to the topics.

    Attributes:
        behind: records still to be read; None while nobody has counted.
        is_fresh: whether there is nothing to warn of.
        words: the sentence for a banner.
        caught_up_in: when it will have caught up, at the present rate, if it gets nearer.
    """

    behind: int | None
    is_fresh: bool
    words: str
    caught_up_in: timedelta | None = None


def freshness(
    behind: int | None,
    seen_at: datetime | None,
    complete_until: datetime | None,
    samples: list[Sample],
    now: datetime,
) -> Freshness:
    """What to say.

    Args:
        behind: records between what is stored and the ends of the topics when last seen.
        seen_at: when Kafka last told the ends of the topics.
        complete_until: everything that was there at this moment is stored.
        samples: `behind` over the last minutes, oldest first.
        now: the present.
    """
    if seen_at is None or behind is None:
        return Freshness(None, is_fresh=False, words="This view has only begun to read the topics.")
    silence = now - seen_at
    if silence > SILENCE_IS_TOLD:
        words = (
            f"Kafka has not answered for {span(silence)}: what you see is how things stood then."
        )
        return Freshness(behind, is_fresh=False, words=words)
    age = now - (complete_until or seen_at)
    if behind <= BEHIND_IS_TOLD and age <= STANDSTILL_IS_TOLD:
        return Freshness(behind, is_fresh=True, words="Up to date")
    if behind <= BEHIND_IS_TOLD:
        words = (
            f"This view has not taken in everything for {span(age)}: {_records(behind)} to be read."
        )
        return Freshness(behind, is_fresh=False, words=words)
    wait = _wait(behind, samples)
    if wait is None:
        rest = "it does not get nearer at the moment."
    else:
        rest = f"caught up in about {span(wait)}."
    words = f"This view is {behind:,} records behind; {rest}"
    return Freshness(behind, is_fresh=False, words=words, caught_up_in=wait)


def _records(number: int) -> str:
    return "1 record waits" if number == 1 else f"{number:,} records wait"


def _wait(behind: int, samples: list[Sample]) -> timedelta | None:
    if len(samples) < 2:  # noqa: PLR2004 - a rate needs two
        return None
    first, last = samples[0], samples[-1]
    gained, took = first.behind - last.behind, last.at - first.at
    return took * (behind / gained) if gained > 0 and took > timedelta(0) else None


def span(length: timedelta) -> str:
    """A length of time in the largest whole unit that fits."""
    for name, unit in (
        ("day", timedelta(days=1)),
        ("hour", timedelta(hours=1)),
        ("minute", timedelta(minutes=1)),
    ):
        if (count := length // unit) >= 1:
            return f"{count} {name}{'' if count == 1 else 's'}"
    count = max(int(length.total_seconds()), 1)
    return f"{count} second{'' if count == 1 else 's'}"
