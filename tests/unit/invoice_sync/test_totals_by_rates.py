"""The tax of each line by Xero's rates, the cents carried so that both totals are equal, and what is told instead."""

from dataclasses import replace
from datetime import timedelta
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoice_sync.domain import taxes
from invoice_sync.domain.account_settings import AccountSettings
from invoice_sync.domain.codes import CodeKind, CodeList, Terms
from invoice_sync.domain.mapping import desired_snapshot, line_field
from invoice_sync.domain.plan import Create, Reread, Stop
from invoice_sync.domain.rounding import CENT, LineFigures, carried_cents, line_amount, tax_on_top
from pipeline_contracts.problems import ProblemCode

RATES = {"output2": Decimal(15), "zero": Decimal(0), "odd": Decimal("8.25")}
ENTRIES = dict.fromkeys((*RATES, "two parts"), ("REVENUE",))


def terms(now, *, age=timedelta(0), tried=timedelta(0), rates=RATES, **settings):
    listed = CodeList(ENTRIES, now - age, now - tried, rates)
    return Terms(AccountSettings(**settings), "200", {}, {CodeKind.TAX: listed})


def figures(amount, rate="15", tax=None) -> LineFigures:
    return LineFigures(
        Decimal(1),
        Decimal(amount),
        None,
        None if tax is None else Decimal(tax),
        None if rate is None else Decimal(rate),
    )


PUBLISHED = [figures("25.06"), figures("25.61"), figures("25.63")]


def test_the_published_example_is_rounded_line_by_line():
    assert [tax_on_top(line) for line in PUBLISHED] == [
        Decimal("3.76"),
        Decimal("3.84"),
        Decimal("3.84"),
    ]


CARRIED = {
    "Xero's own total needs nothing": (PUBLISHED, "87.74", ["0", "0", "0"]),
    "a cent goes where rounding took most": (PUBLISHED, "87.75", ["0", "0", "0.01"]),
    "two cents, by what rounding took": (PUBLISHED, "87.76", ["0", "0.01", "0.01"]),
    "a cent is taken where rounding added most": (PUBLISHED, "87.73", ["-0.01", "0", "0"]),
    "four cents are more than a cent a line": (PUBLISHED, "87.78", ["0", "0", "0"]),
    "half a cent is no cent": (PUBLISHED, "87.745", ["0", "0", "0"]),
    "equal lines in their order": (
        [figures("0.10"), figures("0.10"), figures("0.10")],
        "0.35",
        ["-0.01", "0", "0"],
    ),
    "nothing was rounded": ([figures("100.00")], "115.01", ["0"]),
    "Pipeline's own figure stands": ([figures("25.63", tax="3.84")], "29.48", ["0"]),
    "fractions of a cent of Pipeline's own tax": (
        [figures("25.06", tax="3.759"), figures("25.61", tax="3.8415"), figures("25.63", tax="3.8445")],
        "87.75",
        ["0", "0", "0.01"],
    ),
    "no tax bears no cent": ([figures("25.63", rate="0")], "25.64", ["0"]),
    "one unknown tax leaves all to Xero": ([*PUBLISHED, figures("1", rate=None)], "88.75", ["0"] * 4),
    "tax never turns its sign": ([figures("0.01")], "0.00", ["0"]),
    "credited lines likewise": ([figures("-25.63")], "-29.48", ["-0.01"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CARRIED)
def test_cents_are_carried_only_where_they_explain_the_whole_difference(name):
    lines, total, cents = CARRIED[name]
    assert list(carried_cents(lines, Decimal(total))) == [Decimal(each) for each in cents]


prices = st.decimals(min_value=Decimal("-999.9999"), max_value=Decimal("999.9999"), places=4)
quantities = st.decimals(min_value=0, max_value=99, places=3)
lines_of_any_kind = st.lists(
    st.builds(
        LineFigures,
        quantities,
        prices,
        st.sampled_from([None, Decimal(10), Decimal("33.3333")]),
        st.none(),
        st.sampled_from([Decimal(15), Decimal("8.25"), Decimal("12.5"), Decimal(0)]),
    ),
    min_size=1,
    max_size=12,
)


def by_document(lines, rounding) -> Decimal:
    """A total whose tax was rounded once for each rate, as invoicing programs do."""
    net = sum(map(line_amount, lines), Decimal(0))
    tax = sum((line_amount(line) * line.tax_rate / 100 for line in lines), Decimal(0))
    return net + tax.quantize(CENT, rounding)


@given(lines_of_any_kind)
def test_tax_rounded_on_the_document_always_comes_to_the_same_total(lines):
    total = by_document(lines, ROUND_HALF_UP)
    cents = carried_cents(lines, total)
    taxed = sum((line_amount(line) + tax_on_top(line) for line in lines), Decimal(0))
    assert all(abs(cent) <= CENT for cent in cents)
    if total != taxed and not any(cents):
        # Only a cent that would turn the sign of a line's tax is not carried.
        assert any(tax_on_top(line) == 0 for line in lines)
        return
    assert taxed + sum(cents) == total


@given(
    lines_of_any_kind,
    st.sampled_from([ROUND_HALF_UP, ROUND_HALF_EVEN, ROUND_DOWN]),
    st.integers(-30, 30),
)
def test_what_is_carried_is_exact_alike_each_time_and_at_most_a_cent_a_line(lines, rounding, off):
    total = by_document(lines, rounding) + off * CENT
    cents = carried_cents(lines, total)
    assert cents == carried_cents(list(lines), total)
    assert len({cent for cent in cents if cent}) <= 1
    if not any(cents):
        return
    told = [
        replace(line, tax_amount=tax_on_top(line) + cent)
        for line, cent in zip(lines, cents, strict=True)
    ]
    assert sum((line_amount(line) + tax_on_top(line) for line in told), Decimal(0)) == total
    assert not any(carried_cents(told, total))
    for line, cent in zip(lines, cents, strict=True):
        assert abs(cent) <= CENT
        assert not cent or (line.tax_rate and line_amount(line))


@pytest.fixture
def guitars(body_of, line_of):
    """The published example as an invoice; its tax was rounded on the document."""

    def of(total="87.75", tax_code="OUTPUT2", **fields):
        lines = [
            line_of(str(place), quantity="1", unit_amount=price, tax_code=tax_code)
            for place, price in enumerate(("25.06", "25.61", "25.63"), 1)
        ]
        return body_of(lines=lines, amounts_are="tax_exclusive", total=total, **fields)

    return of


def test_only_the_lines_that_carry_a_cent_name_their_tax(guitars, now):
    sent = taxes.for_xero(guitars(), terms(now), "")
    assert [line.tax_amount for line in sent.lines] == [None, None, Decimal("3.85")]
    assert taxes.mismatch(guitars(), terms(now)) is None
    even = guitars(total="87.74")
    assert taxes.for_xero(even, terms(now), "") is even


def test_tax_in_fractions_of_a_cent_comes_to_the_total_with_no_list_at_all(guitars, decide_on):
    body = guitars()
    taxed = [
        line.model_copy(update={"tax_amount": line.unit_amount * Decimal("0.15")})
        for line in body.lines
    ]
    body = body.model_copy(update={"lines": tuple(taxed)})
    known = Terms(AccountSettings(), "200", {}, {})
    ours = taxes.for_xero(body, known, "")
    found = decide_on(body, known)
    assert isinstance(found, Create), found
    sent = [line["TaxAmount"] for line in found.element["LineItems"]]
    assert sent == [Decimal("3.76"), Decimal("3.84"), Decimal("3.85")]
    carried = [each.carried for each in taxes.line_sums(ours, body, known)]
    assert carried == [Decimal(0), Decimal(0), CENT]


def test_without_the_rates_nothing_is_carried_and_nothing_stopped(guitars, now):
    body = guitars()
    for known in (
        terms(now, rates={}),
        Terms(AccountSettings(), "200", {}, {}),
    ):
        assert taxes.for_xero(body, known, "") is body
        assert taxes.mismatch(guitars(total="99.99"), known) is None
    two = guitars(tax_code="TWO PARTS", total="99.99")
    assert taxes.mismatch(two, terms(now)) is None


@pytest.mark.parametrize("kind", ["tax_inclusive", "no_tax"])
def test_where_tax_adds_nothing_to_the_total_no_cent_is_carried(guitars, now, kind):
    body = guitars().model_copy(update={"amounts_are": kind, "total": Decimal("76.31")})
    assert taxes.for_xero(body, terms(now), "") is body


def test_anything_larger_is_named_to_the_cent_by_a_fresh_list(guitars, decide_on, now):
    body = guitars(total="88.00")
    known = terms(now)
    stopped = decide_on(body, known)
    assert isinstance(stopped, Stop)
    found = stopped.step.row.block
    assert found.code == ProblemCode.TOTAL_MISMATCH
    assert "The total 88.00 does not match" in found.message
    assert "87.74 (a difference of 0.26)" in found.message


def test_an_old_list_is_read_again_and_an_unreadable_one_leaves_it_to_xero(guitars, decide_on, now):
    body, hour = guitars(total="88.00"), timedelta(hours=1)
    assert decide_on(body, terms(now, age=hour, tried=hour)) == Reread(CodeKind.TAX)
    assert isinstance(decide_on(body, terms(now, age=hour)), Create)
    # What fits by an old list is not read again.
    assert isinstance(decide_on(guitars(), terms(now, age=hour, tried=hour)), Create)


def test_a_line_whose_tax_was_named_before_names_it_again(guitars, now):
    known = terms(now)
    first = taxes.for_xero(guitars(), known, "")
    agreed = desired_snapshot(first, "contact")
    assert agreed[line_field("3", "tax_amount")] == "3.85"
    even = taxes.for_update(guitars(total="87.74"), known, "", agreed)
    assert [line.tax_amount for line in even.lines] == [None, None, Decimal("3.84")]
    assert taxes.for_update(guitars(), known, "", agreed) == first
