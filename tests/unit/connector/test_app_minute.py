"""The app's minute in small blocks: spent from memory, short-lived, sized by use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.app_minute import (
    COUNTS_SECONDS,
    HEARD_FOR_SECONDS,
    LARGEST,
    LIFE_SECONDS,
    SMALLEST,
    Permits,
)


def test_permits_are_spent_one_by_one_and_not_after_their_life():
    permits = Permits()
    assert not permits.spend(0.0)
    permits.refill(1, 2, asked_at=0.0)
    assert permits.spend(0.1)
    assert permits.spend(0.15)
    assert not permits.spend(0.15)
    assert permits.spent == 2
    permits.refill(2, 2, asked_at=1.0)
    assert permits.spent == 0
    assert not permits.spend(1.0 + LIFE_SECONDS)


def test_blocks_grow_with_use_and_shrink_without():
    permits, now = Permits(), 0.0
    for _ in range(8):
        permits.refill(1, permits.wanted(now), asked_at=now)
        while permits.spend(now):
            pass
    assert permits.wanted(now) == LARGEST
    permits.refill(1, 10, asked_at=now)
    for _ in range(8):
        now += 10
        permits.refill(1, permits.wanted(now), asked_at=now)
    assert permits.wanted(now + 10) == SMALLEST


def test_xeros_own_word_bounds_a_block_while_it_is_fresh():
    permits = Permits()
    permits.hear(3, now=0.0)
    permits.hear(None, now=0.5)
    assert permits.wanted(1.0) == 3
    assert permits.wanted(HEARD_FOR_SECONDS + 0.1) == SMALLEST
    permits.refill(1, 5, asked_at=9.0)
    permits.hear(0, now=9.0)
    assert permits.wanted(9.0) == 0
    assert not permits.spend(9.0)


class Shared:
    """The database's side: the blocks of all replicas."""

    def __init__(self, limit):
        self.limit, self.blocks, self.last = limit, {}, 0

    def spend(self, permits, now):
        """A permit for a replica, with a new block if it needs one; whether it got it."""
        if permits.spend(now):
            return True
        if permits.block in self.blocks:
            size, until = self.blocks[permits.block]
            self.blocks[permits.block] = (min(size, permits.spent), until)
        self.blocks = {name: each for name, each in self.blocks.items() if each[1] > now}
        taken = sum(size for size, _ in self.blocks.values())
        granted = max(0, min(permits.wanted(now), self.limit - taken))
        self.last += 1
        if granted:
            self.blocks[self.last] = (granted, now + COUNTS_SECONDS)
        permits.refill(self.last, granted, asked_at=now)
        return permits.spend(now)


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 0.7), st.floats(0, 1)), max_size=400))
def test_no_rolling_minute_holds_more_than_the_limit(calls):
    """Three replicas; a call leaves for Xero up to a second after its permit was spent."""
    now, shared, arrivals = 0.0, Shared(40), []
    replicas = [Permits() for _ in range(3)]
    for replica, pause, delay in calls:
        now += pause
        if shared.spend(replicas[replica], now):
            arrivals.append(now + delay)
    arrivals.sort()
    for first in arrivals:
        assert sum(first <= other < first + 60 for other in arrivals) <= 40


@pytest.mark.parametrize("replicas", [1, 5])
def test_nearly_the_whole_minute_is_of_use(replicas):
    """However many replicas are asked, hardly a permit is lost in a block that was not used up."""
    assert 60 / COUNTS_SECONDS >= 0.98
    limit, rounds, tries_a_second = 1_000, 6, 20
    shared, each = Shared(limit), [Permits() for _ in range(replicas)]
    had = sum(
        shared.spend(each[n % replicas], n / tries_a_second)
        for n in range(int(rounds * COUNTS_SECONDS * tries_a_second))
    )
    assert had >= 0.99 * rounds * limit
