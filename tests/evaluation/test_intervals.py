"""Intervals hold what they promise, and tests of two equal generators find nothing more often than they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dwm.evaluation.frechet import FeatureSums, frechet_distance, sample_distance
from dwm.evaluation.intervals import exchanges, interval_of_mean, interval_of_set, paired_means, paired_sets


@pytest.fixture
def draw() -> np.random.Generator:
    return np.random.default_rng(4)


def test_an_interval_of_a_mean_covers_it_about_as_often_as_it_says(draw: np.random.Generator) -> None:
    inside = 0
    for _ in range(200):
        interval = interval_of_mean(draw.normal(3, 1, 24))
        assert interval is not None
        inside += interval.low <= 3 <= interval.high
    assert 170 <= inside <= 199, "95 % of 200 are 190; percentiles of few values are a little narrow"


def test_halves_know_the_error_of_a_mean(draw: np.random.Generator) -> None:
    values = draw.normal(0, 1, 40)
    interval = interval_of_set(float(values.mean()), lambda part: float(values[part].mean()), 40, 2000)
    assert interval is not None
    assert (interval.high - interval.low) / 2 == pytest.approx(1.96 * values.std() / 40**0.5, rel=0.1)


def test_fewer_than_four_clips_have_no_interval() -> None:
    assert interval_of_mean(np.ones(3)) is None and interval_of_set(1, lambda _: 1.0, 3, 100) is None
    assert paired_means(np.ones(3), np.zeros(3)).p is None


def test_a_clear_difference_is_found_and_no_difference_is_not(draw: np.random.Generator) -> None:
    a = draw.normal(0, 1, 12)
    better, same = paired_means(a, a + 1 + draw.normal(0, 0.1, 12)), paired_means(a, a)
    assert better.difference == pytest.approx(1, abs=0.2) and better.p == 2 / 2**12
    assert better.interval is not None and better.interval.low > 0.5
    assert (same.difference, same.p) == (0, 1)


def test_equal_generators_differ_by_chance_as_often_as_p_says(draw: np.random.Generator) -> None:
    values = [paired_means(draw.normal(0, 1, 10), draw.normal(0, 1, 10)).p or 0 for _ in range(100)]
    assert 0 <= sum(p < 0.05 for p in values) <= 13, "5 of 100 expected"


def test_a_set_whose_pictures_are_farther_off_is_found_worse(draw: np.random.Generator) -> None:
    real, near, far = (torch.from_numpy(draw.normal(shift, 1, (8, 6, 4))) for shift in (0, 0, 1.5))

    def distance(part: np.ndarray, marks: np.ndarray, second: bool) -> float:
        sides = [
            torch.where(torch.from_numpy(marks).view(-1, 1, 1), other, own) for own, other in ((near, far), (far, near))
        ]
        return sample_distance(sides[second][part].flatten(0, 1), real[part].flatten(0, 1))

    def difference(part: np.ndarray, marks: np.ndarray) -> float:
        return distance(part, marks, True) - distance(part, marks, False)

    test = paired_sets(
        lambda marks: difference(np.arange(8), marks), lambda part: difference(part, np.zeros(8, bool)), 8, 300
    )
    assert test.difference > 1 and test.p is not None and test.p < 0.02
    assert test.interval is not None and test.interval.low > 0


def test_few_clips_are_exchanged_in_every_way() -> None:
    assert len(np.unique(exchanges(5, 100), axis=0)) == 32
    assert exchanges(20, 100).shape == (100, 20)


@pytest.mark.parametrize("count", [5, 40])
def test_the_quick_way_to_a_frechet_distance_is_the_same(count: int, draw: np.random.Generator) -> None:
    a, b = (torch.from_numpy(draw.normal(shift, 1, (count, 12))) for shift in (0, 0.3))
    usual = frechet_distance(FeatureSums.of(a).gaussian(), FeatureSums.of(b).gaussian())
    assert sample_distance(a, b) == pytest.approx(usual, rel=1e-9)
