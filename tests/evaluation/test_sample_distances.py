"""KID, precision and recall against what is known on paper."""

from __future__ import annotations

import pytest
import torch

from dwm.errors import DwmError
from dwm.evaluation.kernel_distance import kernel_distance, whole_distance
from dwm.evaluation.precision_recall import precision_recall


def samples(count: int, seed: int, width: int = 6) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_whole_distance_is_the_sum_over_pairs():
    a, b = samples(4, 0), samples(3, 1)
    kernel = lambda x, y: (float(x @ y) / 6 + 1) ** 3  # noqa: E731
    inside = sum(
        sum(kernel(x, y) for i, x in enumerate(side) for j, y in enumerate(side) if i != j)
        / (len(side) * (len(side) - 1))
        for side in (a, b)
    )
    between = sum(kernel(x, y) for x in a for y in b) / 12
    assert whole_distance(a, b) == pytest.approx(inside - 2 * between)


def test_draws_of_one_set_are_around_zero_and_others_are_not():
    a, b = samples(400, 2), samples(400, 3)
    same, other = kernel_distance(a, b, 50, 100), kernel_distance(a, b + 1, 50, 100)
    assert abs(same.mean) < 3 * same.deviation
    assert other.mean > 5 * other.deviation > 0
    assert (same.subsets, same.subset_size) == (50, 100)


def test_fewer_samples_than_a_subset_are_one_set():
    a, b = samples(20, 4), samples(30, 5)
    found = kernel_distance(a, b)
    assert (found.mean, found.deviation) == (whole_distance(a, b), 0.0)
    assert (found.subsets, found.subset_size) == (1, 0)


def test_the_same_seed_draws_the_same_subsets():
    a, b = samples(60, 6), samples(60, 7)
    assert kernel_distance(a, b, 5, 20) == kernel_distance(a, b, 5, 20) != kernel_distance(a, b, 5, 20, seed=1)


def test_one_sample_has_no_kernel_distance():
    with pytest.raises(DwmError, match="at least 2 samples"):
        whole_distance(samples(1, 0), samples(5, 1))


def test_points_on_a_line():
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    # Each real point's nearest fellow is 1, 1, 1 and 8 away: 2.5 lies in the last two's reach, 18.5 and -3 in nobody's.
    generated = torch.tensor([[2.5], [18.5], [-3.0]])
    found = precision_recall(generated, real, neighbours=1)
    assert found.precision == pytest.approx(1 / 3)
    # Of the generated ones, 2.5 reaches 5.5 far, 18.5 16 and -3 5.5: all real points lie there.
    assert found.recall == 1.0
    assert found.f_score == pytest.approx(0.5)


def test_a_set_in_itself_is_whole():
    a = samples(40, 8)
    assert precision_recall(a, a).precision == precision_recall(a, a).recall == 1.0


def test_sets_apart_share_nothing():
    found = precision_recall(samples(20, 9), samples(20, 10) + 100)
    assert (found.precision, found.recall, found.f_score) == (0.0, 0.0, 0.0)


def test_too_few_for_their_neighbours():
    with pytest.raises(DwmError, match="more than 3 samples"):
        precision_recall(samples(3, 0), samples(9, 1))
