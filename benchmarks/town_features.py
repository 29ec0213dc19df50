"""Learns the filters behind `town_fid` and shows how they answer to damage. Run: python benchmarks/town_features.py -o features

From the clips that `dwm train town` trains on: those of its folder with --clips runs/x/clips, else the first 96 are drawn. With
`-o src/dwm/weights/town_features` it makes the network that comes with the package. Prints a table.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from dwm.clip import NUSCENES_VIEWS
from dwm.config import resolve
from dwm.data import collate
from dwm.evaluation import FeatureOptions, PictureFeatures
from dwm.evaluation.town_fid_score import town_fid
from dwm.report import Video
from dwm.runs.clips import First, training_clips, validation_clips
from dwm.training.feature_network import train_features
from dwm.training.feed.clip_cache import ClipCache, fill

SIZE = FeatureOptions().size
DRAWN, QUICK = 96, 8


def damaged(frames: Tensor) -> dict[str, Tensor]:
    """What spoils pictures (b, t, v, 3, h, w) in [0, 1], by name."""
    small = F.interpolate(frames.flatten(0, 2), scale_factor=0.5, mode="bilinear", antialias=True)
    noise = torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))
    return {
        "same": frames,
        "noise 5 %": (frames + 0.05 * noise).clamp(0, 1),
        "blur ×2": F.interpolate(small, SIZE[::-1], mode="bilinear").view_as(frames),
        "noise 20 %": (frames + 0.2 * noise).clamp(0, 1),
        "upside down": frames.flip(-2),
        "grey": frames.mean(3, keepdim=True).expand_as(frames),
        "40 % darker": frames * 0.6,
    }


def answers(features: PictureFeatures, clips: int) -> Table:
    """`town_fid` of held-out clips, damaged, against themselves."""
    data = resolve("town").data
    frames = torch.cat([collate([validation_clips(data)[number]], SIZE).frames[:, :2] for number in range(clips)])
    real = Video(frames, 4.0, NUSCENES_VIEWS)
    table = Table("damage", "town_fid")
    for name, spoiled in damaged(frames).items():
        table.add_row(name, f"{town_fid(Video(spoiled, 4.0, NUSCENES_VIEWS), real, features).distance:.3g}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder to write")
    parser.add_argument("--clips", type=Path, help="`clips` of a folder of `dwm train town`")
    parser.add_argument("--quick", action="store_true", help=f"from {QUICK} clips, as a check")
    flags = parser.parse_args()
    count = QUICK if flags.quick else DRAWN
    with tempfile.TemporaryDirectory() as folder:
        if flags.clips is None:
            fill(Path(folder), First(training_clips(resolve("town").data), count), SIZE, workers=2)
        cache = ClipCache(flags.clips or Path(folder))
        network = train_features(cache, len(cache), flags.output)
    Console().print(answers(PictureFeatures(network), 2 if flags.quick else 16))
    print(f"written: {flags.output}")


if __name__ == "__main__":
    main()
