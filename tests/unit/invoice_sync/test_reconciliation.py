"""The pure parts of a reconciliation: its place in time, its sums, its words."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from invoice_sync.domain import mapping
from invoice_sync.domain.reconciliation import (
    PAGE_SIZE,
    FindingKind,
    Total,
    by_currency,
    in_words,
    larger_page,
    ledger_totals,
    marked_as,
    next_slot,
    sentence,
    smaller_page,
    state_totals,
)

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
DAY = timedelta(days=1)

amounts = st.decimals(min_value=-(10**12), max_value=10**12, places=4, allow_nan=False)
counts = st.integers(0, 10**6)
totals = st.lists(
    st.builds(
        Total,
        st.sampled_from(["synced", "failed", "pending", "voided", "not_linked"]),
        st.sampled_from(["NZD", "EUR", "XXX"]),
        counts,
        amounts,
        counts,
        amounts,
    ),
    unique_by=lambda each: (each.state, each.currency),
)


@given(totals)
def test_the_states_add_up_to_the_currencies_exactly(given_totals):
    summed = by_currency(given_totals)
    assert [each.currency for each in summed] == sorted({each.currency for each in given_totals})
    for each in summed:
        parts = [part for part in given_totals if part.currency == each.currency]
        assert each.invoices == sum(part.invoices for part in parts)
        assert each.in_xero == sum(part.in_xero for part in parts)
        assert each.total == sum((part.total for part in parts), Decimal(0))
        assert each.xero_total == sum((part.xero_total for part in parts), Decimal(0))
        assert each.difference == sum((part.difference for part in parts), Decimal(0))
        assert each.total - each.xero_total == each.difference
    told, of_states = ledger_totals(given_totals), state_totals(given_totals)
    for each in told:
        parts = [part for part in of_states if part.currency == each.currency]
        assert each.difference == sum((part.difference for part in parts), Decimal(0))


def test_sums_beyond_what_an_event_can_tell_are_left_out_of_it():
    huge = Total("synced", "NZD", 2, Decimal(10) ** 15, 0, Decimal(0))
    small = Total("synced", "EUR", 1, Decimal(1), 1, Decimal(1))
    assert [each.currency for each in ledger_totals([huge, small])] == ["EUR"]
    assert [each.currency for each in state_totals([huge, small])] == ["EUR"]
    assert "1000000000000000.00 NZD" in sentence([huge], {})


@given(
    st.text(min_size=1, max_size=30),
    st.timedeltas(timedelta(minutes=1), timedelta(days=30)),
    st.floats(0, 1),
)
def test_the_next_slot_lies_ahead_and_within_an_interval(account_id, every, chance):
    slot = next_slot(account_id, NOW, every, chance)
    assert NOW < slot <= NOW + every * 1.03
    # One after the other, whatever chance says: never twice in one interval, never one left out.
    following = next_slot(account_id, slot, every, 1 - chance)
    assert every * 0.95 <= following - slot <= every * 1.05


def test_accounts_are_spread_over_the_interval():
    hours = [0] * 24
    for number in range(2_400):
        slot = next_slot(f"acc-{number}", NOW, DAY, 0.5)
        hours[int((slot - NOW) / timedelta(hours=1)) % 24] += 1
    assert min(hours) > 60
    assert max(hours) < 140


def test_smaller_pages_begin_where_the_large_one_would_have():
    assert smaller_page(3, 1_000) == (21, 100)
    assert smaller_page(21, 100) == (201, 10)
    assert smaller_page(201, 10) is None


@given(st.integers(0, 40), st.sampled_from([10, 100, 1_000]))
def test_larger_pages_go_on_where_the_small_ones_ended(page, size):
    larger, grown = larger_page(page + 1, size)
    assert (larger - 1) * grown == page * size
    assert grown >= size
    assert grown == PAGE_SIZE or (page * size) % (grown * 10)


def test_a_difference_is_told_by_whose_it_is():
    totals = [
        Total("synced", "NZD", 4, Decimal(400), 4, Decimal("390.50")),
        Total("waiting_for_contact", "NZD", 1, Decimal(100), 0, Decimal(0)),
        Total("pending", "NZD", 1, Decimal(11), 1, Decimal(10)),
        Total("not_linked", "NZD", 0, Decimal(0), 1, Decimal(7)),
        Total("synced", "EUR", 1, Decimal(5), 1, Decimal(5)),
    ]
    assert sentence(totals, {}) == (
        "Every invoice is accounted for, and nothing is out of place: 1 invoice of 5.00 EUR in Pipeline, 1 of 5.00 in "
        "Xero, a difference of 0.00; 6 invoices of 511.00 NZD in Pipeline, 6 of 407.50 in Xero, a difference of 103.50 "
        "(101.00 among 2 invoices on the way to Xero, 9.50 among 4 invoices synced, where Xero's totals are other ones by "
        "now, -7.00 among 1 invoice only in Xero)."
    )


def test_our_mark_names_the_invoice_and_nothing_else_does():
    web = "https://app.pipeline.example/"
    for invoice_id in ("inv-1", "a/b ü", "%2F", "x?y#z"):
        url = mapping.marker(web, "acc 7/x", invoice_id)
        assert marked_as(url, web, "acc 7/x") == invoice_id
        assert marked_as(f" {url}/ ", web, "acc 7/x") == invoice_id
        assert marked_as(url, web, "acc") is None
        assert marked_as(url + "/more", web, "acc 7/x") is None
    for stranger in (
        None,
        "",
        "https://elsewhere.example/accounts/acc/invoices/1",
        7,
        mapping.marker(web, "acc", ""),
    ):
        assert marked_as(stranger, web, "acc") is None


def test_every_finding_has_words_for_one_and_for_several():
    for kind in FindingKind:
        one, several = in_words(kind, 1), in_words(kind, 5)
        assert one.message.startswith("1 ")
        assert several.message.startswith("5 ")
        assert one.message.endswith(".")
        assert several.hint.endswith(".")
    assert "of_a_newer_release" in in_words("of_a_newer_release", 2).message
