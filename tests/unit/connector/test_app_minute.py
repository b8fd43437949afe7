"""The app's minute in small blocks: spent from memory, short-lived, sized by use."""

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
    permits.refill(2, asked_at=0.0)
    assert permits.spend(0.1)
    assert permits.spend(0.2)
    assert not permits.spend(0.3)
    permits.refill(2, asked_at=1.0)
    assert not permits.spend(1.0 + LIFE_SECONDS)


def test_blocks_grow_with_use_and_shrink_without():
    permits, now = Permits(), 0.0
    for _ in range(8):
        permits.refill(permits.wanted(now), asked_at=now)
        while permits.spend(now):
            pass
    assert permits.wanted(now) == LARGEST
    permits.refill(10, asked_at=now)
    for _ in range(8):
        now += 10
        permits.refill(permits.wanted(now), asked_at=now)
    assert permits.wanted(now + 10) == SMALLEST


def test_xeros_own_word_bounds_a_block_while_it_is_fresh():
    permits = Permits()
    permits.hear(3, now=0.0)
    permits.hear(None, now=0.5)
    assert permits.wanted(1.0) == 3
    assert permits.wanted(HEARD_FOR_SECONDS + 0.1) == SMALLEST
    permits.refill(5, asked_at=9.0)
    permits.hear(0, now=9.0)
    assert permits.wanted(9.0) == 0
    assert not permits.spend(9.0)


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 0.7), st.floats(0, 2)), max_size=400))
def test_no_rolling_minute_holds_more_than_the_limit(calls):
    """Three replicas; a call arrives at Xero up to two seconds after its permit was spent."""
    limit, now = 40, 0.0
    replicas = [Permits() for _ in range(3)]
    blocks, arrivals = [], []
    for replica, pause, delay in calls:
        now += pause
        permits = replicas[replica]
        if not permits.spend(now):
            taken = sum(size for size, until in blocks if until > now)
            granted = max(0, min(permits.wanted(now), limit - taken))
            blocks.append((granted, now + COUNTS_SECONDS))
            permits.refill(granted, asked_at=now)
            if not permits.spend(now):
                continue
        arrivals.append(now + delay)
    arrivals.sort()
    for first in arrivals:
        assert sum(first <= other < first + 60 for other in arrivals) <= limit
