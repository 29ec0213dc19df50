"""Weights of LiDAR runs: every published config's networks are built, and files are read strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dwm.cli.main import app, outcome
from dwm.errors import DwmError
from dwm.opendwm.config.lidar_networks import vq_autoencoder
from dwm.opendwm.runs import convert, lidar_run
from dwm.runs.lidar.train import blank_networks

ROLES = dict.fromkeys(("vq_point_cloud", "lidar_vae", "autoencoder"), "autoencoder") | dict.fromkeys(
    ("bi_directional_Transformer", "diffusion_model"), "generator"
)
"""Section of a published run → what its network is here."""


def lidar_files(shared: Path) -> list[Path]:
    return sorted((shared / "reference").rglob("lidar_*.json"))


def test_every_published_lidar_run_has_networks_with_the_published_names(shared: Path) -> None:
    known = json.loads((shared / "reference" / "state_dict_shapes.json").read_text("utf-8"))
    files = lidar_files(shared)
    assert len(files) == 15
    for path in files:
        run = lidar_run(path)
        assert run is not None
        expected = known["configs"][str(path.relative_to(shared / "reference"))]
        networks = blank_networks(run)
        assert sorted(networks) == sorted(ROLES[name] for name in expected)
        for name in expected:
            shapes = known["models"][expected[name]]["keys"]
            state = networks[ROLES[name]].state_dict()
            assert {key: list(value.shape) for key, value in state.items()} == shapes, f"{path.name}: {name}"


def small_run(shared: Path, codes: int = 12) -> dict[str, Any]:
    """The published run of the autoencoder with codes, in a small size."""
    values = json.loads((shared / "reference/configs/lidar/lidar_vqvae_nwa.json").read_text("utf-8"))
    section = values["pipeline"]["vq_point_cloud"]
    size = {"in_chans": 4, "embed_dim": 16, "num_heads": 2, "depth": 5, "codebook_dim": 8}
    section["voxelizer"] |= {"step": 100 / 32, "z_step": 2.0}
    section["lidar_encoder"] |= size | {"img_size": 32}
    section["lidar_decoder"] |= size | {"img_size": [32, 32], "num_patches": 16}
    section["vector_quantizer"] |= {"n_e": codes, "e_dim": 8}
    return values


def written(folder: Path, name: str, values: Mapping[str, Any]) -> Path:
    path = folder / name
    path.write_text(json.dumps(values), "utf-8")
    return path


def test_a_pth_becomes_safetensors_by_the_command(shared: Path, tmp_path: Path) -> None:
    values = small_run(shared)
    net = vq_autoencoder(values["pipeline"]["vq_point_cloud"], "test")
    state = net.state_dict()
    # A trained reservoir has as many rows as its first batch gave.
    state["vector_quantizer.reservoir"] = torch.zeros(17, 8)
    torch.save(state, tmp_path / "60000.pth")
    config = written(tmp_path, "run.json", values)
    asked = ["convert", "weights", str(tmp_path / "60000.pth"), "-c", str(config), "-o", str(tmp_path / "out")]
    assert outcome(lambda: app(args=asked, standalone_mode=False)) == 0
    found = load_file(tmp_path / "out" / "autoencoder.safetensors")
    fresh = vq_autoencoder(values["pipeline"]["vq_point_cloud"], "test")
    fresh.load_state_dict(found)
    assert all(torch.equal(fresh.state_dict()[key], value) for key, value in found.items())


def test_a_codebook_of_another_size_is_refused_in_a_line(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = vq_autoencoder(small_run(shared, codes=24)["pipeline"]["vq_point_cloud"], "test")
    torch.save(net.state_dict(), tmp_path / "60000.pth")
    config = written(tmp_path, "run.json", small_run(shared))
    asked = ["convert", "weights", str(tmp_path / "60000.pth"), "-c", str(config), "-o", str(tmp_path / "out")]
    assert outcome(lambda: app(args=asked, standalone_mode=False)) == 1 and not (tmp_path / "out").exists()
    assert "embedding.weight is (24, 8), not (12, 8)" in " ".join(capsys.readouterr().err.split())


def test_an_argument_that_is_not_known_is_named(shared: Path, tmp_path: Path) -> None:
    values = small_run(shared)
    values["pipeline"]["vq_point_cloud"]["lidar_encoder"]["deepth"] = 3
    with pytest.raises(DwmError, match=r"lidar_encoder\.deepth: not known.*depth"):
        convert(written(tmp_path, "run.json", values))
