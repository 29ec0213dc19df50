"""Translated configs as typed runs: valid as a whole, written and read again, refused where nothing can run them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dwm.config import Recipe, check, save
from dwm.config.files import read_json
from dwm.config.lidar import LidarRecipe
from dwm.config.lidar_checks import check_lidar
from dwm.errors import DwmError
from dwm.networks import UNetOptions
from dwm.opendwm.commands.example_runs import ExampleRun
from dwm.opendwm.runs import convert, load_recipe, read_run


def published(shared: Path) -> list[Path]:
    reference = shared / "reference"
    found = [*sorted((reference / "configs").rglob("*.json")), *sorted((reference / "examples").glob("*.json"))]
    return [
        path
        for path in found
        if "lidar" not in path.name and "simulation" not in str(path) and path.parent.name != "fs"
    ]


def test_every_video_run_is_a_valid_recipe_that_is_read_again(shared: Path, tmp_path: Path) -> None:
    paths = published(shared)
    for path in paths:
        run = convert(path).run
        recipe = run.run if isinstance(run, ExampleRun) else run
        assert isinstance(recipe, Recipe) and recipe.compatibility == "reference", path
        check(recipe, path.name)
        assert read_run(save(run, tmp_path, path.name)) == run
    assert len(paths) == 32


def test_published_hyperparameters_survive(shared: Path) -> None:
    [path] = [path for path in published(shared) if path.stem == "ctsd_35_tirda_bm_nwao"]
    run = load_recipe(path)
    reference = read_json(shared / "reference" / "models.json")["configs"][
        "configs/ctsd/multi_datasets/ctsd_35_tirda_bm_nwao.json"
    ]
    told = reference["training"]["training_config"]
    assert run.training.optimizer.lr == reference["training"]["optimizer"]["lr"]
    assert run.training.objective.reference_frames == {1: 0.1, 2: 0.3, 3: 0.6}
    assert run.training.objective.generation_tasks == told["generation_task_ratio"]
    assert run.conditions.uncondition_image_color == reference["common_config"]["uncondition_image_color"]
    assert [source.kind for source in run.data.train] == ["nuscenes", "waymo", "argoverse", "opendv"]
    assert [mix.size for mix in run.data.mix] == [(448, 256), (304, 176), (256, 144)]


def test_the_unet_of_sd21_is_a_unet(shared: Path) -> None:
    [path] = [path for path in published(shared) if path.stem == "ctsd_21_crossview_tirda_bm_nusc_a"]
    assert isinstance(load_recipe(path).network, UNetOptions)


def test_every_lidar_run_is_typed_and_read_again(shared: Path, tmp_path: Path) -> None:
    paths = sorted((shared / "reference").rglob("lidar_*.json"))
    for path in paths:
        run = convert(path).run
        assert isinstance(run, LidarRecipe) and run.published, path
        check_lidar(run, path.name)
        assert read_run(save(run, tmp_path, path.name)) == run
        if (optimizer := read_json(path)["optimizer"]) is not None:
            assert (run.training.optimizer.lr, list(run.training.optimizer.betas)) == (
                optimizer["lr"],
                optimizer["betas"],
            )
    assert len(paths) == 15


def test_a_lidar_run_is_no_run_of_cameras(shared: Path) -> None:
    with pytest.raises(DwmError, match="is a LiDAR run, which has no cameras"):
        load_recipe(shared / "reference" / "configs" / "lidar" / "lidar_vae_nwak.json")


def test_file_systems_translate_alone(shared: Path) -> None:
    run = convert(shared / "reference" / "configs" / "fs" / "s3_czip_nuscenes.json").run
    assert run.endpoint.startswith("http://") and run.path == "users/wuzehuan/data/nuscenes"
    assert "v1.0-trainval_meta.zip" in run.archives
