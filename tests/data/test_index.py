"""The kept index: read once, mapped by all, built anew when the tables change, built once by processes that start together."""

import json
import multiprocessing
import pickle

import numpy as np
import pytest
from made_up_nuscenes import make_files, make_tables, write

from dwm.data import open_dataset
from dwm.data.nuscenes import index
from dwm.errors import DwmError


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "set", make_files(make_tables(), captions=False))


def forbid_building(monkeypatch):
    monkeypatch.setattr(index, "build_index", lambda tree, version: pytest.fail("built again"))


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

    def counted(tree, version):
        with open(log, "a") as file:
            file.write("built\n")
        return build(tree, version)

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


def test_a_full_disk_is_no_end_but_a_warning(folder, monkeypatch):
    monkeypatch.setattr("dwm.storage.cache.pa.OSFile", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.warns(UserWarning, match="cannot be kept"):
        assert len(open_dataset(folder)) == 2
    assert not list((folder / ".dwm").glob("*index-*")) and not list((folder / ".dwm").glob("*.part"))
