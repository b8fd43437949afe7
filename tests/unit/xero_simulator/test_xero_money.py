from decimal import Decimal

import pytest

from xero_simulator import money


@pytest.mark.parametrize(
    ("kind", "amounts", "tax", "total"),
    [
        # The documented example: per line 11.44, where the document as a whole would give 11.45.
        ("Exclusive", ["25.06", "25.61", "25.63"], "11.44", "87.74"),
        ("Inclusive", ["541.25"], "70.60", "541.25"),
        ("NoTax", ["25.06", "25.61", "25.63"], "0.00", "76.30"),
        ("Exclusive", ["0.03"], "0.00", "0.03"),
        ("Exclusive", ["0.10"], "0.02", "0.12"),
    ],
)
def test_tax_is_rounded_per_line_then_summed(kind, amounts, tax, total):
    lines = [(Decimal(text), money.tax_of(Decimal(text), Decimal(15), kind)) for text in amounts]
    _, found_tax, found_total = money.totals(lines, kind)
    assert (found_tax, found_total) == (Decimal(tax), Decimal(total))


def test_inclusive_subtotal_is_total_less_tax():
    subtotal, tax, total = money.totals([(Decimal("541.25"), Decimal("70.60"))], "Inclusive")
    assert subtotal == Decimal("470.65")
    assert subtotal + tax == total


@pytest.mark.parametrize(
    ("quantity", "unit", "rate", "discount", "expected"),
    [
        ("3", "9.99", None, None, "29.97"),
        ("0.3333", "10", None, None, "3.33"),
        ("1", "100", "10", None, "90.00"),
        ("1", "100", None, "7.5", "92.50"),
        ("0.5", "0.01", None, None, "0.01"),
    ],
)
def test_line_amount(quantity, unit, rate, discount, expected):
    def number(text):
        return None if text is None else Decimal(text)

    found = money.line_amount(Decimal(quantity), Decimal(unit), number(rate), number(discount))
    assert found == Decimal(expected)


@pytest.mark.parametrize("bad", [True, "x", [], {}, Decimal("NaN"), Decimal("Infinity"), "1e99"])
def test_what_is_no_amount(bad):
    with pytest.raises(ValueError, match="not a number"):
        money.parse_amount(bad)


@pytest.mark.parametrize(
    ("given", "amount"),
    [
        (None, None),
        ("", None),
        ("1.10", Decimal("1.10")),
        (3, Decimal(3)),
        (Decimal("0.1"), Decimal("0.1")),
    ],
)
def test_amounts_are_exact(given, amount):
    assert money.parse_amount(given) == amount
