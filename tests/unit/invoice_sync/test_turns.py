"""Whose turn it is, and what may share a call."""

from hypothesis import given
from hypothesis import strategies as st

from invoice_sync.domain.turns import MAX_BODY_BYTES, Kind, fitting, next_kind, sharing

DUE = st.frozensets(st.sampled_from(Kind))


@given(DUE, st.none() | st.sampled_from(Kind))
def test_a_kind_is_chosen_exactly_when_anything_is_due(due, last):
    chosen = next_kind(due, last)
    assert (chosen in due) if due else chosen is None


@given(DUE, st.none() | st.sampled_from(Kind))
def test_no_kind_goes_twice_in_a_row_while_another_waits(due, last):
    if due - {last}:
        assert next_kind(due, last) != last


@given(st.lists(DUE, min_size=3), st.sampled_from(Kind))
def test_whatever_else_comes_a_waiting_kind_is_served_within_a_round(others, waiting):
    last = None
    served = []
    for due in others:
        last = next_kind(due | {waiting}, last)
        served.append(last)
    for start in range(len(served) - 2):
        assert waiting in served[start : start + 3]


def test_a_word_of_a_later_release_is_no_obstacle():
    assert next_kind({Kind.CHANGED}, "something new") is Kind.CHANGED


def test_what_must_go_alone_goes_alone_and_nobody_shares_with_it(row_of):
    alone, other, third = (
        row_of(invoice_id=each, send_alone=each == "alone") for each in ("alone", "b", "c")
    )
    assert sharing([alone, other, third]) == [alone]
    assert sharing([other, alone, third]) == [other, third]
    assert sharing([]) == []


@given(st.lists(st.integers(0, 100)), st.integers(1, 200))
def test_as_many_as_fit_and_never_none(sizes, most):
    count = fitting(sizes, most)
    assert count <= len(sizes)
    assert count >= min(1, len(sizes))
    assert count <= 1 or sum(sizes[:count]) <= most
    if count < len(sizes):
        assert sum(sizes[: count + 1]) > most


def test_a_batch_of_small_invoices_fits():
    assert fitting([2_000] * 50) == 50
    assert fitting([MAX_BODY_BYTES, 1]) == 1
