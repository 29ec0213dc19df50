"""OpenDWM's commands for films: written anew as ffmpeg's arguments say, and captions of OpenDV from its annotations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from dwm.cli.main import outcome
from dwm.data import ReadOptions, open_dataset
from dwm.opendwm.commands import parse

ROOT = Path(__file__).parents[2]
THEIRS = "-r 10 -g 20 -vf scale=-1:90 -row-mt 1 -b:v 2M -crf 10 -pix_fmt yuv420p"
"""OpenDWM's own arguments, with a smaller picture."""


def typed(monkeypatch: pytest.MonkeyPatch, command, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["x", *map(str, words)])
    return outcome(command)


def config(folder: Path, **values: object) -> Path:
    (folder / "config.json").write_text(json.dumps(values))
    return folder / "config.json"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films of 30 pictures a second, each picture brighter than the one before; and a text."""
    folder = tmp_path_factory.mktemp("films")
    for name in ("a.mp4", "b.mp4"):
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream("libx264", rate=30, options={"g": "30"})
            stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
            for number in range(60):
                picture = np.full((180, 320, 3), 4 * number, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
    (folder / "notes.txt").write_text("not a film")
    return folder


def pictures(path: Path) -> tuple[list[float], list[float], list[int]]:
    """Times, mean levels, numbers of key pictures."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return (
            [frame.time for frame in frames],
            [frame.to_ndarray(format="rgb24").mean() for frame in frames],
            [number for number, frame in enumerate(frames) if frame.key_frame],
        )


@pytest.mark.parametrize("arguments", [THEIRS, THEIRS.split()])
def test_films_are_written_as_opendwms_own_arguments_say(films, tmp_path, monkeypatch, capsys, arguments):
    settings = config(tmp_path, ffmpeg_args=arguments)
    assert typed(monkeypatch, parse.transcode_video, "-c", settings, "-i", films, "-o", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.mp4", "b.mp4"]
    times, levels, keys = pictures(tmp_path / "out" / "a.mp4")
    np.testing.assert_allclose(times, np.arange(20) / 10, atol=1e-6)
    np.testing.assert_allclose(levels, 12 * np.arange(20), atol=3)  # every third picture
    assert keys == [0]
    with av.open(str(tmp_path / "out" / "a.mp4")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (160, 90)


def test_a_range_and_another_ending(films, tmp_path, monkeypatch):
    settings = config(tmp_path, ffmpeg_args=["-s", "64x48", "-c:v", "libvpx-vp9", "-row-mt", "1"], reformat="webm")
    flags = ("-c", settings, "-i", films, "-o", tmp_path / "out", "-f", "1", "-t", "2")
    assert typed(monkeypatch, parse.transcode_video, *flags) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.webm"]
    times, _, _ = pictures(tmp_path / "out" / "b.webm")
    np.testing.assert_allclose(times, np.arange(60) / 30, atol=2e-3)


def test_a_broken_film_is_named_and_the_others_are_written(films, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.mp4").write_bytes((films / "a.mp4").read_bytes())
    (folder / "cut.mp4").write_bytes((films / "a.mp4").read_bytes()[:2000])
    (folder / "list.mp4").write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    settings = config(tmp_path, ffmpeg_args=["-r", "10"])
    assert typed(monkeypatch, parse.transcode_video, "-c", settings, "-i", folder, "-o", tmp_path / "out") == 3
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.mp4"]
    assert "2 films could not be written: cut.mp4: cannot be written as cut.mp4" in capsys.readouterr().err


def test_what_is_there_stays_unless_it_is_said_otherwise(films, tmp_path, monkeypatch, capsys):
    (tmp_path / "a.mp4").write_text("mine")
    flags = ("-i", films, "-o", tmp_path, "-t", "1")
    assert typed(monkeypatch, parse.transcode_video, "-c", config(tmp_path, ffmpeg_args=["-g", "5"]), *flags) == 0
    assert (tmp_path / "a.mp4").read_text() == "mine" and "is there already" in capsys.readouterr().err
    assert typed(monkeypatch, parse.transcode_video, "-c", config(tmp_path, ffmpeg_args=["-y"]), *flags) == 0
    assert len(pictures(tmp_path / "a.mp4")[0]) == 60


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-vf", "movie=/etc/passwd"], "-vf movie=/etc/passwd: the filter 'movie=/etc/passwd' is not known"),
        (["-vf", "scale=-1:-2"], "cannot both follow the other"),
        (["-crff", "10"], "-crff is not known; nearest: -crf"),
        (["-r"], "-r lacks its value"),
        (["-r", "0"], "is no number of pictures a second"),
        (["-c:v", "rawvideo"], "is not known (known: libx264"),
        (["-i", "http://elsewhere/x"], "-i is not known"),
    ],
)
def test_arguments_that_are_unknown_or_make_no_sense_are_one_line(
    films, tmp_path, monkeypatch, capsys, arguments, says
):
    settings = config(tmp_path, ffmpeg_args=arguments)
    assert typed(monkeypatch, parse.transcode_video, "-c", settings, "-i", films, "-o", tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert says in told and len(told.splitlines()) == 1 and not (tmp_path / "out").exists()


def test_films_do_not_take_the_place_of_their_sources(films, tmp_path, monkeypatch, capsys):
    settings = config(tmp_path, ffmpeg_args=["-y"])
    assert typed(monkeypatch, parse.transcode_video, "-c", settings, "-i", films, "-o", films) == 1
    assert "would take the place of their own sources" in capsys.readouterr().err


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    rows = [
        {"cmd": 0, "blip": "a wide road", "folder": "val/made/dwm_made_01", "first_frame": 15, "last_frame": 54},
        {
            "cmd": 11,
            "blip": None,
            "folder": "val/made/dwm-made_03/",
            "first_frame": "000020.jpg",
            "last_frame": "000059.jpg",
        },
    ]
    (tmp_path / "annotations.json").write_text(json.dumps(rows).replace("null", "NaN"))
    return tmp_path / "annotations.json"


def test_annotations_become_captions_that_the_reader_finds(shared, annotations, tmp_path):
    """By the script itself, as it is typed."""
    source, output = shared / "data" / "opendv", tmp_path / "captions.json"
    script = ROOT / "src" / "dwm" / "tools" / "prepare_opendv.py"
    words = ("--meta-path", source / "meta" / "OpenDV-YouTube.json", "-a", annotations, "-o", output)
    videos = ("--video-path", source)
    run = subprocess.run(
        [sys.executable, *map(str, (script, *words, *videos))],
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0 and "2 captions" in run.stdout, run.stderr
    assert json.loads(output.read_text()) == {
        "dwm_made_01.mp4.5500": {"image_description": "a wide road", "action": "go straight"},
        "dwm-made_03.webm.5000": {"image_description": "", "action": "make a U-turn"},
    }
    with pytest.warns(UserWarning, match="dwm_made_05.mp4"):
        dataset = open_dataset(source, options=ReadOptions(captions=(str(output), "")))
    assert dataset["dwm_made_01"].clip(6.0, 1).captions[0][0].text() == "a wide road"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cmd": 14}, "entry 0: cmd is 14, not a number from 0 to 13"),
        ({"folder": "val/other"}, "entry 0: other is no video of the meta file"),
        ({"first_frame": "last.jpg"}, "entry 0: first_frame is 'last.jpg', not a frame's number"),
        ({"blip": ["a"]}, "entry 0: blip is list, not a text"),
    ],
)
def test_an_annotation_that_is_wrong_is_one_line(shared, annotations, tmp_path, monkeypatch, capsys, change, says):
    rows = json.loads(annotations.read_text())
    annotations.write_text(json.dumps([rows[0] | change, rows[1]]))
    meta = shared / "data" / "opendv" / "meta" / "OpenDV-YouTube.json"
    flags = ("--meta-path", meta, "-a", annotations, "-o", tmp_path / "captions.json")
    assert typed(monkeypatch, parse.opendv_captions, *flags) == 1
    told = capsys.readouterr().err
    assert says in told and len(told.splitlines()) == 1 and not (tmp_path / "captions.json").exists()
