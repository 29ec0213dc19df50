"""Every published generation example on the port's folder: pictures and videos of words, and of layout packages."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
from port_tree import PORT, PortTree

from dwm.opendwm.commands.examples import read_example, run_example
from dwm.opendwm.commands.layout_export import export_packages
from dwm.opendwm.commands.previews import run_previews
from dwm.opendwm.runs import load_recipe

EXAMPLES = "reference/examples/ctsd_{}.json"
PICTURES = (128, 64)
STEPS = 2
"""Of sampling: each step is the same work, and all of them are taken in the port's own example."""
PACKAGES = ("nuscenes_scene-0627_package", "carla_town04_package")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tree(port_tree: PortTree) -> PortTree:
    """The port's folder with two layout packages: six key frames of its validation set over and over, to be long enough."""
    run = load_recipe(port_tree.small(PORT), port_tree.folder)
    (source,) = run.data.validation
    video = run.data.with_(validation=(source.with_(frames=6, rates=((2.0, 0.5),)),))
    (package,) = export_packages(run.with_(data=video), port_tree.folder / "exported", count=1)
    cameras = [frame["camera_infos"] for frame in json.loads(package.read_text()).values()]
    frames = {number: {"timestamp": 0.1 * number, "camera_infos": cameras[number % 6]} for number in range(40)}
    for name in PACKAGES:
        folder = port_tree.folder / "data" / name
        folder.symlink_to(package.parent, target_is_directory=True)
    package.write_text(json.dumps(frames))
    return port_tree


@pytest.mark.parametrize("name", ["21_6views_image_generation", "35_6views_image_generation"])
def test_a_published_example_of_pictures(name: str, tree: PortTree, tmp_path: Path) -> None:
    made = run_example(read_example(tree.small(EXAMPLES.format(name), PICTURES, (1, STEPS)), tree.folder), tmp_path)
    assert [one.video.frames.shape for one in made] == [(1, 1, 6, 3, *PICTURES[::-1])] * 2
    assert all((tmp_path / f"{number}.png").stat().st_size > 10_000 for number in range(2))


@pytest.mark.parametrize(("name", "frames"), [("21_6views_video_generation", 21), ("35_6views_video_generation", 35)])
def test_a_published_example_of_videos_of_words(name: str, frames: int, tree: PortTree, tmp_path: Path) -> None:
    """Two windows each, of which the second begins with the last three frames of the first."""
    run_example(read_example(tree.small(EXAMPLES.format(name), PICTURES, (frames, STEPS)), tree.folder), tmp_path)
    assert length(tmp_path / "0.mp4") == frames


@pytest.mark.parametrize(
    ("name", "frames", "steps"),
    [
        ("21_6views_video_generation_with_layout", 21, STEPS),
        ("35_6views_video_generation_with_layout", 35, STEPS),
        ("35_df16_6views_video_generation_with_layout", 18, 16),
        ("35_tvae_6views_video_generation_with_layout", 33, STEPS),
        ("unimlvg_6views_video_generation", 35, STEPS),
    ],
)
def test_a_published_example_of_a_layout_package(
    name: str, frames: int, steps: int, tree: PortTree, tmp_path: Path
) -> None:
    small = tree.small(EXAMPLES.format(name), PICTURES, (frames, steps))
    (film,) = (path for path in run_previews(load_recipe(small, tree.folder), tmp_path) if path.suffix == ".mp4")
    assert length(film) == frames


def length(film: Path) -> int:
    with av.open(str(film)) as content:
        return sum(1 for _ in content.decode(video=0))
