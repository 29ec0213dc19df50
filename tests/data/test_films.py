"""Pictures of films by number: whatever order they are asked for in, they are those that decoding from the start gives."""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dwm.data import films
from dwm.data.films import read_film
from dwm.errors import DwmError
from dwm.storage import open_tree

COUNT, SIZE, STEP = 30, (96, 64), 8
"""Pictures of a film, their size, and how much brighter each is than the one before."""

UNEVEN = [100 * i + (33 if i % 3 == 1 else 0) + (400 if i > 20 else 0) for i in range(COUNT)]
EARLY = [100 * i - 700 for i in range(COUNT)]
KINDS = {
    "plain.mp4": ("libx264", {"bf": "0"}),
    "reordered.mp4": ("libx264", {"bf": "3"}),
    "open-groups.mp4": ("libx264", {"bf": "3", "x264-params": "open-gop=1:scenecut=0:keyint=8:min-keyint=8"}),
    "open-groups.mkv": ("libx265", {"x265-params": "open-gop=1:scenecut=0:keyint=8:min-keyint=8:log-level=none"}),
    "every-one-whole.mov": ("mjpeg", {}),
    "every-one-whole.avi": ("mjpeg", {}),
    "asp.avi": ("mpeg4", {"bf": "2"}),
    "asp.mp4": ("mpeg4", {"bf": "2"}),
    "h264.avi": ("libx264", {"bf": "3"}),
    "h264.mkv": ("libx264", {"bf": "2"}),
    "hidden-packets.webm": ("libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "200k"}),
    "super-frames.webm": ("libvpx-vp9", {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "200k"}),
    "lossless.mkv": ("ffv1", {}),
}
OTHERS = {
    "uneven.mkv": ("libx264", {"bf": "2"}, UNEVEN),
    "uneven.mp4": ("libx264", {"bf": "2"}, UNEVEN),
    "trimmed.mp4": ("libx264", {"bf": "2"}, EARLY),
    "whole.mkv": ("libx264", {"bf": "0", "x264-params": "scenecut=0"}),
}


def write_film(path: Path, codec: str, options: dict[str, str], times: list[int] | None = None, rate: int = 10) -> None:
    """COUNT grey pictures, each brighter than the last; `times` in ms (None: even)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"g": "8", **options})
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        base = Fraction(1, rate) if times is None else Fraction(1, 1000)
        stream.codec_context.time_base = stream.time_base = base
        for number in range(COUNT):
            frame = av.VideoFrame.from_ndarray(np.full((*SIZE[::-1], 3), STEP * number, np.uint8), format="rgb24")
            frame.time_base, frame.pts = base, number if times is None else times[number]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_all(folder: Path) -> None:
    for name, kind in (KINDS | OTHERS).items():
        with contextlib.suppress(av.FFmpegError, ValueError):  # a codec that is not here
            write_film(folder / name, *kind)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The films, written by another process: encoders leave threads behind, which a forked reader would wait for."""
    place = tmp_path_factory.mktemp("films")
    subprocess.run([sys.executable, __file__, str(place)], check=True)
    return place


def film(folder: Path, name: str) -> Path:
    if not (folder / name).is_file() or not (folder / name).stat().st_size:
        pytest.skip(f"{name} cannot be written here")
    return folder / name


def decoded(path: Path) -> list[float]:
    """The mean of every picture, from the start to the end."""
    with av.open(str(path)) as container:
        return [float(frame.to_ndarray(format="rgb24").mean()) for frame in container.decode(video=0)]


def compare(path: Path, order: list[int], truth: list[float]) -> None:
    tree = open_tree(path.parent)
    films._open.clear()
    wrong = [
        (number, value, truth[number])
        for number in order
        if abs((value := float(read_film(tree, path.name, number).mean())) - truth[number]) > 1e-6
    ]
    assert not wrong, f"{len(wrong)} of {len(order)} reads (number, read, right): {wrong[:4]}"


@pytest.mark.parametrize("name", KINDS)
def test_a_picture_is_the_one_of_that_number_in_any_order(name: str, folder: Path) -> None:
    truth = decoded(film(folder, name))
    assert len(truth) > COUNT - 4
    numbers = list(range(len(truth)))
    compare(folder / name, numbers + random.Random(0).sample(numbers, len(numbers)) + numbers[::-1], truth)


@pytest.mark.parametrize("name", ["uneven.mkv", "uneven.mp4"])
def test_times_that_are_not_even_change_no_number(name: str, folder: Path) -> None:
    compare(film(folder, name), random.Random(1).sample(range(COUNT), COUNT), decoded(folder / name))


def test_pictures_that_an_edit_list_hides_have_no_number(folder: Path) -> None:
    path = film(folder, "trimmed.mp4")
    truth = decoded(path)
    assert len(truth) < COUNT
    compare(path, random.Random(2).sample(range(len(truth)), len(truth)), truth)
    with pytest.raises(DwmError, match=f"has {len(truth)} pictures, so none of number {len(truth)}"):
        read_film(open_tree(folder), path.name, len(truth))


def test_a_film_that_begins_in_the_middle_of_a_group_counts_what_can_be_seen(folder: Path, tmp_path: Path) -> None:
    with av.open(str(film(folder, "whole.mkv"))) as source, av.open(str(tmp_path / "cut.mkv"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if number >= 3 and packet.size:
                packet.stream = stream
                target.mux(packet)
    truth = decoded(tmp_path / "cut.mkv")
    assert 0 < len(truth) < COUNT - 3
    compare(tmp_path / "cut.mkv", random.Random(3).sample(range(len(truth)), len(truth)), truth)


@pytest.mark.parametrize("name", ["reordered.mp4", "open-groups.mkv", "asp.avi", "h264.mkv"])
def test_a_late_picture_is_not_reached_by_decoding_the_whole_film(name: str, folder: Path, monkeypatch) -> None:
    tree, again = open_tree(film(folder, name).parent), []
    films._open.clear()
    read_film(tree, name, 0)
    monkeypatch.setattr(films._Film, "_start_again", lambda self, number: again.append(number))
    for number in (28, 3, 25, 10):
        read_film(tree, name, number)
    assert not again


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))


def test_a_forked_process_opens_films_of_its_own(folder: Path, tmp_path: Path) -> None:
    tree = open_tree(tmp_path)
    for number in range(films.KEPT_OPEN + 1):
        shutil.copy(folder / "reordered.mp4", tmp_path / f"{number}.mp4")
    for number in range(films.KEPT_OPEN):
        read_film(tree, f"{number}.mp4", 3)
    assert decoded(tmp_path / "0.mp4"), "by PyAV's own way, whose threads stay with this process"
    child = multiprocessing.get_context("fork").Process(target=read_film, args=(tree, f"{films.KEPT_OPEN}.mp4", 3))
    child.start()
    child.join(60)
    code = child.exitcode
    child.kill()
    assert code == 0


def test_colours_are_converted_without_threads_that_a_fork_would_wait_for(folder: Path) -> None:
    read = "import sys; from dwm.data.films import read_film; from dwm.storage import open_tree; from pathlib import Path; "
    count = "tasks = lambda: len(list(Path('/proc/self/task').iterdir())); tree = open_tree(sys.argv[1]); before = tasks(); "
    rest = "read_film(tree, 'reordered.mp4', 3); sys.exit(tasks() - before)"
    if not Path("/proc/self/task").exists():
        pytest.skip("counts threads where the system lists them")
    assert subprocess.run([sys.executable, "-c", read + count + rest, str(folder)], check=False).returncode == 0


def test_a_film_of_an_unknown_codec_is_refused(tmp_path: Path) -> None:
    write_film(tmp_path / "whole.mp4", "libx264", {"bf": "0"})
    (tmp_path / "odd.mp4").write_bytes((tmp_path / "whole.mp4").read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(DwmError, match=r"odd\.mp4: .*fetch or write it again"):
        read_film(open_tree(tmp_path), "odd.mp4", 0)
