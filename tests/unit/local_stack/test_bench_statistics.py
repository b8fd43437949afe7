import pytest

from pipeline_local_stack.bench.statistics import (
    Measured,
    difference,
    over_rounds,
    over_samples,
    percentile,
)


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (1, 1), (50, 50), (51, 51), (99, 99), (99.5, 100), (100, 100)]
)
def test_percentile_is_the_nearest_rank_whatever_the_order(percent, expected):
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_percentile_of_one_sample_is_that_sample():
    assert percentile([7.0], 99) == 7.0


@pytest.mark.parametrize(("samples", "percent"), [([], 50), ([1.0], -1), ([1.0], 101)])
def test_percentile_refuses_what_has_none(samples, percent):
    with pytest.raises(ValueError, match="percent"):
        percentile(samples, percent)


def test_rounds_give_their_median_and_their_extremes():
    assert over_rounds([5.0, 1.0, 9.0]) == Measured(5.0, 1.0, 9.0)
    assert over_rounds([4.0]) == Measured(4.0, 4.0, 4.0)
    with pytest.raises(ValueError, match="no round"):
        over_rounds([])


def test_samples_give_a_percentile_and_how_far_it_moves_between_parts_of_the_run():
    steady_then_slow = [1.0] * 20 + [1.0] * 20 + [9.0] * 20
    assert over_samples(steady_then_slow, 50) == Measured(1.0, 1.0, 9.0)


def test_the_noise_of_samples_contains_their_value():
    samples = [1.0, 1.0, 100.0, 1.0, 1.0, 1.0, 1.0]
    measured = over_samples(samples, 99)
    assert measured.low <= measured.value <= measured.high
    assert measured.value == 100.0


def test_every_sample_belongs_to_a_part():
    assert over_samples([1.0, 2.0, 3.0, 4.0], 100, rounds=3).high == 4.0
    with pytest.raises(ValueError, match="rounds"):
        over_samples([1.0, 2.0], 50, rounds=3)


def test_a_difference_has_the_noise_of_both():
    through, direct = Measured(10.0, 8.0, 15.0), Measured(4.0, 3.0, 5.0)
    assert difference(through, direct) == Measured(6.0, 3.0, 12.0)
