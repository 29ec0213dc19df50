"""A full disk, foreign weights and sizes never seen: one line, status 1, nothing half-written."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dwm.checkpoints.locations import TOWN
from dwm.cli.main import app, outcome


def within(*arguments: str) -> int:
    return outcome(lambda: app(args=list(arguments), prog_name="dwm", standalone_mode=False))


def line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("dwm: "), said
    return said


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A copy of the built-in weights that a test may spoil."""
    if not (TOWN / "dwm.json").is_file():
        pytest.skip("no weights come with this tree")
    return Path(shutil.copytree(TOWN, tmp_path / "weights"))


@contextmanager
def full_disk() -> Iterator[None]:
    """The system refuses files of more than 64 bytes, as a full disk would; not longer than the block, for pytest writes too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "files.json"
    source.write_text(json.dumps({"_class_name": "dwm.fs.dirfs.DirFileSystem", "path": "x" * 200}))
    with full_disk():
        status = within("convert", "config", str(source), "-o", str(tmp_path / "out.json"))
    assert status == 1
    assert "out.json: cannot be written" in line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["files.json"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--size", "150x250"), "--size 150x250 is not a multiple of 16"),
        (("--size", "320x192"), "never seen"),
        (("--size", "big"), "WIDTHxHEIGHT"),
        (("--frames", "5"), "5 frames were never seen"),
        (("--views", "CAM_FRONT,CAM_BACK"), "2 views were never seen"),
        (("--views", "CAM_FORNT"), "camera CAM_FORNT is not known; nearest: CAM_FRONT"),
        (("--references", "2"), "--references needs the pictures of a clip"),
        (("--prompt", "b"), "2 texts for 6 views"),
    ],
)
def test_what_the_weights_never_saw_is_refused_before_they_are_read(
    arguments: tuple[str, ...], sentence: str, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (weights / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    force = ("--force",) if "FORNT" in str(arguments) else ()
    assert within(
        "generate", "--weights", str(weights), "--prompt", "a", *arguments, *force, "-o", str(tmp_path / "o")
    ) in (1, 2)
    assert sentence in line(capsys) and not (tmp_path / "o").exists()


def test_nothing_to_generate_is_said(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert within("generate", "--weights", str(weights)) == 1 and "give --prompt" in line(capsys)


def test_weights_of_another_network_name_ten_keys_at_most(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = weights / "transformer" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "num_layers": config["num_layers"] + 1}))
    status = within(
        "generate", "--weights", str(weights), "--prompt", "a", "--frames", "1", "-q", "-o", str(tmp_path / "o")
    )
    said = line(capsys)
    assert status == 1 and "keys differ" in said and 1 <= said.count("transformer_blocks.") <= 10


def test_a_missing_data_set_is_named(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert within("generate", "--weights", str(weights), "--data", str(tmp_path / "none")) == 1
    assert "none" in line(capsys)


def test_training_on_what_cannot_be_read_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert within("train", "town", "data.train.0.kind=carla", "-o", str(tmp_path / "run")) == 1
    assert "sets of kind carla cannot be read yet" in line(capsys)


def test_a_clip_of_a_data_set_is_told(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert within("show", "clip", str(shared / "data" / "nuscenes_keyframe"), "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert len(facts["views"]) == 6 and facts["counts"] and facts["caption"]
