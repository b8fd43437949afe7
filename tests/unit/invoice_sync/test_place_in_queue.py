"""An invoice's place among what is due, in numbers that are true or not told."""

from datetime import timedelta

import pytest

from invoice_sync.domain.queue import MOST_COUNTED, kind_of, place
from invoice_sync.domain.state import State
from invoice_sync.domain.turns import Kind


@pytest.mark.parametrize(
    ("ahead", "kind", "due", "calls"),
    [
        (0, Kind.NEW, {Kind.NEW}, 1),
        (49, Kind.NEW, {Kind.NEW}, 1),
        (50, Kind.NEW, {Kind.NEW}, 2),
        (0, Kind.CHANGED, {Kind.CHANGED}, 2),
        (120, Kind.NEW, {Kind.NEW, Kind.LOOK}, 6),
        (0, Kind.NEW, set(), 1),
        (MOST_COUNTED, Kind.NEW, {Kind.NEW}, 101),
    ],
)
def test_its_turn_comes_after_the_calls_before_it(now, ahead, kind, due, calls):
    found = place(ahead, kind, due, now)
    assert (found.ahead, found.is_exact) == (ahead, True)
    assert found.expected_at == now + timedelta(seconds=calls)


def test_beyond_what_is_counted_nothing_is_promised(now):
    found = place(MOST_COUNTED + 1, Kind.NEW, {Kind.NEW}, now)
    assert (found.ahead, found.is_exact, found.expected_at) == (MOST_COUNTED, False, None)


def test_what_is_due_is_of_the_kind_that_the_worker_takes_it_for(row_of):
    assert kind_of(row_of()) is Kind.NEW
    assert kind_of(row_of(synced_version=1)) is Kind.CHANGED
    assert kind_of(row_of(synced_version=1, state=State.SYNCED)) is Kind.LOOK
