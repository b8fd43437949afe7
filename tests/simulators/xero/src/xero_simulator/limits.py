"""Xero's call limits, counted truly: in flight, per rolling minute, per day, per app.

Source: dev/documentation/guides/oauth2/limits. The daily window rolls; it is not a UTC day.
"""

import math
from collections import deque
from dataclasses import dataclass, field

MINUTE = 60.0
DAY = 86_400.0


@dataclass(slots=True)
class LimitSettings:
    """The four limits; None lifts one."""

    concurrent: int | None = 5
    minute: int | None = 60
    day: int | None = 5_000
    app_minute: int | None = 10_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """A 429: which limit, and after how many seconds there is room again."""

    problem: str
    retry_after: int


@dataclass(slots=True)
class Window:
    """The moments of the calls of the last `span` seconds."""

    span: float
    calls: deque[float] = field(default_factory=deque)

    def count(self, now: float) -> int:
        """How many calls are still inside the window."""
        while self.calls and self.calls[0] <= now - self.span:
            self.calls.popleft()
        return len(self.calls)

    def seconds_to_room(self, now: float, limit: int) -> int:
        """Whole seconds until the window has room for one call more."""
        over = len(self.calls) - limit
        if over < 0 or not self.calls:
            return 0 if over < 0 else math.ceil(self.span)
        return max(1, math.ceil(self.calls[min(over, len(self.calls) - 1)] + self.span - now))


@dataclass(slots=True)
class Tenant:
    """The counters of one tenant."""

    minute: Window = field(default_factory=lambda: Window(MINUTE))
    day: Window = field(default_factory=lambda: Window(DAY))
    in_flight: int = 0


@dataclass(slots=True)
class Limits:
    """All counters; `overrides` gives single tenants limits of their own."""

    settings: LimitSettings = field(default_factory=LimitSettings)
    overrides: dict[str, LimitSettings] = field(default_factory=dict)
    tenants: dict[str, Tenant] = field(default_factory=dict)
    app: Window = field(default_factory=lambda: Window(MINUTE))

    def settings_of(self, tenant_id: str) -> LimitSettings:
        """The limits that apply to a tenant."""
        return self.overrides.get(tenant_id, self.settings)

    def tenant(self, tenant_id: str) -> Tenant:
        """A tenant's counters."""
        return self.tenants.setdefault(tenant_id, Tenant())

    def enter(self, tenant_id: str, now: float) -> Refusal | None:
        """Lets a call in, or says why not; a refused call costs nothing.

        A call let in holds a place until `leave`.
        """
        refusal = self._refusal(tenant_id, now)
        if refusal is None:
            counters = self.tenant(tenant_id)
            counters.in_flight += 1
            counters.minute.calls.append(now)
            counters.day.calls.append(now)
            self.app.calls.append(now)
        return refusal

    def leave(self, tenant_id: str) -> None:
        """Gives the place back."""
        self.tenant(tenant_id).in_flight -= 1

    def headers(self, tenant_id: str | None, now: float) -> dict[str, str]:
        """The remaining-calls headers every reply carries."""
        headers = {}
        if tenant_id is not None:
            limits, counters = self.settings_of(tenant_id), self.tenant(tenant_id)
            headers["X-DayLimit-Remaining"] = _left(limits.day, counters.day.count(now))
            headers["X-MinLimit-Remaining"] = _left(limits.minute, counters.minute.count(now))
        headers["X-AppMinLimit-Remaining"] = _left(self.settings.app_minute, self.app.count(now))
        return headers

    def _refusal(self, tenant_id: str, now: float) -> Refusal | None:
        limits, counters = self.settings_of(tenant_id), self.tenant(tenant_id)
        app = self.settings.app_minute
        if app is not None and self.app.count(now) >= app:
            return Refusal("appminute", self.app.seconds_to_room(now, app))
        if limits.day is not None and counters.day.count(now) >= limits.day:
            return Refusal("day", counters.day.seconds_to_room(now, limits.day))
        if limits.minute is not None and counters.minute.count(now) >= limits.minute:
            return Refusal("minute", counters.minute.seconds_to_room(now, limits.minute))
        if limits.concurrent is not None and counters.in_flight >= limits.concurrent:
            return Refusal("concurrent", 1)
        return None


def _left(limit: int | None, used: int) -> str:
    return str(1_000_000 if limit is None else max(0, limit - used))
