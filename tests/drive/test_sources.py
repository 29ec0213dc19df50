"""What a source of steering is: a clock that its consumer drives, a car, traffic around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dwm.clip import LaneMap
from dwm.drive import Action, Source, replay_source
from dwm.drive.bicycle import Bicycle, touched
from dwm.drive.source import clip_of
from dwm.drive.sources.replay import ReplaySource
from dwm.drive.sources.town import TownSource, town_source
from dwm.errors import DwmError
from dwm.town import town_scene

AUTOPILOT, GAS = Action(autopilot=True), Action(throttle=1.0)


def town() -> TownSource:
    return town_source(seed=7, scene=1)


def replay() -> ReplaySource:
    return ReplaySource(town_scene(7, 1), fps=4.0)


def drive(source: Source, *actions: Action) -> list:
    return [source.step(action) for action in actions]


@pytest.mark.parametrize("make", [town, replay])
def test_same_actions_give_the_same_moments(make: Callable[[], Source]) -> None:
    actions = [AUTOPILOT] * 12 + [Action(throttle=0.5, steer=0.3)] * 8 + [Action(brake=1.0)] * 4
    source = make()
    source.reset(3)
    first = drive(source, *actions)
    source.change(time="night", weather="rain")
    source.reset(3)
    again = drive(source, *actions)
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.world_from_ego, other.world_from_ego)
        assert one.boxes is not None and other.boxes is not None
        assert np.array_equal(one.boxes.center, other.boxes.center)
        assert one.caption == other.caption


@pytest.mark.parametrize("make", [town, replay])
def test_a_source_is_what_the_session_asks_for(make: Callable[[], Source]) -> None:
    source = make()
    assert isinstance(source, Source)
    clip = clip_of([source.reset(0), *drive(source, AUTOPILOT, AUTOPILOT)], source)
    assert clip.times.shape == (3, 6) and clip.fps == 4.0
    assert np.all(np.diff(clip.times[:, 0]) == 250_000)
    picture = source.picture("CAM_FRONT", (64, 36))
    assert picture is not None and picture.shape == (36, 64, 3)


@pytest.mark.slow
def test_the_town_goes_on_without_an_end_and_its_autopilot_harms_nobody() -> None:
    source = town()
    before, moments = source.reset(0).world_from_ego, drive(source, *[AUTOPILOT] * 520)
    notes = [note for moment in moments for note in moment.notes]
    assert [note for note in notes if note.startswith("the next street")], notes
    assert not [note for note in notes if note.startswith(("crash", "off"))], notes
    assert moments[-1].travelled > 300
    for moment in moments:  # the world is one piece where a street follows a street
        assert np.linalg.norm(moment.world_from_ego[:2, 3] - before[:2, 3]) < 4.2
        before = moment.world_from_ego


@pytest.mark.slow
def test_the_towns_autopilot_turns_at_a_junction() -> None:
    source = town_source(seed=7, scene=0)
    assert source.traffic.route.turn == "right"
    start, moments = source.reset(0), drive(source, *[AUTOPILOT] * 180)
    turned = float((start.world_from_ego[:3, :3].T @ moments[-1].world_from_ego[:3, :3])[0, 0])
    assert abs(turned) < 0.2
    assert not any(moment.crash or moment.off_road for moment in moments)


def test_the_towns_traffic_brakes_for_a_car_that_stands_in_its_way() -> None:
    source = town()
    source.reset(0)
    moments = drive(source, *[AUTOPILOT] * 8, *[Action(brake=1.0)] * 120)
    assert moments[-1].speed == 0.0
    assert moments[-1].travelled - moments[12].travelled < 12
    assert not any(moment.crash for moment in moments)
    car = Bicycle.at(moments[-1].world_from_ego)
    for moment in moments[12:]:
        assert moment.boxes is not None
        assert not touched(car.footprint, moment.boxes.select(moment.boxes.named("vehicle")))


def test_a_vehicle_that_sets_out_anew_is_another_one() -> None:
    source = town()
    moments = [source.reset(0), *drive(source, *[Action(brake=1.0)] * 200)]
    last: dict[str, tuple[float, np.ndarray]] = {}
    for moment in moments:
        assert moment.boxes is not None
        for name, center in zip(moment.boxes.instance, moment.boxes.center, strict=True):
            if name in last:
                seconds = moment.time - last[name][0]
                assert np.linalg.norm(center - last[name][1]) < 1.0 + 20 * seconds, name
            last[name] = (moment.time, center)
    assert any(mover.trip for mover in source.traffic.movers), "some came to the end of their street"


def test_a_crash_is_noticed_stops_the_car_and_lets_it_drive_away() -> None:
    source = town()
    source.reset(0)
    moments = drive(source, *[Action(throttle=1.0, steer=0.5)] * 80)
    crashes = [moment for moment in moments if moment.crash]
    assert crashes and crashes[0].speed == 0.0
    assert any(note.startswith("crash: ") for note in crashes[0].notes)
    assert any("off the road" in moment.notes for moment in moments)
    back = drive(source, *[Action(throttle=1.0, reverse=True)] * 8)
    assert back[-1].travelled - moments[-1].travelled > 1.0


def test_words_change_at_any_frame_and_only_known_ones() -> None:
    source = town()
    source.reset(0)
    source.change(time="day", weather="clear")
    day = source.picture("CAM_FRONT", (64, 36))
    source.change(time="night", weather="clear")
    moment = source.step(Action())
    assert (moment.caption.time, moment.caption.weather) == ("night", "clear")
    night = source.picture("CAM_FRONT", (64, 36))
    assert day is not None and night is not None and night.mean() < 0.6 * day.mean()
    with pytest.raises(DwmError, match="not a word of the town"):
        source.change(weather="hail")


def test_a_replay_on_its_autopilot_is_the_recorded_drive() -> None:
    source = replay()
    source.reset(0)
    recorded = source.clip.world_from_ego[:, 0]
    for frame, moment in enumerate(drive(source, *[AUTOPILOT] * 20), 1):
        assert np.allclose(moment.world_from_ego, recorded[frame], atol=1e-9)
        assert moment.boxes is source.clip.boxes[frame][0]


def test_a_replay_is_driven_otherwise_while_the_others_keep_their_tracks() -> None:
    source = replay()
    source.reset(0)
    moments = drive(source, *[Action(brake=1.0)] * 40)
    recorded = source.clip.world_from_ego[40, 0]
    assert np.linalg.norm(moments[-1].world_from_ego[:2, 3] - recorded[:2, 3]) > 10
    assert np.array_equal(moments[-1].boxes.center, source.clip.boxes[40][0].center)
    with pytest.raises(DwmError, match="ends after"):
        drive(source, *[Action(brake=1.0)] * 1000)


def test_of_a_map_without_whole_roads_nobody_knows_where_the_road_is() -> None:
    source = replay()
    assert source.road
    drive(source, *[Action(throttle=1.0, steer=0.7)] * 40)
    assert source.off_road
    edges = tuple(area.exterior for area in source.clip.map.layers["drivable_area"])
    lines = replace(source.clip, map=LaneMap({"drivable_area": edges}))
    scene = town_scene(7, 1)
    object.__setattr__(scene, "clip", lambda *_: lines)
    try:
        source = ReplaySource(scene)
    finally:
        object.__delattr__(scene, "clip")
    assert not any(moment.off_road for moment in drive(source, *[Action(throttle=1.0, steer=0.7)] * 40))


@pytest.mark.parametrize("name", ["waymo", "nuscenes_more/sequence_scene-0916"])
def test_genuine_recordings_are_driven(name: str, shared: Path) -> None:
    source = replay_source(str(shared / "data" / name))
    source.reset(0)
    ticks = min(source.clip.length - 1, 12)
    moments = drive(source, *[AUTOPILOT] * ticks)
    assert moments[-1].boxes is not None and len(moments[-1].boxes) > 0
    assert not any(moment.off_road for moment in moments)
    assert np.allclose(moments[-1].world_from_ego, source.clip.world_from_ego[ticks, 0], atol=1e-6)
    source.reset(0)
    stood = drive(source, *[Action(brake=1.0)] * ticks)
    assert stood[-1].speed < max(0.1, moments[-1].speed)


def test_the_replayed_car_stays_on_the_recorded_ground() -> None:
    source = replay()
    slope = np.eye(4)
    slope[:3, :3] = [[0.96, 0, 0.28], [0, 1, 0], [-0.28, 0, 0.96]]
    source.recorded = slope @ source.recorded
    source.reset(0)
    pose = drive(source, *[Action(throttle=0.5, steer=0.2)] * 6)[-1].world_from_ego
    height = -0.28 / 0.96 * pose[0, 3]
    assert abs(pose[2, 3] - height) < 0.3
    assert np.allclose(pose[:3, 2], slope[:3, 2], atol=1e-9)


@pytest.mark.parametrize(
    "values", [{"throttle": 2.0}, {"brake": -0.1}, {"steer": float("nan")}, {"steer": "left"}, {"reverse": 1}]
)
def test_an_impossible_action_is_refused(values: dict, unchecked_types: None) -> None:
    with pytest.raises(DwmError, match=f"action: {next(iter(values))}"):
        Action(**values)


def test_a_full_lock_is_a_circle() -> None:
    car, way = Bicycle(0.0, 0.0, 0.0, 3.0, -0.6), []
    for _ in range(400):
        car = car.moved(0.06 * 3.0, -0.6, 0.05)
        way.append((car.x, car.y))
    points = np.array(way)
    middle = (points.max(0) + points.min(0)) / 2
    radii = np.linalg.norm(points - middle, axis=1)
    assert radii.std() < 0.02 * radii.mean()
    assert np.isclose(radii.mean(), 2.7 / np.tan(0.6), rtol=0.03)
    assert middle[1] < 0, "to the right"
