"""Outputs are looked at before anything is written; what is no file is never replaced; locks and caches follow no links."""

import os
import socket

import pyarrow as pa
import pytest

from dwm.errors import DwmError
from dwm.storage import atomic_folder, atomic_write, cache_folder, check_file, check_folder, check_output, kept_tables
from dwm.storage.files import open_own

TABLES = {"numbers": pa.table({"number": [1, 2]})}


@pytest.fixture(params=["pipe", "socket", "device", "folder"])
def special(request, tmp_path, monkeypatch):
    path = tmp_path / "out.mp4"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "socket":
        monkeypatch.chdir(tmp_path)  # a socket's name may not be long
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("out.mp4")
    elif request.param == "device":
        path.symlink_to("/dev/null")
    else:
        path.mkdir()
    return path, request.param


def test_a_file_replaces_nothing_but_a_file(special):
    path, kind = special
    before = path.stat()
    with pytest.raises(DwmError, match=rf"out\.mp4: is a {kind}"):
        check_file(path)
    with pytest.raises(DwmError, match=f"is a {kind}"), atomic_write(path) as temporary:
        temporary.write_bytes(b"x")
    assert os.path.samestat(before, path.stat()) and path.stat().st_mode == before.st_mode


def test_a_folder_is_not_written_over_anything_else(special):
    path, kind = special
    if kind == "folder":
        (path / "report.html").mkdir()
        with pytest.raises(DwmError, match=r"report\.html: is a folder"):
            check_folder(path, ("report.html",))
        return
    with pytest.raises(DwmError, match=f"is a {kind}, not a folder"):
        check_folder(path)
    with pytest.raises(DwmError, match=f"is a {kind}, not a folder"), atomic_folder(path):
        pass


@pytest.mark.parametrize("name", ["file/x.png", "file/deep/x.png", "a\0b", "x" * 300])
def test_a_place_that_cannot_be_is_said_at_once(tmp_path, name):
    (tmp_path / "file").write_bytes(b"precious")
    for check in (check_file, check_folder, check_output):
        with pytest.raises(DwmError, match="cannot be written"):
            check(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_asking_makes_nothing(tmp_path):
    check_file(tmp_path / "new" / "film.mp4")
    check_folder(tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("link", [True, False])
def test_a_lock_that_came_with_the_data_empties_no_file(tmp_path, link):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    cache = tmp_path / "set" / ".dwm"
    cache.mkdir(parents=True)
    if link:
        (cache / "index.lock").symlink_to(victim)
    else:
        os.link(victim, cache / "index.lock")
    with pytest.warns(UserWarning, match="cannot be kept"):
        tables, place = kept_tables(cache, "index", "key", lambda: TABLES)
    assert tables["numbers"].num_rows == 2 and place is None
    assert victim.read_text() == "precious"


def test_a_cache_that_is_a_link_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "set").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "set" / ".dwm").symlink_to(tmp_path / "elsewhere")
    with pytest.warns(UserWarning, match=r"\.dwm: is a link"):
        folder = cache_folder(tmp_path / "set")
    _, place = kept_tables(folder, "index", "key", lambda: TABLES)
    assert place is not None and place.is_relative_to(tmp_path / "home")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_tables_that_came_as_links_are_built_anew(tmp_path):
    tables, place = kept_tables(tmp_path / "cache", "index", "key", lambda: TABLES)
    (place / "numbers.arrow").rename(tmp_path / "outside.arrow")
    (place / "numbers.arrow").symlink_to(tmp_path / "outside.arrow")
    built = []
    tables, _ = kept_tables(tmp_path / "cache", "index", "key", lambda: built.append(1) or TABLES)
    assert built and tables["numbers"].num_rows == 2
    assert (tmp_path / "outside.arrow").exists() and not (place / "numbers.arrow").is_symlink()


def test_opening_a_file_of_ours_leaves_what_it_holds(tmp_path):
    (tmp_path / "lock").write_text("words")
    os.close(open_own(tmp_path / "lock"))
    assert (tmp_path / "lock").read_text() == "words"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is a pipe"):
        open_own(tmp_path / "pipe")


def test_a_seal_that_is_a_pipe_is_not_waited_for(tmp_path):
    _, place = kept_tables(tmp_path / "cache", "index", "key", lambda: TABLES)
    (place / "seal.json").unlink()
    os.mkfifo(place / "seal.json")
    tables, _ = kept_tables(tmp_path / "cache", "index", "key", lambda: TABLES)
    assert tables["numbers"].num_rows == 2


@pytest.mark.parametrize("name", ["link", "link/deep", "link/x.png"])
def test_a_folder_that_is_a_link_to_nothing_is_said_before_the_work(tmp_path, name):
    (tmp_path / "link").symlink_to(tmp_path / "unmounted" / "disk")
    check = check_file if name.endswith(".png") else check_folder
    with pytest.raises(DwmError, match=r"link is a link to .*disk, which is not there"):
        check(tmp_path / name)


@pytest.mark.parametrize("check", [check_file, check_folder])
def test_links_in_a_circle_are_a_line(tmp_path, check):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(DwmError, match="circle: cannot be written"):
        check(tmp_path / "circle")
