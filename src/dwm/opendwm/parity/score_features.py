"""Cases of what scores look at: bytes, pictures, clips, resizers, and the features of both networks, each against its record."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dwm.data.pictures import open_picture
from dwm.errors import DwmError
from dwm.evaluation.extractors import VideoFeatures
from dwm.evaluation.networks import resize
from dwm.evaluation.networks.i3d import network_input
from dwm.evaluation.networks.inception import REFERENCE, to_bytes
from dwm.opendwm.parity import score_inputs as inputs
from dwm.opendwm.parity.cases import Case, Deviation, Setup
from dwm.opendwm.parity.score_deviations import (
    FEATURE_BOUND,
    FIRST_TWO,
    bound_of,
    deviation,
    entry_of,
    feature_deviation,
    sameness,
    seeds_of,
    truth,
)
from dwm.storage import limits, read_file

RESIZERS = {
    "tf1": resize.tensorflow_bilinear,
    "torch": resize.bilinear,
    "antialias": resize.smooth_bilinear,
    "pil_bicubic": resize.bicubic,
}


def run_byte_conversion(case: Case, setup: Setup) -> Iterator[Deviation]:
    pictures = torch.tensor(case.data["inputs_float32"], dtype=torch.float32)
    yield deviation("outputs", to_bytes(pictures), case.data["outputs"], 0)
    every = torch.arange(256, dtype=torch.float32)
    yield deviation("round_trip", to_bytes(every / 255), every, 0)


def run_pictures(case: Case, setup: Setup) -> Iterator[Deviation]:
    for name, digests in case.data.items():
        if name.startswith("set_"):
            for seed in digests:
                yield sameness(f"{name}/{seed}", _digest(_picture(seed)), digests[seed])
    for seed, pixels in case.data.get("first_pixels", {}).items():
        yield deviation(f"first_pixels/{seed}", _picture(seed).reshape(-1, 3)[: len(pixels)], pixels, 0)
    for seed, mean in case.data.get("mean", {}).items():
        yield deviation(f"mean/{seed}", _picture(seed).mean(), mean, 1e-9)
    for name in case.data.get("png_examples", ()):
        with open_picture(read_file(case.find(name), limits.PICTURE), name) as image:
            yield deviation(name, np.asarray(image.convert("RGB")), _picture(Path(name).stem), 0)


def run_clips(case: Case, setup: Setup) -> Iterator[Deviation]:
    for name, digests in case.data.items():
        if match := re.fullmatch(r"sha256_of_(\d+)_frames.*", name):
            for seed, digest in digests.items():
                yield sameness(seed, _digest(inputs.clip(int(seed), int(match[1]))), digest)


def run_resize(case: Case, setup: Setup) -> Iterator[Deviation]:
    seed = int(_number(case, r"picture (\d+)", case.data["inputs"]))
    width, height = (int(side) for side in re.findall(r"->\s*\[\d+, (\d+), (\d+)\]", case.data["inputs"])[0])
    size = (width, height)
    pictures, index = inputs.pictures([seed]).float().to(setup.device), case.outputs["index"]
    bound = bound_of(case, 1e-4)
    reference = RESIZERS["tf1"](pictures, size).cpu()
    for name, expected in case.outputs.items():
        if name != "index":
            got = entry_of(RESIZERS, name, case)(pictures, size).cpu()
            yield deviation(name, got[0][:, index][:, :, index], expected, bound)
            yield deviation(f"{name}/mean", got.double().mean(), case.data["means"][name], bound)
            farthest = case.data["largest_difference_from_tf1"][name]
            yield deviation(f"{name}/largest_difference", (got - reference).abs().max(), farthest, 2 * bound)


def run_inception_features(case: Case, setup: Setup) -> Iterator[Deviation]:
    bound = bound_of(case, FEATURE_BOUND)
    layers = None
    sides = []
    for name, expected in case.outputs.items():
        if match := re.fullmatch(r"([ab])_2048", name):
            got = inputs.inception_features(seeds_of(match[1], len(expected)), setup)
            sides.append(got)
            yield feature_deviation(name, got, expected, bound, setup)
        elif name == "float64_2048":
            got = inputs.inception_features(FIRST_TWO, setup, dtype=torch.float64)
            yield feature_deviation(name, got, expected, bound, setup)
        else:
            layers = layers or _layers(setup)
            yield feature_deviation(name, entry_of(layers, name, case), expected, bound, setup)
    if sides and setup.strict and (statistics := case.data.get("statistics")):
        both = torch.cat(sides)
        yield deviation("statistics/rms", both.double().square().mean().sqrt(), statistics["rms"], bound)
        yield deviation("statistics/maximum", both.max(), statistics["maximum"], bound)


def run_i3d_features(case: Case, setup: Setup) -> Iterator[Deviation]:
    bound = bound_of(case, FEATURE_BOUND)
    seed = _clip_seed(case)
    for name, expected in case.outputs.items():
        if name in inputs.FIRST_SEEDS:
            yield feature_deviation(
                name, inputs.clip_features(seeds_of(name, len(expected)), setup), expected, bound, setup
            )
        elif match := re.fullmatch(r"length_(\d+)", name):
            yield feature_deviation(name, inputs.clip_features([seed], setup, int(match[1]))[0], expected, bound, setup)
        elif match := re.fullmatch(r"square_(\d+)", name):
            side = int(match[1])
            frames = inputs.floats(inputs.clip(seed, 16)[:, :side, :side])
            yield feature_deviation(name, inputs.i3d_features(frames, setup)[0], expected, bound, setup)
        elif name == "net_input":
            prepared = network_input(inputs.floats(inputs.clip(seed, 1)))[0, :, 0, ::16, ::16]
            yield deviation(name, prepared, expected, bound)
        else:
            raise DwmError(f"{case.folder / 'outputs.safetensors'}: {name!r} is not known")
    yield from _stages(case, setup, bound)
    if "nine_frames" in case.data:
        yield truth("nine_frames_are_refused", _refuses(inputs.clip(seed, 9)))
    if case.data.get("first_16_of_19_give_the_same"):
        extractor = VideoFeatures(inputs.filled_i3d(setup.device, setup.dtype), frames=16)
        longer, first = (extractor.of_frames(inputs.floats(inputs.clip(seed, t))) for t in (19, 16))
        yield deviation("first_16_of_19", longer, first, 0)


def _layers(setup: Setup) -> Mapping[str, Tensor]:
    network = inputs.filled_inception(setup.device, setup.dtype)
    prepared = REFERENCE(inputs.pictures(FIRST_TWO).to(setup.device).float()).to(setup.dtype)
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
                shape, x = entry_of(results, stage, case)
                yield deviation(f"{stage}/shape", shape, expected["shape"], 0)
                yield feature_deviation(f"{stage}/mean", x.mean(), expected["mean"], bound, setup)
                yield feature_deviation(
                    f"{stage}/mean_square", x.square().mean(), expected["mean_square"], bound, setup
                )


def _picture(seed: str) -> np.ndarray:
    return inputs.picture(int(seed), inputs.bright(int(seed)))


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _clip_seed(case: Case) -> int:
    words = " ".join([*map(str, case.data.get("outputs", {}).values()), *case.data])
    return int(_number(case, r"clip[ _](\d+)", words))


def _number(case: Case, pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise DwmError(f"{case.folder / 'case.json'}: {text!r} names no number like {pattern!r}")
    return match[1]


def _refuses(frames: np.ndarray) -> bool:
    try:
        VideoFeatures(inputs.filled_i3d(torch.device("cpu"), torch.float32), frames=16).of_frames(inputs.floats(frames))
    except DwmError:
        return True
    return False
