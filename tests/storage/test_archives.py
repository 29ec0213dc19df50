"""Tars beside zips, tables of members that are kept, names that several archives hold, remote paths, tar to zip."""

import io
import os
import pickle
import random
import tarfile
import warnings
import zipfile

import fsspec
import pytest

from dwm.errors import DwmError
from dwm.storage import archive as archive_module
from dwm.storage import cache, open_tree, zip_tar

FILES = {
    "v1.0-mini/scene.json": b"[]" * 500,
    "samples/a.jpg": bytes(range(256)) * 40,
    "samples/ü.bin": b"",
    f"maps/{'long' * 40}.json": b"{}",
}


def write_tar(path, files, mode="w", form=tarfile.PAX_FORMAT, prefix=""):
    with tarfile.open(path, mode, format=form) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in files.items():
            info = tarfile.TarInfo(prefix + name)
            info.size, info.mtime = len(data), 1_500_000_000
            archive.addfile(info, io.BytesIO(data))
    return path


def write_zip(path, files, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def holds_all(tree):
    assert list(tree.names()) == sorted(FILES)
    assert tree.folders() == {"v1.0-mini", "samples", "maps"}
    for name, data in FILES.items():
        assert tree.exists(name) and tree.read(name) == data and tree.stamp(name)
        with tree.open(name) as file:
            assert file.read(7) == data[:7]
            file.seek(3)
            assert file.read() == data[3:]
    with pytest.raises(DwmError, match="holds no nothing"):
        tree.read("nothing")
    return True


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_is_read_as_a_zip_is(tmp_path, form):
    files = FILES if form != tarfile.USTAR_FORMAT else {name[-60:]: data for name, data in FILES.items()}
    tree = open_tree(write_tar(tmp_path / "all.tar", files, form=form, prefix="./"))
    assert {name: tree.read(name) for name in tree.names()} == files
    if files is FILES:
        holds_all(tree) and holds_all(pickle.loads(pickle.dumps(tree)))


def test_tars_and_zips_lie_beside_each_other(tmp_path):
    names = list(FILES)
    write_tar(tmp_path / "a.tar", {name: FILES[name] for name in names[:2]})
    write_zip(tmp_path / "b.zip", {name: FILES[name] for name in names[2:]})
    tree = open_tree(tmp_path)
    assert [name for name in tree.names() if "/" in name] == sorted(FILES)
    assert all(tree.read(name) == data for name, data in FILES.items())


@pytest.mark.parametrize("share", [0.2, 0.5, 0.85])
def test_a_truncated_tar_says_what_it_still_holds(tmp_path, share):
    files = {f"{i}.bin": random.Random(i).randbytes(3000) for i in range(20)}
    whole = write_tar(tmp_path / "whole.tar", files).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: int(20 * 3584 * share)])
    with pytest.raises(DwmError, match=r"cut\.tar: ends early.* \d+ whole members") as error:
        open_tree(tmp_path / "cut.tar")
    assert "\n" not in str(error.value)


def test_a_packed_or_foreign_tar_is_refused_with_the_way_out(tmp_path):
    write_tar(tmp_path / "packed.tgz", FILES, "w:gz")
    with pytest.raises(
        DwmError, match=r"packed\.tgz: is not a plain tar archive but packed with gzip .*dwm data zip .*OUT\.zip"
    ):
        open_tree(tmp_path / "packed.tgz")
    (tmp_path / "text.tar").write_text("hello")
    with pytest.raises(DwmError, match=r"text\.tar: is not a tar"):
        open_tree(tmp_path / "text.tar")


def test_packed_tars_in_a_folder_are_told_with_the_way_out(tmp_path):
    write_tar(tmp_path / "a.tgz", FILES, "w:gz")
    with pytest.warns(UserWarning, match=r"1 packed tars are not read .*dwm data zip .*a\.tgz .*a\.zip"):
        open_tree(tmp_path)
    zip_tar(tmp_path / "a.tgz", tmp_path / "a.zip")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_tree(tmp_path).read("samples/a.jpg") == FILES["samples/a.jpg"]


def test_names_that_two_archives_hold_are_told(tmp_path):
    write_zip(tmp_path / "a.zip", {"x": b"first", "y": b""})
    write_zip(tmp_path / "b.zip", {"x": b"second", "z": b""})
    with pytest.warns(UserWarning, match=r"b\.zip: holds 1 names that .*a\.zip holds too \(x, …\)"):
        assert open_tree(tmp_path).read("x") == b"second"


@pytest.fixture
def kept(monkeypatch):
    monkeypatch.setattr(archive_module, "KEPT_FROM", 2)


def test_the_table_of_members_is_kept_and_follows_the_archive(tmp_path, kept, monkeypatch):
    path = write_zip(tmp_path / "all.zip", FILES)
    holds_all(open_tree(path))
    place = next((tmp_path / ".dwm").glob("all.zip.members-*"))
    monkeypatch.setattr(archive_module.zips, "read_members", lambda source: pytest.fail("read again"))
    tree = open_tree(path)
    assert holds_all(tree) and holds_all(pickle.loads(pickle.dumps(tree)))
    assert ".dwm" not in open_tree(tmp_path).folders()
    assert list(open_tree(tmp_path).names(".dwm")) == []
    monkeypatch.undo()
    monkeypatch.setattr(archive_module, "KEPT_FROM", 2)
    write_zip(path, {"new/a": b"a", "new/b": b"b", "new/c": b"c"})
    assert list(open_tree(path).names()) == ["new/a", "new/b", "new/c"]
    assert not place.exists()


def test_where_the_archive_may_not_be_written_the_users_cache_keeps_the_table(tmp_path, kept, monkeypatch):
    path = write_zip(tmp_path / "all.zip", FILES)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    access = os.access
    monkeypatch.setattr(cache.os, "access", lambda at, mode: str(at) != str(tmp_path) and access(at, mode))
    holds_all(open_tree(path))
    assert list((tmp_path / "cache").rglob("members.arrow")) and not (tmp_path / ".dwm").exists()


def test_the_cache_may_be_named(tmp_path, kept, monkeypatch):
    monkeypatch.setenv("DWM_CACHE", str(tmp_path / "cache"))
    holds_all(open_tree(write_zip(tmp_path / "all.zip", FILES)))
    assert list((tmp_path / "cache").rglob("members.arrow")) and not (tmp_path / ".dwm").exists()


def test_where_nothing_can_be_kept_it_is_read_anew_and_says_so(tmp_path, kept):
    path = write_zip(tmp_path / "all.zip", FILES)
    (tmp_path / ".dwm").write_text("in the way")
    with pytest.warns(UserWarning, match="cannot be kept"):
        holds_all(open_tree(path))


def test_a_large_deflated_member_is_inflated_as_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_module, "STREAMED_FROM", 1000)
    data = b"".join(b"%d," % i for i in range(60_000))
    path = write_zip(tmp_path / "all.zip", {"x.json": data}, zipfile.ZIP_DEFLATED)
    with open_tree(path).open("x.json") as file:
        assert file.read(10) == data[:10]
        assert file.seek(200_000) == 200_000 and file.read(5) == data[200_000:200_005]
        file.seek(5)
        assert file.read() == data[5:]
    broken = bytearray(path.read_bytes())
    broken[len(broken) // 2] ^= 255
    path.write_bytes(broken)
    with open_tree(path).open("x.json") as file, pytest.raises(DwmError, match=r"x\.json is damaged"):
        file.read()


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "folder of archives"])
def test_remote_paths_read_as_local_ones(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("DWM_CACHE", str(tmp_path / "cache"))
    system, root = fsspec.filesystem("memory"), f"/{tmp_path.name}"
    names = list(FILES)
    local = {
        "all.zip": write_zip(tmp_path / "all.zip", FILES).read_bytes(),
        "all.tar": write_tar(tmp_path / "all.tar", FILES).read_bytes(),
    }
    if kind == "folder":
        system.pipe({f"{root}/{name}": data for name, data in FILES.items()})
    elif kind == "folder of archives":
        half = write_zip(tmp_path / "half.zip", {name: FILES[name] for name in names[:2]}).read_bytes()
        rest = write_tar(tmp_path / "rest.tar", {name: FILES[name] for name in names[2:]}).read_bytes()
        system.pipe({f"{root}/half.zip": half, f"{root}/rest.tar": rest})
    else:
        system.pipe({f"{root}/all.{kind}": local[f"all.{kind}"]})
    tree = open_tree(f"memory:/{root}" + (f"/all.{kind}" if kind in ("zip", "tar") else ""))
    if kind == "folder of archives":
        assert all(tree.read(name) == data for name, data in FILES.items())
    else:
        holds_all(tree)


def test_remote_paths_that_lead_nowhere_are_one_line():
    for url in ("memory://nothing/at/all.zip", "nosuchprotocol://x"):
        with pytest.raises(DwmError, match=url) as error:
            open_tree(url)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_becomes_a_zip_with_the_same_content(tmp_path, mode):
    source = write_tar(tmp_path / "in.tgz", FILES, mode, prefix="./")
    made = zip_tar(source, tmp_path / "out.zip", verify=True)
    holds_all(open_tree(made.path))
    assert made.files == len(FILES) and made.content == sum(map(len, FILES.values()))
    with zipfile.ZipFile(made.path) as archive:
        infos = {info.filename: info for info in archive.infolist()}
    assert infos["samples/a.jpg"].compress_type == zipfile.ZIP_STORED
    assert infos["v1.0-mini/scene.json"].compress_type == zipfile.ZIP_DEFLATED
    assert infos["samples/a.jpg"].date_time == (2017, 7, 14, 2, 40, 0)


def test_a_cut_or_missing_tar_leaves_nothing_behind(tmp_path):
    source = write_tar(tmp_path / "in.tgz", {"a.jpg": random.Random(0).randbytes(200_000)}, "w:gz")
    for share in (0.3, 0.99):
        (tmp_path / "cut.tgz").write_bytes(source.read_bytes()[: int(source.stat().st_size * share)])
        with pytest.raises(DwmError, match=r"cut\.tgz: is no whole tar"):
            zip_tar(tmp_path / "cut.tgz", tmp_path / "out.zip")
    with pytest.raises(DwmError, match="no such file"):
        zip_tar(tmp_path / "no.tgz", tmp_path / "out.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.tgz", "in.tgz"]
