"""`dwm export worldlens`: films by token, generation and camera, of the frames that the benchmark looks at; each made once."""

import av
import numpy as np
import pytest
from made_up_nuscenes import make_files, make_tables, write

from dwm.cli.main import app, outcome

VIEWS = ("--views", "CAM_FRONT,CAM_BACK")
FLAGS = (
    "--steps",
    "1",
    "--size",
    "64x48",
    "--force",
    "--dtype",
    "float32",
    "-q",
    "--frames",
    "13",
    "--views",
    "CAM_FRONT,CAM_BACK",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("worldlens") / "set", dict(make_files(make_tables())))


def export(folder, output, *flags):
    arguments = ["export", "worldlens", "--data", str(folder), "-o", str(output), *FLAGS, *flags]
    return outcome(lambda: app(arguments, standalone_mode=False))


def film(path):
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]), file.streams.video[
            0
        ].average_rate


def test_each_generation_of_a_scene_is_a_folder_of_films(folder, tmp_path):
    assert export(folder, tmp_path / "out", "--scene", "scene-0103", "--generations", "2") == 0
    root = tmp_path / "out/video_submission"
    token = "scene-0103 sample 0"
    assert sorted(path.name for path in root.iterdir()) == [f"{token}_gen0", f"{token}_gen1"]
    films = [
        root / f"{token}_gen{k}" / f"{token}_{camera}.mp4" for k in range(2) for camera in ("CAM_FRONT", "CAM_BACK")
    ]
    assert sorted(path for path in root.rglob("*") if path.is_file()) == sorted(films)
    pictures, rate = film(films[0])
    assert pictures.shape == (13, 48, 64, 3) and rate == 12
    assert np.abs(pictures.astype(int) - film(films[2])[0]).mean() > 1, "both generations have the same noise"


def test_it_goes_on_where_it_stopped_and_jobs_share_it(folder, tmp_path):
    output = tmp_path / "out"
    assert export(folder, output, "--generations", "1", "--part", "1/2") == 0
    first = {path: path.stat().st_mtime_ns for path in output.rglob("*.mp4")}
    assert len(first) == 2
    assert export(folder, output, "--generations", "1") == 0
    assert len(list(output.rglob("*.mp4"))) == 4
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in first.items())


def test_a_scene_that_is_too_short_is_one_line(folder, tmp_path, capsys):
    assert export(folder, tmp_path / "out", "--frames", "40") == 1
    assert "scene-0103: has 19 frames at 12 a second, fewer than 40" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
