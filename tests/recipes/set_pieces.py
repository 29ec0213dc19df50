"""Small pieces of the published sets in the folders where recipes look for them, and recipes cut to fit: what they read stays."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from dwm.config import Recipe, find
from dwm.town import NuScenesOptions, TownOptions, write_nuscenes

sys.path.append(str(Path(__file__).parents[1] / "opendwm"))
from port_tree import add_opendv

QUIET = TownOptions(duration=4, traffic=("quiet",), trees=("few",), heights=("low",), junction_share=0, max_lanes=2)
SIZE = (32, 32)
WITH_OTHER_SETS = (
    "unimlvg-stage1",
    "unimlvg-stage2",
    "unimlvg-stage3",
    "sd35-text-nwao-warmup",
    "sd35-text-nwao",
    "sd35-layout-nwao",
    "sd35-forcing-nwao",
    "sd35-videolatents-nwao",
    "sd35-xs-forcing-nwao",
    "sd21-crossview-waymo",
    "sd21-crossview-argoverse",
    "sd21-layout-nwa-warmup",
    "sd21-layout-nwa",
    "sd21-text-nwao-warmup",
    "sd21-text-nwao",
)
"""Recipes that read Waymo, Argoverse or OpenDV."""


def make_sets(folder: Path, shared: Path) -> Path:
    """`data/nuscenes` (the town), `data/waymo`, `data/argoverse`, `data/opendv` below a folder, which is returned."""
    add_opendv(shared, folder)
    data = folder / "data"
    (data / "opendv" / "opendv_caption.json").rename(data / "opendv" / "captions.json")
    (data / "opendv" / "opendv_candidates_times.json").rename(data / "opendv" / "candidates_times.json")
    (data / "argoverse").mkdir()
    for name in ("val-000.tar", "captions.json", "caption_times.json"):
        shutil.copyfile(shared / "data" / "argoverse2" / name, data / "argoverse" / name)
    shutil.copytree(shared / "data" / "waymo", data / "waymo", ignore=shutil.ignore_patterns("expected", "v2", ".dwm"))
    options = NuScenesOptions(version="v1.0-trainval", seconds=1.5, size=(96, 54), lidar_hz=10)
    write_nuscenes(data / "nuscenes", scenes=2, seed=3, options=options, town=QUIET, workers=1)
    return folder


def on_pieces(name: str) -> Recipe:
    """A recipe's own sets, masks and rates with as few frames as the pieces have, and its twin's network and schedule."""
    run, twin = find(name), find(f"{name}-tiny")
    # A video autoencoder makes a latent of the first frame and one of each four after it.
    frames = 1 if run.data.frames == 1 else 5 if run.autoencoder_folder else 4
    sources = {
        group: tuple(source.with_(frames=frames) for source in getattr(run.data, group))
        for group in ("train", "validation")
    }
    objective = twin.training.objective
    given = objective.reference_frames
    few = min(given, frames - 1) if isinstance(given, int) else {min(n, frames - 1): p for n, p in given.items()}
    return twin.with_(
        name=f"{name}-pieces",
        data=run.data.with_(
            **sources,
            size=SIZE,
            mix=tuple(mix.with_(size=SIZE, frames=frames, clips=1) for mix in run.data.mix),
            workers=0,
        ),
        training=twin.training.with_(
            steps=2,
            accumulate=1,
            save_every=1,
            batch=twin.training.batch.with_(frames=frames),
            objective=objective.with_(reference_frames=few),
        ),
        preview=twin.preview.with_(window=None if twin.preview.window is None else frames),
    )


def read_log(folder: Path) -> list[float]:
    """The losses of a run's steps."""
    return [json.loads(line)["loss"] for line in (folder / "driving" / "log.jsonl").read_text().splitlines()]
