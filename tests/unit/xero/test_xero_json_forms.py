"""Reading and writing Xero's JSON exactly."""

import json
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_xero.errors import UnexpectedAnswer
from pipeline_xero.json_forms import (
    ZERO_GUID,
    day,
    dumps,
    elements,
    entity_id,
    format_date,
    format_datetime,
    format_decimal,
    instant,
    loads,
    parse_date,
    parse_decimal,
    parse_instant,
    text,
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
EXACT_AMOUNTS = st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=4
)


def test_numbers_are_read_exactly_and_never_as_float():
    read = loads(b'{"a":0.1,"b":25.06,"c":3,"d":1e2}')
    assert read == {"a": Decimal("0.1"), "b": Decimal("25.06"), "c": 3, "d": Decimal("1E+2")}
    assert not any(isinstance(value, float) for value in read.values())
    assert str(loads(b"[12345678901234.123456]")[0]) == "12345678901234.123456"


def test_a_byte_order_mark_is_accepted():
    assert loads(b"\xef\xbb\xbf{}") == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{",
        b"NaN",
        b'{"a":Infinity}',
        b"\xff\xfe",
        b"[" * 100_000,
        b"[1e99999999999999999999999]",
        b"1" * 5000,
    ],
    ids=["empty", "html", "cut", "nan", "inf", "utf16", "deep", "exponent", "digits"],
)
def test_what_is_not_json_is_an_unexpected_answer(body):
    with pytest.raises(UnexpectedAnswer):
        loads(body)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_loads_raises_nothing_else(body):
    with suppress(UnexpectedAnswer):
        loads(body)


@settings(deadline=None)
@given(EXACT_AMOUNTS)
def test_amounts_survive_a_round_trip(amount):
    assert loads(dumps({"UnitAmount": amount}))["UnitAmount"] == amount


def test_dumps_writes_numbers_as_plain_digits_and_is_stable():
    body = dumps({"Invoices": [{"Quantity": Decimal("1E+2"), "UnitAmount": Decimal("0.00000001")}]})
    assert body == b'{"Invoices":[{"Quantity":100,"UnitAmount":0.00000001}]}'
    assert dumps(json.loads('{"b":1,"a":"\\u00e9"}')) == b'{"b":1,"a":"\\u00e9"}'


def test_dumps_writes_dates():
    moment = datetime(2026, 11, 22, 10, 0, tzinfo=timezone(timedelta(hours=13)))
    assert dumps([date(2026, 1, 31), moment, None, True, (1,)]) == (
        b'["2026-01-31","2026-11-21T21:00:00",null,true,[1]]'
    )


@pytest.mark.parametrize("value", [1.5, Decimal("NaN"), Decimal("Infinity"), {1, 2}, object()])
def test_dumps_refuses_what_has_no_exact_form(value):
    with pytest.raises(ValueError, match=r"exact JSON form|not a number"):
        dumps({"x": value})


@pytest.mark.parametrize(
    ("number", "written"),
    [
        ("1E+3", "1000"),
        ("-0.00", "0.00"),
        ("0E-10", "0.0000000000"),
        ("12.3400", "12.3400"),
        ("-5", "-5"),
    ],
)
def test_format_decimal(number, written):
    assert format_decimal(Decimal(number)) == written


def test_format_date_and_datetime():
    assert format_date(date(2026, 3, 1)) == "2026-03-01"
    assert format_date(datetime(2026, 3, 1, 23, 0, tzinfo=UTC)) == "2026-03-01"
    assert (
        format_datetime(datetime(2026, 3, 1, 23, 0, 59, 999999, tzinfo=UTC))
        == "2026-03-01T23:00:59"
    )
    with pytest.raises(ValueError, match="time zone"):
        format_datetime(datetime(2026, 3, 1))  # noqa: DTZ001 - the case under test


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("/Date(1550793549392+0000)/", datetime(2019, 2, 21, 23, 59, 9, 392000, tzinfo=UTC)),
        ("/Date(1550793549392)/", datetime(2019, 2, 21, 23, 59, 9, 392000, tzinfo=UTC)),
        # The offset is decoration; the milliseconds count from the epoch in UTC.
        ("/Date(1659312000000+1300)/", datetime(2022, 8, 1, tzinfo=UTC)),
        ("/Date(-86400000)/", datetime(1969, 12, 31, tzinfo=UTC)),
        ("2019-07-09T23:40:30.1833130", datetime(2019, 7, 9, 23, 40, 30, 183313, tzinfo=UTC)),
        ("2019-03-11T17:58:46Z", datetime(2019, 3, 11, 17, 58, 46, tzinfo=UTC)),
        ("2019-03-11T17:58:46+13:00", datetime(2019, 3, 11, 4, 58, 46, tzinfo=UTC)),
        ("2019-03-11T17:58:46.5-0330", datetime(2019, 3, 11, 21, 28, 46, 500000, tzinfo=UTC)),
        ("2017-11-28T00:00:00", datetime(2017, 11, 28, tzinfo=UTC)),
        ("2017-11-28", datetime(2017, 11, 28, tzinfo=UTC)),
    ],
)
def test_both_date_forms(written, expected):
    assert parse_instant(written) == expected


@pytest.mark.parametrize(
    "written",
    [
        None,
        5,
        "",
        "soon",
        "/Date(x)/",
        "/Date(9999999999999999)/",
        "2019-13-01",
        "2019-02-30T00:00:00",
        "2019-02-01T25:00:00",
        "0001-01-01T00:00:00+14:00",
        "2017-11-28\n",
        "\uff12\uff10\uff11\uff17-11-28",
    ],
)
def test_what_is_not_a_date_is_an_unexpected_answer(written):
    with pytest.raises(UnexpectedAnswer, match="is not a date"):
        parse_instant(written)


@settings(deadline=None)
@given(st.text(max_size=40) | JSON_VALUES)
def test_parse_instant_raises_nothing_else(value):
    with suppress(UnexpectedAnswer):
        assert parse_instant(value).tzinfo is UTC


@settings(deadline=None)
@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1)))  # noqa: DTZ001 - hypothesis wants naive bounds
def test_the_millisecond_form_reads_back(moment):
    moment = moment.replace(tzinfo=UTC, microsecond=moment.microsecond // 1000 * 1000)
    milliseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert parse_instant(f"/Date({milliseconds}+0000)/") == moment


def test_parse_date_is_the_calendar_day_written():
    assert parse_date("/Date(1659312000000+0000)/") == date(2022, 8, 1)


def test_day_prefers_the_text_twin_over_the_millisecond_form():
    both = {"Date": "/Date(1659312000000+0000)/", "DateString": "2022-08-02T00:00:00"}
    assert day(both, "Date") == date(2022, 8, 2)
    assert day({"Date": "/Date(1659312000000+0000)/"}, "Date") == date(2022, 8, 1)
    assert day({}, "Date") is None
    assert instant({"UpdatedDateUTC": None}, "UpdatedDateUTC") is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5, "5"), (Decimal("1.10"), "1.10"), (" 3.25 ", "3.25"), ("-0.01", "-0.01")],
)
def test_parse_decimal(value, expected):
    assert parse_decimal(value) == Decimal(expected)


@pytest.mark.parametrize(
    "value",
    [None, True, "", "1,5", "NaN", "Infinity", "sNaN", 10**18, Decimal("1E-19"), "1e400", [], 1.5],
)
def test_what_is_not_a_sane_number_is_an_unexpected_answer(value):
    with pytest.raises(UnexpectedAnswer, match="is not a number"):
        parse_decimal(value)


@settings(deadline=None)
@given(JSON_VALUES)
def test_parse_decimal_raises_nothing_else_and_stays_in_range(value):
    with suppress(UnexpectedAnswer):
        assert abs(parse_decimal(value)) < 10**18


def test_text_takes_what_a_database_cannot_hold_out():
    assert text({"Name": "a\x00b\ud800c"}, "Name") == "a\ufffdb?c"
    assert text({"Name": ""}, "Name") is None
    assert text({"Code": 200}, "Code") == "200"
    for odd in (True, [], {}, Decimal("1.5")):
        with pytest.raises(UnexpectedAnswer, match="Name is not text"):
            text({"Name": odd}, "Name")


def test_entity_id_knows_the_zero_guid():
    assert entity_id({"InvoiceID": ZERO_GUID}, "InvoiceID") is None
    assert entity_id({"InvoiceID": "ABCD-1"}, "InvoiceID") == "abcd-1"
    assert entity_id({}, "InvoiceID") is None


def test_elements_of_a_reply():
    assert elements({"Invoices": [{"a": 1}]}, "Invoices") == [{"a": 1}]
    assert list(elements({}, "Invoices")) == []
    assert list(elements({"Invoices": None}, "Invoices")) == []
    for odd in ([], "x", {"Invoices": {}}, {"Invoices": [1]}):
        with pytest.raises(UnexpectedAnswer):
            elements(odd, "Invoices")
