"""Which scenes a split names: the official lists, and lists of one's own, in which every name must be known."""

import pytest

from dwm.data.splits import SPLITS, official, scene_names
from dwm.errors import DwmError

KNOWN = ("scene-0001", "scene-0002", "scene-0103", "scene-0916")


def test_official_splits_have_their_sizes_and_do_not_overlap():
    sizes = {split: len(official(split)) for split in SPLITS}
    assert sizes == {
        "train": 700, "train_detect": 350, "train_track": 350, "val": 150, "test": 150, "mini_train": 8, "mini_val": 2,
    }  # fmt: skip
    assert not official("train") & official("val") and not official("test") & (official("train") | official("val"))
    assert official("mini_val") == {"scene-0103", "scene-0916"} and not official("mini_train") & official("test")
    assert scene_names("val", KNOWN) == official("val")


def test_a_file_or_list_of_names(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("\ufeffscene-0001  # rain\n\n# a note\nscene-0916\n", "utf-8")
    assert scene_names(path, KNOWN) == scene_names(["scene-0001", "scene-0916"], KNOWN) == {"scene-0001", "scene-0916"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"scene-0001\nscene-0917\n", "'scene-0917' is no scene of this data set; nearest: scene-0916"),
        (b"", "names no scenes"),
        (b"\xff\xfe\0s", "cannot be read as a text file"),
    ],
)
def test_a_file_that_is_wrong_is_one_line(tmp_path, content, says):
    (tmp_path / "mine.txt").write_bytes(content)
    with pytest.raises(DwmError, match=says) as error:
        scene_names(tmp_path / "mine.txt", KNOWN)
    assert "\n" not in str(error.value) and "mine.txt" in str(error.value)


def test_a_name_that_is_neither_a_split_nor_a_file_is_told_the_nearest():
    with pytest.raises(DwmError, match="nearest: mini_val"):
        scene_names("mini_vall", KNOWN)
