import json
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from pipeline_contracts import Money, Quantity

money = TypeAdapter(Money)
quantity = TypeAdapter(Quantity)


@pytest.mark.parametrize(
    ("wire", "value", "as_money", "as_quantity"),
    [
        ('"120.5"', "120.5", "120.50", "120.5"),
        ('"120.500"', "120.5", "120.50", "120.5"),
        ('"0.125"', "0.125", "0.125", "0.125"),
        ('"-19.9"', "-19.9", "-19.90", "-19.9"),
        ('"-0"', "0", "0.00", "0"),
        ('"007"', "7", "7.00", "7"),
        ("1000", "1000", "1000.00", "1000"),
        ("19.99", "19.99", "19.99", "19.99"),
        ("1e3", "1000", "1000.00", "1000"),
        ("0.1", "0.1", "0.10", "0.1"),
        ("-0.0", "0", "0.00", "0"),
        (
            '"999999999999999.9999999999"',
            "999999999999999.9999999999",
            "999999999999999.9999999999",
            "999999999999999.9999999999",
        ),
    ],
)
def test_reads_exactly_and_writes_one_spelling(wire, value, as_money, as_quantity):
    read = money.validate_json(wire)
    assert isinstance(read, Decimal)
    assert read == Decimal(value)
    assert json.loads(money.dump_json(read)) == as_money
    assert json.loads(quantity.dump_json(quantity.validate_json(wire))) == as_quantity


@pytest.mark.parametrize(
    "wire",
    [
        "true",
        "null",
        "NaN",
        "Infinity",
        "-Infinity",
        '"NaN"',
        '"Infinity"',
        '"1e3"',
        '"1E+30"',
        "1e30",
        "1e400",
        "1000000000000000",
        '"1000000000000000"',
        '"1.00000000001"',
        "1e-11",
        # 17 digits: a binary float would have changed the last ones without a word.
        "123456789012345.67",
        "0.30000000000000004",
        '""',
        '" 1"',
        '"1,50"',
        '"1_000"',
        '"+1"',
        '".5"',
        '"5."',
        '"١٢"',  # Arabic-Indic digits, which Decimal() itself would take
        '"1\\n"',
        '"£5"',
        "[]",
        "{}",
        '["1"]',
        "9" * 4000,
    ],
)
def test_refuses_what_is_no_plain_bounded_number(wire):
    for adapter in (money, quantity):
        with pytest.raises(ValidationError) as caught:
            adapter.validate_json(wire)
        assert caught.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    "value",
    [
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        Decimal("1e30"),
        Decimal("1e-11"),
        float("nan"),
        True,
        None,
        b"1",
        10**15,
        1 + 2j,
    ],
)
def test_refuses_the_same_from_python(value):
    with pytest.raises(ValidationError):
        money.validate_python(value)


def test_trailing_zeros_are_no_decimal_places():
    assert money.validate_python(Decimal("1.500000000000000000")) == Decimal("1.5")
    assert money.validate_python(Decimal("0E-20")) == 0


def test_the_caller_s_decimal_context_changes_nothing():
    with localcontext() as context:
        context.prec = 3
        read = money.validate_json('"123456.789"')
        assert json.loads(money.dump_json(read)) == "123456.789"


@given(st.decimals(min_value=-(10**14), max_value=10**14, places=4))
def test_any_amount_survives_the_wire_and_has_one_spelling(amount):
    wire = money.dump_json(amount)
    assert money.validate_json(wire) == amount
    assert money.dump_json(money.validate_json(wire)) == wire
    assert b"E" not in wire
    assert money.dump_json(amount.normalize()) == wire
