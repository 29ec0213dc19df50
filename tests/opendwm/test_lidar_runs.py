"""Every published LiDAR run on data: trained, generated from and scored by the real commands, with nothing but sizes changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lidar_tree import LidarTree, make_package
from PIL import Image
from safetensors.torch import load_file

from dwm.cli.main import app, outcome
from dwm.opendwm.commands import parse

GENERATORS = (
    "lidar_maskgit_layout_ns",
    "lidar_maskgit_temporal_vq80k_layout_kt",
    "lidar_diffusion_dit_temporal_ns",
    "lidar_diffusion_unet_temporal_kt",
)
AUTOENCODERS = ("lidar_vqvae_nwak", "lidar_vae_nwak")
"""One of each kind; the other six differ in a set, a number of frames or a file."""
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


@pytest.mark.parametrize("kind", ["maskgit", "maskgit_temporal", "diffusion_temporal"])
def test_an_example_makes_the_sweeps_of_its_package(kind: str, lidar_tree: LidarTree, tmp_path: Path, capfd) -> None:
    config, root = lidar_tree.small(f"lidar_{kind}_preview"), ("--root", lidar_tree.folder)
    place = lidar_tree.folder / ("data" if "temporal" in kind else "") / "nuscenes_scene-0627_package"
    if not place.exists():
        command("generate", "-c", config, *root, "-o", tmp_path / "made", status=1)
        assert "data_lidar.json is not here" in " ".join(capfd.readouterr().err.split())
        make_package(place)
    command("generate", "-c", config, *root, "--device", "cpu", "--dtype", "float32", "-o", tmp_path / "made")
    rows = json.loads((tmp_path / "made" / "sweeps.json").read_text())
    assert len(rows) == (13 if "temporal" in kind else 1)
    assert {row["scene"] for row in rows} == {"nuscenes_scene-0627_package"} and all(row["points"] for row in rows)
    assert [row["world_from_ego"][0][3] for row in rows] == list(range(len(rows)))
    picture = np.asarray(Image.open(tmp_path / "made" / "0000.png"))
    side = 320  # true, boxes, map, generated
    assert picture.shape[1] == 4 * side + 3 * 4
    blue, green = picture[:side, side + 4 : 2 * side + 4], picture[:side, 2 * side + 8 : 3 * side + 8]
    # The box lies ahead, to the right of the middle, as wide as drawn.
    columns = np.flatnonzero(blue[..., 2].max(0) > 128)
    assert 175 <= columns.min() < columns.max() <= 205 and green[..., 1].any()


def same_weights(one: Path, other: Path, within: float = 0.0) -> bool:
    files = sorted(path.name for path in (one / "weights").glob("*.safetensors"))
    assert files and files == sorted(path.name for path in (other / "weights").glob("*.safetensors"))
    for name in files:
        a, b = load_file(one / "weights" / name), load_file(other / "weights" / name)
        assert a.keys() == b.keys()
        if any((a[key].double() - b[key].double()).abs().max() > within for key in a):
            return False
    return True


def test_a_run_goes_on_as_if_it_had_not_been_cut(lidar_tree: LidarTree, tmp_path: Path, capfd) -> None:
    config, root = lidar_tree.small("lidar_maskgit_layout_ns"), ("--root", lidar_tree.folder)
    asked = ("training.log_every=1", "training.save_every=1", "preview.every=0", *PLAIN)
    command("train", "-c", config, *root, "-o", tmp_path / "whole", "training.steps=3", *asked)
    command("train", "-c", config, *root, "-o", tmp_path / "cut", "training.steps=2", *asked)
    assert not same_weights(tmp_path / "whole", tmp_path / "cut")
    command("train", "-c", config, *root, "-o", tmp_path / "cut", "training.steps=3", *asked, status=1)
    assert "holds a run of lidar_maskgit_layout_ns already; add --resume" in " ".join(capfd.readouterr().err.split())
    command("train", "-c", config, *root, "-o", tmp_path / "cut", "--resume", "training.steps=3", *asked)
    assert same_weights(tmp_path / "whole", tmp_path / "cut")
    assert [entry["step"] for entry in log_of(tmp_path / "cut", "generator")] == [1, 2, 3]


def test_what_is_missing_is_said_before_anything_is_written(lidar_tree: LidarTree, tmp_path: Path, capfd) -> None:
    config, root = lidar_tree.small("lidar_vae_nwak"), ("--root", lidar_tree.folder)
    command("generate", "-c", config, *root, "-o", tmp_path / "made", status=1)
    assert "names no autoencoder_weights; train the run first" in " ".join(capfd.readouterr().err.split())
    command("generate", "-c", config, *root, "--steps", 3, "-o", tmp_path / "made", status=1)
    assert "--steps" in (said := " ".join(capfd.readouterr().err.split())) and "has no place for it" in said
    command("train", "-c", config, "-o", tmp_path / "run", status=1)
    assert "which is not on this machine" in " ".join(capfd.readouterr().err.split())
    config = lidar_tree.small("lidar_maskgit_layout_ns")
    small = json.loads(config.read_text())
    small["pipeline"]["bi_directional_Transformer"]["n_e"] = 48
    (tmp_path / "other.json").write_text(json.dumps(small))
    command("train", "-c", tmp_path / "other.json", *root, "-o", tmp_path / "run", status=1)
    assert "generator.network.codes is 48, the autoencoder's is 32" in " ".join(capfd.readouterr().err.split())
    assert not (tmp_path / "made").exists() and not list(tmp_path.glob("run/*"))


def test_openDWMs_own_commands_run_its_lidar_configs(
    lidar_tree: LidarTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    config = str(lidar_tree.small("lidar_maskgit_vq80k_layout_kt"))
    shared = ["-c", config, "--root", str(lidar_tree.folder), "-o", str(tmp_path)]
    for verb, own in (
        (parse.train, ["--steps", "1", "--log-steps", "1", "--preview-steps", "9"]),
        (parse.preview, ["--count", "2"]),
        (parse.evaluate, ["--clips", "1"]),
    ):
        monkeypatch.setattr(sys, "argv", ["it", *shared, *own])
        verb()
    assert [path.name for path in sorted((tmp_path / "preview").glob("*.png"))] == ["0000.png", "0001.png"]
    assert "iou: " in capfd.readouterr().out and (tmp_path / "evaluation" / "scores.json").is_file()


def test_two_processes_train_a_tiny_recipe_as_one_does(lidar_tree: LidarTree, tmp_path: Path) -> None:
    data = ("--data", str(lidar_tree.folder / "data" / "nuscenes"))
    few = ("training.steps=2", "autoencoder_training.steps=2", "data.points=60", "preview.every=0", *PLAIN)
    command("train", "tiny-lidar-maskgit", *data, *few, "-o", tmp_path / "one")
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        "-m",
        "dwm.cli.main",
    ]
    asked = ["train", "tiny-lidar-maskgit", *data, *few, "training.parallel.mode=fsdp", "-o", str(tmp_path / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([*launcher, *asked], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    # Copies of the autoencoder, shards of the generator.
    assert same_weights(tmp_path / "one", tmp_path / "two", within=1e-5)
    codes = load_file(tmp_path / "two" / "weights" / "autoencoder.safetensors")
    assert codes["code_usage"].sum() == 2 * 2 * 64 and torch.isfinite(codes["vector_quantizer.embedding.weight"]).all()
