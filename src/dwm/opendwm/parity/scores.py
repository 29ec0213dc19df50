"""Cases of FID, KID, FVD, precision and recall: bytes, resizers, features, distances, each against its record.

A case says what its numbers are of (`a16_b24`: the first 16 pictures of set A against the first 24 of B); these names are read
here, so that further cases of the same kinds are computed as they stand.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dwm.data.pictures import open_picture
from dwm.errors import DwmError
from dwm.evaluation.extractors import VideoFeatures
from dwm.evaluation.frechet import FeatureSums, Frechet, frechet
from dwm.evaluation.kernel_distance import kernel_distance, whole_distance
from dwm.evaluation.networks import resize
from dwm.evaluation.networks.i3d import network_input
from dwm.evaluation.networks.inception import REFERENCE, Preparation, to_bytes
from dwm.evaluation.precision_recall import precision_recall
from dwm.opendwm.parity import score_inputs as inputs
from dwm.opendwm.parity.cases import LOOSE_BOUNDS, Case, Deviation, Setup, read_tensors
from dwm.storage import limits, read_file

FEATURE_BOUND = 2e-4
OWN_BOUND = 0.02
"""Of a distance from our own features, absolute."""
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

RESIZERS = {
    "tf1": resize.tensorflow_bilinear,
    "torch": resize.bilinear,
    "antialias": resize.smooth_bilinear,
    "pil_bicubic": resize.bicubic,
}


def run_byte_conversion(case: Case, setup: Setup) -> Iterator[Deviation]:
    pictures = torch.tensor(case.data["inputs_float32"], dtype=torch.float32)
    yield _deviation("outputs", to_bytes(pictures), case.data["outputs"], 0)
    every = torch.arange(256, dtype=torch.float32)
    yield _deviation("round_trip", to_bytes(every / 255), every, 0)


def run_pictures(case: Case, setup: Setup) -> Iterator[Deviation]:
    for name, digests in case.data.items():
        if name.startswith("set_"):
            for seed in digests:
                yield _same(f"{name}/{seed}", _digest(_picture(seed)), digests[seed])
    for seed, pixels in case.data.get("first_pixels", {}).items():
        yield _deviation(f"first_pixels/{seed}", _picture(seed).reshape(-1, 3)[: len(pixels)], pixels, 0)
    for seed, mean in case.data.get("mean", {}).items():
        yield _deviation(f"mean/{seed}", _picture(seed).mean(), mean, 1e-9)
    for name in case.data.get("png_examples", ()):
        with open_picture(read_file(case.find(name), limits.PICTURE), name) as image:
            yield _deviation(name, np.asarray(image.convert("RGB")), _picture(Path(name).stem), 0)


def run_clips(case: Case, setup: Setup) -> Iterator[Deviation]:
    for name, digests in case.data.items():
        if match := re.fullmatch(r"sha256_of_(\d+)_frames.*", name):
            for seed, digest in digests.items():
                yield _same(seed, _digest(inputs.clip(int(seed), int(match[1]))), digest)


def run_resize(case: Case, setup: Setup) -> Iterator[Deviation]:
    seed = int(_number(case, r"picture (\d+)", case.data["inputs"]))
    width, height = (int(side) for side in re.findall(r"->\s*\[\d+, (\d+), (\d+)\]", case.data["inputs"])[0])
    size = (width, height)
    pictures, index = inputs.pictures([seed]).float().to(setup.device), case.outputs["index"]
    bound = _bound(case, 1e-4)
    reference = RESIZERS["tf1"](pictures, size).cpu()
    for name, expected in case.outputs.items():
        if name != "index":
            got = _entry(RESIZERS, name, case)(pictures, size).cpu()
            yield _deviation(name, got[0][:, index][:, :, index], expected, bound)
            yield _deviation(f"{name}/mean", got.double().mean(), case.data["means"][name], bound)
            farthest = case.data["largest_difference_from_tf1"][name]
            yield _deviation(f"{name}/largest_difference", (got - reference).abs().max(), farthest, 2 * bound)


def run_inception_features(case: Case, setup: Setup) -> Iterator[Deviation]:
    bound = _bound(case, FEATURE_BOUND)
    layers = None
    sides = []
    for name, expected in case.outputs.items():
        if match := re.fullmatch(r"([ab])_2048", name):
            got = inputs.inception_features(_seeds(match[1], len(expected)), setup)
            sides.append(got)
            yield _features(name, got, expected, bound, setup)
        elif name == "float64_2048":
            got = inputs.inception_features(_first_two(), setup, dtype=torch.float64)
            yield _features(name, got, expected, bound, setup)
        else:
            layers = layers or _layers(setup)
            yield _features(name, _entry(layers, name, case), expected, bound, setup)
    if sides and setup.strict and (statistics := case.data.get("statistics")):
        both = torch.cat(sides)
        yield _deviation("statistics/rms", both.double().square().mean().sqrt(), statistics["rms"], bound)
        yield _deviation("statistics/maximum", both.max(), statistics["maximum"], bound)


def run_i3d_features(case: Case, setup: Setup) -> Iterator[Deviation]:
    bound = _bound(case, FEATURE_BOUND)
    shown = _clip_seed(case)
    for name, expected in case.outputs.items():
        if name in inputs.FIRST_SEEDS:
            yield _features(name, inputs.clip_features(_seeds(name, len(expected)), setup), expected, bound, setup)
        elif match := re.fullmatch(r"length_(\d+)", name):
            yield _features(name, inputs.clip_features([shown], setup, int(match[1]))[0], expected, bound, setup)
        elif match := re.fullmatch(r"square_(\d+)", name):
            side = int(match[1])
            frames = inputs.floats(inputs.clip(shown, 16)[:, :side, :side])
            yield _features(name, inputs.i3d_features(frames, setup)[0], expected, bound, setup)
        elif name == "net_input":
            prepared = network_input(inputs.floats(inputs.clip(shown, 1)))[0, :, 0, ::16, ::16]
            yield _deviation(name, prepared, expected, bound)
        else:
            raise DwmError(f"{case.folder / 'outputs.safetensors'}: {name!r} is not known")
    yield from _stages(case, setup, bound)
    if "nine_frames" in case.data:
        yield _true("nine_frames_are_refused", _refuses(inputs.clip(shown, 9)))
    if case.data.get("first_16_of_19_give_the_same"):
        cut = VideoFeatures(inputs.filled_i3d(setup.device, setup.dtype), frames=16)
        longer, first = (cut.of_frames(inputs.floats(inputs.clip(shown, t))) for t in (19, 16))
        yield _deviation("first_16_of_19", longer, first, 0)


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
                yield _own(f"{name}/{key}", _frechet(a, b).distance, expected[key], setup)
    if "one_picture" in case.data:
        yield _true("one_picture_is_refused", _too_few())


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
        yield _deviation(f"{side}/outer", sums[side].outer, once.outer, 1e-12 * float(once.outer.abs().max()))
    got = frechet(sums["real"].gaussian(), sums["generated"].gaussian()).distance
    for name in ("two_ranks", "one_process"):
        yield _deviation(name, got, result[name], _bound(case, EXACT_BOUND) * abs(result[name]))


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
            yield _deviation(f"{name}/{key}", getattr(got, key), expected[key], 1e-7)


def run_libraries(case: Case, setup: Setup) -> Iterator[Deviation]:
    sides = _Sides(case, setup)
    reference = torch.cat([sides.rows("a", 16), sides.rows("b", 24)])
    seeds = [*_seeds("a", 16), *_seeds("b", 24)]
    features_by: dict[Preparation, Tensor] = {REFERENCE: reference}

    def features(library: str) -> Tensor:
        prepare = next((value for start, value in PREPARATIONS.items() if library.startswith(start)), None)
        if prepare is None:
            raise DwmError(f"{case.folder / 'case.json'}: library {library!r} is not known")
        if prepare not in features_by:
            features_by[prepare] = inputs.inception_features(seeds, setup, prepare)
        return features_by[prepare]

    for name, expected in case.outputs.items():
        yield _features(name, features(name)[: len(expected)], expected, FEATURE_BOUND, setup)
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
            yield _own(f"{library}/{key}", _entry(values, key, case), value, setup)


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
                return inputs.inception_features(_seeds(side, count or {"a": 16, "b": 24}[side]), self._setup)
            return stored[:count]
        stored = self._tensors("i3d_features/outputs").get(side)
        if stored is None or (count or 0) > len(stored):
            return inputs.clip_features(_seeds(side, count or 8), self._setup)
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
            yield _deviation(f"{name}/counts", counts, value, 0)
        elif key == "features":
            yield _deviation(f"{name}/features", width, value, 0)
        elif key == "exact":
            parts = {"mean_term": got.mean, "trace_1": got.trace_a, "trace_2": got.trace_b, "trace_of_root": got.root}
            for part, number in {**parts, "distance": got.distance}.items():
                if part in value:
                    scale = max(abs(value[part]), value.get("trace_1", 1) * 1e-6)
                    yield _deviation(f"{name}/exact/{part}", number, value[part], EXACT_BOUND * scale)
        else:
            # torch-fidelity takes means in float32, and some numbers were rounded to it: 1e-6 of them.
            rounded = "fidelity" in key or "float32" in key
            tight = max(FULL_RANK_BOUND * abs(value), 1e-12) if not rounded else EXACT_BOUND * max(abs(value), 1)
            yield _deviation(f"{name}/{key}", got.distance, value, tight if full_rank else NOISY_BOUND)


def _kernel(name: str, sides: tuple[Tensor, Tensor], expected: Mapping[str, Any]) -> Iterator[Deviation]:
    match = re.search(r"subsets(\d+)_of(\d+)_seed(\d+)", name)
    if match is None:
        mean, deviation = whole_distance(*sides), 0.0
    else:
        got = kernel_distance(*sides, *(int(number) for number in match.groups()))
        mean, deviation = got.mean, got.deviation
    for key, value in _numbers(expected):
        bound = 1e-9 if "float64" in key else SINGLE_BOUND
        yield _deviation(f"{name}/{key}", deviation if key.endswith("_std") else mean, value, bound)


def _numbers(values: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{start}{key}/")
        else:
            yield f"{start}{key}", value


def _layers(setup: Setup) -> Mapping[str, Tensor]:
    network = inputs.filled_inception(setup.device, setup.dtype)
    prepared = REFERENCE(inputs.pictures(_first_two()).to(setup.device).float()).to(setup.dtype)
    layers = network.layers(prepared)
    return {
        "layer_64": layers.stem,
        "layer_192": layers.pooled,
        "layer_768": layers.middle,
        "layer_2048": layers.features,
        "logits_unbiased": layers.classes,
    }


def _stages(case: Case, setup: Setup, bound: float) -> Iterator[Deviation]:
    for name, stages in case.data.items():
        if match := re.fullmatch(r"stages_of_clip_(\d+)", name):
            network = inputs.filled_i3d(setup.device, setup.dtype)
            prepared = network_input(inputs.floats(inputs.clip(int(match[1]), 16)).to(setup.device)).to(setup.dtype)
            results = {stage: (tuple(x.shape[1:]), x.double()) for stage, x in network.stages(prepared)}
            for stage, expected in stages.items():
                shape, x = _entry(results, stage, case)
                yield _deviation(f"{stage}/shape", shape, expected["shape"], 0)
                yield _features(f"{stage}/mean", x.mean(), expected["mean"], bound, setup)
                yield _features(f"{stage}/mean_square", x.square().mean(), expected["mean_square"], bound, setup)


def _deviation(name: str, got: Any, expected: Any, bound: float) -> Deviation:
    got, expected = (torch.from_numpy(np.array(value)).double() for value in (_plain(got), _plain(expected)))
    if got.shape != expected.shape:
        raise DwmError(f"{name} has shape {tuple(got.shape)}, recorded {tuple(expected.shape)}")
    off = (got - expected).abs()
    error = float(off.max()) if off.numel() else 0.0
    return Deviation(name, error, bound, float(off.norm() / expected.norm().clamp_min(1e-12)), error <= bound)


def _features(name: str, got: Tensor, expected: Any, bound: float, setup: Setup) -> Deviation:
    """What a network results: off float32 on a CPU by the relative bound of all networks."""
    strict = _deviation(name, got, expected, bound)
    if setup.strict:
        return strict
    loose = LOOSE_BOUNDS[setup.dtype]
    return Deviation(name, strict.error, loose, strict.relative, strict.relative <= loose)


def _own(name: str, got: float, expected: float, setup: Setup) -> Deviation:
    return _features(name, torch.tensor(got), expected, OWN_BOUND, setup)


def _same(name: str, got: str, expected: str) -> Deviation:
    return _true(name, got == expected)


def _true(name: str, holds: bool) -> Deviation:
    return Deviation(name, float(not holds), 0.0, float(not holds), holds)


def _plain(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.detach().cpu().to(torch.float64 if value.is_floating_point() else value.dtype).numpy()


def _picture(seed: str) -> np.ndarray:
    return inputs.picture(int(seed), inputs.bright(int(seed)))


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _seeds(side: str, count: int) -> list[int]:
    return list(range(inputs.FIRST_SEEDS[side], inputs.FIRST_SEEDS[side] + count))


def _named_seeds(name: str) -> list[list[int]]:
    return [_seeds(side, int(count)) for side, count in re.findall(r"([ab])(\d+)", name)]


def _first_two() -> Sequence[int]:
    return inputs.FIRST_SEEDS["a"], inputs.FIRST_SEEDS["b"]


def _clip_seed(case: Case) -> int:
    words = " ".join([*map(str, case.data.get("outputs", {}).values()), *case.data])
    return int(_number(case, r"clip[ _](\d+)", words))


def _number(case: Case, pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise DwmError(f"{case.folder / 'case.json'}: {text!r} names no number like {pattern!r}")
    return match[1]


def _entry(table: Mapping[str, Any], name: str, case: Case) -> Any:
    if name not in table:
        raise DwmError(f"{case.folder}: {name!r} is not known; known: {', '.join(table)}")
    return table[name]


def _bound(case: Case, default: float) -> float:
    """The first number of the case's tolerance."""
    match = re.search(r"\d+(\.\d+)?(e[-+]?\d+)?", str(case.data["tolerance"]))
    return default if match is None else float(match[0])


def _refuses(frames: np.ndarray) -> bool:
    try:
        VideoFeatures(inputs.filled_i3d(torch.device("cpu"), torch.float32), frames=16).of_frames(inputs.floats(frames))
    except DwmError:
        return True
    return False


def _too_few() -> bool:
    try:
        FeatureSums.of(torch.zeros(1, 2)).gaussian()
    except DwmError:
        return True
    return False
