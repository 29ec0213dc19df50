"""LiDAR's recipes have the hyperparameters of published runs; the tiny ones hold together."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dwm.config.describe import settings
from dwm.config.lidar_checks import check_lidar
from dwm.config.lidar_files import find_lidar, lidar_recipes
from dwm.errors import DwmError
from dwm.opendwm.runs import lidar_run

SOURCES = {
    "lidar-vq-nwa": "lidar_vqvae_nwa",
    "lidar-vq-nwak": "lidar_vqvae_nwak",
    "lidar-vae-nwak": "lidar_vae_nwak",
    "lidar-maskgit-nuscenes": "lidar_maskgit_layout_ns",
    "lidar-maskgit-80k-nuscenes": "lidar_maskgit_vq80k_layout_ns",
    "lidar-maskgit-80k-kitti360": "lidar_maskgit_vq80k_layout_kt",
    "lidar-maskgit-temporal-nuscenes": "lidar_maskgit_temporal_vq80k_layout_ns",
    "lidar-maskgit-temporal-kitti360": "lidar_maskgit_temporal_vq80k_layout_kt",
    "lidar-dit-temporal-nuscenes": "lidar_diffusion_dit_temporal_ns",
    "lidar-dit-temporal-kitti360": "lidar_diffusion_dit_temporal_kt",
    "lidar-unet-temporal-nuscenes": "lidar_diffusion_unet_temporal_ns",
    "lidar-unet-temporal-kitti360": "lidar_diffusion_unet_temporal_kt",
}
WANTED = re.compile(
    r"name|compatibility|device|generator\.network\.compatibility|autoencoder_weights|generator\.blank_codes"
    r"|data\.(train|validation)\.\d\.(path|archives|endpoint|index|version|boxes_between)"
    r"|training\.(epochs|steps|save_every|log_every|accumulate)"
)
"""Settings that differ on purpose: whose oddities are kept, where files lie, steps instead of passes, all devices' batches."""


@pytest.mark.parametrize("name", SOURCES)
def test_a_recipe_has_every_hyperparameter_of_its_published_config(shared: Path, name: str) -> None:
    path = shared / "reference" / "configs" / "lidar" / f"{SOURCES[name]}.json"
    published, ours = lidar_run(path), find_lidar(name)
    assert published is not None
    check_lidar(ours, name)
    mine, theirs = ({s.key: s.value for s in settings(run)} for run in (ours, published))
    keys = [key for key in sorted(mine.keys() | theirs.keys()) if not WANTED.fullmatch(key)]
    assert not {key: (mine.get(key), theirs.get(key)) for key in keys if mine.get(key) != theirs.get(key)}
    told = json.loads(path.read_text()).get("informations")
    if told is not None:
        assert ours.training.steps == told["steps"]
        assert ours.training.accumulate * ours.training.clips == told["total_batch_sizes"]


def test_the_catalogue_holds_these_and_a_tiny_one_of_each_family() -> None:
    tiny = [name for name in lidar_recipes() if name.startswith("tiny-")]
    assert set(lidar_recipes()) == {*SOURCES, *tiny, "lidar-town"} and len(tiny) == 4
    for name in (*tiny, "lidar-town"):
        check_lidar(find_lidar(name), name)
    with pytest.raises(DwmError, match="nearest: tiny-lidar-vq"):
        find_lidar("tiny-lidar-vg")
