"""The three-way comparison: every combination of who changed what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoice_sync.domain.three_way import LIVE, STATUS, WITHDRAWN, Plan, compare

A, B, C = ({STATUS: LIVE, "reference": value, "line 1: quantity": "1"} for value in ("a", "b", "c"))


@pytest.mark.parametrize(
    ("base", "pipeline", "xero", "plan"),
    [
        (A, A, A, Plan.IN_SYNC),
        (A, B, A, Plan.PUSH),
        (A, A, B, Plan.KEEP_XERO),
        (A, B, C, Plan.CONFLICT),
        (A, B, B, Plan.IN_SYNC),
        (None, A, A, Plan.IN_SYNC),
        (None, A, B, Plan.CONFLICT),
    ],
)
def test_who_changed_decides(base, pipeline, xero, plan):
    assert compare(base, pipeline, xero).plan is plan


def test_different_fields_changed_on_both_sides_are_a_conflict_that_names_both():
    ours = A | {"due_date": "2026-04-01"}
    theirs = A | {"reference": "b"}
    found = compare(A, ours, theirs)
    assert found.plan is Plan.CONFLICT
    assert [(each.field, each.base, each.pipeline, each.xero) for each in found.differences] == [
        ("due_date", None, "2026-04-01", None),
        ("reference", "a", "a", "b"),
    ]


def test_a_line_added_here_and_removed_there():
    ours = A | {"line 2: quantity": "1"}
    theirs = {key: value for key, value in A.items() if not key.startswith("line")}
    assert compare(A, ours, A).plan is Plan.PUSH
    assert compare(A, A, theirs).plan is Plan.KEEP_XERO
    assert compare(A, ours, theirs).plan is Plan.CONFLICT


def test_no_opinion_of_pipelines_is_never_a_difference():
    ours = A | {"reference": None}
    assert compare(A, ours, A).plan is Plan.IN_SYNC
    assert compare(None, ours, B).plan is Plan.IN_SYNC
    assert compare(A, ours, B).plan is Plan.KEEP_XERO


def test_withdrawn_in_xero_is_a_conflict_of_its_own_unless_pipeline_withdraws_too():
    gone = A | {STATUS: WITHDRAWN}
    assert compare(A, A, gone).plan is Plan.CONFLICT
    assert compare(A, B, gone).plan is Plan.CONFLICT
    assert compare(A, gone, gone).plan is Plan.IN_SYNC
    assert compare(A, gone, A).plan is Plan.PUSH


snapshots = st.dictionaries(
    st.sampled_from(["a", "b", "c", "line 1: x", "line 2: x"]), st.sampled_from(["1", "2", "3"])
).map(lambda found: {STATUS: LIVE, **found})


@given(snapshots, snapshots, snapshots)
def test_nobodys_work_is_ever_pushed_over(base, pipeline, xero):
    found = compare(base, pipeline, xero)
    if found.plan is Plan.PUSH:
        assert xero == base
    if found.plan is Plan.IN_SYNC:
        assert pipeline == xero
    if pipeline == xero:
        assert found.plan is Plan.IN_SYNC
    assert bool(found.differences) == (pipeline != xero)
    if found.plan is Plan.CONFLICT:
        assert base not in (pipeline, xero)


@given(snapshots, snapshots)
def test_aligning_either_side_always_ends_a_conflict(base, agreed):
    assert compare(base, agreed, agreed).plan is Plan.IN_SYNC
    assert compare(base, agreed, base).plan in {Plan.PUSH, Plan.IN_SYNC}
