"""What grows under a constant load is told from what fills up once, and from noise."""

import json

import pytest

from pipeline_local_stack.bench.flatness import Series
from pipeline_local_stack.bench.page import soak_page
from pipeline_local_stack.bench.soak import RECORD, run_soak
from pipeline_local_stack.paths import StackError

MINUTE = range(0, 600, 5)


def series(value_at, **more):
    return Series("memory", "MB", [(at, value_at(at)) for at in MINUTE], **more)


def test_a_leak_is_seen_though_each_look_differs_by_more():
    leaking = series(lambda at: 100 + at / 30 + (7 if at % 10 else -7), tolerance=6)
    assert not leaking.is_flat
    assert leaking.an_hour == pytest.approx(120, rel=0.1)
    assert leaking.as_json()["verdict"] == "GROWS"


def test_what_fills_up_in_the_warm_up_is_flat():
    warming = series(lambda at: min(100 + at, 250), tolerance=6)
    assert warming.is_flat
    assert warming.grown == pytest.approx(0)
    assert warming.as_json()["highest"] == 250


def test_noise_shrinking_and_what_may_grow_are_no_fault():
    assert series(lambda at: 50 + at % 3, tolerance=1).is_flat
    assert series(lambda at: 50 - at / 60).is_flat
    kept = series(lambda at: at, may_grow=True)
    assert kept.is_flat
    assert kept.as_json()["verdict"] == "grows as it must"


def test_too_short_a_time_gets_no_verdict():
    with pytest.raises(StackError, match="2 minutes at least"):
        run_soak(1, record=False)


def test_the_recorded_soak_page_says_what_its_run_says():
    run = json.loads(RECORD.with_suffix(".json").read_text())
    assert run["broken"] == []
    assert RECORD.with_suffix(".md").read_text() == soak_page(run)
