"""Cases of FID, KID, FVD, precision and recall: distances of features, each against its record.

A case says what its numbers are of (`a16_b24`: the first 16 pictures of set A against the first 24 of B); these names are read
here, so that further cases of the same kinds are computed as they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dwm.errors import DwmError
from dwm.evaluation.frechet import FeatureSums, Frechet, frechet
from dwm.evaluation.kernel_distance import kernel_distance, whole_distance
from dwm.evaluation.networks import resize
from dwm.evaluation.networks.inception import REFERENCE, Preparation
from dwm.evaluation.precision_recall import precision_recall
from dwm.opendwm.parity import score_inputs as inputs
from dwm.opendwm.parity.cases import Case, Deviation, Setup, read_tensors
from dwm.opendwm.parity.score_deviations import (
    FEATURE_BOUND,
    bound_of,
    deviation,
    entry_of,
    feature_deviation,
    own_deviation,
    seeds_of,
    truth,
)

NOISY_BOUND = 1e-3
"""Against eigenvalues of covariances with fewer samples than features, absolute."""
EXACT_BOUND = 1e-6
FULL_RANK_BOUND = 1e-9
SINGLE_BOUND = 2e-6
"""Of whole sets' KID that was computed in float32."""
PREPARATIONS = {
    "reference": REFERENCE,
    "torchmetrics_1_8": Preparation(resize.smooth_bilinear),
    "antialias": Preparation(resize.smooth_bilinear),
    "pytorch_fid": Preparation(resize.bilinear, 127.5, 127.5),
    "clean_fid": Preparation(resize.bicubic),
}
"""Beginning of a library's name in a case → how it brings pictures to the network."""


def run_fid(case: Case, setup: Setup) -> Iterator[Deviation]:
    sides = _Sides(case, setup)
    for name, expected in case.data["results"].items():
        yield from _distances(name, _frechet(*sides.pair(name)), expected, sides.pair(name))
    for name, expected in case.data.get("pytorch_fid_0_3_0", {}).items():
        yield from _distances(name, _frechet(*sides.pair(name)), {"pytorch_fid_0_3_0": expected}, sides.pair(name))
    for name, expected in case.data.items():
        if match := re.fullmatch(r"end_to_end_(.+)", name):
            a, b = (inputs.inception_features(seeds, setup) for seeds in _named_seeds(match[1]))
            for key in ("float32", "before_rounding"):
                yield own_deviation(f"{name}/{key}", _frechet(a, b).distance, expected[key], setup)
    if "one_picture" in case.data:
        yield truth("one_picture_is_refused", _too_few())


def run_fvd(case: Case, setup: Setup) -> Iterator[Deviation]:
    sides = _Sides(case, setup)
    for name, expected in case.data["results"].items():
        if isinstance(expected, Mapping):
            yield from _distances(name, _frechet(*sides.pair(name)), expected, sides.pair(name))


def run_sharding(case: Case, setup: Setup) -> Iterator[Deviation]:
    sides, result = _Sides(case, setup), case.data["result"]
    ranks = [value for name, value in result.items() if re.fullmatch(r"rank\d+", name)]
    whole = {side: [row for rank in ranks for row in rank[side]] for side in ("real", "generated")}
    sums = {}
    for side, rows in whole.items():
        features = sides.rows(side, max(rows) + 1)
        sums[side] = FeatureSums.empty(features.shape[1])
        for rank in ranks:
            sums[side] = sums[side].merge(FeatureSums.of(features[rank[side]]))
        once = FeatureSums.of(features[sorted(rows)])
        yield deviation(f"{side}/outer", sums[side].outer, once.outer, 1e-12 * float(once.outer.abs().max()))
    got = frechet(sums["real"].gaussian(), sums["generated"].gaussian()).distance
    for name in ("two_ranks", "one_process"):
        yield deviation(name, got, result[name], bound_of(case, EXACT_BOUND) * abs(result[name]))


def run_kid(case: Case, setup: Setup) -> Iterator[Deviation]:
    sides = _Sides(case, setup)
    for name, expected in case.data["results"].items():
        if isinstance(expected, Mapping) and "torchmetrics" not in name:  # its subsets follow the global generator
            yield from _kernel(name, sides.pair(name), expected)


def run_prc(case: Case, setup: Setup) -> Iterator[Deviation]:
    sides = _Sides(case, setup)
    for name, expected in case.data["results"].items():
        match = re.fullmatch(r"prc_generated_([a-z]+)(\d+)_real_([a-z]+)(\d+)_k(\d+)", name)
        if match is None:
            raise DwmError(f"{case.folder / 'case.json'}: results.{name}: which sets are these?")
        generated, real = (sides.rows(match[number], int(match[number + 1])) for number in (1, 3))
        got = precision_recall(generated, real, int(match[5]))
        for key in ("precision", "recall", "f_score"):
            yield deviation(f"{name}/{key}", getattr(got, key), expected[key], 1e-7)


def run_libraries(case: Case, setup: Setup) -> Iterator[Deviation]:
    sides = _Sides(case, setup)
    reference = torch.cat([sides.rows("a", 16), sides.rows("b", 24)])
    seeds = [*seeds_of("a", 16), *seeds_of("b", 24)]
    features_by: dict[Preparation, Tensor] = {REFERENCE: reference}

    def features(library: str) -> Tensor:
        prepare = next((value for start, value in PREPARATIONS.items() if library.startswith(start)), None)
        if prepare is None:
            raise DwmError(f"{case.folder / 'case.json'}: library {library!r} is not known")
        if prepare not in features_by:
            features_by[prepare] = inputs.inception_features(seeds, setup, prepare)
        return features_by[prepare]

    for name, expected in case.outputs.items():
        yield feature_deviation(name, features(name)[: len(expected)], expected, FEATURE_BOUND, setup)
    for library, expected in case.data["results"].items():
        got = features(library)
        off = (got.double() - reference.double()).abs()
        values = {
            "a16_b24": _frechet(got[:16], got[16:]).distance,
            "first_set_by_torch_fidelity_second_by_this": _frechet(reference[:16], got[16:]).distance,
            "same_40_pictures_two_ways": _frechet(reference, got).distance,
            "features_max_difference": float(off.max()),
            "features_mean_difference": float(off.mean()),
        }
        for key, value in expected.items():
            yield own_deviation(f"{library}/{key}", entry_of(values, key, case), value, setup)


class _Sides:
    """The sets that a case's names speak of: features stored in it or beside it, or made by our own network."""

    def __init__(self, case: Case, setup: Setup) -> None:
        self._case, self._setup = case, setup
        self._stored: dict[str, dict[str, Tensor]] = {}

    def pair(self, name: str) -> tuple[Tensor, Tensor]:
        """`a16_b24`, `feature64_a16_b24`, `real8_generated3`, `x300_y500`, `full_rank`, `full_rank_equal`, … as two sets."""
        layer = re.search(r"feature(\d+)_", name)
        names = re.findall(r"(?<![a-z0-9])(a|b|x|y|real|generated)(\d+)(?![a-z0-9])", name)
        if len(names) >= 2:
            first, second = (self.rows(side, int(count), layer and layer[1]) for side, count in names[:2])
            return first, second
        if name.startswith("full_rank"):
            return self.rows("x"), self.rows("x" if "equal" in name.split("_") else "y")
        raise DwmError(f"{self._case.folder / 'case.json'}: results.{name}: which sets are these?")

    def rows(self, side: str, count: int | None = None, layer: str | None = None) -> Float[Tensor, "n d"]:
        """The first `count` features of a set."""
        if side in ("odd", "even"):
            return torch.cat([self.rows("a"), self.rows("b")])[int(side == "odd") :: 2][:count]
        if layer is not None:
            return self._tensors("fid/inputs")[f"layer{layer}_{side}"][:count]
        if side in "xy":
            return self._tensors("fid/inputs")[side][:count]
        if side in "ab":
            stored = self._tensors("inception_features/outputs").get(f"{side}_2048")
            if stored is None or (count or 0) > len(stored):
                return inputs.inception_features(seeds_of(side, count or {"a": 16, "b": 24}[side]), self._setup)
            return stored[:count]
        stored = self._tensors("i3d_features/outputs").get(side)
        if stored is None or (count or 0) > len(stored):
            return inputs.clip_features(seeds_of(side, count or 8), self._setup)
        return stored[:count]

    def _tensors(self, name: str) -> dict[str, Tensor]:
        if name not in self._stored:
            own = self._case.folder / f"{name.split('/')[1]}.safetensors"
            try:
                path = own if self._case.kind == name.split("/")[0] else self._case.find(f"{name}.safetensors")
                self._stored[name] = read_tensors(path)
            except DwmError:
                if name.startswith("fid/"):
                    raise
                self._stored[name] = {}
        return self._stored[name]


def _frechet(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Frechet:
    return frechet(FeatureSums.of(a).gaussian(), FeatureSums.of(b).gaussian())


def _distances(
    name: str, got: Frechet, expected: Mapping[str, Any], sides: tuple[Tensor, Tensor]
) -> Iterator[Deviation]:
    counts, width = [len(side) for side in sides], sides[0].shape[1]
    full_rank = min(counts) > width
    for key, value in expected.items():
        if key == "counts":
            yield deviation(f"{name}/counts", counts, value, 0)
        elif key == "features":
            yield deviation(f"{name}/features", width, value, 0)
        elif key == "exact":
            parts = {"mean_term": got.mean, "trace_1": got.trace_a, "trace_2": got.trace_b, "trace_of_root": got.root}
            for part, number in {**parts, "distance": got.distance}.items():
                if part in value:
                    scale = max(abs(value[part]), value.get("trace_1", 1) * 1e-6)
                    yield deviation(f"{name}/exact/{part}", number, value[part], EXACT_BOUND * scale)
        else:
            # torch-fidelity takes means in float32, and some numbers were rounded to it: 1e-6 of them.
            rounded = "fidelity" in key or "float32" in key
            tight = max(FULL_RANK_BOUND * abs(value), 1e-12) if not rounded else EXACT_BOUND * max(abs(value), 1)
            yield deviation(f"{name}/{key}", got.distance, value, tight if full_rank else NOISY_BOUND)


def _kernel(name: str, sides: tuple[Tensor, Tensor], expected: Mapping[str, Any]) -> Iterator[Deviation]:
    match = re.search(r"subsets(\d+)_of(\d+)_seed(\d+)", name)
    if match is None:
        mean, spread = whole_distance(*sides), 0.0
    else:
        got = kernel_distance(*sides, *(int(number) for number in match.groups()))
        mean, spread = got.mean, got.deviation
    for key, value in _numbers(expected):
        bound = 1e-9 if "float64" in key else SINGLE_BOUND
        yield deviation(f"{name}/{key}", spread if key.endswith("_std") else mean, value, bound)


def _numbers(values: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{start}{key}/")
        else:
            yield f"{start}{key}", value


def _named_seeds(name: str) -> list[list[int]]:
    return [seeds_of(side, int(count)) for side, count in re.findall(r"([ab])(\d+)", name)]


def _too_few() -> bool:
    try:
        FeatureSums.of(torch.zeros(1, 2)).gaussian()
    except DwmError:
        return True
    return False
