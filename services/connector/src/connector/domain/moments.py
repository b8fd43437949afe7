"""Points in time as people read them. A page does not know its reader's zone, so it names its own: UTC."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

_UNITS: Final = (
    ("year", timedelta(days=365)),
    ("month", timedelta(days=30)),
    ("day", timedelta(days=1)),
    ("hour", timedelta(hours=1)),
    ("minute", timedelta(minutes=1)),
)


@dataclass(frozen=True, slots=True)
class Moment:
    """A time for machines (`iso`), in full, and as a distance from now."""

    iso: str
    full: str
    ago: str


def moment(at: datetime, now: datetime) -> Moment:
    """The three forms of `at`."""
    utc = at.astimezone(UTC)
    return Moment(f"{utc:%Y-%m-%dT%H:%M:%SZ}", f"{utc.day} {utc:%B %Y, %H:%M} UTC", ago(now - at))


def about(at: datetime, now: datetime) -> Moment:
    """A forecast `at`, no more exact than ten minutes; its day is named only when it is not today."""
    step = timedelta(minutes=10)
    utc = (
        datetime.min.replace(tzinfo=UTC)
        + round((at - datetime.min.replace(tzinfo=UTC)) / step) * step
    )
    day = "" if utc.date() == now.astimezone(UTC).date() else f"{utc.day} {utc:%B}, "
    return Moment(f"{utc:%Y-%m-%dT%H:%M:%SZ}", f"{day}{utc:%H:%M} UTC", ago(now - at))


def ago(passed: timedelta) -> str:
    """How long ago, in whole units of the largest that fits. What two clocks make a future is just now."""
    for name, length in _UNITS:
        if (count := passed // length) >= 1:
            return f"{count} {name}{'' if count == 1 else 's'} ago"
    return "just now"
