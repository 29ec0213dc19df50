"""Cameras and LiDAR of one scene: by `dwm generate --sensors cameras,lidar`, in Python, and as a nuScenes set."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dwm.cli.main import app, outcome
from dwm.config.lidar import LidarRecipe
from dwm.data import open_dataset
from dwm.evaluation.sweep_agreement import SweepAgreement
from dwm.geometry import apply, points_inside
from dwm.runs.lidar.pipeline import LidarPipeline
from dwm.town import town_scene
from dwm.town.dataset import TownDataset

DATA = ("--data", "town:seed=3,scenes=4", "--scene", "scene-0001", "--frames", "2", "--steps", "1", "--force", "-q")


def run(*arguments: object) -> int:
    return outcome(lambda: app([str(argument) for argument in arguments], standalone_mode=False))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Those of a user's own run, after two steps."""
    output = tmp_path_factory.mktemp("lidar") / "run"
    small = (
        "generator.network.num_layers=1",
        "training.steps=2",
        "training.clips=1",
        "data.clips=2",
        "preview.every=2",
    )
    assert run("train", "lidar-town", "-o", output, "-q", *small) == 0
    assert (output / "generator/previews/000002.png").is_file()
    return output / "weights"


def sweep(path: Path) -> np.ndarray:
    return np.fromfile(path, "<f4").reshape(-1, 5)


def test_one_call_makes_pictures_and_sweeps_of_the_same_scene(weights, tmp_path):
    sensors = ("--sensors", "cameras,lidar", "--lidar-weights", weights)
    first = tmp_path / "first"
    assert run("generate", *DATA, *sensors, "-o", first) == 0
    made = {path.relative_to(first).as_posix() for path in first.rglob("*") if path.is_file()}
    sweeps = {"sweeps/0000.pcd.bin", "sweeps/0001.pcd.bin", "sweeps/sweeps.json"}
    assert made >= {"generated.mp4", "lidar.mp4", "sensors.mp4", "report.html", *sweeps}
    assert "LiDAR of the same scene" in (first / "report.html").read_text()
    clip = TownDataset(3)["scene-0001"].clip(0.0, 2, 4)
    rows = json.loads((first / "sweeps/sweeps.json").read_text())
    for frame, row in enumerate(rows):
        points = sweep(first / row["file"])
        assert len(points) == row["points"] > 1000 and np.isfinite(points).all()
        assert points[:, 3].min() >= 0 and points[:, 3].max() <= 255 and set(points[:, 4]) <= set(range(32))
        np.testing.assert_allclose(row["world_from_ego"], clip.lidar.world_from_ego[frame])
    again = LidarPipeline.from_pretrained(weights)(clip, seed=0)
    for frame, row in enumerate(rows):
        np.testing.assert_allclose(sweep(first / row["file"]), again.points[frame], atol=1e-4)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--sensors", "lidar"), "sweeps come beside pictures"),
        (("--sensors", "cameras,radar"), "sensors"),
        (("--sensors", "cameras,lidar", "--lidar-weights", "nowhere"), "nowhere: holds no config.json of a LiDAR run"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(flags, sentence, tmp_path, capsys):
    assert run("generate", *DATA, *flags, "-o", tmp_path / "no") == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "no/generated.mp4").exists()


def test_words_alone_have_no_boxes_to_make_a_sweep_of(tmp_path, capsys):
    assert run("generate", "--prompt", "day", "--sensors", "cameras,lidar", "-q", "-o", tmp_path / "no") == 1
    assert "sweeps are made of a clip's boxes and map; give --data" in capsys.readouterr().err


def test_weights_of_an_autoencoder_make_no_sweeps(tmp_path):
    (tmp_path / "config.json").write_text(LidarRecipe().model_dump_json())
    with pytest.raises(Exception, match=r"is of no run that generates sweeps"):
        LidarPipeline.from_pretrained(tmp_path)


# The embedded weights


@pytest.fixture(scope="module")
def embedded() -> LidarPipeline:
    return LidarPipeline.from_pretrained()


def in_boxes(clip, frame: int = 0, above: float = 0.0) -> dict[str, int]:
    """How many points of a clip's sweep lie in each box, so many metres above its lower face, where the road is."""
    points = np.asarray(clip.lidar.points[frame])[:, :3].astype(np.float64)
    boxes, up = clip.boxes[frame][0], np.array([0, 0, above / 2])
    world = apply(clip.lidar.world_from_lidar(frame), points)
    return dict(
        zip(
            boxes.instance,
            points_inside(world, boxes.center + up, boxes.size - 2 * up, boxes.rotation).tolist(),
            strict=True,
        )
    )


def test_cars_in_the_sweep_stand_where_the_boxes_are(embedded):
    agreement = SweepAgreement(embedded.rays)
    for number in range(4):
        truth = town_scene(78, number).clip(5.0, 1, 4)
        agreement.add(truth, replace(truth, lidar=embedded(truth, seed=number)))
    result = agreement.result()
    assert result.boxes > 30 and result.occupied > 0.85, result.lines()
    assert abs(result.generated.in_box - result.truth.in_box) < 0.15, result.lines()
    assert abs(result.generated.behind - result.truth.behind) < 0.25, result.lines()
    assert result.generated.on_ground > result.truth.on_ground - 0.1, result.lines()


def test_edits_are_in_the_sweep(embedded):
    clip = town_scene(78, 1).clip(5.0, 1, 4)
    before = replace(clip, lidar=embedded(clip))
    full, count = max(in_boxes(before, above=0.25).items(), key=lambda item: item[1])
    assert count > 30
    without = clip.without(full)
    removed = replace(without, lidar=embedded(without, clip))
    assert in_boxes(replace(removed, boxes=clip.boxes), above=0.25)[full] < count / 5
    moved = clip.moving(full, left=-0.8)
    assert in_boxes(replace(moved, lidar=embedded(moved, clip)), above=0.25)[full] > count / 2


def test_the_same_seed_makes_the_same_sweep_and_another_another(embedded):
    clip = town_scene(78, 2).clip(5.0, 1, 4)
    first, again, other = (np.asarray(embedded(clip, seed=seed).points[0]) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or not np.allclose(first, other, atol=0.05)


# As a nuScenes set


@pytest.fixture(scope="module")
def town(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("town") / "set"
    assert run("town", "-o", folder, "--scenes", "1", "--seconds", "1", "--size", "160x96", "-q") == 0
    return folder


def test_a_set_of_generated_scenes_has_generated_sweeps(town, tmp_path):
    edits, output = tmp_path / "edits.json", tmp_path / "set"
    edits.write_text(json.dumps({"move": [{"name": "vehicle.car", "left": 1}], "ego_left": 1}))
    flags = ("--steps", "1", "--force", "--edits", edits, "--sensors", "cameras,lidar", "--version", "v1.0-mini")
    assert run("export", "nuscenes", "--data", town, "-o", output, *flags, "-q") == 0
    assert run("data", "check", output, "--files", "-q") == 0
    before = open_dataset(town, "v1.0-mini").scenes[0].clip(0, 2, 2)
    after = open_dataset(output).scenes[0].clip(0, 2, 2)
    step = np.linalg.inv(before.lidar.world_from_ego) @ after.lidar.world_from_ego
    np.testing.assert_allclose(step[:, :3, 3], [[0, 1, 0]] * 2, atol=1e-6)
    annotations = json.loads((output / "v1.0-mini/sample_annotation.json").read_text())
    samples = [row["token"] for row in json.loads((output / "v1.0-mini/sample.json").read_text())]
    for frame, sample in enumerate(samples[:2]):
        assert len(after.lidar.points[frame]) > 5000
        assert not np.array_equal(after.lidar.points[frame], before.lidar.points[frame])
        counts = {row["instance_token"]: row["num_lidar_pts"] for row in annotations if row["sample_token"] == sample}
        assert counts == in_boxes(after, frame) and sum(count > 0 for count in counts.values()) > len(counts) / 3


def test_sweeps_are_copied_or_generated_and_not_both(town, tmp_path, capsys):
    assert (
        run("export", "nuscenes", "--data", town, "--lidar", "--sensors", "cameras,lidar", "-o", tmp_path / "no") == 1
    )
    assert "--lidar copies sweeps, --sensors cameras,lidar generates them" in capsys.readouterr().err
