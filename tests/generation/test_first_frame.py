"""A first frame of the user's own: whatever its size and kind, it is what the cameras see first; what is none is one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dwm.checkpoints.folder import read_card
from dwm.checkpoints.locations import resolve
from dwm.cli.main import run
from dwm.data import open_dataset
from dwm.errors import DwmError
from dwm.runs.first_frame import first_frame_clip
from dwm.runs.generate import GenerationRun, check, completed

FRONT = ("CAM_FRONT",)


def picture(path: Path, size: tuple[int, int] = (640, 480)) -> str:
    ramp = np.linspace(0, 255, size[0]).astype(np.uint8)
    Image.fromarray(np.tile(ramp[None, :, None], (size[1], 1, 3))).save(path)
    return str(path)


def test_the_middle_of_a_picture_is_taken_in_the_videos_proportions(tmp_path: Path) -> None:
    clip = first_frame_clip([picture(tmp_path / "a.png", (800, 100))], FRONT, 4, 4.0)
    assert clip.pictures is not None and clip.captions is None
    seen = clip.pictures.load(0, 0, (160, 96))
    assert seen.shape == (96, 160, 3)
    assert 90 < seen[:, 0].mean() < 110 and 145 < seen[:, -1].mean() < 165, "the middle 167 of 800 columns"


def test_a_picture_for_each_view(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.jpg")
    with pytest.raises(DwmError, match=r"1 pictures for 2 views \(CAM_FRONT, CAM_BACK\)"):
        first_frame_clip([image], ("CAM_FRONT", "CAM_BACK"), 4, 4.0)
    assert first_frame_clip([image, image], ("CAM_FRONT", "CAM_BACK"), 4, 4.0).times.shape == (4, 2)


def test_what_is_no_picture_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("a poem")
    with pytest.raises(DwmError, match=r"a\.jpg: not a picture"):
        first_frame_clip([str(tmp_path / "a.jpg")], FRONT, 4, 4.0)
    cut = Path(picture(tmp_path / "b.png"))
    cut.write_bytes(cut.read_bytes()[:400])
    with pytest.raises(DwmError, match="cannot be read"):
        first_frame_clip([str(cut)], FRONT, 4, 4.0)


def test_what_cannot_be_together_is_refused() -> None:
    card = read_card(resolve("town"))
    alone = completed(GenerationRun(image=("a.jpg",)), card)
    assert alone.views == FRONT
    check(alone, card)
    for fields, words in (({"data": "town"}, "pictures of its own"), ({"frames": 1}, "take more --frames")):
        with pytest.raises(DwmError, match=words):
            check(completed(GenerationRun(image=("a.jpg",), **fields), card), card)


@pytest.mark.slow
def test_the_first_picture_of_the_video_is_the_one_that_was_given(tmp_path: Path) -> None:
    from dwm.report import read_film

    image, output = picture(tmp_path / "a.png"), tmp_path / "out"
    with pytest.raises(SystemExit) as end:
        run(["generate", "--image", image, "--frames", "4", "--steps", "1", "-o", str(output)])
    assert end.value.code == 0
    first = np.asarray(read_film(output / "generated.mp4").frames[0], float).mean(axis=(0, 2))
    assert (np.diff(first.reshape(-1, 10).mean(1)) > 0).mean() > 0.9, "brighter from left to right, as the picture is"


def test_a_data_set_of_words_alone_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for flags, words in ((["--prompt", "x"], "--prompt: a data set is of a whole scene"), ([], "of which scene")):
        with pytest.raises(SystemExit) as end:
            run(["generate", "--as", "nuscenes", *flags])
        assert end.value.code == 1 and words in capsys.readouterr().err


@pytest.mark.slow
def test_one_scene_becomes_a_data_set_in_few_steps(tmp_path: Path) -> None:
    town, output = tmp_path / "town", tmp_path / "out"
    flags = ["--fast", "--frames", "2", "--views", "CAM_FRONT", "--force"]
    for arguments in (
        ["town", "-o", str(town), "--scenes", "1", "--seconds", "2"],
        ["generate", "--as", "nuscenes", "--data", str(town), *flags, "-o", str(output)],
    ):
        with pytest.raises(SystemExit) as end:
            run(arguments)
        assert end.value.code == 0
    (scene,) = open_dataset(output).scenes
    assert scene.clip(0, frames=2, fps=2, views=("CAM_FRONT",)).length == 2
    assert json.loads((output / "config.json").read_text())["fast"]
