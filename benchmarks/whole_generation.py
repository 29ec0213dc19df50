"""A whole generation by the package's own weights, part by part, beside the same the way OpenDWM computes it (`reference_way`).

`generate.py --as-reference` runs it. Both ways take turns; of each part the median and of the whole the ratio are printed:
words + one preparation + steps + decoding. Pictures are invented, so that nothing is drawn or read.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import torch
from reference_way import reference_way
from torch import Tensor

from dwm import DrivingPipeline
from dwm.base_models import Autoencoder
from dwm.clip_batch import ClipBatch
from dwm.devices import autocast, synchronize
from dwm.generation.sampler import Sampler

FRAMES = {"images": 1, "video": 4, "long": 8}
WARM_UP = 1
PARTS = ("words", "conditions", "step", "decoding")
Work = Callable[[], Any]


@dataclass(frozen=True)
class Way:
    """The parts of a generation by one way; conditions None: they are a part of each step."""

    parts: dict[str, Work | None]
    whole: Callable[[], Tensor]


@dataclass(frozen=True)
class Measured:
    """Seconds of processor time (of the clock on accelerators) by way and part, one for each round."""

    seconds: dict[str, dict[str, list[float]]]
    steps: int

    def whole(self, way: str) -> list[float]:
        """Seconds of a generation, of each round."""
        parts = self.seconds[way]
        counts = {"step": self.steps}
        return [
            sum(counts.get(part, 1) * values[i] for part, values in parts.items() if values)
            for i in range(len(parts["step"]))
        ]

    def ratios(self, part: str | None = None) -> list[float]:
        """How many times as long the reference's way takes, of each round, sorted; None: of the whole."""
        pairs = [self.whole(way) if part is None else self.seconds[way][part] for way in ("reference", "ours")]
        return sorted(a / b for a, b in zip(*pairs, strict=True))

    def lines(self) -> list[str]:
        lines = [f"{'part':12} {'reference, ms':>14} {'ours, ms':>10} {'ratio':>7} {'from':>6} {'to':>6}"]
        for part in (*PARTS, None):
            times = [self.whole(w) if part is None else self.seconds[w][part] for w in ("reference", "ours")]
            shown = [f"{1000 * median(values):.1f}" if values else "-" for values in times]
            ratios = self.ratios(part) if all(times) else []
            tail = f"{median(ratios):7.2f} {ratios[0]:6.2f} {ratios[-1]:6.2f}" if ratios else ""
            name = part or f"{self.steps} steps"
            lines.append(f"{name:12} {shown[0]:>14} {shown[1]:>10} {tail}")
        return lines


def invented(frames: int, views: int, size: tuple[int, int], generator: torch.Generator) -> ClipBatch:
    """A clip of coarse noise for a layout, each view with words of its own."""
    shape, (width, height) = (1, frames, views), size
    pictures = torch.rand(*shape, 3, height // 8, width // 8, generator=generator)
    pictures = pictures.repeat_interleave(8, -1).repeat_interleave(8, -2)
    poses = torch.eye(4).repeat(*shape, 1, 1)
    intrinsics = torch.diag(torch.tensor([1.3 * width, 1.3 * width, 1.0])).repeat(*shape, 1, 1)
    words = tuple(f"a wide street in the rain, view {view}" for view in range(views))
    return ClipBatch(
        fps=torch.full((1,), 4.0),
        times=torch.zeros(shape),
        intrinsics=intrinsics,
        ego_from_camera=poses,
        world_from_ego=poses,
        image_size=torch.tensor(size).repeat(*shape, 1),
        layout_boxes=pictures,
        layout_map=pictures.flip(-1),
        captions=((words,) * frames,),
        crossview_mask=torch.ones(1, views, views, dtype=torch.bool),
        is_uncalibrated=torch.zeros(1, dtype=torch.bool),
    )


def ours(sampler: Sampler, batch: ClipBatch) -> Way:
    shape = sampler.latent_shape(batch)
    ready = sampler.remember(batch)
    prepared, latents = ready.prepare(batch, shape), ready.noise(shape)
    time_ = sampler.solver.times[0].expand(shape[:3])

    def whole() -> Tensor:
        fresh = replace(ready, generator=torch.Generator().manual_seed(1))
        return fresh.decode(fresh.window(batch))

    return Way(
        {
            "words": lambda: sampler.remember(batch),
            "conditions": lambda: ready.prepare(batch, shape),
            "step": lambda: ready.solver.step(latents, ready.predict(latents, time_, prepared), 0),
            "decoding": lambda: ready.autoencoder.decode(latents),
        },
        whole,
    )


def theirs(sampler: Sampler, batch: ClipBatch) -> Way:
    """The reference's way, of a sampler whose weights are float32: every prompt is encoded, decoding is in one piece."""
    shape, text = sampler.latent_shape(batch), sampler.text
    assert text is not None and batch.captions is not None
    said = [words for frame in batch.captions[0] for words in frame]
    repeated = [""] * len(said) + said
    ready, latents = sampler.remember(batch), sampler.noise(shape)
    time_ = sampler.solver.times[0].expand(shape[:3])

    def predicted(latents: Tensor, times: Tensor) -> Tensor:
        with reference_way():
            return ready.predict(latents, times, ready.prepare(batch, shape))

    def whole() -> Tensor:
        fresh = replace(ready, generator=torch.Generator().manual_seed(1))
        state = fresh.noise(shape)
        for index in range(fresh.solver.steps):
            state = fresh.solver.step(state, predicted(state, fresh.solver.times[index].expand(shape[:3])), index)
        return fresh.decode(state)

    def decoded() -> Tensor:
        with reference_way():
            return ready.autoencoder.decode(latents)

    return Way(
        {
            "words": lambda: text._encode(repeated),
            "conditions": None,
            "step": lambda: ready.solver.step(latents, predicted(latents, time_), 0),
            "decoding": decoded,
        },
        whole,
    )


def samplers(device: torch.device, dtype: torch.dtype, size: tuple[int, int]) -> dict[str, Sampler]:
    """One of weights held in `dtype`, and one of float32 weights whose products are computed in it."""
    held = DrivingPipeline.from_pretrained("town", torch_dtype=dtype, device=device)
    cast = DrivingPipeline.from_pretrained("town", torch_dtype=torch.float32, device=device)
    made = {}
    for name, pipe in (("reference", cast), ("ours", held)):
        made[name] = pipe.sampler(size, torch.Generator().manual_seed(0))
    made["reference"].autocast = partial(autocast, device, dtype)
    made["reference"].autoencoder = Autoencoder(cast.base.autoencoder.model, 0)
    return made


def measured(frames: int, rounds: int, device: torch.device, dtype: torch.dtype) -> tuple[Measured, float]:
    """The parts by both ways in turn; and how far apart the pictures of both are, of 255."""
    size = (160, 96)
    batch = invented(frames, 6, size, torch.Generator().manual_seed(3)).to(device)
    made = samplers(device, dtype, size)
    ways = {"reference": theirs(made["reference"], batch), "ours": ours(made["ours"], batch)}
    seconds: dict[str, dict[str, list[float]]] = {way: {part: [] for part in PARTS} for way in ways}
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    for number in range(-WARM_UP, rounds):
        for part in PARTS:
            for name, way in ways.items():
                if (work := way.parts[part]) is None:
                    continue
                synchronize(device)
                started = clock()
                work()
                synchronize(device)
                if number >= 0:
                    seconds[name][part].append(clock() - started)
    apart = 255 * float((ways["ours"].whole() - ways["reference"].whole()).abs().max())
    return Measured(seconds, made["ours"].solver.steps), apart
