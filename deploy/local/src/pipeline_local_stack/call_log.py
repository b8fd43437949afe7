"""Judges Xero's own log of calls: were its limits kept, was a connection there, how much of a limit was used.

Values in, values out. It trusts times and durations only, not the counters of the side that kept the limits.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

MINUTE_SECONDS = 60.0
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Call:
    """One call as Xero saw it; `limited` names the limit for which it was refused, if it was."""

    tenant_id: str
    time: float
    seconds: float
    status: int
    limited: str = ""
    method: str = ""
    path: str = ""
    is_scripted: bool = False
    """Whether a test had it refused for a limit that was not reached."""
    query: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Xero's limits (developer.xero.com, OAuth 2.0 API limits), or what a run has set instead."""

    at_once: int = 5
    per_minute: int = 60
    app_per_minute: int = 10_000


def broken_limits(calls: Sequence[Call], limits: Limits) -> list[str]:
    """Each limit that was exceeded or for which a call had to be refused, in a sentence; empty is good.

    Every call counts, refused ones too: Xero refuses what should not have been sent.
    """
    complaints = []
    for tenant_id, own in sorted(by_tenant(calls).items()):
        at_once = most_at_once(own)
        if at_once > limits.at_once:
            complaints.append(f"{tenant_id}: {at_once} calls at once, {limits.at_once} are allowed")
        in_a_minute = most_in_a_minute([call.time for call in own])
        if in_a_minute > limits.per_minute:
            complaints.append(
                f"{tenant_id}: {in_a_minute} calls in a minute, {limits.per_minute} are allowed"
            )
    of_the_app = most_in_a_minute([call.time for call in calls])
    if of_the_app > limits.app_per_minute:
        complaints.append(
            f"the app: {of_the_app} calls in a minute, {limits.app_per_minute} are allowed"
        )
    refused = [
        call
        for call in calls
        if not call.is_scripted and (call.limited or call.status == 429)  # noqa: PLR2004 - HTTP
    ]
    complaints += [
        f"{call.tenant_id}: refused for the limit {call.limited or 'without a name'}"
        for call in refused[:_SHOWN]
    ]
    return complaints


def unconnected_calls(
    calls: Iterable[Call], connected: Mapping[str, Sequence[tuple[float, float]]]
) -> list[str]:
    """Calls for a tenant while no connection to it was recorded, or that Xero refused for that; empty is good.

    Args:
        calls: the log.
        connected: for each tenant, from when until when it was connected.
    """
    asked = list(calls)
    outside = set(calls_outside(asked, connected))
    return [
        f"{call.tenant_id or 'no tenant'}: called at {call.time:.3f} without a connection ({call.status})"
        for call in asked
        if call.status in (401, 403) or call in outside
    ]


def calls_outside(
    calls: Iterable[Call], connected: Mapping[str, Sequence[tuple[float, float]]]
) -> list[Call]:
    """Calls for a tenant while no connection to it was recorded, by the times at which Xero saw them."""
    return [
        call
        for call in calls
        if not any(
            since <= call.time <= until for since, until in connected.get(call.tenant_id, ())
        )
    ]


def most_in_a_minute(times: Iterable[float]) -> int:
    """The most calls that any 60 seconds hold, wherever they begin; a call leaves exactly 60 s after it came."""
    ordered = sorted(times)
    most, first = 0, 0
    for last, moment in enumerate(ordered):
        while ordered[first] <= moment - MINUTE_SECONDS:
            first += 1
        most = max(most, last - first + 1)
    return most


def most_at_once(calls: Iterable[Call]) -> int:
    """The most calls that were under way at one moment; one that ends as another begins makes room for it."""
    changes = [(call.time, 1) for call in calls]
    changes += [(call.time + call.seconds, -1) for call in calls]
    most = running = 0
    for _, change in sorted(changes):  # at the same moment, -1 sorts before 1
        running += change
        most = max(most, running)
    return most


def shares_of_minutes(times: Iterable[float], per_minute: int, minutes: int) -> list[float]:
    """Which share of the limit was used, for each `minutes` long turn of calls, wherever it begins.

    A saturated tenant makes its n-th call of every minute 60 s after the n-th of the minute before. So from any call
    to the one `per_minute * minutes` calls later, `60 * minutes` seconds pass at the least; the share is that
    time over the time that really passed. Counting calls in fixed minutes would say 1.0 even if each began late.
    """
    ordered, step = sorted(times), per_minute * minutes
    return [
        MINUTE_SECONDS * minutes / (later - earlier)
        for earlier, later in zip(ordered, ordered[step:], strict=False)
    ]


def by_tenant(calls: Iterable[Call]) -> dict[str, list[Call]]:
    """The calls of each tenant."""
    found: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        found[call.tenant_id].append(call)
    return found
