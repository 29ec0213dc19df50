"""How sure a score is: intervals over clips, and paired tests of two generators on the same clips. Plain numbers and draws.

A mean over clips is bootstrapped (Efron 1979). A distance of whole sets is not: a clip that is drawn twice makes a set narrower and
its Fréchet distance larger. Its error is the deviation over random halves of the clips, which for a mean is exactly the error of
the whole (a delete-half jackknife, Shao and Wu 1989). Tests exchange the two generators' videos clip by clip: exact for any score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int

SHARE = 0.95
"""Of an interval."""
NORMAL = 1.959964
DRAWS = 10_000
"""Draws of means, which cost nothing."""
EXACT = 12
"""Up to so many clips every exchange is tried."""
SEED = 2020
FEWEST = 4
"""Clips below which nothing is said of an error."""

OfClips = Callable[[Int[np.ndarray, "k"]], float]
"""A score of a set: its number over the clips of these indices."""
OfMixture = Callable[[Bool[np.ndarray, "n"]], float]
"""The second generator's number minus the first's, where they have exchanged the marked clips."""


@dataclass(frozen=True)
class Interval:
    """95 % of a score over clips."""

    low: float
    high: float


@dataclass(frozen=True)
class PairedTest:
    """The second generator against the first over the same clips. p: how often chance alone makes a difference as large."""

    difference: float
    interval: Interval | None
    p: float | None


def interval_of_mean(values: Float[np.ndarray, "n"]) -> Interval | None:
    """Bootstrap percentiles of the mean; None for fewer than four clips."""
    if len(values) < FEWEST:
        return None
    resamples = np.random.default_rng(SEED).integers(len(values), size=(DRAWS, len(values)))
    low, high = np.quantile(values[resamples].mean(axis=1), [(1 - SHARE) / 2, (1 + SHARE) / 2])
    return Interval(float(low), float(high))


def interval_of_set(whole: float, of_clips: OfClips, count: int, draws: int) -> Interval | None:
    """`whole` ± 1.96 deviations over random halves of the clips; None for fewer than four, or no draws."""
    if count < FEWEST or draws < 2:
        return None
    generator = np.random.default_rng(SEED)
    halves = [of_clips(np.sort(generator.permutation(count)[: count // 2])) for _ in range(draws)]
    # Of an odd number of clips the smaller half errs a little more than the whole does.
    half = count // 2
    error = NORMAL * float(np.std(halves)) * (half / (count - half)) ** 0.5
    return Interval(whole - error, whole + error)


def paired_means(first: Float[np.ndarray, "n"], second: Float[np.ndarray, "n"]) -> PairedTest:
    """By the differences clip by clip; each may as well have been the other way round."""
    differences = second - first
    mean, count = float(differences.mean()), len(differences)
    if count < FEWEST:
        return PairedTest(mean, None, None)
    signs = 1 - 2.0 * exchanges(count, DRAWS)
    by_chance = np.abs((signs * differences).mean(axis=1))
    return PairedTest(mean, interval_of_mean(differences), _share(by_chance, abs(mean), count))


def paired_sets(of_mixture: OfMixture, of_clips: OfClips, count: int, draws: int) -> PairedTest:
    """of_mixture: the difference after an exchange of clips; of_clips: the difference over some of the clips."""
    observed = of_mixture(np.zeros(count, bool))
    if count < FEWEST or draws < 2:
        return PairedTest(observed, None, None)
    by_chance = np.abs([of_mixture(marks) for marks in exchanges(count, draws)])
    interval = interval_of_set(observed, of_clips, count, draws)
    return PairedTest(observed, interval, _share(by_chance, abs(observed), count))


def exchanges(count: int, draws: int) -> Bool[np.ndarray, "draws n"]:
    """Every way to mark clips where there are at most `draws` of them, else random ones."""
    if count <= EXACT and 2**count <= draws:
        return np.array(list(product((False, True), repeat=count)))
    return np.random.default_rng(SEED).random((draws, count)) < 0.5


def _share(by_chance: Float[np.ndarray, "draws"], observed: float, count: int) -> float:
    """Of the exchanges that differ as much; the one that was observed counts as one of those that were drawn."""
    as_large = int((by_chance >= observed * (1 - 1e-9)).sum())
    whole = len(by_chance) == 2**count
    return as_large / len(by_chance) if whole else (as_large + 1) / (len(by_chance) + 1)
