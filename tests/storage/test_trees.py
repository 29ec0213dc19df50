"""Folders and zips as one tree: the same content by either way, archives that are damaged, processes that share them."""

import io
import os
import pickle
import random
import zipfile

import pytest

from dwm.errors import DwmError
from dwm.storage import open_tree

FILES = {
    "v1.0-mini/scene.json": b"[]" * 500,
    "samples/a.jpg": bytes(range(256)) * 40,
    "samples/ü.bin": b"",
    "maps/x.json": b"{}",
}


def write_zip(path, files, method=zipfile.ZIP_STORED, force_zip64=False):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.mkdir("folder")
        for name, data in files.items():
            with archive.open(name, "w", force_zip64=force_zip64) as file:
                file.write(data)
    return path


def write_folder(path, files):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


@pytest.fixture(params=["folder", "stored", "deflated", "zip64", "folder of zips"])
def tree(request, tmp_path):
    if request.param == "folder":
        return open_tree(write_folder(tmp_path, FILES))
    if request.param == "folder of zips":
        for i, (name, data) in enumerate(FILES.items()):
            write_zip(tmp_path / f"{i}.zip", {name: data})
        return open_tree(tmp_path)
    method = zipfile.ZIP_DEFLATED if request.param == "deflated" else zipfile.ZIP_STORED
    return open_tree(write_zip(tmp_path / "all.zip", FILES, method, request.param == "zip64"))


def test_every_kind_of_tree_holds_the_same(tree):
    assert [name for name in tree.names() if not name.endswith(".zip")] == sorted(FILES)
    assert tree.folders() - {"folder"} == {"v1.0-mini", "samples", "maps"}
    assert list(tree.names("samples/")) == ["samples/a.jpg", "samples/ü.bin"]
    for name, data in FILES.items():
        assert tree.exists(name) and tree.read(name) == data and tree.stamp(name)
        with tree.open(name) as file:
            assert file.read(7) == data[:7] and file.read() == data[7:]
            file.seek(3)
            assert file.read(4) == data[3:7]
    assert not tree.exists("samples") and not tree.exists("nothing") and not tree.stamp("nothing")
    with pytest.raises(DwmError, match="holds no nothing"):
        tree.read("nothing")


def test_a_copy_for_another_process_reads_the_same(tree):
    copy = pickle.loads(pickle.dumps(tree))
    assert copy.read("samples/a.jpg") == FILES["samples/a.jpg"]


def test_two_open_members_do_not_disturb_each_other(tree):
    with tree.open("samples/a.jpg") as one, tree.open("v1.0-mini/scene.json") as other:
        parts = [(one.read(64), other.read(64)) for _ in range(10)]
    assert b"".join(a for a, _ in parts) == FILES["samples/a.jpg"][:640]
    assert b"".join(b for _, b in parts) == FILES["v1.0-mini/scene.json"][:640]


def test_forked_processes_may_read_at_once(tree):
    def reads():
        return all(tree.read("samples/a.jpg") == FILES["samples/a.jpg"] for _ in range(50))

    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if reads() else 1)
        children.append(pid)
    assert reads()
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)


def test_later_archives_and_loose_files_win(tmp_path):
    write_zip(tmp_path / "a.zip", {"x": b"first", "y": b"first"})
    write_zip(tmp_path / "b.zip", {"x": b"second"})
    assert open_tree([tmp_path / "a.zip", tmp_path / "b.zip"]).read("x") == b"second"
    (tmp_path / "y").write_bytes(b"loose")
    assert open_tree(tmp_path).read("y") == b"loose"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_one_archive_holds_twice_is_its_last(tmp_path):
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("x", b"old")
        archive.writestr("x", b"new")
    assert open_tree(tmp_path / "twice.zip").read("x") == b"new"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_zip_says_what_it_still_holds(tmp_path, share):
    whole = write_zip(
        tmp_path / "whole.zip", {f"{i}.bin": random.Random(i).randbytes(1000) for i in range(20)}
    ).read_bytes()
    cut = tmp_path / "cut.zip"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DwmError, match=r"cut\.zip: .*\d+ whole members") as error:
        open_tree(cut)
    assert "\n" not in str(error.value)


def test_damaged_members_are_named(tmp_path):
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = write_zip(tmp_path / f"{method}.zip", {"x.json": random.Random(0).randbytes(5000)}, method)
        data = bytearray(path.read_bytes())
        data[1000] ^= 255
        path.write_bytes(data)
        with pytest.raises(DwmError, match=r"x\.json is damaged"):
            open_tree(path).read("x.json")


def test_a_member_cannot_claim_more_than_it_may_hold(tmp_path):
    path = write_zip(tmp_path / "bomb.zip", {"x": b"abc"})
    data = path.read_bytes()
    entry = data.rindex(b"PK\1\2")
    path.write_bytes(data[: entry + 24] + (1 << 31).to_bytes(4, "little") + data[entry + 28 :])
    with pytest.raises(DwmError, match=r"bomb\.zip: member x claims 2147483648 bytes"):
        open_tree(path).read("x")


@pytest.mark.parametrize("path", ["nothing", "empty.zip", "text.zip"])
def test_what_is_no_tree_is_refused_in_one_line(tmp_path, path):
    (tmp_path / "empty.zip").touch()
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(DwmError, match=path) as error:
        open_tree(tmp_path / path)
    assert "\n" not in str(error.value)


def test_zip64_directories_are_read(tmp_path, monkeypatch):
    # The format's wide directory, without its 65,536 members.
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 3)
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for i in range(9):
            archive.writestr(f"{i}", bytes([i]))
    (tmp_path / "wide.zip").write_bytes(data.getvalue())
    assert [open_tree(tmp_path / "wide.zip").read(str(i)) for i in range(9)] == [bytes([i]) for i in range(9)]


def test_a_link_to_nothing_is_told_from_a_wrong_name(tmp_path):
    (tmp_path / "set").symlink_to(tmp_path / "disk2" / "nuscenes")
    with pytest.raises(DwmError, match=r"set: is a link to .*disk2/nuscenes, which is not there"):
        open_tree(tmp_path / "set")
