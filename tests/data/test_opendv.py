"""OpenDV's made videos read as OpenDWM's reader did, by the real commands; files that are wrong."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from recordings import run

from dwm.data import CaptionOptions, DatasetWindows, ReadOptions, open_dataset
from dwm.data.captions import words
from dwm.data.opendv import captions as film_captions
from dwm.data.side_by_side import SideBySide
from dwm.errors import DwmError

RANDOM = CaptionOptions(reorder=True, drop_rates={"environment": 0.04, "objects": 0.08, "image_description": 0.16})
pytestmark = pytest.mark.filterwarnings("ignore:.*cannot be opened and are left out")


@pytest.fixture(scope="module")
def source(shared: Path) -> Path:
    return shared / "data" / "opendv"


@pytest.fixture(scope="module")
def expected(source: Path) -> dict:
    return json.loads((source / "expected" / "expected.json").read_text())


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DWM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def copy(source: Path, tmp_path: Path) -> Path:
    """A set of two videos, to be broken."""
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("dwm_made_01.mp4", "dwm_made_02.mp4"):
        shutil.copyfile(source / "videos" / name, folder / name)
    for name in ("OpenDV-YouTube.json", "captions.json", "candidates_times.json"):
        shutil.copyfile(source / "meta" / name, folder / name)
    return folder


def number(picture: np.ndarray) -> int:
    """The frame's number, told by twelve squares in its middle row."""
    height, width, _ = picture.shape
    bits = (picture[height // 2, int(width / 16 * (2.5 + place))].mean() > 127 for place in range(12))
    return int("".join("1" if bit else "0" for bit in bits), 2)


def relative_ms(clip) -> list:
    return ((clip.times - clip.times[0] + 500) // 1000).tolist()


def test_clips_show_the_recorded_pictures_at_the_recorded_times(source, expected):
    dataset = open_dataset(source, split="train")
    windows = DatasetWindows(dataset, 5, [(10, 2)])
    items = expected["no_mini_batch"]["items"]
    assert len(windows) == len(items)
    for place, item in enumerate(items):
        clip = windows[place]
        assert [clip.scene, windows.windows[place].start, clip.fps] == item["file, start, fps"]
        assert [number(clip.pictures.load(frame, 0)) for frame in range(5)] == item["frames"]
        assert [row[0] for row in relative_ms(clip)] == item["pts"]
        assert clip.rig.size_of(0) == tuple(item["size"])


def test_the_first_picture_is_the_recorded_one_and_a_forward_camera_stands_in(source, expected):
    clip = DatasetWindows(open_dataset(source, split="train"), 5, [(10, 2)])[0]
    recorded = np.asarray(Image.open(source / "expected" / "item0_frame0.png").convert("RGB"))
    assert (clip.pictures.load(0, 0) == recorded).mean() > 0.999
    want = expected["no_mini_batch"]["item_0"]
    np.testing.assert_allclose(clip.rig.ego_from_camera[0], want["camera_transforms"]["value"][0], atol=1e-6)
    np.testing.assert_allclose(clip.rig.intrinsics[0], want["camera_intrinsics"]["value"][0])
    assert [clip.captions[frame][0].text() for frame in range(5)] == want["image_description"]


@pytest.mark.parametrize("split", [None, "train", "val"])
@pytest.mark.parametrize("rates", [[[10, 5]], [[10, 5], [5, 8]]])
def test_windows_are_the_recorded_ones_of_the_videos_that_open(source, expected, split, rates):
    name = f"{'split None' if split is None else split.capitalize()}; length 5; {rates}"
    want = [item for item in expected["items_by_setting"][name] if item[0] != "dwm_made_05.mp4"]
    dataset = open_dataset(source, split=split)
    windows = DatasetWindows(dataset, 5, [tuple(rate) for rate in rates]).windows
    assert [[dataset.scenes[window.scene].name, window.start, window.fps] for window in windows] == want


def test_a_video_that_is_left_out_is_left_out_whatever_the_split(source, expected):
    options = ReadOptions(left_out=("dwm_made_01",))
    for split in ("train", None):
        names = [scene.name for scene in open_dataset(source, split=split, options=options)]
        assert "dwm_made_01.mp4" not in names and "dwm_made_02.mp4" in names


def test_clips_come_together_as_views_in_the_recorded_order(source, expected):
    windows = DatasetWindows(open_dataset(source, split="train"), 19, [(10, 2)])
    together, want = SideBySide(windows, 2), expected["mini_batch"]
    scenes = windows.dataset.scenes
    pairs = [[windows.windows[place] for place in together.order[i : i + 2]] for i in range(0, 2 * len(together), 2)]
    assert [[[scenes[w.scene].name, w.start, w.fps] for w in pair] for pair in pairs] == want["items"]
    clip, values = together[0], want["values"]
    assert clip.views == ("clip_0", "clip_1") and clip.world_from_ego.shape == (19, 2, 4, 4)
    assert [[number(clip.pictures.load(t, v)) for v in range(2)] for t in range(19)] == values["frames"]
    assert relative_ms(clip) == values["pts"]
    np.testing.assert_allclose(clip.rig.intrinsics, values["camera_intrinsics_0"])


def test_captions_are_the_recorded_ones_for_a_seed(source, expected):
    clip = DatasetWindows(open_dataset(source, split="train"), 5, [(10, 2)])[0]
    random = np.random.RandomState(5)
    reads = expected["captions_seed_5_item_0_read_three_times"]
    assert [[row[0] for row in words(clip.captions, RANDOM, random)] for _ in reads] == reads


def test_times_of_captions_come_from_their_keys_without_a_file_of_them(source, copy):
    whole = [clip.captions for clip in map(DatasetWindows(open_dataset(copy), 5, [(10, 5)]).__getitem__, range(4))]
    (copy / "candidates_times.json").unlink()
    assert [DatasetWindows(open_dataset(copy), 5, [(10, 5)])[place].captions for place in range(4)] == whole
    plain = json.loads((copy / "captions.json").read_text())
    short = {key.replace(".mp4.", "."): value for key, value in plain.items()}  # as OpenDWM's own tool writes them
    (copy / "captions.json").write_text(json.dumps(short))
    assert [DatasetWindows(open_dataset(copy), 5, [(10, 5)])[place].captions for place in range(4)] == whole


def test_large_caption_files_are_kept_and_say_the_same(copy, monkeypatch):
    plain = open_dataset(copy).scenes[0].clip(20.0, 4, 10).captions
    monkeypatch.setattr(film_captions, "KEPT_FROM", 0)
    kept = open_dataset(copy)
    assert kept.scenes[0].clip(20.0, 4, 10).captions == plain and len({row[0] for row in plain}) == 2
    assert pickle.loads(pickle.dumps(kept)).scenes[0].clip(20.0, 4, 10).captions == plain


def test_videos_are_read_in_archives_that_are_named_one_by_one(source, copy, tmp_path):
    archives = []
    for name in ("dwm_made_01.mp4", "dwm_made_02.mp4"):
        archives.append(tmp_path / f"{name}.zip")
        with zipfile.ZipFile(archives[-1], "w") as made:
            made.write(copy / name, name)
    options = ReadOptions(
        index=str(copy / "OpenDV-YouTube.json"),
        captions=(str(copy / "captions.json"), str(copy / "candidates_times.json")),
    )
    packed, plain = open_dataset(archives, options=options), open_dataset(copy)
    assert [scene.name for scene in packed] == [scene.name for scene in plain]
    here, there = (dataset["dwm_made_02"].clip(7.0, 3, 5) for dataset in (plain, packed))
    assert (here.pictures.load(2, 0) == there.pictures.load(2, 0)).all() and here.captions == there.captions


def test_the_commands_show_check_and_index_it(source, tmp_path, capsys):
    code, said = run(
        capsys,
        "data",
        "show",
        "dwm_made_02",
        "--data",
        source,
        "--at",
        "7",
        "--seconds",
        "1",
        "-o",
        tmp_path / "look.mp4",
    )
    assert code == 0 and "OpenDV" in said and (tmp_path / "look.mp4").stat().st_size > 1000
    code, said = run(capsys, "data", "check", source, "--files")
    assert code == 3
    assert "× videos that cannot be opened" in said and "videos/dwm_made_05.mp4" in said
    assert "calibration" in said and "none is known" in said
    assert "videos with uneven times" in said and "dwm_made_04.mp4: pictures lie 0.070 to 0.300 s apart" in said
    assert "videos that are not listed" in said and "videos without captions" in said
    code, said = run(capsys, "data", "index", source)
    assert code == 0 and "OpenDV: 4 scenes, " in said


def test_a_table_of_words_becomes_its_caption_files(copy, capsys):
    for name in ("captions.json", "candidates_times.json"):
        (copy / name).unlink()
    table = copy / "words.csv"
    table.write_text("scene,at,weather,text\ndwm_made_01,,rain,a road\ndwm_made_01.mp4,9.5,,a bridge\n")
    code, said = run(capsys, "data", "captions", table, "--data", copy)
    assert code == 0 and "2 rows became 2 captions" in said
    written = json.loads((copy / "captions.json").read_text())
    assert written["dwm_made_01.mp4.9500"]["image_description"] == "a bridge"
    dataset = open_dataset(copy, options=ReadOptions(missing_captions="empty"))
    early, late = (dataset["dwm_made_01"].clip(at, 1).captions[0][0].text() for at in (1.0, 12.0))
    assert (early, late) == ("rain. a road", "rain. a bridge")
    assert dataset["dwm_made_02"].clip(1.0, 1).captions[0][0].text() == ""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{}", "is no list of videos"),
        ('[{"videoid": "a", "split": "Train", "length": NaN}]', "entry 0: length is None, not a number of seconds"),
        ('[{"videoid": "a", "split": "Train", "length": Infinity}]', "Infinity is no number"),
        ('[{"videoid": "../a", "split": "Train"}]', "entry 0: videoid is '../a', not a name"),
        ("[3]", "entry 0: is int, not an object"),
    ],
)
def test_a_list_that_is_wrong_is_one_line(copy, content, says):
    (copy / "OpenDV-YouTube.json").write_text(content)
    with pytest.raises(DwmError) as error:
        open_dataset(copy)
    assert says in str(error.value) and "OpenDV-YouTube.json" in str(error.value) and "\n" not in str(error.value)


def test_videos_without_their_list_say_what_is_missing(copy):
    (copy / "OpenDV-YouTube.json").unlink()
    with pytest.raises(DwmError, match=r"holds videos, but not the list .*OpenDV-YouTube.json.*put it beside them"):
        open_dataset(copy)


def test_a_video_that_ends_before_its_list_says_so_is_told_and_its_late_windows_are_left_out(copy, capsys):
    entries = json.loads((copy / "OpenDV-YouTube.json").read_text().replace("NaN", "null"))
    (copy / "OpenDV-YouTube.json").write_text(json.dumps([entry | {"length": 60} for entry in entries]))
    with pytest.warns(UserWarning, match=r"windows lie behind the end of their video"):
        windows = DatasetWindows(open_dataset(copy), 5, [(10, 5)])
    assert all(windows[place].length == 5 for place in range(len(windows)))
    code, said = run(capsys, "data", "check", copy)
    assert code == 3 and "× videos shorter than listed" in said
    with pytest.raises(
        DwmError, match=r"dwm_made_01.mp4: 8 frames at 10 fps from 35 s end at 35.70 s, but the video lasts"
    ):
        open_dataset(copy)["dwm_made_01"].clip(35.0, 8, 10)


def test_a_list_that_says_far_more_than_a_video_holds_makes_no_windows_without_end(copy):
    entries = json.loads((copy / "OpenDV-YouTube.json").read_text().replace("NaN", "null"))
    (copy / "OpenDV-YouTube.json").write_text(json.dumps([entry | {"length": 1e6} for entry in entries]))
    dataset = open_dataset(copy)
    assert len(dataset.windows(5, 10, 0.1)) < 500
    entries[0]["length"] = 1e9
    (copy / "OpenDV-YouTube.json").write_text(json.dumps(entries))
    with pytest.raises(DwmError, match=r"entry 0: length is 1000000000.0, not a number of seconds"):
        open_dataset(copy)


def test_what_does_not_exist_is_named(copy):
    dataset = open_dataset(copy)
    with pytest.raises(DwmError, match=r"has no camera CAM_BACK.*its only one is CAM_FRONT"):
        dataset.scenes[0].clip(0, 1, views=["CAM_BACK"])
    with pytest.raises(DwmError, match=r"has no scene dwm_made_03; nearest: dwm_made_0"):
        dataset["dwm_made_03"]
    with pytest.raises(DwmError, match=r"fps and seconds between starts must be positive; found 10 and 0"):
        dataset.windows(5, 10, 0)
    with pytest.raises(DwmError, match=r"captions other.json: no such file"):
        open_dataset(copy, options=ReadOptions(captions=("other.json", "")))
    with pytest.raises(DwmError, match=r"holds no video of split val that can be opened"):
        open_dataset(copy, split="val")
    with pytest.raises(DwmError, match=r"2 clips are too few to stand as 6 views"):
        SideBySide(DatasetWindows(dataset, 5, [(10, 20)]), 6)
