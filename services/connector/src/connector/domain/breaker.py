"""The circuit breaker: when Xero as a whole does not answer, stop calling it, and find out with one call at a time.

    Closed ──failures, and nothing but failures──► Open ──its pause is over──► Probing ──a success──► Closed
                                                    ▲                             │
                                                    └──the probe fails: longer────┘

Values in, values out; moments are monotonic seconds. Any success closes at once, whoever had it: Xero answers again.
"""

from dataclasses import dataclass, replace
from typing import Final

FAILURES_TO_OPEN: Final = 5
"""In a row, of the whole app: a blip of one call is nothing, and each further one costs its caller a full timeout."""

TENANTS_TO_OPEN: Final = 2
"""Xero answers 503 for one organisation alone ("The Organisation is offline"), and one may be slow by itself."""

SEVERAL_SECONDS: Final = 600.0
"""How long after the calls of a second organisation it still counts as one that calls."""

FIRST_PAUSE_SECONDS: Final = 2.0
LONGEST_PAUSE_SECONDS: Final = 60.0
PROBING_RETRY_SECONDS: Final = 5.0
"""What others are told while the probe is under way; its answer may take as long as Xero's timeout."""

DOWN: Final = frozenset({502, 503, 504})
"""Answers that come from in front of Xero's API, not from it. A 500 is its own: it is there."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Calls go through. `failures` in a row, of `tenants` (counted up to TENANTS_TO_OPEN)."""

    failures: int = 0
    tenants: frozenset[str] = frozenset()
    unreachable: bool = False
    """Whether a failure in this row was one before any request: that is no single organisation's."""
    last_tenant: str | None = None
    several_until: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Open:
    """No call goes through until `until`; `pause` was drawn around `pause_seconds`."""

    until: float
    pause_seconds: float


@dataclass(frozen=True, slots=True)
class Probing:
    """One call, let out at `since`, tries whether Xero is back; the others wait for what becomes of it."""

    pause_seconds: float
    since: float


State = Closed | Open | Probing


@dataclass(frozen=True, slots=True)
class Go:
    """The call may be made; the caller reports how it ended. `probe` is the moment of a probe, None for all others."""

    probe: float | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """No call now; ask again in so many seconds."""

    seconds: float


def ask(state: State, now: float) -> tuple[State, Go | Refuse]:
    """Whether a call may be made."""
    match state:
        case Closed():
            return state, Go()
        case Open(until, pause_seconds) if now >= until:
            return Probing(pause_seconds, now), Go(now)
        case Open(until, _):
            return state, Refuse(until - now)
        case Probing():
            return state, Refuse(PROBING_RETRY_SECONDS)


def answered(state: State, tenant_id: str, now: float) -> Closed:
    """Xero answered a call."""
    if isinstance(state, Closed):
        seen = _seen(state, tenant_id, now)
        return replace(seen, failures=0, tenants=frozenset(), unreachable=False)
    return Closed(last_tenant=tenant_id)


def failed(
    state: State, go: Go, tenant_id: str, *, unreachable: bool, now: float, chance: float
) -> State:
    """Xero did not answer a call, or something in front of it answered in its place.

    Args:
        state: The state so far.
        go: What the call was allowed as: of calls from before the opening, no failure makes the pause longer.
        tenant_id: Whose call it was.
        unreachable: Whether no connection could be made at all.
        now: Monotonic seconds.
        chance: From 0 to 1, for jitter: replicas must not probe together.
    """
    match state:
        case Closed():
            row = _seen(state, tenant_id, now)
            tenants = row.tenants
            if len(tenants) < TENANTS_TO_OPEN:
                tenants |= {tenant_id}
            row = replace(
                row,
                failures=row.failures + 1,
                tenants=tenants,
                unreachable=row.unreachable or unreachable,
            )
            return _open(FIRST_PAUSE_SECONDS, now, chance) if _is_xero(row, now) else row
        case Probing(pause_seconds, since) if go.probe == since:
            return _open(min(pause_seconds * 2, LONGEST_PAUSE_SECONDS), now, chance)
        case _:
            return state


def given_up(state: State, go: Go, now: float) -> State:
    """A call ended without telling anything about Xero: nothing was sent, or its caller was stopped."""
    match state:
        case Probing(pause_seconds, since) if go.probe == since:
            return Open(now, pause_seconds)
        case _:
            return state


def _seen(state: Closed, tenant_id: str, now: float) -> Closed:
    if state.last_tenant in {None, tenant_id}:
        return replace(state, last_tenant=tenant_id) if state.last_tenant is None else state
    return replace(state, last_tenant=tenant_id, several_until=now + SEVERAL_SECONDS)


def _is_xero(row: Closed, now: float) -> bool:
    if row.failures < FAILURES_TO_OPEN:
        return False
    alone = now >= row.several_until
    return alone or row.unreachable or len(row.tenants) >= TENANTS_TO_OPEN


def _open(pause_seconds: float, now: float, chance: float) -> Open:
    return Open(now + pause_seconds * (0.5 + chance / 2), pause_seconds)
