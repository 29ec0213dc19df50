"""Generation examples: ours say what OpenDWM's say, both run on the built-in weights, and faults are told before anything loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dwm.config import find, save
from dwm.errors import DwmError
from dwm.opendwm.commands.example_runs import ExampleInput, ExampleRun
from dwm.opendwm.commands.examples import read_example, run_example
from dwm.opendwm.runs import load_recipe, read_run

EXAMPLES = Path(__file__).parents[2] / "examples"
SAME = ("conditions", "sampling", "weights_dtype", "text_dtype", "autocast", "autoencoder_piece", "compatibility")


def test_our_examples_say_what_the_published_ones_say(shared: Path) -> None:
    published = sorted((shared / "reference" / "examples").glob("ctsd*.json"))
    assert [path.name for path in published] == sorted(path.name for path in EXAMPLES.glob("*.json"))
    for path in published:
        ours, theirs = load_recipe(EXAMPLES / path.name), load_recipe(path)
        assert {key: getattr(ours, key) for key in SAME} == {key: getattr(theirs, key) for key in SAME}, path.name
        same = {"compatibility": "reference"} if hasattr(ours.network, "compatibility") else {}
        assert ours.network.with_(**same) == theirs.network, path.name
        assert ours.preview.window == theirs.preview.window
        if isinstance(run := read_run(EXAMPLES / path.name), ExampleRun):
            shapes = [(given.frames, given.fps, given.size) for given in read_example(path).inputs]
            assert {(given.frames, given.fps, given.size) for given in run.inputs} == set(shapes), path.name
        else:
            ((mine,), (other,)) = ours.data.validation, theirs.data.validation
            assert (mine.kind, mine.frames, mine.rates) == (other.kind, other.frames, other.rates), path.name


def test_files_that_are_missing_are_named_with_their_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    example = read_example(EXAMPLES / "ctsd_35_6views_image_generation.json")
    with pytest.raises(
        DwmError,
        match=r"base model .* is not here; fetch it from https://.*16 GB; gated: .*licence there first\) and put it at",
    ):
        run_example(example, tmp_path / "out")
    Path(example.run.base_model).mkdir(parents=True)
    with pytest.raises(DwmError, match=r"weights pretrained/ctsd_35_tirda_nwao_20k.pth .*7\.6 GB in float16.*--tiny"):
        run_example(example, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_words_of_the_wrong_shape_are_refused() -> None:
    for prompts, frames, told in (
        (("a",) * 5, 1, "5 texts for 6 views"),
        ((("a",) * 6, ("b",) * 6), 3, "2 rows for 3 frames"),
        ((("a",) * 6, ("b",) * 4), 2, "prompts of frame 1 are 4 texts for 6 views"),
    ):
        with pytest.raises(ValueError, match=told):
            ExampleInput(frames=frames, prompts=prompts)


@pytest.mark.slow
def test_an_example_runs_on_the_built_in_weights(tmp_path: Path) -> None:
    run = find("town").with_(compatibility="reference")
    example = ExampleRun(run=run, inputs=(ExampleInput(frames=1, fps=0, prompts=("night",) * 6),))
    said: list[str] = []
    run_example(example, tmp_path, repeat=2, tiny=True, say=said.append)
    told = json.loads((tmp_path / "inference_stats.json").read_text())
    (sample,) = told.pop("samples")
    assert (told.pop("total_samples"), told.pop("total_runs")) == (1, 2)
    assert set(told) == {"total_time", "avg_time", "std_time", "min_time", "max_time"}
    assert sample["original_latent_shape"] == sample["actual_latent_shape"] == [1, 1, 6, 8, 12, 20]
    assert len(sample["times"]) == 2 and sample["fps"] is None and sample["min_time"] <= sample["mean_time"]
    assert (tmp_path / "0.png").stat().st_size > 1000 and said[0].startswith("Sample 0 - Run 1/2: ")
    assert read_run(tmp_path / "config.json") == example


@pytest.mark.slow
def test_processes_of_torchrun_share_the_inputs_and_make_each_once(tmp_path: Path) -> None:
    run = find("town").with_(compatibility="reference")
    inputs = tuple(ExampleInput(frames=1, fps=0, prompts=(words,) * 6) for words in ("night", "rain", "snow"))
    config = save(ExampleRun(run=run, inputs=inputs), tmp_path)
    out = tmp_path / "out"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    script = [str(EXAMPLES / "ctsd_generation_example.py"), "-c", str(config), "-o", str(out), "--tiny"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run([*launcher, *script], env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert [found.stdout.count(f"Sample {number} - Run 1/1") for number in range(3)] == [1, 1, 1]
    assert sorted(path.name for path in out.glob("*.png")) == ["0.png", "1.png", "2.png"]
    samples = json.loads((out / "inference_stats.json").read_text())["samples"]
    assert [sample["id"] for sample in samples] == [0, 1, 2]
