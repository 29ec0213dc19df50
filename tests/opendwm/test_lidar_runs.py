"""Every published LiDAR run on data: trained, generated from and scored by the real commands, with nothing but sizes changed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from lidar_tree import LidarTree
from PIL import Image

from dwm.cli.main import app, outcome

GENERATORS = (
    "lidar_maskgit_layout_ns",
    "lidar_maskgit_vq80k_layout_ns",
    "lidar_maskgit_vq80k_layout_kt",
    "lidar_maskgit_temporal_vq80k_layout_ns",
    "lidar_maskgit_temporal_vq80k_layout_kt",
    "lidar_diffusion_dit_temporal_ns",
    "lidar_diffusion_dit_temporal_kt",
    "lidar_diffusion_unet_temporal_ns",
    "lidar_diffusion_unet_temporal_kt",
)
AUTOENCODERS = ("lidar_vqvae_nwa", "lidar_vqvae_nwak", "lidar_vae_nwak")
PLAIN = ("device=cpu", "autocast=float32")
pytestmark = pytest.mark.slow


def command(*arguments: object, status: int = 0) -> None:
    assert outcome(lambda: app(args=[str(part) for part in arguments], standalone_mode=False)) == status


def log_of(output: Path, stage: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (output / stage / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", (*AUTOENCODERS, *GENERATORS))
def test_a_published_run_trains_generates_and_is_scored(name: str, lidar_tree: LidarTree, tmp_path: Path) -> None:
    config, root, output = lidar_tree.small(name), ("--root", lidar_tree.folder), tmp_path / "run"
    asked = ("training.steps=2", "training.log_every=1", "preview.every=2", *PLAIN)
    command("train", "-c", config, *root, "-o", output, *asked)
    stage = "generator" if name in GENERATORS else "autoencoder"
    log = log_of(output, stage)
    assert [entry["step"] for entry in log] == [1, 2] and all(entry["loss"] > 0 for entry in log)
    assert Image.open(output / stage / "previews" / "000002.png").size[0] > 300
    how = (*root, "--weights", output / "weights", "--device", "cpu", "--dtype", "float32")
    command("generate", "-c", config, *how, "-o", tmp_path / "made")
    rows = json.loads((tmp_path / "made" / "sweeps.json").read_text())
    frames = json.loads(config.read_text())["validation_dataset"]["base_dataset"].get("sequence_length", 1)
    assert [row["frame"] for row in rows] == list(range(frames))
    for row in rows:
        points = np.fromfile(tmp_path / "made" / row["file"], "<f4").reshape(-1, 5)
        assert len(points) == row["points"] > 0 and not points[:, 3:].any()
        in_ego = points[:, :3] @ np.array(row["ego_from_lidar"])[:3, :3].T + np.array(row["ego_from_lidar"])[:3, 3]
        assert (np.abs(in_ego[:, :2]) < 50.01).all() and (in_ego[:, 2] > -3.01).all() and (in_ego[:, 2] < 5.01).all()
    assert Image.open(tmp_path / "made" / "0000.png").size[0] > 300
    command("evaluate", "-c", config, *how, "--clips", 1, "-o", tmp_path / "scored")
    scores = json.loads((tmp_path / "scored" / "scores.json").read_text())
    assert scores["sweeps"] == frames and 0 <= scores["iou"] < 1 and scores["jsd"] > 0 and scores["mmd"] >= 0
    assert scores["chamfer"] > scores["chamfer_within"]["30"] > 0 and scores["depth"]["l1_mean"] > 0
