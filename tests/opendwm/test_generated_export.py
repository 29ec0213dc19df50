"""Generated pictures in the places of photographs: `export_generation_result_as_nuscenes_data.py` typed on a set, opened again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dwm.config import find
from dwm.config.data import SourceOptions
from dwm.data import open_dataset
from dwm.errors import DwmError
from dwm.opendwm.commands.generated_export import export_generated

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from made_up_nuscenes import make_files, make_tables, write

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "src" / "dwm" / "export_generation_result_as_nuscenes_data.py"
VIEWS = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set whose every photograph is there, all grey."""
    folder = write(tmp_path_factory.mktemp("made") / "set", make_files(make_tables()))
    index = open_dataset(folder).index
    frames = zip(*(index.frames[name].to_pylist() for name in ("filename", "width", "height")), strict=True)
    for name, width, height in frames:
        if name.endswith(".jpg"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (width, height), (128, 128, 128)).save(folder / name)
    return folder


def source(folder: Path) -> SourceOptions:
    cameras = tuple(name for name in VIEWS if name in open_dataset(folder).scenes[0].views)
    return SourceOptions(path=str(folder), frames=2, rates=((2.0, 20.0),), views=cameras, lidar_clock=False)


@pytest.mark.slow
def test_generated_pictures_take_the_places_of_photographs(photographs: Path, tmp_path: Path) -> None:
    part = source(photographs)
    config = {"recipe": "town", "data": {"train": [], "validation": [part.model_dump(mode="json")]}}
    config |= {"training": {"batch": {"frames": 1}}, "sampling": {"num_inference_steps": 2}}
    (tmp_path / "run.json").write_text(json.dumps(config))
    flags = ("-c", tmp_path / "run.json", "-o", tmp_path / "out", "--count", "1", "--tiny")
    command = [sys.executable, *map(str, (SCRIPT, *flags))]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    made = sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.jpg"))
    clip = open_dataset(photographs).scenes[0].clip(0, 2, 2, views=part.views)
    assert made == sorted(Path(name) for row in clip.pictures.files for name in row)
    for name in made:
        picture = Image.open(tmp_path / "out" / name)
        assert picture.size == Image.open(photographs / name).size and np.asarray(picture).std() > 5
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 1 and "is not an empty folder" in again.stderr


def test_no_photograph_is_replaced(photographs: Path) -> None:
    run = find("town")
    run = run.with_(data=run.data.with_(train=(), validation=(source(photographs),)))
    with pytest.raises(DwmError, match=r"is not an empty folder; choose another --output"):
        export_generated(run, photographs, tiny=True)


def test_sets_without_photographs_of_their_own_are_refused(tmp_path: Path) -> None:
    run = find("town")
    package = SourceOptions(kind="layouts", path="somewhere/data.json", frames=2, rates=((2.0, 1.0),))
    with pytest.raises(
        DwmError, match=r"x.json: somewhere/data.json is a package of layouts, which names no photographs"
    ):
        export_generated(run.with_(data=run.data.with_(validation=(package,))), tmp_path / "out", source="x.json")
    assert not (tmp_path / "out").exists()
