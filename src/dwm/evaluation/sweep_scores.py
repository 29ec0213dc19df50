"""Scores of generated sweeps over true ones, clip by clip: what `sweeps` measures, gathered into numbers and a line for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dwm.evaluation.sweeps import (
    chamfer,
    differing,
    divergence,
    finite_mean,
    mean_discrepancy,
    overlap,
    ray_errors,
    rays_matched,
)

Points = NDArray[np.floating]
RAY_BOX = ((-70.0, -70.0, -4.5), (70.0, 70.0, 4.5))
"""Walls at which depths end, in metres."""


@dataclass(frozen=True)
class SweepResult:
    """Means over sweeps; not numbers where nothing could be measured. chamfer in square metres, cropped ones by their reach.

    depth: mean absolute error along the true rays in metres, mean of its share of the true depth, and the medians of both.
    """

    sweeps: int
    chamfer: float
    chamfer_within: dict[str, float]
    mmd: float
    jsd: float
    iou: float
    differing_cells: float
    depth: dict[str, float]

    def values(self) -> dict[str, Any]:
        """As JSON has them; what is not a number is null."""
        return {
            "sweeps": self.sweeps,
            "chamfer": _number(self.chamfer),
            "chamfer_within": {reach: _number(value) for reach, value in self.chamfer_within.items()},
            "mmd": _number(self.mmd),
            "jsd": _number(self.jsd),
            "iou": _number(self.iou),
            "differing_cells": _number(self.differing_cells),
            "depth": {name: _number(value) for name, value in self.depth.items()},
        }

    def lines(self) -> list[str]:
        """What they mean, for people."""
        within = ", ".join(f"{value:.4g} within {reach} m" for reach, value in self.chamfer_within.items())
        return [
            f"chamfer: {self.chamfer:.4g} m² ({within}): mean squared distance to the nearest point, both ways; less is better",
            f"mmd: {self.mmd:.4g}: how unlike the sweeps are as seen from above, one clip at a time; 0 is alike",
            f"jsd: {self.jsd:.4g}: how unlike each sweep is to its true one as seen from above; 0 is alike",
            f"iou: {self.iou:.4g}: cells occupied in both of those occupied in any; 1 is the same sweep",
            f"depth: {self.depth['l1_mean']:.4g} m, {100 * self.depth['absrel_mean']:.3g} % of the true depth, along true rays",
        ]


@dataclass
class SweepScores:
    """Gathers scores. reaches: metres of the cropped Chamfer distances; origin: where rays start."""

    reaches: Sequence[float] = (30.0, 40.0)
    origin: Sequence[float] = (1.0, 0.0, 2.0)
    _values: dict[str, list[float]] = field(default_factory=dict)
    _sweeps: int = 0

    def add(
        self,
        truth: Sequence[Points],
        generated: Sequence[Points],
        true_cells: Sequence[NDArray[np.bool_]],
        cells: Sequence[NDArray[np.bool_]],
    ) -> None:
        """The sweeps of one clip: points (n, 3) in the vehicle's frame, and occupied cells (z, y, x)."""
        self._sweeps += len(truth)
        for one, other in zip(truth, generated, strict=True):
            self._keep("chamfer", chamfer(one, other))
            for reach in self.reaches:
                self._keep(f"chamfer/{reach:g}", chamfer(one, other, reach))
            self._keep("jsd", divergence(one, other))
            self._rays(one, other)
        self._keep("mmd", mean_discrepancy(truth, generated))
        for one_cells, other_cells in zip(true_cells, cells, strict=True):
            self._keep("iou", overlap(one_cells, other_cells))
            self._keep("differing", float(differing(one_cells, other_cells)))

    def result(self) -> SweepResult:
        means = {name: finite_mean(values) for name, values in self._values.items()}
        within = {name.partition("/")[2]: value for name, value in means.items() if name.startswith("chamfer/")}
        depth = {
            name: means.get(f"depth/{name}", math.nan)
            for name in ("l1_mean", "l1_median", "absrel_mean", "absrel_median")
        }
        whole = {name: means.get(name, math.nan) for name in ("chamfer", "mmd", "jsd", "iou", "differing")}
        return SweepResult(
            self._sweeps,
            whole["chamfer"],
            within,
            whole["mmd"],
            whole["jsd"],
            whole["iou"],
            whole["differing"],
            depth,
        )

    def _rays(self, truth: Points, generated: Points) -> None:
        origin, lower, upper = (np.asarray(point, np.float64) for point in (self.origin, *RAY_BOX))
        pair = rays_matched(truth, generated, origin)
        if pair is None:
            return
        errors = ray_errors(*pair, origin, lower, upper)
        for name in ("l1_mean", "l1_median", "absrel_mean", "absrel_median"):
            self._keep(f"depth/{name}", getattr(errors, name))

    def _keep(self, name: str, value: float) -> None:
        self._values.setdefault(name, []).append(value)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
