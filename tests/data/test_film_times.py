"""Pictures of films by time: whatever order they are asked for in, each is the one that decoding from the start shows then."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from test_films import film

from dwm.data import films
from dwm.data.film_times import TimedFilm, film_facts, picture_times, read_at
from dwm.errors import DwmError
from dwm.storage import open_tree

WITH_TIMES = (
    "plain.mp4",
    "reordered.mp4",
    "open-groups.mp4",
    "open-groups.mkv",
    "h264.mkv",
    "hidden-packets.webm",
    "super-frames.webm",
    "uneven.mkv",
    "uneven.mp4",
    "trimmed.mp4",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("films")
    subprocess.run([sys.executable, Path(__file__).with_name("test_films.py"), str(place)], check=True)
    return place


@pytest.fixture(autouse=True)
def _closed() -> None:
    films._open.clear()


def shown(path: Path) -> dict[int, float]:
    """The mean of every picture by its stamp, decoded from the start."""
    with av.open(str(path)) as container:
        return {frame.pts: float(frame.to_ndarray(format="rgb24").mean()) for frame in container.decode(video=0)}


@pytest.mark.parametrize("name", WITH_TIMES)
def test_a_picture_is_the_one_of_that_time_in_any_order(name: str, folder: Path) -> None:
    truth, tree = shown(film(folder, name)), open_tree(folder)
    stamps, second = picture_times(tree, name, -1e3, 1e3)
    assert set(stamps) == set(truth) and 0 < second < 0.2
    order = [*stamps, *random.Random(0).sample(stamps, len(stamps)), *reversed(stamps)]
    assert [float(read_at(tree, name, stamp).mean()) for stamp in order] == [truth[stamp] for stamp in order]


@pytest.mark.parametrize("name", WITH_TIMES)
def test_times_of_a_span_are_those_of_the_pictures_shown_in_it(name: str, folder: Path) -> None:
    truth, tree = sorted(shown(film(folder, name))), open_tree(folder)
    second = picture_times(tree, name, 0, 1)[1]
    for start, stop in ((0.5, 1.25), (2.0, 2.0), (1.9, 9.0), (0.0, 0.3)):
        expected = [stamp for stamp in truth if start - 1e-6 <= stamp * second <= stop + 1e-6]
        assert list(picture_times(tree, name, start, stop)[0]) == expected, (start, stop)


def test_a_late_picture_is_sought_and_not_reached_from_the_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = open_tree(film(folder, "reordered.mp4").parent)
    stamps, _ = picture_times(tree, "reordered.mp4", 0, 10)
    monkeypatch.setattr(TimedFilm, "_start_again", lambda self, stamp: pytest.fail("decoded from the start"))
    for place in (28, 3, 25, 10):
        read_at(tree, "reordered.mp4", stamps[place])


def test_of_a_long_film_only_a_part_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise of two minutes: a clip of half a second from its end takes a small share of its bytes."""
    path, noise = tmp_path / "long.mp4", np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "10", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(1200):
            picture = noise.integers(0, 255, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    tree, read = open_tree(tmp_path), []

    class Counted(io.FileIO):
        """The film, whose reads are counted."""

        def readinto(self, buffer):
            read.append(super().readinto(buffer))
            return read[-1]

    monkeypatch.setattr(type(tree), "open", lambda self, name: io.BufferedReader(Counted(tmp_path / name)))
    stamps, _ = picture_times(tree, "long.mp4", 110.0, 110.5)
    read_at(tree, "long.mp4", stamps[0])
    assert len(stamps) == 6 and 0 < sum(read) < path.stat().st_size / 4


def test_a_header_says_size_length_and_rate(folder: Path) -> None:
    facts = film_facts(open_tree(film(folder, "plain.mp4").parent), "plain.mp4")
    assert (facts.width, facts.height, facts.rate) == (96, 64, 10.0) and facts.end - facts.first == pytest.approx(3.0)


def test_a_damaged_film_is_one_line(folder: Path, tmp_path: Path) -> None:
    whole = film(folder, "plain.mp4")
    with av.open(str(whole)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(whole.read_bytes())
    for place, size in packets[8:]:
        data[place : place + size] = bytes(size)
    (tmp_path / "damaged.mp4").write_bytes(data)
    (tmp_path / "text.mp4").write_text("no film")
    tree = open_tree(tmp_path)
    with pytest.raises(DwmError, match=r"text.mp4: cannot be decoded"):
        film_facts(tree, "text.mp4")
    stamps, _ = picture_times(tree, "damaged.mp4", 0, 10)
    assert read_at(tree, "damaged.mp4", stamps[3]).shape == (64, 96, 3)
    with pytest.raises(DwmError, match=r"damaged.mp4: .*cannot be decoded") as error:
        read_at(tree, "damaged.mp4", stamps[20])
    assert "\n" not in str(error.value)
