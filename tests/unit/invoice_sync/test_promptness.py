from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from invoice_sync.domain.promptness import seconds_taken
from invoice_sync.domain.state import Invoice, Operation, State, Step

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SENT = Invoice(
    account_id="acc-1",
    invoice_id="inv-1",
    state=State.SYNCING,
    version=1,
    operation=Operation.WRITE,
    desired="{}",
    waiting_since=NOW - timedelta(seconds=7),
)


def taken(row: Invoice, state: State) -> list[float]:
    return seconds_taken([row], [Step(replace(row, state=state, told=None))], NOW)


@pytest.mark.parametrize("state", [State.SYNCED, State.VOIDED])
def test_what_came_into_xero_counts_with_the_time_it_took(state: State) -> None:
    assert taken(SENT, state) == [7.0]


@pytest.mark.parametrize("state", sorted(set(State) - {State.SYNCED, State.VOIDED}))
def test_what_is_not_in_xero_as_wished_does_not_count_yet(state: State) -> None:
    assert taken(SENT, state) == []


@pytest.mark.parametrize(
    "told",
    [
        "1/CUSTOMER_NOT_MAPPED",
        "3/NOT_CONNECTED",
        "2/XERO_VALIDATION",
        "OUT_OF_SYNC/ab12",
        "1/OF_ANOTHER_RELEASE",
    ],
)
def test_what_waited_for_a_person_is_left_out(told: str) -> None:
    assert taken(replace(SENT, told=told), State.SYNCED) == []


@pytest.mark.parametrize("told", ["1/RATE_LIMITED", "4/XERO_UNAVAILABLE", "1/OUTCOME_UNKNOWN"])
def test_what_waited_for_xero_or_its_limits_counts(told: str) -> None:
    assert taken(replace(SENT, told=told), State.SYNCED) == [7.0]


def test_an_invoice_that_was_not_waiting_is_not_counted() -> None:
    other = replace(SENT, invoice_id="inv-2", state=State.SYNCED)
    assert seconds_taken([SENT], [Step(other)], NOW) == []


def test_a_clock_that_went_back_gives_no_time_below_zero() -> None:
    assert taken(replace(SENT, waiting_since=NOW + timedelta(seconds=1)), State.SYNCED) == [0.0]
