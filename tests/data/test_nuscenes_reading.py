"""A made-up nuScenes set, whole and in every broken way: clips as asked for, or one line that says what is wrong."""

import json
import pickle
import zipfile

import numpy as np
import pytest
from feeds import batches_of, feed_of
from made_up_nuscenes import CAMERAS, make_files, make_tables, write

from dwm.clip import NUSCENES_VIEWS
from dwm.data import CaptionOptions, DatasetWindows, ReadOptions, open_dataset
from dwm.errors import DwmError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("nuscenes"), make_files(make_tables()))


@pytest.fixture(scope="module")
def zips(tmp_path_factory):
    target, files = tmp_path_factory.mktemp("zips"), make_files(make_tables())
    parts = {"meta": ("v1.0",), "blobs": ("samples", "sweeps"), "maps": ("expansion",), "words": ("caption",)}
    for name, beginnings in parts.items():
        with zipfile.ZipFile(
            target / f"{name}.zip", "w", zipfile.ZIP_DEFLATED if name == "meta" else zipfile.ZIP_STORED
        ) as z:
            for file, data in files.items():
                if file.startswith(beginnings):
                    z.writestr(file, data)
    return target


def clips_equal(one, other):
    np.testing.assert_array_equal(one.times, other.times)
    np.testing.assert_array_equal(one.world_from_ego, other.world_from_ego)
    np.testing.assert_array_equal(one.pictures.load(1, 2), other.pictures.load(1, 2))
    np.testing.assert_array_equal(one.lidar.points[0], other.lidar.points[0])
    assert one.captions == other.captions and one.boxes[0][0].instance == other.boxes[0][0].instance


def test_a_clip_holds_what_the_tables_say(folder):
    clip = open_dataset(folder)["scene-0103"].clip(start=0.5, frames=3, fps=2)
    assert clip.views == NUSCENES_VIEWS and clip.fps == 2 and clip.description == "scene-0103 described"
    np.testing.assert_array_equal(np.diff(clip.times[:, 0]), [500_000, 500_000])
    np.testing.assert_allclose(clip.world_from_ego[:, 0, 0, 3], [4.8, 9.8, 14.8])
    boxes = clip.boxes[1][0]
    assert boxes.category == ("vehicle.car",) and boxes.size.tolist() == [[4, 2, 1.6]]
    np.testing.assert_allclose(boxes.center, [[26, 2, 0.8]])
    assert clip.captions[0][1].time == "day" and clip.captions[0][1].weather.endswith("CAM_FRONT")
    assert clip.rig.ego_from_camera[1, :3, :3].round(6).tolist() == [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    assert clip.pictures.load(0, 0).shape == (36, 64, 3) and clip.pictures.load(0, 0, (32, 16)).shape == (16, 32, 3)


def test_zips_read_as_the_folder_does(folder, zips):
    one, other = (open_dataset(path)["scene-0916"].clip(frames=4, fps=2) for path in (folder, zips))
    clips_equal(one, other)
    clips_equal(
        one, open_dataset([zips / f"{n}.zip" for n in ("meta", "blobs", "maps", "words")])["scene-0916"].clip(0, 4, 2)
    )


def test_sweeps_lie_between_key_frames_and_have_boxes_of_their_own_time(folder):
    scene = open_dataset(folder)["scene-0103"]
    clip = scene.clip(frames=7, fps=12)
    assert scene.rate == pytest.approx(12, abs=0.1)
    # The first box is 3 m further at each key frame, half a second apart by the LiDAR's clock, and turns by 10°.
    share = (clip.times[1:6, 0] - clip.lidar.times[0]) / 500_000
    centres = np.array([row[0].center[0] for row in clip.boxes[1:6]])
    np.testing.assert_allclose(centres[:, 0], clip.boxes[0][0].center[0, 0] + 3 * share, atol=1e-6)
    turned = np.array([row[0].rotation[0] for row in clip.boxes[1:6]]) @ clip.boxes[0][0].rotation[0].T
    np.testing.assert_allclose(np.degrees(np.arctan2(turned[:, 1, 0], turned[:, 0, 0])), 10 * share, atol=1e-6)


def test_sweeps_can_be_left_without_boxes_as_opendwm_does(folder):
    scene = open_dataset(folder, options=ReadOptions(boxes_between=False))["scene-0103"]
    clip = scene.clip(frames=7, fps=12)
    assert [row[0] is not None for row in clip.boxes] == [True, False, False, False, False, False, True]
    keys = open_dataset(folder, options=ReadOptions(key_frames_only=True))["scene-0103"]
    assert keys.rate == 2 and keys.clip(frames=4).times.shape == (4, 6)


def test_other_views_and_no_lidar(folder):
    dataset = open_dataset(folder, options=ReadOptions(lidar=False))
    clip = dataset["scene-0103"].clip(frames=2, fps=2, views=("CAM_BACK", "CAM_FRONT"))
    assert clip.views == ("CAM_BACK", "CAM_FRONT") and clip.lidar is None
    with pytest.raises(DwmError, match=r"no camera CAM_FORNT.*nearest: CAM_FRONT"):
        dataset["scene-0103"].clip(views=("CAM_FORNT",))


def test_splits_choose_scenes(folder, tmp_path):
    assert [scene.name for scene in open_dataset(folder, split="mini_val")] == ["scene-0103", "scene-0916"]
    assert [scene.name for scene in open_dataset(folder, split=["scene-0916"])] == ["scene-0916"]
    (tmp_path / "mine.txt").write_text("scene-0916\n")
    assert len(open_dataset(folder, split=tmp_path / "mine.txt")) == 1
    with pytest.raises(DwmError, match="no scene of split mini_train"):
        open_dataset(folder, split="mini_train")
    with pytest.raises(DwmError, match=r"split mini_vall: .*nearest: mini_val"):
        open_dataset(folder, split="mini_vall")


def test_asaps_raw_output_is_read(tmp_path):
    # Extra keys, nominal float stamps, links that dangle, every frame a key frame, and scenes of another split without samples.
    tables = make_tables()
    for row in tables["sample_data"]:
        row.update(
            timestamp=row["timestamp"] + 1 / 3,
            is_key_frame=True,
            prev="nowhere",
            next="x1",
            channel="?",
            sensor_modality="?",
        )
    tables["scene"].append({**tables["scene"][0], "token": "t", "name": "scene-0061", "first_sample_token": "not here"})
    write(tmp_path, make_files(tables, "interp_12Hz_trainval"))
    dataset = open_dataset(tmp_path)
    assert dataset.version == "interp_12Hz_trainval" and [s.name for s in dataset] == ["scene-0103", "scene-0916"]
    clip = dataset["scene-0103"].clip(frames=7)
    assert all(boxes is not None for row in clip.boxes for boxes in row) and clip.times.dtype == np.float64
    with pytest.raises(DwmError, match=r"lacks samples of 1 scenes of split mini_train \(scene-0061\)"):
        open_dataset(tmp_path, split="mini_train")


def fault(tables, table, row=0, **changes):
    tables[table][row].update(changes)


BROKEN_TABLES = {
    "nan pose": (
        lambda t: fault(t, "ego_pose", translation=[float("nan"), 0, 0]),
        "ego_pose.json: row .*translation .* not finite",
    ),
    "zero focal": (
        lambda t: fault(t, "calibrated_sensor", camera_intrinsic=[[0.0, 0, 1], [0, 0.0, 1], [0, 0, 1]]),
        "CAM_FRONT_LEFT mounted: camera_intrinsic has the focal lengths 0 and 0",
    ),
    "quaternion": (lambda t: fault(t, "ego_pose", rotation=[2.0, 0, 0, 0]), "ego_pose.json: .*not a unit quaternion"),
    "short vector": (
        lambda t: fault(t, "ego_pose", translation=[1.0]),
        r"ego_pose.json: .*translation is \[1.0\], not three",
    ),
    "negative size": (
        lambda t: fault(t, "sample_annotation", size=[1.0, -1, 1]),
        "sample_annotation.json: .*not positive",
    ),
    "text for number": (lambda t: fault(t, "sample_data", timestamp="now"), 'timestamp is "now", not a number'),
    "link": (
        lambda t: fault(t, "sample_data", ego_pose_token="gone"),
        "sample_data.json: .*ego_pose_token gone is not in ego_pose",
    ),
    "twice": (lambda t: t["ego_pose"].append(t["ego_pose"][0]), "ego_pose.json: token .* more than once"),
    "no field": (lambda t: t["scene"][0].pop("name"), "scene.json: row scene-0103 token lacks the field name"),
    "not a row": (lambda t: t["category"].append(3), "category.json: row 1 is int"),
}


@pytest.mark.parametrize("fault, message", BROKEN_TABLES.values(), ids=BROKEN_TABLES)
def test_a_broken_table_is_one_line_with_file_row_and_field(tmp_path, fault, message):
    tables = make_tables(samples=2)
    fault(tables)
    files = {name: data for name, data in make_files(make_tables(samples=2)).items() if not name.startswith("v1.0")}
    files |= {f"v1.0-mini/{name}.json": json.dumps(rows).encode() for name, rows in tables.items()}
    with pytest.raises(DwmError, match=message) as error:
        open_dataset(write(tmp_path, files))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("table", ["scene", "sample", "sample_data", "ego_pose", "sample_annotation", "log"])
@pytest.mark.parametrize("share", [0, 0.3, 0.8, 0.999])
def test_a_table_cut_short_is_named(tmp_path, table, share):
    files = make_files(make_tables(samples=2))
    name = f"v1.0-mini/{table}.json"
    files[name] = files[name][: int(share * len(files[name]))]
    with pytest.raises(DwmError, match=f"{table}.json: is no whole JSON table") as error:
        open_dataset(write(tmp_path, files))
    assert "\n" not in str(error.value)


BROKEN_FILES = {
    "no map": ("expansion/made-up-town.json", lambda data: None, "no map of made-up-town.*expansion"),
    "map cut": ("expansion/made-up-town.json", lambda data: data[:90], r"made-up-town.json:1:\d+: .*is no whole JSON"),
    "map without nodes": ("expansion/made-up-town.json", lambda data: b'{"polygon": []}', "'node' is missing"),
    "no table": ("v1.0-mini/ego_pose.json", lambda data: None, "holds no v1.0-mini/ego_pose.json"),
    "other encoding": (
        "captions.json",
        lambda data: data.decode().replace("day", "größe").encode("latin-1"),
        "not UTF-8",
    ),
    "captions cut": ("captions.json", lambda data: data[:500], r"captions.json:1:\d+: .*is no whole JSON"),
    "captions without times": ("caption_times.json", lambda data: None, "holds no caption_times.json"),
    "no camera": (
        "caption_times.json",
        lambda d: d.replace(b"0103 token|CAM_BACK_LEFT", b"?"),
        "camera CAM_BACK_LEFT of scene-0103",
    ),
    "other captions": ("captions.json", lambda data: b"{}", "the two files do not belong together"),
}


@pytest.mark.parametrize("name, change, message", BROKEN_FILES.values(), ids=BROKEN_FILES)
def test_a_broken_file_is_one_line(tmp_path, name, change, message):
    files = make_files(make_tables(samples=2))
    if (changed := change(files.pop(name))) is not None:
        files[name] = changed
    with pytest.raises(DwmError, match=message) as error:
        open_dataset(write(tmp_path, files))["scene-0103"].clip(frames=2, fps=2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("policy, said", [("empty", ""), ("description", "scene-0103 described")])
def test_a_caption_that_is_named_but_missing_follows_the_policy(tmp_path, policy, said):
    files = make_files(make_tables(samples=2))
    files["captions.json"] = b"{}"
    dataset = open_dataset(write(tmp_path, files), options=ReadOptions(missing_captions=policy))
    assert dataset["scene-0103"].clip(frames=2, fps=2).captions[0][0].text() == said


def test_what_is_missing_may_be_left_out(tmp_path):
    files = make_files(make_tables(samples=2))
    files["caption_times.json"] = b"{}"
    del files["expansion/made-up-town.json"]
    options = ReadOptions(maps=False, missing_captions="description")
    clip = open_dataset(write(tmp_path, files), options=options)["scene-0103"].clip(frames=2, fps=2)
    assert clip.map is None and clip.captions[0][0].text() == "scene-0103 described"


@pytest.mark.parametrize("share", [0, 0.2, 0.9])
def test_a_picture_cut_short_is_named(tmp_path, share):
    dataset = open_dataset(write(tmp_path, make_files(make_tables(samples=2))))
    clip = dataset["scene-0103"].clip(frames=2, fps=2)
    file = tmp_path / clip.pictures.files[1][3]
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(DwmError, match=f"{file.name}: is no whole picture"):
        clip.pictures.load(1, 3, (32, 18))
    file.unlink()
    with pytest.raises(DwmError, match=f"holds no .*{file.name}"):
        clip.pictures.load(1, 3)


def test_a_wrong_version_names_those_that_are_there(folder, tmp_path):
    with pytest.raises(DwmError, match=r"no version v1.0-min; found v1.0-mini; nearest: v1.0-mini"):
        open_dataset(folder, "v1.0-min")
    with pytest.raises(DwmError, match="holds no nuScenes tables"):
        open_dataset(tmp_path)


def test_asking_for_more_than_there_is_says_what_there_is(folder):
    dataset = open_dataset(folder)
    with pytest.raises(DwmError, match=r"scene lasts 1\.50 s"):
        dataset["scene-0103"].clip(start=1, frames=16, fps=12)
    with pytest.raises(DwmError, match=r"no scene scene-0104; nearest: scene-0103 \(2 scenes"):
        dataset["scene-0104"]
    with pytest.raises(DwmError, match=r"no window of 40 frames.*at most 1\.5 s"):
        DatasetWindows(dataset, 40, [(12, 0.5)])


WORDS = CaptionOptions(reorder=True, drop_rates={"objects": 0.5, "weather": 0.5}, seed=5)


def words_of(clips, workers, epoch=0):
    return [batch.captions for batch in batches_of(feed_of(clips, (32, 18), 2, workers, words=WORDS), epoch)]


def test_workers_read_what_one_process_reads(zips):
    clips = DatasetWindows(open_dataset(zips), 2, [(2, 0.5), (12, 0.25)])
    alone, shared = (list(batches_of(feed_of(clips, (32, 18), 2, workers, words=WORDS))) for workers in (0, 2))
    assert len(alone) == len(shared) > 2
    for one, other in zip(alone, shared, strict=True):
        assert one.scenes == other.scenes and one.captions == other.captions
        for name in ("frames", "layout_boxes", "layout_map", "world_from_ego", "times"):
            assert (getattr(one, name) == getattr(other, name)).all(), name


def test_words_depend_on_item_and_epoch_only(zips):
    clips = DatasetWindows(open_dataset(zips), 2, [(2, 0.25)])
    first = words_of(clips, 0)
    assert first == words_of(clips, 0) == words_of(clips, 2)
    assert first != words_of(clips, 0, epoch=1) == words_of(clips, 2, epoch=1)


def test_a_dataset_travels_to_a_spawned_worker(zips):
    dataset = open_dataset(zips)
    copy = pickle.loads(pickle.dumps(dataset))
    clips_equal(copy["scene-0103"].clip(frames=2, fps=2), dataset["scene-0103"].clip(frames=2, fps=2))


def test_the_official_lists_are_disjoint_and_of_the_official_sizes():
    from dwm.data.splits import official

    sizes = {
        "train": 700,
        "val": 150,
        "test": 150,
        "mini_train": 8,
        "mini_val": 2,
        "train_detect": 350,
        "train_track": 350,
    }
    assert {name: len(official(name)) for name in sizes} == sizes
    assert not official("train") & official("val") and not (official("train") | official("val")) & official("test")
    # Two scenes of mini_train are of val: so in the published lists.
    assert official("mini_train") | official("mini_val") <= official("train") | official("val")
    assert CAMERAS == NUSCENES_VIEWS
