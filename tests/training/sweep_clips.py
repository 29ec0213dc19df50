"""Clips with a LiDAR alone, in memory: a ring of ground and a wall that comes nearer, and the tiny autoencoders for them."""

from __future__ import annotations

import numpy as np

from dwm.clip import Boxes, Clip, LidarTrack, Rig
from dwm.data.sweeps import SweepPreparation, SweepReader
from dwm.networks.lidar.options import (
    GridOptions,
    QuantizerOptions,
    VaeDecoderOptions,
    VaeEncoderOptions,
    VaeOptions,
    VqNetworkOptions,
    VqOptions,
)
from dwm.training.feed.concatenation import Joined
from dwm.training.feed.plan import Bucket, Plan
from dwm.training.feed.sweeps import SweepFeed

CELLS, LAYERS, CODES = 16, 4, 6
GRID = GridOptions(x_min=-16, x_max=16, y_min=-16, y_max=16, step=2, z_min=-2, z_max=2, z_step=1)
SIDES = VqNetworkOptions(size=(CELLS, CELLS), layers=LAYERS, width=16, heads=2, depth=5, code_channels=8)
VQ = VqOptions(grid=GRID, encoder=SIDES, decoder=SIDES, quantizer=QuantizerOptions(codes=CODES, channels=8))
VAE = VaeOptions(
    grid=GRID,
    encoder=VaeEncoderOptions(size=(CELLS, CELLS), layers=LAYERS, depths=(2, 2), heads=(2, 2), window=2, width=16),
    decoder=VaeDecoderOptions(
        size=(CELLS, CELLS),
        layers=LAYERS,
        width=32,
        heads=2,
        depth=(1, 1),
        latent_channels=4,
        rendered=True,
        feature_layers=4,
        feature_channels=4,
    ),
)
EGO_FROM_LIDAR = np.array([[1.0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 1.5], [0, 0, 0, 1]])


def cloud(wall: float, rays: int = 60) -> np.ndarray:
    """(n, 5) in the LiDAR's frame."""
    angles = np.linspace(0, 2 * np.pi, rays, endpoint=False)
    ground = np.stack([6 * np.cos(angles), 6 * np.sin(angles), np.full(rays, -1.5)], 1)
    ahead = np.stack([np.full(rays, wall), np.linspace(-4, 4, rays), np.zeros(rays)], 1)
    return np.pad(np.concatenate([ground, ahead]), ((0, 0), (0, 2))).astype(np.float32)


def clip(number: int = 0, frames: int = 2, sweeps: list[np.ndarray] | None = None, metres: float = 1.0) -> Clip:
    """The car drives `metres` from sweep to sweep, ten times a second."""
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, 0, 3] = metres * np.arange(frames)
    clouds = sweeps or [cloud(12 - number - frame) for frame in range(frames)]
    box = Boxes(np.array([[8.0, 0, 0]]), np.array([[4.0, 2, 2]]), np.eye(3)[None], ("vehicle.car",), ("a",))
    track = LidarTrack(100_000 * np.arange(frames), poses, EGO_FROM_LIDAR, clouds, (box,) * frames)  # type: ignore[arg-type]
    none = Rig((), np.zeros((0, 3, 3)), np.zeros((0, 4, 4)), np.zeros((0, 2), int))
    return Clip(f"scene-{number}", 10.0, none, np.zeros((frames, 0)), np.zeros((frames, 0, 4, 4)), lidar=track)


def feed(clips: list[Clip], accumulate: int = 2, frames: int = 1, seed: int = 3) -> SweepFeed:
    preparation = SweepPreparation(most=40, boxes=False, map=False)
    reader = SweepReader(clips, clips[0].length, preparation)
    plan = Plan([(np.arange(len(clips)), [Bucket((CELLS, CELLS), frames, 1)])], accumulate, seed)
    return SweepFeed([reader], Joined.of([len(clips)]), plan, seed)
