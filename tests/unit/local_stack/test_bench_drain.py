"""How much of its limits a backlog used is computed from Xero's log of calls alone."""

import pytest

from pipeline_local_stack.bench.drain import BACKLOG, PER_CALL, used
from pipeline_local_stack.call_log import Call, Limits
from pipeline_local_stack.paths import StackError

CALLS = BACKLOG // PER_CALL
LIMITS = Limits()


def write(at, *, method="PUT", path="/api.xro/2.0/Invoices"):
    return Call("t", at, 0.1, 200, "", method, path)


def bursts(calls, seconds=60.0):
    """Sixty calls at the beginning of each minute."""
    return [write(place // 60 * seconds) for place in range(calls)]


def test_a_burst_at_the_beginning_of_each_minute_uses_all_of_it():
    assert used(bursts(CALLS), LIMITS).value == 1


def test_minutes_that_begin_late_and_calls_that_are_not_full_use_less():
    assert used(bursts(CALLS, 66.0), LIMITS).value == pytest.approx(10 / 11)
    assert used(bursts(CALLS * 2), LIMITS).value == pytest.approx(0.5)


def test_only_calls_that_write_invoices_count():
    others = [write(0.0, method="GET"), write(0.0, path="/api.xro/2.0/Contacts")] * 100
    assert used([*others, *bursts(CALLS)], LIMITS).value == 1
    with pytest.raises(StackError, match="led to 10 writes"):
        used([*others, *bursts(10)], LIMITS)
