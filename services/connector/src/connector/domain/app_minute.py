"""Xero's limit for the whole app, shared by replicas in small blocks: 10,000 calls in any minute over all tenants.

A replica takes a block of permits from the database and spends them from memory, so that a call costs nothing. Permits
are short-lived, and a block counts until a minute after the last call under it may have left: so no rolling minute
holds more than the limit, whatever replicas do with theirs, killed ones included. What is not spent of a block is given
back with the taking of the next one: so little is lost, and 10,000 calls can be made every 61.2 seconds.
"""

from dataclasses import dataclass
from typing import Final

from connector.domain.budget import SEND_WITHIN_SECONDS

LIFE_SECONDS: Final = 0.2
"""How long permits of a block may be spent, by the clock of who took it, from before it asked."""

COUNTS_SECONDS: Final = 60.0 + LIFE_SECONDS + SEND_WITHIN_SECONDS
"""How long a block counts: a minute after the call of its last permit could leave. (A later one takes a second permit.)"""

SMALLEST, LARGEST = 5, 100
HEARD_FOR_SECONDS: Final = 2.0
"""For how long Xero's own word about the app's minute is believed; then one block is tried to hear it anew."""


@dataclass(slots=True)
class Permits:
    """One process's block: `left` permits, to be spent before `until` (monotonic), and how large the next one is.

    `block` is its number in the database, `spent` how many of it were.
    """

    block: int | None = None
    spent: int = 0
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
        self.spent += 1
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

    def refill(self, block: int | None, granted: int, asked_at: float) -> None:
        """A block was taken, and what was left of the former one given back."""
        self.block, self.spent = block, 0
        self.left, self.until = granted, asked_at + LIFE_SECONDS

    def hear(self, remaining: int | None, now: float) -> None:
        """Xero said how many calls the app has left in this minute; permits beyond that are void."""
        if remaining is not None:
            self.heard, self.heard_at = remaining, now
            self.left = min(self.left, remaining)
