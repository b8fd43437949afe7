from datetime import timedelta

import pytest

from payment_ingest.domain.pace import pace


@pytest.mark.parametrize("left", [None, 60, 30, 100_000])
def test_while_calls_are_plenty_every_ring_is_answered_at_once(left):
    assert pace(left) is None


@pytest.mark.parametrize(("left", "seconds"), [(29, 2), (10, 2), (9, 5), (0, 5)])
def test_when_few_are_left_rings_are_gathered(left, seconds):
    assert pace(left) == timedelta(seconds=seconds)
