"""A generation by several processes over gloo gives the pictures of one, and is refused where its clips are too few."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from invented_batches import invented_batch
from PIL import Image

from dwm.errors import DwmError
from dwm.generation import DrivingPipeline
from dwm.generation.processes import Processes, check_count, half_of
from dwm.networks.inputs import Conditions
from dwm.runs.generate import GenerationRun, generate

SCRIPT = Path(__file__).with_name("shared_generation.py")
LAUNCHER = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_pictures_are_those_of_one_process() -> None:
    """Each way of sharing, in one start of two processes."""
    ran = run(*LAUNCHER, SCRIPT)
    assert ran.returncode == 0, ran.stderr[-3000:]
    ways = {name: (float(apart), float(varied)) for name, apart, varied in map(str.split, ran.stdout.splitlines())}
    assert set(ways) == {"halves", "cache", "clips"}
    for name, (apart, varied) in ways.items():
        assert apart <= 1 / 255, name
        assert varied > 0.01, name


@pytest.mark.slow
def test_the_command_shares_a_generation(tmp_path: Path) -> None:
    asked = (
        "--prompt",
        "rain at night",
        "--frames",
        "1",
        "--views",
        "CAM_FRONT,CAM_BACK,CAM_FRONT_LEFT",
        "--steps",
        "3",
    )
    two = run(
        *LAUNCHER, "-m", "dwm.cli.start", "generate", *asked, "--dtype", "float32", "--force", "-o", tmp_path / "two"
    )
    assert two.returncode == 0, two.stderr[-3000:]
    assert two.stdout.count("look at it") == 1, "one process speaks"
    one = GenerationRun(
        prompt=("rain at night",),
        frames=1,
        views=("CAM_FRONT", "CAM_BACK", "CAM_FRONT_LEFT"),
        steps=3,
        dtype="float32",
        force=True,
    )
    generate(one, tmp_path / "one")
    pictures = [np.asarray(Image.open(tmp_path / name / "generated.png"), np.int16) for name in ("one", "two")]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_clips_are_shared_out_and_noise_is_drawn_for_all() -> None:
    batch = invented_batch(3, 1, 2)
    ranges = (range(0, 1), range(1, 3))
    drawn = []
    for clips in ranges:
        mine = Processes(clips=clips, total=3, ranges=ranges)
        assert mine.share(batch).captions == batch.captions[clips.start : clips.stop]
        assert torch.equal(mine.share(batch).layout_map, batch.layout_map[clips.start : clips.stop])
        generator = torch.Generator().manual_seed(1)
        drawn.append(mine.drawn((len(clips), 4), lambda size, g=generator: torch.randn(size, generator=g)))
    assert torch.equal(torch.cat(drawn), torch.randn(3, 4, generator=torch.Generator().manual_seed(1)))


def test_halves_of_conditions() -> None:
    both = Conditions(text=torch.arange(4.0).view(4, 1, 1, 1, 1), any_temporal=True)
    assert half_of(both, 1).text.flatten().tolist() == [2, 3]
    assert half_of(both, 0).any_temporal is True


@pytest.mark.parametrize(("processes", "clips", "guided"), [(3, 1, True), (4, 1, True), (2, 1, False), (3, 4, True)])
def test_too_many_processes_are_refused(processes: int, clips: int, guided: bool) -> None:
    with pytest.raises(DwmError, match=f"{processes} processes for {clips} clip"):
        check_count(processes, clips, guided)


def test_without_other_processes_there_is_nothing_to_share(pipe: DrivingPipeline) -> None:
    with pytest.raises(DwmError, match="start with torchrun"):
        pipe.enable_parallelism()
