"""What was driven, read again as data: the same poses, boxes, words, map and cameras, and the pictures that were drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dwm.data import open_dataset
from dwm.data.package import PackageWriter, writer
from dwm.drive import Action, DrivingWorld, Picture, town_source
from dwm.drive.scene_package import ScenePackage
from dwm.drive.sources.replay import ReplaySource
from dwm.generation import DrivingPipeline
from dwm.town import town_scene

AUTOPILOT = Action(autopilot=True)


def driven(world: DrivingWorld, count: int, package: ScenePackage, action: Action = AUTOPILOT) -> list[Picture]:
    pictures = [picture for _ in range(count) for picture in world.step(action)[0]]
    for picture in pictures:
        package.add(picture)
    return pictures


def test_a_package_holds_what_was_driven(pipe: DrivingPipeline, tmp_path: Path) -> None:
    world = DrivingWorld(pipe, town_source(7, 1), seed=5, with_real=True)
    package = ScenePackage(tmp_path / "scenes.zip", "a test")
    first = driven(world, 3, package)
    world.tell("night rain")
    world.change(weather="fog")
    first += driven(world, 4, package)
    world.reset(6)
    second = driven(world, 5, package)
    package.close()

    dataset = open_dataset(str(tmp_path / "scenes.zip"))
    assert [scene.name for scene in dataset.scenes] == ["drive-000", "drive-000-real", "drive-001", "drive-001-real"]
    for name, pictures in (("drive-000", first), ("drive-001", second)):
        for ending in ("", "-real"):
            clip = dataset[name + ending].clip(0, len(pictures), 4.0)
            assert np.all(np.diff(clip.times[:, 0]) == 250_000)
            for frame, picture in enumerate(pictures):
                moment = picture.moment
                assert np.allclose(clip.world_from_ego[frame, 0], moment.world_from_ego, atol=1e-9)
                boxes = clip.boxes[frame][0]
                assert np.allclose(boxes.center, moment.boxes.center) and boxes.category == moment.boxes.category
                assert [thing.split("/")[1] for thing in boxes.instance] == list(moment.boxes.instance)
                views = picture.real if ending else picture.views
                read = np.stack([clip.pictures.load(frame, view) for view in range(6)])
                assert np.abs(read.astype(int) - views).mean() < 8, "but for what a JPEG loses"
                said = clip.captions[frame][0].text()
                assert said == (moment.caption.text() if ending or picture.prompt is None else "night rain")
            scale = np.array([32, 16]) / world.source.rig.image_size[0]
            assert np.allclose(clip.rig.intrinsics[0][:2], world.source.rig.intrinsics[0][:2] * scale[:, None])
            assert np.allclose(clip.rig.ego_from_camera, world.source.rig.ego_from_camera)
            areas = clip.map.layers["drivable_area"]
            assert np.isclose(sum(area.area for area in areas), first[0].moment.map.layers["drivable_area"][0].area)
    assert {picture.moment.caption.weather for picture in first} > {"fog"}


def test_real_pictures_of_a_recorded_drive_stay_where_they_were_taken(pipe: DrivingPipeline, tmp_path: Path) -> None:
    source = ReplaySource(town_scene(7, 1))
    package = ScenePackage(tmp_path / "scenes", "a test")
    pictures = driven(DrivingWorld(pipe, source, with_real=True), 5, package, Action(brake=1.0))
    package.close()
    dataset, count = open_dataset(str(tmp_path / "scenes")), len(pictures)
    drawn, real = (dataset[f"drive-000{ending}"].clip(0, count, 4.0) for ending in ("", "-real"))
    assert np.allclose(real.world_from_ego[:, 0], source.recorded[1 : count + 1])
    assert np.linalg.norm(drawn.world_from_ego[-1, 0] - real.world_from_ego[-1, 0]) > 0.5


def test_a_drive_without_pictures_leaves_no_package(tmp_path: Path) -> None:
    ScenePackage(tmp_path / "scenes.zip", "a test").close()
    assert not list(tmp_path.iterdir())


def test_a_long_recording_is_written_on_the_way(
    pipe: DrivingPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MOST_ROWS", 20)
    held: list[int] = []
    add = PackageWriter.add

    def watched(self: PackageWriter, table: str, *rows: dict) -> None:
        add(self, table, *rows)
        held.append(sum(len(self.rows[name]) for name in writer.LONG_TABLES))

    monkeypatch.setattr(PackageWriter, "add", watched)
    package = ScenePackage(tmp_path / "scenes", "a test")
    pictures = driven(DrivingWorld(pipe, town_source(7, 1)), 9, package)
    package.close()
    assert max(held) <= 80 < len(held)
    clip = open_dataset(str(tmp_path / "scenes"))["drive-000"].clip(0, len(pictures), 4.0)
    assert [len(row[0]) for row in clip.boxes] == [len(picture.moment.boxes) for picture in pictures]
