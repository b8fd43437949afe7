"""What work cost is the difference of two readings, and a cost that grew with the past is said so."""

import pytest

from pipeline_local_stack.bench import costs
from pipeline_local_stack.bench.costs import Meter, kafka_bytes
from pipeline_local_stack.bench.scale import not_flat
from pipeline_local_stack.bench.statistics import Measured


def test_what_was_used_is_told_for_each_unit():
    before, after = Meter({"calls": 10, "rows": 1}), Meter({"calls": 40, "rows": 1})
    assert after.since(before, 3) == {"calls": 10, "rows": 0}


def test_kafka_holds_what_lies_in_the_segments_of_our_topics(tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "LOCAL", tmp_path)
    for folder, file, size in (
        ("pipeline.sync.v1-0", "0.log", 100), ("pipeline.sync.v1-1", "0.log", 20),
        ("pipeline.sync.v1-1", "0.index", 1_000), ("bench.bare.synced.v1-0", "0.log", 1_000),
    ):  # fmt: skip
        place = tmp_path / "kafka" / "data" / folder
        place.mkdir(parents=True, exist_ok=True)
        (place / file).write_bytes(b"x" * size)
    assert kafka_bytes() == 120


@pytest.mark.parametrize(
    ("cost", "is_said"),
    [
        (Measured(1.3, 1.25, 1.4), True),
        (Measured(1.15, 1.1, 1.2), False),
        (Measured(1.3, 1.05, 1.4), False),  # within the noise of the two
    ],
)
def test_a_cost_that_grew_by_more_than_a_fifth_and_the_noise_is_said(cost, is_said):
    assert bool(not_flat("1,000,000 invoices", cost, Measured(1.0, 0.9, 1.1))) is is_said
