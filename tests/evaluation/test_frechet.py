"""The Fréchet distance against what is known on paper."""

from __future__ import annotations

import math

import pytest
import torch

from dwm.errors import DwmError
from dwm.evaluation import FeatureSums, Gaussian, frechet_distance


def diagonal(mean: list[float], variances: list[float]) -> Gaussian:
    return Gaussian(torch.tensor(mean, dtype=torch.float64), torch.diag(torch.tensor(variances, dtype=torch.float64)))


def random_gaussian(width: int, seed: int, rank: int | None = None) -> Gaussian:
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(width, rank or width, dtype=torch.float64, generator=generator)
    return Gaussian(torch.randn(width, dtype=torch.float64, generator=generator), factor @ factor.T)


def test_one_dimension_is_the_difference_of_mean_and_deviation():
    assert frechet_distance(diagonal([1.0], [4.0]), diagonal([4.0], [9.0])) == pytest.approx(9 + (2 - 3) ** 2)


def test_commuting_covariances_add_up_over_axes():
    a, b = diagonal([0, 0, 0], [1, 4, 0]), diagonal([1, 2, 2], [9, 4, 0.25])
    assert frechet_distance(a, b) == pytest.approx(9 + (1 - 3) ** 2 + 0 + 0.5**2)


def test_two_by_two_without_common_axes():
    # tr √M of a 2×2 matrix M is √(tr M + 2 √det M); here M = Σ₁Σ₂.
    first = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    second = torch.tensor([[1.0, -0.3], [-0.3, 3.0]], dtype=torch.float64)
    product = first @ second
    root = math.sqrt(float(product.trace()) + 2 * math.sqrt(float(torch.linalg.det(product))))
    zero = torch.zeros(2, dtype=torch.float64)
    expected = float(first.trace() + second.trace()) - 2 * root
    assert frechet_distance(Gaussian(zero, first), Gaussian(zero, second)) == pytest.approx(expected)


@pytest.mark.parametrize("rank", [None, 3])
def test_zero_with_itself_and_the_same_both_ways(rank: int | None):
    a, b = random_gaussian(12, 1, rank), random_gaussian(12, 2, rank)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-5)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6)
    assert frechet_distance(a, b) > 1


def test_turning_the_axes_changes_nothing():
    a, b = random_gaussian(6, 3), random_gaussian(6, 4)
    turn = torch.linalg.qr(random_gaussian(6, 5).covariance).Q
    turned = [Gaussian(turn @ item.mean, turn @ item.covariance @ turn.T) for item in (a, b)]
    assert frechet_distance(*turned) == pytest.approx(frechet_distance(a, b))


def samples(count: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 3


def test_sums_give_mean_and_covariance_however_they_come():
    values = samples(50, 4, 0)
    sums = FeatureSums.empty(4)
    for part in values.split(7):
        sums = sums.with_features(part)
    torch.testing.assert_close(sums.gaussian().mean, values.mean(dim=0))
    torch.testing.assert_close(sums.gaussian().covariance, torch.cov(values.T))


def test_unequal_shares_merge_to_the_whole():
    a, b = samples(40, 6, 1), samples(30, 6, 2)
    whole = frechet_distance(FeatureSums.of(a).gaussian(), FeatureSums.of(b).gaussian())
    left, right = (
        FeatureSums.of(x[:share]).merge(FeatureSums.of(x[share:])).gaussian() for x, share in ((a, 3), (b, 29))
    )
    assert frechet_distance(left, right) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(5, 3), (2, 2), (16, 40), (90, 70)])
def test_few_samples_give_what_the_definition_gives(n: int, m: int):
    """tr √(Σ₁Σ₂) as the singular values of the centred features' products: exact however few they are."""
    a, b = samples(n, 24, 3), samples(m, 24, 4) * 0.7
    first, second = (x - x.mean(dim=0) for x in (a, b))
    root = torch.linalg.svdvals(first @ second.T).sum() / math.sqrt((n - 1) * (m - 1))
    traces = sum(float(x.square().sum()) / (len(x) - 1) for x in (first, second))
    expected = float((a.mean(dim=0) - b.mean(dim=0)).square().sum()) + traces - 2 * float(root)
    found = frechet_distance(FeatureSums.of(a).gaussian(), FeatureSums.of(b).gaussian())
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [2, 7, 300])
def test_equal_sets_are_at_zero_within_rounding(count: int):
    gaussian = FeatureSums.of(samples(count, 64, 5)).gaussian()
    assert frechet_distance(gaussian, gaussian) == pytest.approx(0, abs=1e-10)


def test_features_that_never_change_do_no_harm():
    a, b = samples(100, 8, 6), samples(100, 8, 7)
    a[:, 5:], b[:, 5:] = 2.0, 2.0
    small = frechet_distance(FeatureSums.of(a[:, :5]).gaussian(), FeatureSums.of(b[:, :5]).gaussian())
    assert frechet_distance(FeatureSums.of(a).gaussian(), FeatureSums.of(b).gaussian()) == pytest.approx(
        small, rel=1e-9
    )


def test_one_sample_is_not_a_set():
    with pytest.raises(DwmError, match="at least 2 samples"):
        FeatureSums.of(torch.ones(1, 2)).gaussian()
