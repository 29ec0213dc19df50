"""Genuine nuScenes key frames and scenes read as OpenDWM's reader did: its recorded numbers, words, windows and pictures."""

import json

import numpy as np
import pytest
from PIL import Image
from recordings import agreement, value

from dwm.clip import NUSCENES_VIEWS
from dwm.data import (
    BirdseyeOptions,
    CaptionOptions,
    ForegroundOptions,
    LayoutOptions,
    ReadOptions,
    collate,
    draw_boxes,
    draw_boxes_birdseye,
    draw_foreground,
    draw_map,
    draw_map_birdseye,
    open_dataset,
)
from dwm.data.captions import words
from dwm.data.options import OPENDWM_BOX_COLORS as NINE

KEYFRAMES = ["nuscenes_keyframe", "nuscenes_more/keyframe_val"]
SEQUENCES = ["nuscenes_keyframe/sequence_scene-0103", "nuscenes_more/sequence_scene-0916"]
EXACT = LayoutOptions(mode="exact")


@pytest.fixture(scope="module")
def recorded(shared):
    opened = {}

    def get(name):
        if name not in opened:
            expected = json.loads((shared / "data" / name / "expected" / "expected.json").read_text())
            options = ReadOptions(key_frames_only=True, exact_pictures=True)
            dataset = open_dataset(shared / "data" / name, split=expected["settings"]["split"], options=options)
            opened[name] = dataset, expected
        return opened[name]

    return get


def one_clip(name, dataset, expected):
    if name in KEYFRAMES:
        (window,) = dataset.windows(1, 0, 1)
        return dataset.clip(window), expected["values"]
    item = expected["item"]
    ((fps, stride),) = item["fps_stride_tuples"]
    return dataset.clip(dataset.windows(item["sequence_length"], fps, stride)[item["index"]]), item


@pytest.mark.parametrize("name", KEYFRAMES + SEQUENCES)
def test_numbers_are_the_recorded_ones_exactly(recorded, name):
    clip, want = one_clip(name, *recorded(name))
    batch = collate([clip], layout=None, pictures=False)
    assert batch.fps[0] == want["fps"]["value"]
    lidar_first = value(want["pts"])
    np.testing.assert_array_equal(batch.times[0].numpy(), lidar_first[:, 1:])
    np.testing.assert_array_equal(batch.intrinsics[0].numpy(), value(want["camera_intrinsics"]))
    np.testing.assert_array_equal(batch.ego_from_camera[0].numpy(), value(want["camera_transforms"]))
    np.testing.assert_array_equal(batch.world_from_ego[0].numpy(), value(want["ego_transforms"])[:, 1:])
    np.testing.assert_array_equal(batch.image_size[0].numpy(), value(want["image_size"]))
    lidar = clip.lidar
    np.testing.assert_array_equal(lidar.world_from_ego.astype(np.float32), value(want["ego_transforms"])[:, 0])
    for frame in value(want["lidar_transforms"])[:, 0]:
        np.testing.assert_array_equal(lidar.ego_from_lidar.astype(np.float32), frame)


@pytest.mark.parametrize("name", KEYFRAMES)
def test_the_key_frame_has_the_recorded_points_description_and_pictures(recorded, shared, name):
    clip, want = one_clip(name, *recorded(name))
    points = clip.lidar.points[0][:, :3]
    assert list(points.shape) == want["lidar_points"]["shape"]
    np.testing.assert_array_equal(points[:3], np.float32(want["lidar_points"]["first_3"]))
    assert clip.description == want["scene_description"]
    for view, camera in enumerate(NUSCENES_VIEWS):
        file = shared / "data" / name / "expected" / f"image_{camera}_448x256.png"
        if file.exists():
            np.testing.assert_array_equal(
                clip.pictures.load(0, view, (448, 256)), np.asarray(Image.open(file).convert("RGB"))
            )


def test_agreement_sees_what_is_moved_or_recoloured():
    one = np.zeros((40, 40, 3), np.uint8)
    one[10:20, 10:20] = (0, 0, 255)
    assert agreement(one, np.roll(one, 1, 0)) == 1 and agreement(one, np.roll(one, 3, 0)) == 0.8
    assert agreement(one, one[..., ::-1]) == 0


def expected_pictures(folder, kind):
    for file in sorted(folder.glob(f"{kind}_*CAM_*.png")):
        camera = "CAM_" + file.stem.split("CAM_")[1]
        if camera in NUSCENES_VIEWS and "default" not in file.stem:
            yield NUSCENES_VIEWS.index(camera), np.asarray(Image.open(file).convert("RGB"))


@pytest.mark.parametrize("kind, draw", [("3dbox", draw_boxes), ("hdmap", draw_map)])
@pytest.mark.parametrize("name", KEYFRAMES + SEQUENCES)
def test_exact_layouts_are_the_recorded_pictures(recorded, shared, name, kind, draw):
    clip, _ = one_clip(name, *recorded(name))
    seen = 0
    for view, want in expected_pictures(shared / "data" / name / "expected", kind):
        picture = draw(clip, 0, view, None, EXACT)
        assert agreement(picture, want) >= 0.995 and agreement(want, picture) >= 0.995
        seen += 1
    assert seen == len(NUSCENES_VIEWS)


@pytest.mark.parametrize("name", KEYFRAMES)
def test_fast_layouts_look_as_exact_ones(recorded, name):
    clip, _ = one_clip(name, *recorded(name))
    for draw in (draw_boxes, draw_map):
        for view in range(len(NUSCENES_VIEWS)):
            fast, exact = (draw(clip, 0, view, (448, 256), options) for options in (LayoutOptions(), EXACT))
            error = np.mean((fast.astype(float) - exact) ** 2)
            assert error == 0 or 10 * np.log10(255**2 / error) >= 27


AS_RECORDED = BirdseyeOptions(left_is_up=False, fill_map=False, pen_width=4)
BIRDSEYE = {
    "3dbox_bev": (draw_boxes_birdseye, AS_RECORDED),
    "hdmap_bev": (draw_map_birdseye, AS_RECORDED),
    "3dbox_bev_default": (draw_boxes_birdseye, BirdseyeOptions(box_colors=NINE)),
    "hdmap_bev_default": (draw_map_birdseye, BirdseyeOptions()),
    "3dbox_bev_fill": (draw_boxes_birdseye, BirdseyeOptions(box_colors=NINE, fill_boxes=True)),
}


@pytest.mark.parametrize("kind", BIRDSEYE)
@pytest.mark.parametrize("name", KEYFRAMES)
def test_pictures_from_above_are_the_recorded_ones(recorded, shared, name, kind):
    clip, _ = one_clip(name, *recorded(name))
    file = shared / "data" / name / "expected" / f"{kind}.png"
    if not file.exists():
        pytest.skip(f"{kind} was not recorded for {name}")
    draw, options = BIRDSEYE[kind]
    want, picture = np.asarray(Image.open(file).convert("RGB")), draw(clip, 0, options)
    assert agreement(picture, want) >= 0.995 and agreement(want, picture) >= 0.995


@pytest.mark.parametrize("name", KEYFRAMES)
def test_foreground_regions_are_the_recorded_ones(recorded, shared, name):
    clip, _ = one_clip(name, *recorded(name))
    options, seen = ForegroundOptions(categories=tuple(NINE)), 0
    for view, camera in enumerate(NUSCENES_VIEWS):
        file = shared / "data" / name / "expected" / f"foreground_region_{camera}.png"
        if file.exists():
            want, picture = np.asarray(Image.open(file).convert("RGB")), draw_foreground(clip, 0, view, None, options)
            assert agreement(picture, want) >= 0.995 and agreement(want, picture) >= 0.995
            seen += 1
    assert seen or name != "nuscenes_keyframe"


@pytest.mark.parametrize("name", KEYFRAMES)
def test_captions_are_the_recorded_ones_for_each_seed(recorded, name):
    clip, want = one_clip(name, *recorded(name))
    options = CaptionOptions(
        align_keys=("time", "weather"),
        reorder=True,
        drop_rates={"environment": 0.04, "objects": 0.08, "image_description": 0.16},
    )
    before = clip.captions
    for seed, reads in want["captions"].items():
        random = np.random.RandomState(int(seed))
        assert [list(words(clip.captions, options, random)[0]) for _ in reads] == reads
    assert list(words(clip.captions, CaptionOptions(align_keys=("time", "weather")))[0]) == want["captions_plain"]
    assert list(words(clip.captions)[0]) == want["captions_plain_no_align"]
    assert clip.captions == before


def all_windows(scene, entry, **more):
    return [
        (fps, window.rows)
        for fps, stride in entry["fps_stride_tuples"]
        for window in scene.windows(
            entry["sequence_length"], fps, stride, check=entry["enable_synchronization_check"], **more
        )
    ]


@pytest.mark.parametrize("name", SEQUENCES)
def test_windows_are_the_recorded_ones(recorded, name):
    dataset, expected = recorded(name)
    (scene,) = dataset.scenes
    first = np.array([scene.rows_of[channel][0] for channel in scene.channels()])
    for entry in expected["segment_lists"]:
        found = all_windows(scene, entry, reference_oddity=True)
        assert len(found) == entry["item_count"]
        want = entry.get("items") or entry.get("items_per_channel") or []
        for (fps, rows), (want_fps, *frames) in zip(found, want, strict=True):
            assert fps == want_fps
            frames = np.array(frames)
            np.testing.assert_array_equal(
                rows - first, frames if frames.ndim == 2 else np.repeat(frames[:, None], 7, 1)
            )


@pytest.mark.parametrize("name", SEQUENCES)
def test_windows_at_key_frames_begin_at_each_of_them_unless_asked_for_the_oddity(recorded, name):
    (scene,) = recorded(name)[0].scenes
    ours, oddity = (scene.windows(4, 2, 0, reference_oddity=odd) for odd in (False, True))
    assert len({window.rows[0, 0] for window in oddity}) == 1
    assert [window.rows[0, 0] - scene.rows_of["LIDAR_TOP"][0] for window in ours] == list(range(len(ours)))
    assert len(ours) >= 30
