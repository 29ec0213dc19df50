"""The town's pictures: things stand where their boxes are, the camera's matrix is honoured, words are seen."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from dwm.geometry import apply, box_corners, inverse, project, transform
from dwm.town import TownOptions, TownScene, town_scene
from dwm.town.drawing.mesh import MeshBuilder, Part
from dwm.town.drawing.renderer import SceneGraph
from dwm.town.world.cameras import FORWARD

SIZE = (400, 225)
CLEAR = TownOptions(times=("day",), weathers=("clear",), traffic=("normal",), duration=8.0)


def projected(scene: TownScene, time_s: float, view: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n 8 2) and depths (n 8) of the corners of the annotated boxes, in a picture of `SIZE`."""
    boxes, number = scene.boxes(time_s), scene.rig.index(view)
    camera = inverse(scene.world_from_ego(time_s) @ scene.rig.ego_from_camera[number])
    corners = apply(camera, box_corners(boxes.center, boxes.size, boxes.rotation).reshape(-1, 3)).reshape(-1, 8, 3)
    scale = np.array([SIZE[0] / 1600, SIZE[1] / 900, 1.0])
    return project(scene.rig.intrinsics[number] * scale[:, None], corners)


@pytest.mark.parametrize("view", ["CAM_FRONT", "CAM_BACK", "CAM_FRONT_LEFT"])
def test_things_are_drawn_within_their_boxes_and_fill_them(view: str) -> None:
    """What changes when a thing is left out lies in its projected box; where nothing hides it, it fills the box."""
    filled = []
    for index in range(2):
        scene, time_s = town_scene(9, index, CLEAR), 3.0
        whole = scene.picture(time_s, view, SIZE).astype(int)
        pixels, depth = projected(scene, time_s, view)
        for i, name in enumerate(scene.boxes(time_s).instance):
            if depth[i].min() < 1.0:
                continue
            low, high = pixels[i].min(0), pixels[i].max(0)
            if low[0] < 0 or low[1] < 0 or high[0] > SIZE[0] or high[1] > SIZE[1] or (high - low).min() < 5:
                continue
            rows, columns = np.nonzero(np.abs(scene.picture(time_s, view, SIZE, hidden=(name,)) - whole).max(-1) > 8)
            if len(rows) == 0:
                continue
            assert columns.min() > low[0] - 2 and columns.max() < high[0] + 2, name
            assert rows.min() > low[1] - 2 and rows.max() < high[1] + 2, name
            drawn = np.array([columns.max() - columns.min() + 1, rows.max() - rows.min() + 1])
            filled.append((drawn / (high - low)).min())
    assert len(filled) >= 3 and np.median(filled) > 0.85


def test_the_principal_point_and_both_focal_lengths_are_honoured() -> None:
    builder = MeshBuilder()
    builder.box((19.9, 1.9, 2.9), (20.1, 2.1, 3.1), (1.0, 1.0, 1.0), glow=True)
    ground, sky = MeshBuilder(), MeshBuilder()
    sky.box((-400, -400, -400), (400, 400, 400), (0.0, 0.0, 0.0))
    ground.face([(-1, -1, 0), (1, -1, 0), (1, 1, 0)], (0.0, 0.0, 0.0))
    graph = SceneGraph([Part(ground.mesh(), ground=True), Part(builder.mesh())], {}, {}, sky.mesh(), [], None, False)
    camera = transform(FORWARD, np.array([1.0, 0.2, 1.5]))
    intrinsics = np.array([[500.0, 0, 130.0], [0, 420.0, 150.0], [0, 0, 1]])
    rows, columns = np.nonzero(graph.draw(SIZE, intrinsics, camera)[..., 0] > 128)
    (x, y), _ = project(intrinsics, apply(inverse(camera), np.array([[20.0, 2.0, 3.0]]))[0])
    assert abs(columns.mean() + 0.5 - x) < 0.6 and abs(rows.mean() + 0.5 - y) < 0.6


def test_pictures_repeat_and_travel() -> None:
    clip = town_scene(9, 0, CLEAR).clip(2.0, 2, 4)
    first = clip.pictures.load(1, 4, (160, 96))
    clip.pictures.load(0, 2, (160, 96))
    assert first.shape == (96, 160, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(clip.pictures.load(1, 4, (160, 96)), first)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clip.pictures)).load(1, 4, (160, 96)), first)


def test_a_forked_child_draws_the_same_picture() -> None:
    clip = town_scene(9, 0, CLEAR).clip(2.0, 1, 4)
    picture = clip.pictures.load(0, 1, (160, 96))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, bytes([int(np.array_equal(clip.pictures.load(0, 1, (160, 96)), picture))]))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 1) == b"\x01"


def test_small_pictures_are_the_large_one_averaged() -> None:
    """Written at 1600×900 and read back small, a picture is what training saw."""
    scene = town_scene(9, 0, CLEAR)
    large = scene.picture(2.0, "CAM_FRONT", (1600, 960)).astype(float).reshape(96, 10, 160, 10, 3).mean((1, 3))
    assert np.abs(large - scene.picture(2.0, "CAM_FRONT", (160, 96))).mean() < 4.0


def brightness(**words: tuple[str, ...]) -> float:
    scene = town_scene(9, 1, TownOptions(duration=4.0, traffic=("quiet",), **words))
    return float(scene.picture(1.0, "CAM_FRONT", (160, 96)).mean())


def test_night_is_dark_and_fog_hides_what_is_far() -> None:
    day, night = (brightness(times=(time,), weathers=("clear",)) for time in ("day", "night"))
    assert night < 0.5 * day
    rows = slice(30, 60)
    contrast = [
        town_scene(9, 1, TownOptions(duration=4.0, times=("day",), weathers=(weather,)))
        .picture(1.0, "CAM_FRONT", (160, 96))[rows]
        .std()
        for weather in ("clear", "fog")
    ]
    assert contrast[1] < 0.7 * contrast[0]
