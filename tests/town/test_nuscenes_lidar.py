"""The LiDAR: where rays end, which points boxes hold, what hides what."""

import numpy as np
import pytest

from dwm.clip import Boxes
from dwm.geometry import apply, inverse, rotation_z, transform
from dwm.town.drawing.lidar import AZIMUTHS, BEAMS, EGO_FROM_LIDAR, ELEVATION, RANGE_NOISE, Solids, scan
from dwm.town.drawing.lidar_solids import hulls
from dwm.town.nuscenes.boxes import count_points, hidden


def solids(*rows: tuple) -> Solids:
    """Boxes from (centre, size, yaw, round)."""
    center, size, yaw, round_ = zip(*rows, strict=True)
    n = len(rows)
    return Solids(
        np.array(center, float),
        np.array(size, float),
        rotation_z(np.array(yaw, float)),
        np.full(n, 0.5),
        np.array(round_),
        np.arange(n),
    )


def world_from_lidar(x: float = 0.0, y: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    return transform(rotation_z(yaw), np.array([x, y, 0.0])) @ EGO_FROM_LIDAR


FAR_AWAY = ((500.0, 0, 1), (1, 1, 1), 0.0, False)


def test_bare_ground_is_met_by_every_beam_that_looks_down_far_enough():
    points = scan(solids(FAR_AWAY), world_from_lidar(3, 4, 0.7), np.random.default_rng(0))
    assert points.dtype == np.float32 and points.shape[1] == 5
    world = apply(world_from_lidar(3, 4, 0.7), points[:, :3].astype(float))
    assert np.abs(world[:, 2]).max() < 5 * RANGE_NOISE
    reach = 1.84023 / np.sin(-ELEVATION[ELEVATION < 0])
    assert len(points) == pytest.approx((reach < 90).sum() * AZIMUTHS, rel=0.01)
    elevation = np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1]))
    assert np.allclose(elevation, ELEVATION[points[:, 4].astype(int)], atol=1e-4)
    assert points[:, 3].min() >= 0 and points[:, 3].max() <= 255
    assert points[:, 4].max() < BEAMS


@pytest.mark.parametrize("yaw", [0.0, 0.4, 2.0, -2.9])
@pytest.mark.parametrize("bearing", [0.0, 1.5, 3.1, -2.0])
def test_a_box_is_hit_on_its_faces_and_hides_what_is_behind(yaw, bearing):
    center = np.array([12 * np.cos(bearing), 12 * np.sin(bearing), 1.0])
    sensor = world_from_lidar(yaw=0.3)
    points = scan(solids((center, (4.0, 2.0, 2.0), yaw, False)), sensor, np.random.default_rng(1))
    world = apply(sensor, points[:, :3].astype(float))
    local = (world - center) @ rotation_z(yaw)
    inside = (np.abs(local) < np.array([2.0, 1, 1]) + 0.05).all(1) & (world[:, 2] > 0.1)
    assert inside.sum() > 200
    to_face = np.abs(np.abs(local[inside]) - np.array([2.0, 1, 1])).min(1)
    assert to_face.max() < 5 * RANGE_NOISE
    away = world[:, :2] - sensor[:2, 3]
    behind = (away @ (center[:2] / 12) > 14.5) & (np.abs(away @ np.array([-center[1], center[0]]) / 12) < 0.5)
    assert not (behind & (world[:, 2] < 0.1) & (np.linalg.norm(away, axis=1) < 18)).any()


def test_a_ball_is_hit_on_its_surface():
    center = np.array([0.0, 9.0, 2.5])
    sensor = world_from_lidar()
    points = scan(solids((center, (3.0, 3.0, 3.0), 0.0, True)), sensor, np.random.default_rng(2))
    world = apply(sensor, points[:, :3].astype(float))
    high = world[world[:, 2] > 0.2]
    assert len(high) > 100
    assert np.abs(np.linalg.norm(high - center, axis=1) - 1.5).max() < 6 * RANGE_NOISE


def test_the_sweep_does_not_depend_on_where_the_world_lies():
    near = scan(solids(((10.0, 3, 1), (4, 2, 2), 0.5, False)), world_from_lidar(), np.random.default_rng(3))
    there = scan(
        solids(((1010.0, 503, 1), (4, 2, 2), 0.5, False)), world_from_lidar(1000, 500), np.random.default_rng(3)
    )
    assert np.allclose(near, there, atol=1e-3)


def test_points_are_counted_in_the_box_that_holds_them():
    boxes = Boxes(
        np.array([[10.0, 0, 0.8], [-10.0, 2, 0.9]]),
        np.array([[4.5, 1.9, 1.6], [0.6, 0.6, 1.8]]),
        rotation_z(np.array([0.3, 0.0])),
        ("vehicle.car", "human.pedestrian.adult"),
        ("a", "b"),
    )
    sensor = world_from_lidar()
    points = scan(hulls(boxes), sensor, np.random.default_rng(4))
    counts = count_points(points, sensor, boxes)
    world = apply(sensor, points[:, :3].astype(float))
    above = [(np.linalg.norm(world[:, :2] - c[:2], axis=1) < 3) & (world[:, 2] > 0.1) for c in boxes.center]
    assert counts[0] > 300 and counts[1] > 20
    for count, mask in zip(counts, above, strict=True):
        assert mask.sum() <= count <= 1.25 * mask.sum()  # the ground's noise reaches a little into a box


def test_hulls_stay_inside_their_boxes():
    from dwm.geometry import box_corners
    from dwm.town.world.kinds import KINDS

    kinds = list(KINDS.values())
    boxes = Boxes(
        np.zeros((len(kinds), 3)),
        np.array([kind.size for kind in kinds]),
        rotation_z(np.full(len(kinds), 0.4)),
        tuple(kind.category for kind in kinds),
        tuple(kind.name for kind in kinds),
    )
    bodies = hulls(boxes)
    assert set(bodies.owner) == set(range(len(kinds)))
    corners = box_corners(bodies.center, bodies.size, bodies.rotation) @ rotation_z(0.4)
    assert (np.abs(corners) <= boxes.size[bodies.owner][:, None] / 2).all()


def test_what_stands_behind_a_wall_is_hidden_and_a_box_does_not_hide_itself():
    wall = solids(((5.0, 0, 1), (1, 4, 2), 0.0, False), ((10.0, 0, 1), (1, 1, 1), 0.0, False))
    points = np.array([[9.5, 0, 1], [9.5, 0, 1], [4.5, 0, 1], [0.0, 5, 1]])
    assert hidden(np.array([0.0, 0, 1]), points, np.array([1, 2, 0, 5]), wall).tolist() == [True, True, False, False]


def test_mounting_looks_like_nuscenes():
    lidar_from_ego = inverse(EGO_FROM_LIDAR)
    ahead = apply(lidar_from_ego, np.array([[10.0, 0, 1.84023]]))[0]
    assert ahead[1] > 9 and abs(ahead[0]) < 1e-9 and abs(ahead[2]) < 1e-9
