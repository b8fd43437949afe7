"""Xero's limit for the whole app, shared by replicas in small blocks: 10,000 calls in any minute over all tenants.

A replica takes a block of permits from the database and spends them from memory, so that a call costs nothing. Permits
are short-lived, and a block counts until a minute after the last call under it may have arrived: so no rolling minute
holds more than the limit, whatever replicas do with theirs, killed ones included.
"""

from dataclasses import dataclass
from typing import Final

LIFE_SECONDS: Final = 1.0
"""How long permits of a block may be spent, by the clock of who took it, from before it asked."""

COUNTS_SECONDS: Final = 60.0 + LIFE_SECONDS + 2.0
"""How long a block counts: a minute after its last permit could be spent, sent (within a second) and arrive."""

SMALLEST, LARGEST = 5, 100
HEARD_FOR_SECONDS: Final = 2.0
"""For how long Xero's own word about the app's minute is believed; then one block is tried to hear it anew."""


@dataclass(slots=True)
class Permits:
    """One process's block: `left` permits, to be spent before `until` (monotonic), and how large the next one is."""

    left: int = 0
    until: float = 0.0
    size: int = SMALLEST
    heard: int | None = None
    heard_at: float = 0.0

    def spend(self, now: float) -> bool:
        """Take one permit, if there is one."""
        if self.left == 0 or now >= self.until:
            return False
        self.left -= 1
        return True

    def wanted(self, now: float) -> int:
        """The size of the next block: twice the last one when that was used up in time, half of it when not."""
        used_up = self.left == 0 and now < self.until
        self.size = min(LARGEST, self.size * 2) if used_up else max(SMALLEST, self.size // 2)
        return min(self.size, self.room_heard(now))

    def room_heard(self, now: float) -> int:
        """What Xero says is left of the app's minute, while that is fresh; else no bound."""
        if self.heard is None or now - self.heard_at > HEARD_FOR_SECONDS:
            return LARGEST
        return self.heard

    def refill(self, granted: int, asked_at: float) -> None:
        """A block was taken; what is left of the former one is forgone."""
        self.left, self.until = granted, asked_at + LIFE_SECONDS

    def hear(self, remaining: int | None, now: float) -> None:
        """Xero said how many calls the app has left in this minute; permits beyond that are void."""
        if remaining is not None:
            self.heard, self.heard_at = remaining, now
            self.left = min(self.left, remaining)
