"""Layout packages and previews: written of the town, read again, generated with the built-in weights, refused when broken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dwm.config import find
from dwm.config.data import SourceOptions
from dwm.data import prepare
from dwm.data.layout import LayoutOptions
from dwm.errors import DwmError
from dwm.opendwm.commands.layout_export import write_package
from dwm.opendwm.commands.layout_package import LayoutPackage, package_batches
from dwm.opendwm.commands.previews import PreviewConfig, TextChange, changed_run, replaced_by, stacked
from dwm.opendwm.commands.vehicle_colors import without_vehicle_colors
from dwm.town import TownDataset

ROOT = Path(__file__).parents[2]
VIEWS = ("CAM_FRONT_LEFT", "CAM_FRONT")
SIZE, FPS, FRAMES = (160, 96), 4.0, 3
LAYOUT = LayoutOptions()


@pytest.fixture(scope="module")
def clip():
    town = TownDataset(seed=3, count=1, views=VIEWS)
    return town.clip(town.windows(FRAMES, FPS, 1.0)[0])


@pytest.fixture(scope="module")
def package(clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(clip, tmp_path_factory.mktemp("packages") / "town", SIZE, LAYOUT, photographs=1)


def source(package: Path, **changes) -> SourceOptions:
    told = {"kind": "layouts", "path": str(package), "frames": FRAMES, "rates": ((FPS, 1.0),), "views": VIEWS}
    return SourceOptions(**(told | changes))


def test_a_package_holds_what_the_clip_shows(clip, package: Path) -> None:
    (batch,) = package_batches(source(package), SIZE, as_published=False)
    known = prepare(clip, SIZE, LAYOUT)
    for name in ("layout_boxes", "layout_map", "intrinsics", "ego_from_camera", "image_size"):
        torch.testing.assert_close(getattr(batch, name), getattr(known, name).to(getattr(batch, name).dtype))
    assert batch.captions == known.captions
    torch.testing.assert_close(batch.frames[:, 0], known.frames[:, 0], atol=1e-6, rtol=0)
    assert float(batch.frames[:, 1:].abs().max()) == 0, "photographs that are left out are black"
    assert batch.scenes == ("town",) and batch.crossview_mask is not None


def test_sizes_as_published_are_turned_round(package: Path) -> None:
    (batch,) = package_batches(source(package), SIZE, as_published=True)
    assert batch.image_size[0, 0, 0].tolist() == [SIZE[1], SIZE[0]]


def test_windows_follow_time(package: Path) -> None:
    opened = LayoutPackage.open(package)
    assert opened.windows(2, [(FPS, 10.0)]) == [(FPS, [0, 1])]
    assert opened.windows(1, [(0.0, 2)]) == [(0.0, [0]), (0.0, [2])]
    with pytest.raises(DwmError, match=r"3 frames over 0\.5 s hold no window of 5 frames"):
        opened.windows(5, [(FPS, 1.0)])


def test_broken_packages_are_refused(package: Path, tmp_path: Path) -> None:
    whole = json.loads(package.read_text())
    path = tmp_path / "data.json"

    def refused(values: object, match: str) -> None:
        path.write_text(json.dumps(values))
        with pytest.raises(DwmError, match=match) as error:
            list(package_batches(source(path), SIZE, as_published=False))
        assert "\n" not in str(error.value)

    refused([1], "is no layout package")
    refused({"a": 1}, "is no layout package")
    refused({"0": {"camera_infos": {}}}, "timestamp")
    refused(whole, "CAM_FRONT_LEFT")  # its pictures are not beside it
    del whole["1"]["camera_infos"]["CAM_FRONT"]
    refused({"0": whole["1"]} | {"1": whole["1"], "2": whole["2"]}, "frame 0 has no camera CAM_FRONT")
    with pytest.raises(DwmError, match=r"the layout package is not here; fetch OpenDWM's .*opendwm-data"):
        list(package_batches(source(tmp_path / "none.json"), SIZE, as_published=False))


def test_colours_of_vehicles_are_struck() -> None:
    text = "A red car, a white van. A green tree and dark-colored SUVs; the red cross of a clinic."
    assert (
        without_vehicle_colors(text) == "A car, a van. A green tree and dark-colored SUVs; the red cross of a clinic."
    )


def test_words_of_a_preview_are_changed() -> None:
    words = ((("day", "dusk"),),)
    assert TextChange(type="add", prompt="night. ").apply(words, (1, 1, 2)) == ((("night. day", "night. dusk"),),)
    assert TextChange(type="replace", prompt="night").apply(words, (1, 1, 2)) == ((("night", "night"),),)
    template = {"night": {"rain": (("left", "other"), ("front",))}}
    change = TextChange(type="template", time="night", weather="rain", template=template)
    assert change.apply(words, (1, 1, 2)) == ((("left", "front"),),)
    with pytest.raises(DwmError, match="has no 3 texts for time 'night'"):
        change.apply(None, (1, 1, 3))
    assert replaced_by(("a", "b")).apply(None, (1, 2, 2)) == ((("a", "b"), ("a", "b")),)
    assert PreviewConfig(text=None).text is None and replaced_by(()) is None


def test_rows_lie_above_what_is_generated(package: Path) -> None:
    (batch,) = package_batches(source(package), SIZE, as_published=False)
    film = stacked(batch, torch.full((1, FRAMES, 2, 3, 96, 160), 0.5), (80, 48))
    assert film.frames.shape == (FRAMES, 4 * 48, 2 * 80, 3) and film.fps == FPS
    assert (film.frames[:, 3 * 48 :] == 127).all()
    picture = stacked(batch.frames_from(0, 1), torch.zeros(1, 1, 2, 3, 96, 160), None)
    assert picture.frames.shape == (1, 4 * 96, 320, 3) and np.ptp(picture.frames[0, 96:192]) > 0


def test_flags_are_laid_over_a_training_run() -> None:
    run = changed_run(
        find("town"), {"steps": 7, "size": (160, 96), "seed": 3, "prompt": ("x",), "force": None}, "x.json"
    )
    assert run.sampling.num_inference_steps == 7 and run.training.seed == 3
    with pytest.raises(DwmError, match=r"--scene: x\.json is a training run"):
        changed_run(find("town"), {"scene": "scene-0001"}, "x.json")


@pytest.mark.slow
def test_the_command_from_the_root(package: Path, tmp_path: Path) -> None:
    """`python src/dwm/preview.py` with a config of ours, the built-in weights, other words, and what was told beside it."""
    told = source(package).model_dump(mode="json")
    config = {"recipe": "town", "data": {"train": [], "validation": [told]}, "training": {"batch": {"frames": 1}}}
    config["sampling"] = {"num_inference_steps": 2}
    (tmp_path / "run.json").write_text(json.dumps(config))
    (tmp_path / "words.json").write_text(json.dumps({"text": {"type": "replace", "prompt": "night"}}))
    command = [sys.executable, "src/dwm/preview.py", "-c", str(tmp_path / "run.json"), "-o", str(tmp_path / "out")]
    done = subprocess.run(
        [*command, "-pc", str(tmp_path / "words.json"), "-eic", "true", "--tiny"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "preview" / "0.mp4").stat().st_size > 1000
    item = json.loads((tmp_path / "out" / "preview" / "0.json").read_text())
    assert item["clip_text"] == [[["night", "night"]] * FRAMES] and "camera_intrinsics" in item
