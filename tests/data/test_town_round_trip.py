"""The town written as nuScenes and read again is the town: what weights saw in training is what a reader gives."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dwm.clip import NUSCENES_VIEWS
from dwm.data import LayoutOptions, ReadOptions, Window, draw_boxes, draw_map, open_dataset
from dwm.town import town_scene, write_nuscenes
from dwm.town.nuscenes.scene import START_US
from dwm.town.nuscenes.writer import NuScenesOptions

SEED, SIZE = 5, (160, 96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("town") / "set"
    return write_nuscenes(folder, 1, SEED, options=NuScenesOptions(seconds=0.5, size=SIZE, lidar_hz=10), workers=1)


def truth(folder, scene, window, read):
    """The town's own clip at the instants of the one read: each camera at its own time, boxes at its sample's."""
    town = town_scene(SEED, 0)
    stamps = [row["timestamp"] for row in json.loads((folder / "interp_12Hz_trainval" / "sample.json").read_text())]
    seconds = lambda us: (us - stamps[0] + START_US) / 1e6  # noqa: E731
    samples = scene.tables.columns.sample[window.rows[:, 1:]]
    poses = np.stack([np.stack([town.world_from_ego(seconds(t)) for t in row]) for row in read.times])
    boxes = tuple(tuple(town.boxes(seconds(stamps[sample])) for sample in row) for row in samples)
    return replace(town.clip(0.0, read.length, 4), world_from_ego=poses, boxes=boxes)


@pytest.mark.slow
@pytest.mark.parametrize("draw", [draw_boxes, draw_map])
def test_every_frame_of_a_written_town_draws_as_the_town_does(folder, draw):
    scene = open_dataset(folder, "interp_12Hz_trainval").scenes[0]
    window = scene.windows(2, 4, 0.1)[0]
    read = scene.window(window)
    town, drawn = truth(folder, scene, window, read), 0
    for frame in range(2):
        for view in range(len(NUSCENES_VIEWS)):
            one, other = (draw(clip, frame, view, SIZE).astype(float) for clip in (read, town))
            drawn += (one > 0).any()
            # The tables hold rounded numbers: a line may fall on the next third of a pixel, no more.
            assert np.mean((one - other) ** 2) < 255**2 * 10**-2.7
    assert drawn > 6


@pytest.mark.slow
def test_the_written_town_has_its_words_and_boxes_on_each_frame_or_on_key_frames(folder):
    options = ReadOptions(boxes_between=False)
    dense, sparse = (open_dataset(folder, v, options=options).scenes[0] for v in ("interp_12Hz_trainval", "v1.0-mini"))
    words = town_scene(SEED, 0).caption(0.1, "CAM_FRONT").text()
    for scene, annotated in ((dense, 7), (sparse, 2)):
        clip = scene.window(Window(0, 12, (view := "CAM_FRONT",), scene.rows_of[view][:7, None]))
        assert sum(boxes is not None for (boxes,) in clip.boxes) == annotated
        assert clip.captions[0][0].text() == words and clip.map is not None
        assert clip.pictures.load(3, 0, SIZE).std() > 5


@pytest.mark.slow
def test_a_set_stored_small_is_drawn_with_the_look_of_a_large_one(folder):
    read = open_dataset(folder).scenes[0].clip(frames=1, fps=4)
    large = replace(read, rig=town_scene(SEED, 0).rig)
    for view in range(len(NUSCENES_VIEWS)):
        one, other = (draw_boxes(clip, 0, view, SIZE, LayoutOptions()).astype(float) for clip in (read, large))
        assert np.mean((one - other) ** 2) < 255**2 * 10**-2.7
