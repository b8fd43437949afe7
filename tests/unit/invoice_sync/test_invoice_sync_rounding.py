"""Xero's arithmetic, and what a total can be."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoice_sync.domain.rounding import (
    LineFigures,
    line_amount,
    possible_totals,
    to_cents,
    to_unit,
)


def figures(quantity="1", unit="1", discount=None, tax=None) -> LineFigures:
    return LineFigures(
        Decimal(quantity),
        Decimal(unit),
        None if discount is None else Decimal(discount),
        None if tax is None else Decimal(tax),
    )


@pytest.mark.parametrize(
    ("value", "cents"),
    [
        ("0.005", "0.01"),
        ("-0.005", "-0.01"),
        ("2.675", "2.68"),
        ("1.004999", "1.00"),
        ("0", "0.00"),
    ],
)
def test_halves_go_away_from_zero(value, cents):
    assert to_cents(Decimal(value)) == Decimal(cents)


@pytest.mark.parametrize(
    ("line", "amount"),
    [
        (figures("3", "33.3333"), "100.00"),
        (figures("3", "33.33333"), "100.00"),
        (figures("1", "0.00004"), "0.00"),
        (figures("2.5", "100"), "250.00"),
        (figures("10", "12.34", "12.5"), "107.98"),
        (figures("1", "10", "100"), "0.00"),
        (figures("2", "-5.005"), "-10.01"),
        (figures("999999999999999", "999999999999999"), "999999999999998000000000000001.00"),
    ],
)
def test_a_line_is_rounded_once_after_four_decimals_of_price_and_discount(line, amount):
    assert line_amount(line) == Decimal(amount)


def test_tax_is_rounded_per_line_and_then_summed():
    """The published example: 25.06 + 25.61 + 25.63 at 15 % make 11.44 of tax, not 11.45."""
    lines = [
        figures("1", price, tax=tax)
        for price, tax in (("25.06", "3.759"), ("25.61", "3.8415"), ("25.63", "3.8445"))
    ]
    found = possible_totals(lines, "tax_exclusive")
    assert found.is_exact
    assert found.lowest == Decimal("76.30") + Decimal("11.44")


def test_tax_inside_or_absent_changes_nothing():
    lines = [figures("2", "10", tax="3")]
    assert possible_totals(lines, "tax_inclusive").lowest == Decimal(20)
    assert possible_totals(lines, "no_tax").lowest == Decimal(20)


def test_tax_left_to_xero_makes_a_range_and_beyond_it_a_difference():
    found = possible_totals([figures("1", "100")], "tax_exclusive")
    assert not found.is_exact
    assert found.difference(Decimal(115)) == 0
    assert found.difference(Decimal("99.99")) == Decimal("-0.01")
    assert found.difference(Decimal("150.01")) == Decimal("0.01")


amounts = st.decimals(min_value=-10_000, max_value=10_000, places=6)


@given(
    st.lists(st.tuples(amounts, amounts), max_size=20), st.sampled_from(["no_tax", "tax_inclusive"])
)
def test_the_total_is_the_sum_of_rounded_lines_in_any_order(pairs, amounts_are):
    lines = [LineFigures(quantity, unit, None, None) for quantity, unit in pairs]
    found = possible_totals(lines, amounts_are)
    assert found.is_exact
    assert found == possible_totals(lines[::-1], amounts_are)
    assert found.lowest == sum((to_cents(to_unit(q) * to_unit(u)) for q, u in pairs), Decimal(0))
    assert found.difference(found.lowest) == 0
