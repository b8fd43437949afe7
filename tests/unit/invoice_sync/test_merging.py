"""Edits of both sides put together: neither is lost, and what touches is left to a person."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoice_sync.domain.merging import changed, is_money, merge, totals_of
from invoice_sync.domain.three_way import LIVE, STATUS, TOTAL, WITHDRAWN, Plan, compare


def line(key, **fields):
    values = {
        "description": f"Work {key}",
        "quantity": "1",
        "unit_amount": "100",
        "discount_rate": "0",
        "account_code": "200",
        "tax_type": None,
        "tax_amount": None,
        "item_code": None,
        "tracking": "",
    }
    return {f"line {key}: {name}": value for name, value in (values | fields).items()}


BASE = {
    STATUS: LIVE,
    "invoice_number": "INV-1",
    "reference": "one",
    "contact": "c-1",
    "issue_date": "2026-03-01",
    "due_date": "2026-03-31",
    "currency": "NZD",
    "amounts_are": "no_tax",
    TOTAL: "200",
    **line("1"),
    **line("2"),
}


def without(key):
    return {path: value for path, value in BASE.items() if not path.startswith(f"line {key}")}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"due_date": "2026-04-30"}, {"reference": "theirs"}),
        ({"line 1: quantity": "3", TOTAL: "400"}, {"reference": "theirs"}),
        ({"line 1: quantity": "3", TOTAL: "400"}, {"line 2: quantity": "2", TOTAL: "300"}),
        ({"line 1: quantity": "3", TOTAL: "400"}, {"line 1: description": "Better words"}),
        ({"line 1: account_code": "260"}, {"line 1: tracking": "Region=North"}),
        ({"reference": "same"}, {"reference": "same", "due_date": "2026-04-30"}),
        ({"line 1: quantity": "3", TOTAL: "400"}, {**line("xero:9", unit_amount="7"), TOTAL: "207"}),
    ],
)  # fmt: skip
def test_what_does_not_touch_is_put_together(ours, theirs):
    merged = merge(BASE, BASE | ours, BASE | theirs)
    expected = {**BASE, **theirs, **ours}
    del expected[TOTAL]
    assert merged == expected


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"reference": "ours"}, {"reference": "theirs"}),
        # An amount of two hands that neither of them has seen.
        ({"line 1: quantity": "3", TOTAL: "400"}, {"line 1: unit_amount": "90", TOTAL: "190"}),
        ({"line 1: discount_rate": "10", TOTAL: "190"}, {"line 1: tax_type": "OUTPUT"}),
        # A due date reckoned from another date.
        ({"issue_date": "2026-03-05"}, {"due_date": "2026-04-30"}),
        # Amounts under another meaning.
        ({"currency": "EUR"}, {"line 1: quantity": "3", TOTAL: "400"}),
        ({"amounts_are": "tax_inclusive"}, {**line("xero:9"), TOTAL: "300"}),
        # A total without its parts is a difference nobody explained.
        ({"reference": "ours"}, {TOTAL: "200.01"}),
        ({STATUS: WITHDRAWN}, {"reference": "theirs"}),
        ({"reference": "ours"}, {STATUS: WITHDRAWN}),
        # It may be the same thing, billed twice.
        ({**line("3"), TOTAL: "300"}, {**line("xero:9", description="work 3", quantity="4"), TOTAL: "600"}),
        ({**line("3"), TOTAL: "300"}, {**line("xero:9", description="Other"), TOTAL: "300"}),
    ],
)  # fmt: skip
def test_what_touches_is_left_to_a_person(ours, theirs):
    assert merge(BASE, BASE | ours, BASE | theirs) is None
    assert merge(BASE, BASE | theirs, BASE | ours) is None


def test_lines_added_and_removed_on_both_sides():
    ours = without("1") | {TOTAL: "100"}
    theirs = BASE | line("xero:9", unit_amount="7") | {TOTAL: "207"}
    merged = merge(BASE, ours, theirs)
    assert merged is not None
    assert {path[: path.index(":")] for path in merged if path.startswith("line 1")} == set()
    assert merged["line xero:9: unit_amount"] == "7"
    touched = theirs | {"line 1: description": "Better words"}
    assert merge(BASE, ours, touched) is None
    assert merge(BASE, ours, ours) == {path: each for path, each in ours.items() if path != TOTAL}


VALUES = st.sampled_from(["1", "2", "3"])
FIELDS = ("reference", "contact", "issue_date", "due_date", "currency", "amounts_are")
NAMES = ("description", "quantity", "unit_amount", "tax_amount", "account_code", "tracking")


@st.composite
def snapshots(draw):
    found = {STATUS: draw(st.sampled_from([LIVE, LIVE, LIVE, WITHDRAWN])), TOTAL: draw(VALUES)}
    found |= {name: draw(VALUES) for name in FIELDS}
    for key in draw(st.sets(st.sampled_from(["1", "2", "3", "xero:8", "xero:9"]))):
        found |= {f"line {key}: {name}": draw(VALUES) for name in NAMES}
    return found


@st.composite
def edits(draw, base):
    """A side that changed a few things since the base."""
    found = dict(base)
    other = draw(snapshots())
    for path in draw(st.sets(st.sampled_from(sorted({*base, *other})), max_size=4)):
        if path in other:
            found[path] = other[path]
    for key in draw(st.sets(st.sampled_from(["1", "2", "3", "xero:8", "xero:9"]), max_size=1)):
        found = {path: each for path, each in found.items() if not path.startswith(f"line {key}:")}
    if any(is_money(path) for path in changed(base, found)):
        found[TOTAL] = draw(VALUES)
    return found


@st.composite
def triples(draw):
    base = draw(snapshots())
    return base, draw(edits(base)), draw(edits(base))


@given(triples())
def test_neither_sides_change_is_ever_lost(triple):
    base, ours, theirs = triple
    merged = merge(base, ours, theirs)
    if merged is None:
        return
    for side in (ours, theirs):
        for path in changed(base, side) - {TOTAL}:
            assert merged.get(path, "absent") == side.get(path, "absent")
    for path in {*merged} - changed(base, ours) - changed(base, theirs):
        assert merged[path] == base[path]


@given(triples())
def test_it_does_not_matter_which_side_is_called_ours(triple):
    base, ours, theirs = triple
    assert merge(base, ours, theirs) == merge(base, theirs, ours)


@given(triples())
def test_merged_once_it_is_in_step_with_both(triple):
    """Seen again with the merged invoice in Xero, Pipeline has nothing left to write."""
    base, ours, theirs = triple
    merged = merge(base, ours, theirs)
    if merged is not None:
        in_xero = merged | {TOTAL: theirs[TOTAL]}
        again = merge(base, ours, in_xero)
        assert again is None or changed(again, merged) == frozenset()


@given(triples())
def test_to_block_never_pushes_over_anything(triple):
    base, ours, theirs = triple
    if compare(base, ours, theirs).plan is Plan.PUSH:
        assert theirs == base


def test_pipelines_total_must_stand_where_the_amounts_are_pipelines_alone():
    wanted = BASE | {TOTAL: "200.5"}
    found = totals_of(BASE, wanted, {})
    assert (found.lowest, found.is_exact) == (Decimal("200.5"), True)


def test_the_total_of_both_hands_follows_from_the_lines():
    theirs = BASE | line("xero:9", unit_amount="7") | {TOTAL: "207"}
    ours = BASE | {"line 1: quantity": "3", TOTAL: "400"}
    merged = merge(BASE, ours, theirs)
    found = totals_of(merged, ours, {})
    # Xero's own line may be discounted by an amount.
    assert (found.lowest, found.highest) == (Decimal("400.00"), Decimal("407.00"))


def test_tax_left_to_xero_leaves_a_range_but_tax_that_is_named_does_not():
    taxed = {**BASE, "amounts_are": "tax_exclusive", "line 1: tax_amount": "15", "line 2: tax_amount": "15"}  # fmt: skip
    theirs = taxed | line("xero:9", unit_amount="10", tax_amount="1.5")
    ours = taxed | {"line 1: tax_amount": None, "line 1: quantity": "2", TOTAL: "330"}
    found = totals_of(theirs | {"line 1: quantity": "2"}, ours, {})
    assert (found.lowest, found.highest) == (Decimal("316.50"), Decimal("426.50"))
