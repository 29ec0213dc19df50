"""The kept index: read once, mapped by all, built anew when the tables change, built once by processes that start together."""

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from made_up_nuscenes import make_files, make_tables, write

from dwm.data import open_dataset
from dwm.data.tables import index
from dwm.errors import DwmError


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "set", make_files(make_tables(), captions=False))


def forbid_building(monkeypatch):
    monkeypatch.setattr(index, "build_index", lambda tables: pytest.fail("built again"))


def test_a_kept_index_gives_the_same_clips(folder, monkeypatch):
    built = open_dataset(folder)["scene-0916"].clip(0.5, 3, 2)
    forbid_building(monkeypatch)
    dataset = open_dataset(folder)
    for one in (dataset, pickle.loads(pickle.dumps(dataset))):
        clip = one["scene-0916"].clip(0.5, 3, 2)
        np.testing.assert_array_equal(clip.times, built.times)
        np.testing.assert_array_equal(clip.world_from_ego, built.world_from_ego)
        np.testing.assert_array_equal(clip.boxes[1][2].center, built.boxes[1][2].center)
        np.testing.assert_array_equal(clip.pictures.load(2, 1), built.pictures.load(2, 1))
    assert len(pickle.dumps(dataset.index)) < 1000


def test_changed_tables_are_read_again(folder):
    assert len(open_dataset(folder)) == 2
    (place,) = (folder / ".dwm").glob("*index-*")
    table = folder / "v1.0-mini" / "scene.json"
    rows = json.loads(table.read_text())
    rows[0]["name"] = "scene-9999"
    table.write_text(json.dumps(rows))
    assert [scene.name for scene in open_dataset(folder)] == ["scene-9999", "scene-0916"]
    assert not place.exists()


def test_broken_tables_are_told_each_time_and_keep_nothing(folder):
    (folder / "v1.0-mini" / "sensor.json").write_text('[{"token": 3')
    for _ in range(2):
        with pytest.raises(DwmError, match=r"sensor\.json"):
            open_dataset(folder)
    assert not list((folder / ".dwm").glob("*index-*"))


def _open(folder, log):
    build = index.build_index

    def counted(tables):
        with open(log, "a") as file:
            file.write("built\n")
        return build(tables)

    index.build_index = counted
    open_dataset(folder)["scene-0103"].clip(0, 2, 2)


def test_processes_that_start_together_build_once(folder, tmp_path):
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_open, args=(folder, tmp_path / "log")) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(worker.exitcode == 0 for worker in workers)
    assert (tmp_path / "log").read_text() == "built\n"


def run(program, folder, **environment):
    """A process of its own that reads the set: (exit status, what it said)."""
    command = [sys.executable, "-W", "always", "-c", OPENS.format(program), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    return done.returncode, done.stdout + done.stderr


OPENS = """
import os, resource, signal, sys
from dwm.data import open_dataset
{}
print(len(open_dataset(sys.argv[1], split=["scene-0103"])), "opened")
"""
FULL = "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))"
KILLED = "os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)"


def test_a_full_disk_is_no_end_but_a_warning(folder):
    status, said = run(FULL, folder)
    assert status == 0 and "1 opened" in said and "cannot be kept" in said
    assert [path.name for path in (folder / ".dwm").iterdir()] == ["v1.0-mini.index.lock"]


def test_a_process_that_is_killed_while_it_writes_leaves_nothing_in_the_way(folder):
    assert run(KILLED, folder)[0] == -signal.SIGKILL
    assert list((folder / ".dwm").glob(".*.part"))
    assert len(open_dataset(folder)) == 2
    names = sorted(path.name for path in (folder / ".dwm").iterdir())
    assert len(names) == 2 and names[0].startswith("v1.0-mini.index-") and names[1] == "v1.0-mini.index.lock"


def test_a_worker_that_is_killed_leaves_the_others_reading(folder):
    dataset = open_dataset(folder)
    pid = os.fork()
    if pid == 0:
        dataset["scene-0103"].clip(0, 2, 2)
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    assert dataset["scene-0916"].clip(0, 2, 2).pictures.load(0, 0).shape == (36, 64, 3)
    assert len(open_dataset(folder)) == 2


def test_one_index_serves_however_the_folder_is_named(folder, monkeypatch):
    open_dataset(folder)
    forbid_building(monkeypatch)
    monkeypatch.chdir(folder.parent)
    (folder.parent / "link").symlink_to(folder)
    for name in ("set", Path("set"), folder / ".." / "set", folder.parent / "link"):
        assert len(open_dataset(name)) == 2


def test_a_changed_archive_is_read_again(folder, tmp_path):
    files = make_files(make_tables(), captions=False)
    tables = [name for name in files if name.startswith("v1.0-mini/")]
    place = tmp_path / "archives"
    place.mkdir()
    for part, names in (("meta.zip", tables), ("blobs.zip", [name for name in files if name not in tables])):
        with zipfile.ZipFile(place / part, "w") as archive:
            for name in names:
                archive.writestr(name, files[name])
    assert len(open_dataset(place)) == 2
    with zipfile.ZipFile(place / "meta.zip", "w") as archive:
        for name in tables:
            archive.writestr(name, make_files(make_tables(scenes=("scene-0553",)), captions=False)[name])
    assert [scene.name for scene in open_dataset(place)] == ["scene-0553"]


def test_a_table_of_which_nothing_is_taken_must_still_be_whole(folder):
    table = folder / "v1.0-mini" / "visibility.json"
    table.unlink()
    assert len(open_dataset(folder)) == 2
    table.write_text('[{"token": "1"')
    with pytest.raises(DwmError, match=r"visibility\.json: is no whole JSON table"):
        open_dataset(folder)


def test_a_damaged_index_is_built_again(folder):
    open_dataset(folder)
    for left in (0, 500):
        (file,) = (folder / ".dwm").glob("*index-*/frames.arrow")
        os.truncate(file, left)
        assert len(open_dataset(folder)["scene-0103"].clip(0, 2, 2).times) == 2
