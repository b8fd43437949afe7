"""Differences in words: the total first, one thing for each line, and nothing left out."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoice_sync.domain import mapping, three_way
from invoice_sync.domain.confirm import conflict_block
from invoice_sync.domain.lifecycle import out_of_sync
from invoice_sync.domain.state import Link
from invoice_sync.domain.telling import in_words, names_of, total_first
from invoice_sync.domain.three_way import FieldDifference

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def snapshot(total="100", reference="", **lines):
    """Lines by id: description, quantity, price."""
    found = {"status": "live", "total": total, "reference": reference, "contact": "c-1"}
    for line_id, (description, quantity, price) in lines.items():
        fields = {"description": description, "quantity": quantity, "unit_amount": price}
        found |= {mapping.line_field(line_id, name): value for name, value in fields.items()}
        found |= {mapping.line_field(line_id, name): "x" for name in ("account_code", "tax_type")}
    return found


def told(ours, theirs):
    return in_words(three_way.compare(None, ours, theirs).differences, ours)


WORK = {"a": ("Work", "2", "50")}


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (
            snapshot(**WORK),
            snapshot(total="130", b=("Advice", "1", "80"), c=("Travel", "1", "50")),
            [
                "the total is 100.00 in Pipeline and 130.00 in Xero (a difference of 30.00)",
                "only Pipeline has the line “Work” (2 at 50)",
                "only Xero has the line “Advice” (1 at 80)",
                "only Xero has the line “Travel” (1 at 50)",
            ],
        ),
        (
            snapshot(total="120", reference="ours", a=("Work", "2", "60")),
            snapshot(a=("Work", "1", "50")),
            [
                "the total is 120.00 in Pipeline and 100.00 in Xero (a difference of 20.00)",
                "the reference is “ours” in Pipeline and not set in Xero",
                "the quantity is “2” in Pipeline and “1” in Xero, the price is “60” in Pipeline and “50” in Xero on the line “Work”",
            ],
        ),
        (
            snapshot(**WORK) | {"contact": "c-2", "amounts_are": "no_tax"},
            snapshot(a=("Werk", "2", "50"))
            | {"amounts_are": "tax_exclusive", "status": "withdrawn"},
            [
                "how amounts relate to tax is without tax in Pipeline and before tax in Xero",
                "the contact is another one in Xero than in Pipeline",
                "the invoice is valid in Pipeline and void in Xero",
                "the description is “Work” in Pipeline and “Werk” in Xero on the line “Work”",
            ],
        ),
    ],
    ids=["replaced", "edited", "others"],
)
def test_each_thing_is_told_once_and_the_total_before_all(ours, theirs, words):
    assert told(ours, theirs) == words


_LINES = st.dictionaries(
    st.sampled_from("abcd"),
    st.tuples(
        st.sampled_from(["Work", "Advice", ""]), st.sampled_from("12"), st.sampled_from("56")
    ),
)
_SIDES = st.builds(
    lambda lines, total, reference: snapshot(total, reference, **lines),
    _LINES,
    st.sampled_from(["100", "130"]),
    st.sampled_from(["", "r"]),
)


@given(_SIDES, _SIDES)
def test_whatever_differs_is_told_and_programs_have_every_field(ours, theirs):
    differences = three_way.compare(None, ours, theirs).differences
    lines = {mapping.line_of(each.field) for each in differences} - {""}
    fields = [each for each in differences if not mapping.line_of(each.field)]
    words = in_words(differences, ours)
    assert len(words) == len(lines) + len(fields)
    assert any("the total is" in each for each in words[:1]) == (ours["total"] != theirs["total"])
    assert sorted(total_first(differences), key=lambda each: each.field) == list(differences)


def test_the_message_counts_things_and_the_event_keeps_every_field(row_of):
    link = Link("acc-1", "inv-1", "t-1", "x-1", "INV-1", "AUTHORISED", {}, {}, {}, {}, NOW)
    ours, theirs = (
        snapshot(**WORK),
        snapshot(total="130", **dict.fromkeys("bcde", ("New", "1", "2"))),
    )
    differences = three_way.compare(None, ours, theirs).differences
    why = conflict_block("INV-1", differences, ours)
    assert why.message.endswith("only Xero has the line “New” (1 at 2); and 3 more.")
    (event,) = out_of_sync(row_of(), link, differences, why, None).events
    assert event.differences[0].field == "total"
    assert {each.field for each in event.differences} == {each.field for each in differences}


def test_fields_without_values_are_named_by_their_line():
    assert names_of(["due_date", "line a: unit_amount", "line b: item_code"], snapshot(**WORK)) == (
        "the due date, the price on the line “Work”, the item on the line b"
    )
    unknown = FieldDifference("new_field", None, "1", "2")
    assert in_words([unknown], {}) == ["new_field is “1” in Pipeline and “2” in Xero"]
