"""CARLA as a source of steering, on a stand-in of its client; frames and maps judged by CARLA itself where it is installed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pretended_carla
import pytest
import shapely
import small_opendrive
from shapely.geometry import Point

from dwm.cli.main import app, outcome
from dwm.data import open_dataset
from dwm.drive import Action, Source, carla_source
from dwm.drive.bicycle import Bicycle
from dwm.drive.source import clip_of
from dwm.drive.sources.carla import CarlaSource, carla_pose, default_rig, world_from
from dwm.drive.sources.opendrive import read_opendrive
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline

GAS, AUTOPILOT = Action(throttle=1.0), Action(autopilot=True)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> pretended_carla.World:
    world = pretended_carla.World()
    monkeypatch.setattr(pretended_carla.Client, "world", world)
    monkeypatch.setitem(__import__("sys").modules, "carla", pretended_carla)
    return world


@pytest.fixture
def source(world: pretended_carla.World) -> CarlaSource:
    return carla_source("localhost:2000", vehicles=2)


def test_carla_is_what_a_session_asks_for(source: CarlaSource) -> None:
    assert isinstance(source, Source) and source.name == "carla-Small"
    clip = clip_of([source.reset(1), source.step(GAS), source.step(GAS)], source)
    assert clip.times.shape == (3, 6) and np.all(np.diff(clip.times[:, 0]) == 250_000)
    picture = source.picture("CAM_FRONT", (64, 36))
    assert picture is not None and picture.shape == (36, 64, 3)
    assert picture[0, 0].tolist() == [200, 0, 10], "red comes first"


def test_the_world_waits_for_its_consumer_in_small_steps(source: CarlaSource, world: pretended_carla.World) -> None:
    frame = world.frame
    source.step(GAS)
    assert world.frame - frame == 5
    assert world.settings.fixed_delta_seconds == pytest.approx(0.05)
    assert pretended_carla.Client.manager.synchronous


def test_steering_right_turns_right_in_our_frame(source: CarlaSource) -> None:
    begin = source.reset(1)
    for _ in range(6):
        straight = source.step(GAS)
    assert straight.travelled > 3 and straight.speed > 4
    moved = np.linalg.inv(begin.world_from_ego) @ straight.world_from_ego
    assert moved[0, 3] > 3 and abs(moved[1, 3]) < 1e-6, "ahead is x"
    for _ in range(4):
        right = source.step(Action(throttle=0.5, steer=0.5))
    turned = np.linalg.inv(straight.world_from_ego) @ right.world_from_ego
    assert turned[1, 3] < -0.1 and turned[1, 0] < 0, "left is y, yaw counter-clockwise"
    assert right.steering < 0
    for _ in range(8):
        back = source.step(Action(brake=1.0))
    assert back.speed == 0.0


def test_the_car_stands_on_its_lane_of_the_map(source: CarlaSource) -> None:
    moment = source.reset(2)
    road = moment.map.layers["drivable_area"][0]
    assert road.contains(Bicycle.at(moment.world_from_ego).footprint) and not moment.off_road
    heading = math.atan2(moment.world_from_ego[1, 0], moment.world_from_ego[0, 0])
    assert heading == pytest.approx(0.3)
    notes = [note for _ in range(14) for note in source.step(Action(throttle=1.0, steer=-0.6)).notes]
    assert "off the road" in notes


def test_actors_are_boxes_where_they_stand_and_come_and_go(source: CarlaSource, world: pretended_carla.World) -> None:
    first = source.reset(1)
    assert len(first.boxes) == 2
    ahead = first.world_from_ego @ np.array([12.0, 3.0, 0.0, 1.0])
    pose = pretended_carla.Transform(
        pretended_carla.Location(ahead[0], -ahead[1], 1.0), pretended_carla.Rotation(yaw=90)
    )
    walker = world.spawn_actor(world.library.filter("walker.*")[0], pose)
    moment = source.step(Action(brake=1.0))
    index = moment.boxes.instance.index(f"actor-{walker.id}")
    assert moment.boxes.category[index] == "human.pedestrian.adult"
    assert np.allclose(moment.boxes.size[index], [0.4, 0.4, 1.8])
    # Its box stands 0.1 m ahead of it, which is -y here, and half its height up.
    assert np.allclose(moment.boxes.center[index], [ahead[0], ahead[1] - 0.1, 1.9])
    assert np.allclose(moment.boxes.rotation[index][:, 0], [0, -1, 0], atol=1e-9)
    assert np.linalg.det(moment.boxes.rotation[index]) == pytest.approx(1)
    walker.destroy()
    assert f"actor-{walker.id}" not in source.step(Action(brake=1.0)).boxes.instance
    assert "pedestrian" in moment.caption.objects


def test_a_collision_is_said(source: CarlaSource, world: pretended_carla.World) -> None:
    moment = source.reset(1)
    ahead = moment.world_from_ego @ np.array([9.0, 0.0, 0.0, 1.0])
    where = pretended_carla.Transform(pretended_carla.Location(ahead[0], -ahead[1], 0.6))
    world.spawn_actor(world.library[1], where)
    moments = [source.step(GAS) for _ in range(10)]
    assert [one for one in moments if one.crash == "vehicle.carlamotors.firetruck"]
    assert any(note == "crash: vehicle.carlamotors.firetruck" for one in moments for note in one.notes)


def test_words_are_the_weather_and_change_it(source: CarlaSource, world: pretended_carla.World) -> None:
    assert source.reset(0).caption.text().startswith("daytime. clear sky. urban street scene")
    source.change(time="night", weather="rain")
    assert world.weather.sun_altitude_angle < -5 and world.weather.precipitation > 30
    caption = source.step(GAS).caption
    assert (caption.time, caption.weather) == ("night", "rainy")
    with pytest.raises(DwmError, match="'hail' is not a word of CARLA"):
        source.change(weather="hail")


def test_what_was_found_stays_and_what_was_spawned_goes(world: pretended_carla.World) -> None:
    blueprint = world.library.find("vehicle.tesla.model3")
    blueprint.set_attribute("role_name", "hero")
    begin = pretended_carla.Map().get_spawn_points()[1]
    hero = world.spawn_actor(blueprint, begin)
    source = carla_source("localhost:2000")
    assert source.hero is hero and len(world.filter("vehicle.*")) == 1
    for _ in range(4):
        source.step(GAS)
    source.reset(3)
    assert math.hypot(hero.pose.location.x - begin.location.x, hero.pose.location.y - begin.location.y) < 0.1
    source.step(AUTOPILOT)
    assert hero.autopilot
    source.close()
    assert list(world.actors.values()) == [hero]
    assert not world.settings.synchronous_mode and not pretended_carla.Client.manager.synchronous


def test_a_silent_server_is_one_line(source: CarlaSource, world: pretended_carla.World, monkeypatch: Any) -> None:
    world.late = True
    monkeypatch.setattr("dwm.drive.sources.carla.PATIENCE", 0.2)
    with pytest.raises(DwmError, match="camera CAM_FRONT_LEFT sent no picture of frame"):
        source.step(GAS)
    world.silent = True
    with pytest.raises(DwmError, match="CARLA: time-out of 30000ms"):
        source.step(GAS)
    monkeypatch.setattr(pretended_carla.Client, "world", None)
    with pytest.raises(DwmError, match="is CARLA running at localhost:2000"):
        carla_source("localhost:2000")
    with pytest.raises(DwmError, match="give HOST:PORT"):
        carla_source("localhost:x")


def test_cameras_hang_where_the_rig_says() -> None:
    rig, forward = default_rig(), np.eye(4)
    forward[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    lean = np.eye(4)
    lean[:3, :3] = [[0.96, 0, 0.28], [0, 1, 0], [-0.28, 0, 0.96]]
    for mount in (*rig.ego_from_camera, rig.ego_from_camera[0] @ lean):
        hung = world_from(carla_pose(pretended_carla, mount))
        hung[0, 3] += 1.5
        assert np.allclose(hung @ forward, mount, atol=1e-9)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<OpenDRIVE", "is no XML"),
        ("<svg/>", "is a <svg>, not an <OpenDRIVE>"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><OpenDRIVE>&a;</OpenDRIVE>', "declares a document type"),
        (small_opendrive.text().replace('length="140.0"', 'length="1e12"'), "km of road"),
        (small_opendrive.text().replace('hdg="1.1"', 'hdg="nan"'), "<geometry> hdg is 'nan'"),
        (small_opendrive.text().replace('curvature="0.02"', ""), "<arc> curvature is None"),
        (small_opendrive.text().replace("<line/>", "<circle/>"), "a geometry is a <circle>"),
    ],
)
def test_faulty_maps_are_one_line(text: str, fault: str) -> None:
    with pytest.raises(DwmError, match=fault) as error:
        read_opendrive(text, "town.xodr")
    assert str(error.value).startswith("town.xodr: ") and "\n" not in str(error.value)


def test_marks_ground_and_crossings_of_a_map() -> None:
    layers = read_opendrive(small_opendrive.text()).layers
    lengths = sorted(mark.length for mark in layers["lane"])
    # Solid for 20 m, then broken to the next section; the right lane's mark; from 90 m on two marks of 50 m.
    assert lengths[0] == pytest.approx(20) and lengths[1:3] == pytest.approx([50, 50], abs=1.5)
    (road,) = layers["drivable_area"]
    assert road.has_z and road.is_valid
    start = road.intersection(Point(10, -5).buffer(9))
    assert start.area < 0.6 * math.pi * 81
    (crossing,) = layers["ped_crossing"]
    assert crossing.area == pytest.approx(40)
    middle = Point(10 + 30 * math.cos(0.3), -5 + 30 * math.sin(0.3))
    assert crossing.centroid.distance(middle) < 1e-6
    assert np.allclose(shapely.get_coordinates(crossing, include_z=True)[:, 2], 0.8)


def test_a_map_and_poses_are_as_carla_itself_reads_them() -> None:
    carla = pytest.importorskip("carla", reason="dwm[carla] is not installed")
    text = small_opendrive.text()
    layers, judge = read_opendrive(text).layers, carla.Map("small", text)
    edges = shapely.union_all([layers["drivable_area"][0].boundary, *layers["lane"]])
    heights = np.concatenate([shapely.get_coordinates(mark, include_z=True) for mark in layers["lane"]])
    for s in np.arange(0.5, small_opendrive.LENGTH, 1.0):
        lane = judge.get_waypoint_xodr(1, 1, float(s))
        at, yaw = lane.transform.location, math.radians(lane.transform.rotation.yaw)
        for side in (-1, 1):
            x, y = at.x - side * math.sin(yaw) * lane.lane_width / 2, at.y + side * math.cos(yaw) * lane.lane_width / 2
            assert edges.distance(Point(x, -y)) < 0.02
        near = np.hypot(heights[:, 0] - at.x, heights[:, 1] + at.y).argmin()
        assert abs(heights[near, 2] - at.z) < 0.06
    for angles in ((10, 20, 30), (-40, 170, -5), (80, -90, 120)):
        real = carla.Transform(carla.Location(1, 2, 3), carla.Rotation(*angles))
        ours = pretended_carla.Transform(pretended_carla.Location(1, 2, 3), pretended_carla.Rotation(*angles))
        assert np.allclose(real.get_matrix(), ours.get_matrix(), atol=1e-5)


def test_the_command_drives_in_carla_and_leaves_it_as_it_was(
    world: pretended_carla.World, pipe: DrivingPipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def dwm(*arguments: object) -> int:
        return outcome(lambda: app(args=list(map(str, arguments)), prog_name="dwm", standalone_mode=False))

    pipe.save_pretrained(tmp_path / "weights")
    asked = ["--weights", tmp_path / "weights", "--carla", "localhost:2000"]
    assert dwm("drive", *asked, "--prompt", "night", "--frames", 5, "-o", tmp_path / "out", "--json") == 0
    assert json.loads(capsys.readouterr().out)["travelled"] > 0
    assert not world.actors and not world.settings.synchronous_mode
    dataset = open_dataset(str(tmp_path / "out" / "scenes.zip"))
    clip = dataset["drive-000-real"].clip(0, 3, 4.0)
    assert clip.pictures.load(0, 0)[0, 0].tolist() == pytest.approx([200, 0, 10], abs=4)
    assert set(clip.map.layers) == {"lane", "drivable_area", "ped_crossing"} and len(clip.boxes[0][0]) == 3
    assert dwm("drive", *asked, "--town", 3, "--frames", 2) == 1
    assert "--carla is a world of its own; leave out --town" in capsys.readouterr().err
    assert not world.actors, "a run that cannot be leaves nothing behind"


def test_without_the_client_there_is_an_install_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "carla", None)
    arguments = ["drive", "--carla", "localhost:2000", "--frames", "2"]
    assert outcome(lambda: app(args=arguments, prog_name="dwm", standalone_mode=False)) == 1
    assert "pip install 'dwm[carla]'" in capsys.readouterr().err
