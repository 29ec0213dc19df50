"""Pictures a second of a drive, whether its memory stays flat, and how a long drive decays.

Run: python benchmarks/drive.py [--quick] [--frames N] [--steps N …]
     python benchmarks/drive.py --long 1200 [--steps N | --fast] [--overlap N]     one drive: memory, drift
     python benchmarks/drive.py --long 10000 --tiny                          the same session, a network that was never trained

The network is counted in CPU seconds, so that other work on the machine does not matter. The source alone is driven for an hour of
the world's time (a minute with --quick).
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from dwm import DrivingPipeline
from dwm.base_models import BaseModel
from dwm.base_models.tiny import TinyOptions, create_tiny_base_model
from dwm.checkpoints import SamplingOptions, WeightsCard
from dwm.drive import Action, DrivingWorld, Picture, town_source
from dwm.evaluation.features import town_features
from dwm.evaluation.frechet import sample_distance
from dwm.evaluation.retrieval import layout_retrieval
from dwm.networks import AdapterOptions, CrossviewTemporalDiT, DiTOptions
from dwm.report import Video

AUTOPILOT = Action(autopilot=True)
SETTLED = 500
"""Frames after which memory should grow no more."""
SPAN, CLIP = 200, 8
"""Frames over which drift is measured at a time, and of one clip of the retrieval."""


def resident() -> float:
    """MB of this process now; its peak where the system does not say."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def drive(frames: int, steps: int, overlap: int | None) -> tuple[str, ...]:
    """One line: how it was drawn, what a picture costs, what an answer costs, memory after the first tenth and at the end."""
    pipe = DrivingPipeline.from_pretrained("town")
    world = DrivingWorld(pipe, town_source(7, 1), steps=steps, overlap=overlap)
    settled = 0.0
    started, count = time.process_time(), 0
    for frame in range(frames):
        pictures, _ = world.step(AUTOPILOT)
        count += len(pictures) * len(world.views)
        if frame == max(8, frames // 10):
            settled = resident()
    spent = time.process_time() - started
    burst = spent / frames * world.video.burst
    grown = 100 * (resident() / settled - 1) if settled else 0.0
    return f"{steps} steps, {world.way}", f"{count / spent:.2f}", f"{burst:.2f}", f"{settled:.0f} MB, {grown:+.1f} %"


def source(ticks: int) -> tuple[str, ...]:
    """One line: ticks a CPU second, and the memory, of the town without a network."""
    town = town_source(7, 1)
    settled, started, harm = 0.0, time.process_time(), 0
    moment = town.step(AUTOPILOT)
    for tick in range(1, ticks):
        moment = town.step(AUTOPILOT)
        harm += bool(moment.crash) + moment.off_road
        if tick == ticks // 10:
            settled = resident()
    rate = ticks / (time.process_time() - started)
    way = f"{moment.travelled:.0f} m in {moment.time:.0f} s, {harm} ticks of harm"
    return way, f"{rate:.0f} ticks", "", f"{settled:.0f} MB, {100 * (resident() / settled - 1):+.1f} %"


class Span:
    """How near the pictures of some frames are to what was really there: the distance of features, and retrieval by layout."""

    def __init__(self) -> None:
        self.features = town_features()
        self.clips: list[tuple[Video, Video]] = []
        self.drawn: list[np.ndarray] = []
        self.real: list[np.ndarray] = []

    def add(self, picture: Picture, names: tuple[str, ...]) -> None:
        assert picture.real is not None
        self.drawn.append(picture.views)
        self.real.append(picture.real)
        if len(self.drawn) == CLIP:
            self.clips.append((as_video(self.drawn, names), as_video(self.real, names)))
            self.drawn, self.real = [], []

    def line(self) -> str:
        drawn, real = (
            Video(torch.cat([clip[side].frames for clip in self.clips]), 4.0, self.clips[0][side].views)
            for side in (0, 1)
        )
        retrieval = layout_retrieval(drawn, real)
        seen = self.features(real).unflatten(0, (len(self.clips), -1))
        distance = sample_distance(self.features(drawn), seen.flatten(0, 1))
        apart = sample_distance(seen[::2].flatten(0, 1), seen[1::2].flatten(0, 1)) if len(seen) > 1 else 0.0
        return (
            f"distance {distance:.1f} (two halves of the real ones: {apart:.1f}), layout retrieval "
            f"{retrieval.hits} of {retrieval.clips}, {retrieval.hits_without_colour} without colour"
        )


def as_video(frames: list[np.ndarray], names: tuple[str, ...]) -> Video:
    pictures = torch.from_numpy(np.stack(frames)).permute(0, 1, 4, 2, 3)[None].float() / 255
    return Video(pictures, 4.0, names)


def tiny_pipeline() -> DrivingPipeline:
    """A network of some thousand numbers, never trained: what the session itself costs and holds."""
    with tempfile.TemporaryDirectory() as folder:
        options = TinyOptions(
            clip_tokens=8, t5_tokens=4, clip_width=8, t5_width=16, autoencoder_widths=(8, 8, 8, 16), latent_channels=4
        )
        create_tiny_base_model(Path(folder) / "base", ["day"], seed=1, options=options)
        base = BaseModel.load(Path(folder) / "base")
    adapter = AdapterOptions(
        in_channels=6, channels=(16, 16), is_downblocks=(True, False), num_res_blocks=1, downscale_factor=8
    )
    shape = DiTOptions(
        num_layers=2, attention_head_dim=8, num_attention_heads=2, sample_size=8, in_channels=4, out_channels=4,
        joint_attention_dim=16, caption_projection_dim=16, pooled_projection_dim=16, pos_embed_max_size=8,
        qk_norm="rms_norm", enable_crossview=True, enable_temporal=True, crossview_block_layers=(0,), temporal_block_layers=(1,),
        crossview_attention_type="rowwise", temporal_attention_type="pointwise", condition_image_adapter_config=adapter,
    )  # fmt: skip
    sampling = SamplingOptions(num_inference_steps=4, style="stream")
    card = WeightsCard(name="tiny", sizes=((32, 16),), lengths=(1, 4), view_counts=(6,), sampling=sampling)
    return DrivingPipeline(CrossviewTemporalDiT(shape).eval(), base, card)


def long_drive(frames: int, steps: int | None, overlap: int | None, tiny: bool, fast: bool) -> None:
    """One drive on the autopilot. A line each 200 frames: memory; with real weights, how near to what was really there."""
    pipe = tiny_pipeline() if tiny else DrivingPipeline.from_pretrained("town", torch_dtype="auto", fast=fast)
    world = DrivingWorld(pipe, town_source(7, 1), steps=steps, overlap=overlap, with_real=not tiny)
    print(f"{world.way}; {world.settings}", flush=True)
    span, started, settled, drawn = Span(), time.process_time(), 0.0, 0
    while drawn < frames:
        for picture in world.step(AUTOPILOT)[0]:
            drawn += 1
            if not tiny:
                span.add(picture, world.views)
            if drawn == SETTLED:
                settled = resident()
            if drawn % SPAN and drawn != frames:
                continue
            spent = time.process_time() - started
            text = f"frame {drawn}: {resident():.1f} MB, {spent / drawn:.3f} CPU s a frame"
            if not tiny and span.clips:
                text, span = f"{text}; {span.line()}", Span()
            print(text, flush=True)
    if settled:
        print(
            f"memory from frame {SETTLED} on: {settled:.1f} MB, {100 * (resident() / settled - 1):+.2f} %", flush=True
        )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--frames", type=int, default=200)
    arguments.add_argument("--steps", type=int, nargs="*", default=[16, 4])
    arguments.add_argument("--long", type=int, metavar="FRAMES", help="one long drive: memory and drift")
    arguments.add_argument("--overlap", type=int)
    arguments.add_argument("--tiny", action="store_true", help="a network that was never trained, in a stream")
    arguments.add_argument("--fast", action="store_true", help="--long by the network for few steps")
    asked = arguments.parse_args()
    if asked.long:
        steps = None if asked.tiny or asked.fast else asked.steps[-1]
        long_drive(asked.long, steps, asked.overlap, asked.tiny, asked.fast)
        return
    table = Table("drive", "pictures a CPU second", "CPU seconds a window", "memory: settled, grown since")
    table.add_row(*source(240 if asked.quick else 14_400))
    for steps in asked.steps[-1:] if asked.quick else asked.steps:
        for overlap in (None,) if asked.quick else (None, 3):
            table.add_row(*drive(12 if asked.quick else asked.frames, steps, overlap))
    Console().print(table)


if __name__ == "__main__":
    main()
