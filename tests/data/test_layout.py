"""Layout pictures of made-up clips: what is drawn where, and that the fast way shows what the exact way shows."""

import numpy as np
import pytest
from shapely import Polygon

from dwm.clip import NUSCENES_VIEWS, Boxes, Clip, LaneMap, Rig
from dwm.data import LayoutOptions, collate, draw_boxes, draw_map
from dwm.geometry import rotation_z, transform

EGO_FROM_FORWARD_CAMERA = transform(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([0, 0, 1.5]))
INTRINSICS = np.array([[800.0, 0, 800], [0, 800, 450], [0, 0, 1]])


def boxes_at(*places, category="vehicle.car", yaw=0.0):
    n = len(places)
    return Boxes(
        np.array(places, float),
        np.tile([4.0, 2.0, 1.6], (n, 1)),
        rotation_z(np.full(n, yaw)),
        (category,) * n,
        tuple(map(str, range(n))),
    )


def make_clip(boxes=None, lane_map=None, views=("CAM_FRONT",), frames=1):
    v = len(views)
    rig = Rig(
        tuple(views),
        np.tile(INTRINSICS, (v, 1, 1)),
        np.tile(EGO_FROM_FORWARD_CAMERA, (v, 1, 1)),
        np.tile([1600, 900], (v, 1)),
    )
    return Clip(
        "made-up",
        2.0,
        rig,
        np.arange(frames)[:, None] * 500_000 + np.zeros((1, v), np.int64),
        np.tile(np.eye(4), (frames, v, 1, 1)),
        boxes=None if boxes is None else ((boxes,) * v,) * frames,
        map=lane_map,
    )


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


@pytest.mark.parametrize("mode", ["fast", "exact"])
@pytest.mark.parametrize("size", [(160, 96), (448, 256), (1600, 900)])
def test_a_box_is_drawn_where_it_projects(mode, size):
    picture = draw_boxes(make_clip(boxes_at((20, 5, 0.8))), 0, 0, size, LayoutOptions(mode=mode))
    assert picture.shape == (size[1], size[0], 3) and picture.dtype == np.uint8
    rows, columns = np.nonzero(picture.any(-1))
    # 20 m ahead, 5 m to the left, 2 m wide, 4 m long: y from 4 to 6 m at 18 to 22 m depth.
    assert abs(columns.min() / size[0] - (800 - 800 * 6 / 18) / 1600) < 0.012
    assert abs(columns.max() / size[0] - (800 - 800 * 4 / 22) / 1600) < 0.012
    assert abs(rows.max() / size[1] - (450 + 800 * 1.5 / 18) / 900) < 0.015
    assert not picture[..., :2].any() and picture[..., 2].max() >= 150


def test_fast_shows_what_exact_shows():
    clip = make_clip(boxes_at(*[(x, y, 0.8) for x in (3, 9, 20, 40) for y in (-6, -2, 2.5, 7)], yaw=0.4))
    fast, exact = (draw_boxes(clip, 0, 0, (448, 256), LayoutOptions(mode=mode)) for mode in ("fast", "exact"))
    assert psnr(fast, exact) > 27


def test_what_is_behind_or_unknown_is_not_drawn():
    assert not draw_boxes(make_clip(boxes_at((-20, 0, 0.8))), 0, 0, (160, 96)).any()
    assert not draw_boxes(make_clip(boxes_at((20, 0, 0.8), category="animal")), 0, 0, (160, 96)).any()
    assert not draw_boxes(make_clip(None), 0, 0, (160, 96)).any()
    assert not draw_map(make_clip(None), 0, 0, (160, 96)).any()


def test_heading_is_visible():
    one, other = (draw_boxes(make_clip(boxes_at((12, 0, 0.8), yaw=yaw)), 0, 0, (160, 96)) for yaw in (0, np.pi))
    assert (one != other).any()


def test_thin_lines_stay_visible_when_small():
    picture = draw_boxes(make_clip(boxes_at((8, 0, 0.8), category="vehicle.trailer")), 0, 0, (160, 96))
    assert picture.max() > 220


def test_a_box_around_the_camera_is_cut_at_the_near_plane():
    picture = draw_boxes(make_clip(boxes_at((0.5, 0, 1.0))), 0, 0, (160, 96))
    assert picture.any()


def far_map(copies):
    road = Polygon([(0, -4), (200, -4), (200, 4), (0, 4)])
    elsewhere = [Polygon([(x, 900), (x + 9, 900), (x + 9, 909), (x, 909)]) for x in range(0, 10 * copies, 10)]
    return LaneMap(
        {
            "drivable_area": (road, *elsewhere),
            "lane": (),
            "ped_crossing": (Polygon([(8, -4), (11, -4), (11, 4), (8, 4)]),),
        }
    )


def test_map_edges_are_cut_at_the_far_plane_and_do_not_depend_on_far_things():
    near, far = (draw_map(make_clip(lane_map=far_map(n)), 0, 0, (448, 256)) for n in (0, 500))
    assert (near == far).all() and near.any()
    beyond = draw_map(make_clip(lane_map=far_map(0)), 0, 0, (448, 256), LayoutOptions(map_distance=12))
    assert beyond[..., 2].sum() < near[..., 2].sum()


def test_edges_near_a_place_are_found_complete_and_without_the_rest():
    index = far_map(500).edges["drivable_area"]
    start, _ = index.near(Polygon([(-1, -5), (1, -5), (1, 5), (-1, 5)]))
    assert len(index.start) == 4 + 4 * 500 and len(start) == 4


def test_a_layer_without_colour_is_left_out():
    picture = draw_map(
        make_clip(lane_map=far_map(0)), 0, 0, (160, 96), LayoutOptions(map_colors={"ped_crossing": (255, 0, 0)})
    )
    assert picture[..., 0].any() and not picture[..., 2].any()


def test_collate_gives_tensors_of_all_clips():
    clip = make_clip(boxes_at((20, 5, 0.8)), far_map(0), NUSCENES_VIEWS, frames=2)
    batch = collate([clip, make_clip(None, None, NUSCENES_VIEWS, frames=2)], (160, 96))
    assert batch.shape == (2, 2, 6) and batch.layout_boxes.shape == (2, 2, 6, 3, 96, 160)
    assert batch.layout_boxes[0].max() > 0.5 and batch.layout_boxes[1].max() == 0
    assert batch.times[0, 1, 0] == 500 and batch.crossview_mask.all() and batch.frames is None
