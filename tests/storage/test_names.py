"""Names from outside become paths below their folder, or one line that says where they stand."""

import os

import pyarrow as pa
import pytest

from dwm.errors import DwmError
from dwm.storage import check_column, inside, open_tree, plain_name

LEADING_OUT = ("../x.jpg", "a/../../x.jpg", "/etc/hostname", "C:/x.jpg", "..")
ODD = (
    "",
    "a//b",
    "a/",
    "./a",
    "a\\b",
    "a\0b",
    "a\nb",
    "x" * 201,
    "é" * 101,
    "a/" * 600 + "a",
    "nul",
    "a/COM1.jpg",
    ".dwm/x",
)


@pytest.mark.parametrize("name", [*LEADING_OUT, *ODD, "\udcff.jpg"])
def test_a_name_that_is_no_path_below_a_folder_is_refused(name):
    with pytest.raises(DwmError, match=r"^frames: row 3: the name ") as error:
        inside(name, "frames: row 3")
    assert "\n" not in str(error.value) and "\0" not in str(error.value)


@pytest.mark.parametrize(
    "name",
    ["samples/CAM_FRONT/n015+0800__1532402927612460.jpg", "film.mp4#17", "käfer/前.jpg", "a..b", "console/con1", "..a"],
)
def test_names_as_data_sets_have_them_are_taken(name):
    assert inside(name, "frames") == name


def test_a_name_of_one_part_holds_no_separator():
    assert plain_name("boston-seaport", "map") == "boston-seaport"
    with pytest.raises(DwmError, match="separator"):
        plain_name("boston/seaport", "map")


@pytest.mark.parametrize("name", [*LEADING_OUT, *ODD])
def test_a_column_with_such_a_name_is_refused_by_its_table_and_row(name):
    rows = pa.table({"token": ["a", "b"], "filename": ["fine.jpg", name]})
    with pytest.raises(DwmError, match=r"sample_data\.json: row b: filename: the name"):
        check_column("sample_data.json", rows, "filename")


@pytest.mark.parametrize("name", [*LEADING_OUT, "a\\b", "nul"])
def test_a_folder_reads_no_name_that_leads_outside(tmp_path, name):
    (tmp_path / "x.jpg").write_bytes(b"secret")
    (tmp_path / "set").mkdir()
    tree = open_tree(tmp_path / "set")
    for read in (tree.read, tree.open, tree.size, tree.exists, tree.stamp):
        with pytest.raises(DwmError, match="the name"):
            read(name)


def test_a_link_deep_in_a_set_that_leads_outside_is_not_followed(tmp_path, monkeypatch):
    (tmp_path / "secret").write_bytes(b"secret")
    folder = tmp_path / "set" / "samples"
    folder.mkdir(parents=True)
    (folder / "a.jpg").symlink_to(tmp_path / "secret")
    (folder / "deep").symlink_to(tmp_path)
    (folder / "b.jpg").write_bytes(b"own")
    (folder / "c.jpg").symlink_to(folder / "b.jpg")
    tree = open_tree(tmp_path / "set")
    for name in ("samples/a.jpg", "samples/deep/secret"):
        with pytest.raises(DwmError, match=r"is a link out of the data set.*DWM_FOLLOW_LINKS"):
            tree.read(name)
    assert tree.read("samples/c.jpg") == b"own"
    monkeypatch.setenv("DWM_FOLLOW_LINKS", "1")
    assert open_tree(tmp_path / "set").read("samples/a.jpg") == b"secret"


def test_links_in_the_first_folder_belong_to_the_set(tmp_path):
    (tmp_path / "disk" / "CAM_FRONT").mkdir(parents=True)
    (tmp_path / "disk" / "CAM_FRONT" / "a.jpg").write_bytes(b"picture")
    (tmp_path / "disk" / "words.json").write_bytes(b"{}")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "samples").symlink_to(tmp_path / "disk")
    (tmp_path / "set" / "captions.json").symlink_to(tmp_path / "disk" / "words.json")
    (tmp_path / "link").symlink_to(tmp_path / "set")
    for root in ("set", "link"):
        tree = open_tree(tmp_path / root)
        assert tree.read("samples/CAM_FRONT/a.jpg") == b"picture" and tree.read("captions.json") == b"{}"


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    tree = open_tree(tmp_path)
    for name, words in (("pipe", "a pipe"), ("zero", "a device"), ("folder", "a folder")):
        assert not tree.exists(name)
        with pytest.raises(DwmError, match=f"{name}: is {words}, not a file"):
            tree.read(name)
    os.mkfifo(tmp_path / "set.zip")
    with pytest.raises(DwmError, match="is a pipe"):
        open_tree(tmp_path / "set.zip")
