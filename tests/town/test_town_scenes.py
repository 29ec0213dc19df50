"""The town's scenes: repeatable, plausible traffic, a car that stays on the road, captions within their vocabulary."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from shapely import STRtree, affinity, box
from shapely.geometry import Polygon

from dwm.clip import CAPTION_KEYS, NUSCENES_VIEWS
from dwm.errors import DwmError
from dwm.town import TownOptions, TownScene, caption_words, recaption, town_scene
from dwm.town.scene import REAR_AXLE
from dwm.town.world.captions import SYNONYMS
from dwm.town.world.population import EGO

SCENES = range(6)
ELEVEN = (
    "vehicle.car",
    "vehicle.bus",
    "vehicle.truck",
    "vehicle.construction",
    "vehicle.emergency",
    "vehicle.trailer",
    "vehicle.bicycle",
    "vehicle.motorcycle",
    "human.pedestrian",
    "movable_object.barrier",
    "movable_object.trafficcone",
)


def outline(length: float, width: float, at: np.ndarray, yaw: float) -> Polygon:
    flat = affinity.rotate(box(-length / 2, -width / 2, length / 2, width / 2), yaw, (0, 0), use_radians=True)
    return affinity.translate(flat, *at)


def ego_outline(scene: TownScene, time_s: float) -> Polygon:
    pose = scene.local_from_ego(time_s)
    middle = pose[:2, 3] + REAR_AXLE * pose[:2, 0]
    return outline(*EGO.size[:2], middle, float(np.arctan2(pose[1, 0], pose[0, 0])))


def test_same_seed_and_index_give_the_same_scene() -> None:
    first = town_scene(5, 3).clip(1.0, 3, 4)
    town_scene.cache_clear()
    again = town_scene(5, 3).clip(1.0, 3, 4)
    assert again.captions == first.captions and again.boxes[2][0].instance == first.boxes[2][0].instance
    np.testing.assert_array_equal(again.boxes[2][0].center, first.boxes[2][0].center)
    np.testing.assert_array_equal(again.world_from_ego, first.world_from_ego)
    np.testing.assert_array_equal(again.rig.intrinsics, first.rig.intrinsics)
    other = town_scene(5, 4).clip(1.0, 3, 4)
    assert not np.allclose(other.world_from_ego[0, 0, :2, :2], first.world_from_ego[0, 0, :2, :2])


def test_a_scene_travels_to_another_process_as_three_numbers() -> None:
    scene = town_scene(5, 3, TownOptions(duration=8.0))
    assert len(pickle.dumps(scene)) < 2000
    assert pickle.loads(pickle.dumps(scene)).plain_caption == scene.plain_caption


def test_nobody_overlaps() -> None:
    for index in SCENES:
        scene = town_scene(6, index)
        for time_s in np.linspace(0.0, scene.seconds, 6):
            things = scene.things(float(time_s))
            shapes = [outline(*thing.kind.size[:2], thing.position[:2], thing.yaw) for thing in things]
            shapes.append(ego_outline(scene, float(time_s)))
            names = [thing.instance for thing in things] + ["ego"]
            for a, b in STRtree(shapes).query(shapes, predicate="intersects").T:
                touching = shapes[a].intersection(shapes[b]).area
                assert a == b or touching < 0.01, f"{scene.name} {time_s:.1f} s: {names[a]} and {names[b]}"


def test_the_car_stays_on_the_road_and_moves_smoothly() -> None:
    distances = []
    for index in SCENES:
        scene = town_scene(6, index)
        times = np.arange(0.0, scene.seconds, 0.1)
        poses = np.stack([scene.world_from_ego(t) for t in times])
        speed = np.linalg.norm(np.diff(poses[:, :2, 3], axis=0), axis=1) / 0.1
        yaw = np.unwrap(np.arctan2(poses[:, 1, 0], poses[:, 0, 0]))
        assert speed.max() < 11.0 and np.abs(np.diff(speed)).max() / 0.1 < 10.0
        assert np.abs(np.diff(yaw)).max() / 0.1 < 1.5
        assert np.all(poses[:, 2, 3] == 0)
        road = scene.streets.road.buffer(0.05)
        assert all(road.contains(ego_outline(scene, float(t))) for t in times[::10])
        distances.append(speed.sum() * 0.1)
    assert np.median(distances) > 30.0


def test_all_eleven_categories_occur() -> None:
    found = {
        name for index in range(16) for name in town_scene(7, index, TownOptions(duration=4.0)).boxes(3.0).category
    }
    missing = [prefix for prefix in ELEVEN if not any(name.startswith(prefix) for name in found)]
    assert not missing


def test_boxes_follow_things_in_the_world() -> None:
    scene = town_scene(6, 1)
    early, late = scene.boxes(4.0), scene.boxes(4.5)
    steps = [
        np.linalg.norm(late.center[late.instance.index(name)] - early.center[i])
        for i, name in enumerate(early.instance)
        if name in late.instance
    ]
    assert len(steps) > 3 and max(steps) < 6.0
    np.testing.assert_allclose(early.center[:, 2], early.size[:, 2] / 2)
    np.testing.assert_allclose(
        early.rotation @ np.swapaxes(early.rotation, 1, 2), np.tile(np.eye(3), (len(early), 1, 1)), atol=1e-9
    )


def test_the_map_holds_the_three_layers_and_contains_the_lanes() -> None:
    for index in SCENES:
        scene = town_scene(6, index)
        road = scene.map.layers["drivable_area"][0].buffer(0.01)
        assert all(road.contains(lane) for lane in scene.map.layers["lane"])
        assert all(road.contains(crossing) for crossing in scene.map.layers["ped_crossing"])
        assert {connector.turn for connector in scene.streets.connectors} <= {"left", "right", "straight"}


def test_captions_are_short_and_within_the_vocabulary() -> None:
    words = set(caption_words())
    for index in range(24):
        caption = town_scene(8, index, TownOptions(duration=2.0)).caption(0.0)
        said = caption.text().replace(".", "").split()
        assert len(said) <= 14 and set(said) <= words
        assert all(getattr(caption, key) for key in CAPTION_KEYS)


def test_recaption_changes_only_what_is_asked() -> None:
    caption = town_scene(8, 0).caption(0.0)
    night = recaption(caption, time="night", weather="rain")
    assert night.time == SYNONYMS["time"]["night"][0] and night.weather == SYNONYMS["weather"]["rain"][0]
    assert night.environment == caption.environment
    with pytest.raises(DwmError, match="nearest: night"):
        recaption(caption, time="nigth")


def test_a_clip_outside_the_scene_is_refused() -> None:
    with pytest.raises(DwmError, match="outside the scene"):
        town_scene(5, 3).clip(19.5, 8, 4)


def test_options_narrow_the_style() -> None:
    options = TownOptions(times=("night",), weathers=("fog",), junction_share=0.0, synonyms=False)
    for index in range(3):
        caption = town_scene(1, index, options).caption(0.0)
        assert (caption.time, caption.weather, caption.image_description) == ("night", "fog", "street")
    with pytest.raises(ValueError, match="noon"):
        TownOptions(times=("noon",))


def test_views_are_those_of_nuscenes() -> None:
    clip = town_scene(5, 3).clip(0.0, 2, 4, ("CAM_BACK", "CAM_FRONT"))
    assert clip.views == ("CAM_BACK", "CAM_FRONT") and clip.times.shape == (2, 2)
    assert town_scene(5, 3).rig.names == NUSCENES_VIEWS
