"""A data set's format from outside: an installed package's, which touches no file of ours, through the real commands."""

import json
import sys
import textwrap

import numpy as np
import pytest
from PIL import Image

import dwm.data.open as formats
from dwm.cli.main import run as command
from dwm.config.data import SourceOptions
from dwm.data import Dataset, Scene, open_dataset
from dwm.errors import DwmError
from dwm.runs.clips import opened, training_readers

FORMAT = '''
    """Drives of an invented car: `drives.csv` with a line for each picture, straight ahead along x."""

    import csv
    from dataclasses import dataclass

    import pyarrow as pa

    from dwm.data import Format, SceneTables

    AHEAD = [0.5, -0.5, 0.5, -0.5]


    @dataclass(frozen=True)
    class Drives(SceneTables):
        format = "drives of an invented car"
        version: str = "drives"
        files = ("drives.csv",)

        def table(self, name):
            rows = list(csv.DictReader(self.tree.read("drives.csv").decode().splitlines()))
            at = [float(row["seconds"]) * 1e6 for row in rows]
            pose = {"translation": [[float(row["x"]), 0.0, 0.0] for row in rows], "rotation": [[1.0, 0, 0, 0]] * len(rows)}
            drives = sorted({row["drive"] for row in rows})
            columns = {
                "scenes": {"token": drives, "name": drives, "description": ["a drive"] * len(drives), "map": [""] * len(drives)},
                "sensors": {"token": ["front"], "name": ["front"], "kind": ["camera"], "translation": [[1.0, 0, 1.5]]}
                | {"rotation": [AHEAD], "intrinsics": [[50.0, 0, 32, 0, 50, 18, 0, 0, 1]]},
                "instants": {"token": [row["picture"] for row in rows], "scene": [row["drive"] for row in rows], "time": at},
                "frames": {name: [row["picture"] for row in rows] for name in ("token", "instant", "file")}
                | {"sensor": ["front"] * len(rows), "time": at, "annotated": [False] * len(rows)}
                | {"width": [64] * len(rows), "height": [36] * len(rows)} | pose,
            }
            return pa.table(columns[name]) if name in columns else None


    FORMAT = Format(
        "drives",
        "drives",
        "drives.csv",
        ("drives.csv",),
        recognise=lambda tree: tree.exists("drives.csv"),
        tables=lambda tree, version: Drives(tree),
    )
'''


def run(capsys, *arguments):
    """Status and all that a command says."""
    with pytest.raises(SystemExit) as stop:
        command([str(argument) for argument in arguments])
    said = "".join(capsys.readouterr())
    print(said)  # shown where a test fails
    return stop.value.code, said


def install(folder):
    """What pip leaves of a package that offers a format."""
    info = folder / "invented_drives-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "invented_drives.py").write_text(textwrap.dedent(FORMAT))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: invented-drives\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dwm.datasets]\ndrives = invented_drives:FORMAT\n")
    return folder


@pytest.fixture
def forget():
    """What a process learns of installed packages, it learns once."""
    formats._entry_points.cache_clear()
    yield
    formats._entry_points.cache_clear()
    formats.FORMATS.pop("drives", None)
    sys.modules.pop("invented_drives", None)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    lines = ["drive,seconds,x,picture"]
    for drive in ("north", "south"):
        for i in range(10):
            Image.fromarray(np.full((36, 64, 3), 20 * i, np.uint8)).save(folder / f"{drive}{i}.png")
            lines.append(f"{drive},{1000 + i / 10},{i / 2},{drive}{i}.png")
    (folder / "drives.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def installed(tmp_path, monkeypatch, forget):
    monkeypatch.syspath_prepend(str(install(tmp_path / "site")))


def test_an_installed_format_gives_clips(installed, data):
    dataset = open_dataset(data)
    assert isinstance(dataset, Dataset) and isinstance(dataset[0], Scene)
    assert dataset.describe() == f"{data}: drives of an invented car, 2 scenes"
    scene = dataset["south"]
    assert scene.views == ("front",) and scene.rate == 10
    clip = scene.clip(0.2, 3, 5)
    np.testing.assert_allclose(clip.world_from_ego[:, 0, 0, 3], [1, 2, 3])
    assert [int(clip.pictures.load(frame, 0)[0, 0, 0]) for frame in range(3)] == [40, 80, 120]


def test_the_commands_take_it_and_say_what_it_is(installed, data, tmp_path, capsys):
    code, said = run(capsys, "data", "check", data)
    assert code == 0 and "drives of an invented car" in said and "2 scenes, 20 frames" in said
    picture = tmp_path / "look.png"
    code, said = run(capsys, "data", "show", "north", "--data", data, "-o", picture)
    assert code == 0 and f"{data}: drives of an invented car, 2 scenes" in said
    assert Image.open(picture).width > 400
    code, said = run(capsys, "data", "index", data, "--json")
    assert code == 0 and json.loads(said.splitlines()[-1])["scenes"] == 2
    assert run(capsys, "show", "clip", data, "north")[0] == 0


def test_it_is_converted_as_any_other(installed, data, tmp_path, capsys):
    for to, name in (("package", "drives.zip"), ("nuscenes", "back")):
        code, said = run(capsys, "data", "convert", data, "-o", tmp_path / name, "--to", to)
        assert code == 0 and "2 scenes, 20 frames" in said
        clip = open_dataset(tmp_path / name)["north"].clip(0.2, 3, 5)
        assert [int(clip.pictures.load(frame, 0)[0, 0, 0]) for frame in range(3)] == [40, 80, 120]
    (tmp_path / "split.txt").write_text("south\n")
    code, said = run(capsys, "data", "convert", data, "-o", tmp_path / "part", "--split", tmp_path / "split.txt")
    assert code == 0 and "1 scenes, 10 frames" in said and len(open_dataset(tmp_path / "part")) == 1


def test_a_run_reads_it(installed, data, capsys):
    source = SourceOptions(kind="drives", path=str(data), views=("front",), frames=2, rates=((10.0, 0.5),))
    assert len(opened(source)) == 2 and f"{data}: drives of an invented car" in capsys.readouterr().err
    from dwm.config.data import DataOptions

    (reader,) = training_readers(DataOptions(train=(source,), size=(64, 48)))
    assert len(reader) == 4 and reader.label == "drives"


def test_what_is_broken_in_it_is_found(installed, data, capsys):
    (data / "north3.png").unlink()
    code, said = run(capsys, "data", "check", data)
    assert code == 3 and "missing files" in said and "north3.png" in said
    (data / "drives.csv").write_text("drive,seconds,x,picture\nnorth,nan,0,north1.png\n")
    code, said = run(capsys, "data", "check", data)
    assert code == 3 and "table frames" in said and "time" in said


def test_a_folder_of_the_users_adds_no_format(data, monkeypatch, tmp_path, forget):
    monkeypatch.chdir(install(tmp_path / "folder"))
    monkeypatch.syspath_prepend(str(tmp_path / "folder"))  # where `python -m` puts the working folder
    with pytest.raises(DwmError, match=r"holds no nuScenes tables .* and no package\.json"):
        open_dataset(data)
    with pytest.raises(ValueError, match="'drives' is no kind of data set"):
        SourceOptions(kind="drives")


def test_a_format_that_does_not_import_is_a_note(data, monkeypatch, tmp_path, forget):
    monkeypatch.syspath_prepend(str(install(tmp_path / "site")))
    (tmp_path / "site" / "invented_drives.py").write_text("import a_module_that_nobody_has\n")
    with pytest.warns(UserWarning, match="a_module_that_nobody_has"), pytest.raises(DwmError, match="holds no"):
        open_dataset(data)


def test_the_town_is_drawn_by_its_name(tmp_path, capsys):
    assert run(capsys, "data", "check", "town:seed=7,scenes=3")[0] == 0
    dataset = open_dataset("town:seed=7,first=5,scenes=3")
    assert isinstance(dataset, Dataset) and isinstance(dataset[0], Scene)
    assert dataset[0].name == "scene-0005" == dataset["scene-0005"].name and len(dataset) == 3
    first, again = (dataset.clip(dataset.windows(2, 4, 1)[1]) for _ in range(2))
    assert first.scene == "scene-0006" and np.array_equal(first.times, again.times)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("town:sead=7", "the town has no sead; nearest: seed"),
        ("town:seed=x", "expected a whole number"),
        ("town:seed", "seed is no setting"),
        ("town:scenes=0", "one scene at least"),
    ],
)
def test_a_wrong_setting_of_it_is_named(name, says):
    with pytest.raises(DwmError, match=says):
        open_dataset(name)
    with pytest.raises(DwmError, match="no version and no split"):
        open_dataset("town:seed=7", split="val")
