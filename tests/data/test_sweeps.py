"""Clips of a LiDAR as batches: what is kept of a sweep, in whose frame, how ragged clouds travel, what is refused."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from dwm.clip import Boxes, Clip, LidarTrack, Rig
from dwm.data import merge
from dwm.data.birdseye import BirdseyeOptions
from dwm.data.sweeps import SweepPreparation, prepare_sweeps
from dwm.errors import DwmError

MOUNTED = np.array([[0.0, -1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]])
POINTS = np.array([[1.0, 0, 0], [5, 0, 0], [0, 9, 0], [80, 0, 0], [np.nan, 3, 3], [3, np.inf, 3]])
SMALL = BirdseyeOptions(size=(32, 32), pixels_per_metre=1, left_is_up=False)
PLAIN = SweepPreparation(birdseye=SMALL)


def sweep(points: np.ndarray) -> np.ndarray:
    return np.pad(points, ((0, 0), (0, 2))).astype(np.float32)


def clip(*clouds: np.ndarray, metres: float = 1.0) -> Clip:
    t = len(clouds)
    poses = np.tile(np.eye(4), (t, 1, 1))
    poses[:, 0, 3] = 3000 + metres * np.arange(t)
    box = Boxes(np.array([[3006.0, 0, 0]]), np.array([[4.0, 2, 2]]), np.eye(3)[None], ("vehicle.car",), ("a",))
    track = LidarTrack(100_000 * np.arange(t) + 7, poses, MOUNTED, list(clouds), (box,) * t)  # type: ignore[arg-type]
    rig = Rig((), np.zeros((0, 3, 3)), np.zeros((0, 4, 4)), np.zeros((0, 2), int))
    return Clip("scene", 10.0, rig, np.zeros((t, 0)), np.zeros((t, 0, 4, 4)), lidar=track)


def test_points_by_distance_are_brought_to_the_vehicles_frame():
    batch = prepare_sweeps(clip(sweep(POINTS), sweep(POINTS[:0])), PLAIN)
    assert batch.shape == (1, 2, 0) and batch.lidar is not None and batch.lidar.shape == (1, 2)
    ((first, empty),) = batch.lidar.points
    # Those nearer than 2.4 m, further than 72 m, or not finite are left out; the LiDAR looks to the left.
    torch.testing.assert_close(first, torch.tensor([[1.0, 5, 2], [-8, 0, 2]]))
    assert empty.shape == (0, 3) and batch.lidar.present.tolist() == [[True, False]]
    assert batch.lidar.times.tolist() == [[0, 100]]
    assert batch.lidar.world_from_ego[0, :, 0, 3].tolist() == [3000, 3001]


def test_the_box_lies_where_the_vehicle_sees_it_frame_by_frame():
    batch = prepare_sweeps(clip(sweep(POINTS), sweep(POINTS)), PLAIN)
    assert batch.lidar is not None and batch.lidar.layout_map is not None and not batch.lidar.layout_map.any()
    boxes = batch.lidar.layout_boxes
    assert boxes is not None and boxes.shape == (1, 2, 3, 32, 32) and boxes.dtype == torch.uint8
    columns = [frame.amax((0, 1)).nonzero().float().mean() for frame in boxes[0]]
    assert columns[0] - columns[1] == 1 and columns[0] == 16 + 6
    assert batch.to("cpu").lidar.layout_boxes.max() == 1  # type: ignore[union-attr]


def test_ragged_clouds_travel_and_are_put_side_by_side():
    one, other = (prepare_sweeps(clip(sweep(POINTS[:n])), PLAIN) for n in (2, 3))
    both = pickle.loads(pickle.dumps(merge([one, other])))
    assert [len(sweeps[0]) for sweeps in both.lidar.points] == [1, 2] and both.scenes == ("scene",) * 2
    assert len(both.frames_from(0, 1).lidar.points[1]) == 1
    told = merge([one, replace(other, lidar=replace(other.lidar, layout_boxes=None))])
    assert told.lidar is not None and not told.lidar.layout_boxes[1].any()


def test_of_a_million_points_a_few_are_drawn_as_the_generator_says():
    points = np.random.default_rng(0).uniform(-40, 40, (1_000_000, 3))
    many = clip(sweep(points))
    drawn = [
        prepare_sweeps(many, replace(PLAIN, most=500), torch.Generator().manual_seed(seed)).lidar.points[0][0]
        for seed in (1, 1, 2)
    ]
    assert [len(part) for part in drawn] == [500] * 3
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_what_is_wrong_with_a_clip_is_said_in_a_line():
    good = clip(sweep(POINTS), sweep(POINTS))
    with pytest.raises(DwmError, match="scene: has no LiDAR"):
        prepare_sweeps(replace(good, lidar=None), PLAIN)
    poses = good.lidar.world_from_ego.copy()
    poses[1, 0, 3] = np.nan
    with pytest.raises(DwmError, match="a pose of the vehicle or of its LiDAR is no number"):
        prepare_sweeps(replace(good, lidar=replace(good.lidar, world_from_ego=poses)), PLAIN)
    with pytest.warns(UserWarning, match="pose jumps 500 m between sweeps 0 and 1"):
        prepare_sweeps(clip(sweep(POINTS), sweep(POINTS), metres=500), PLAIN)
