"""A generation by several processes over gloo gives the pictures of one, and is refused where its clips are too few."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from dwm.errors import DwmError
from dwm.generation import DrivingPipeline
from dwm.generation.processes import Processes, check_count, half_of
from dwm.networks.inputs import Conditions
from invented_batches import invented_batch

SCRIPT = Path(__file__).with_name("shared_generation.py")
LAUNCHER = (sys.executable, "-m", "torch.distributed.run", "--standalone")
BIT = 1 / 255


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, check=False)


def generated(folder: Path, processes: int, *arguments: str) -> torch.Tensor:
    folder.mkdir()
    launcher = (*LAUNCHER, f"--nproc-per-node={processes}") if processes > 1 else (sys.executable,)
    ran = run(*launcher, SCRIPT, folder, *arguments)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return load_file(folder / "pictures.safetensors")["pictures"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "arguments"), [(2, ("1", "2", "0.3")), (2, ("2", "1", "0"))], ids=["halves and cache", "clips"]
)
def test_pictures_are_those_of_one_process(tmp_path: Path, processes: int, arguments: tuple[str, ...]) -> None:
    one, several = generated(tmp_path / "one", 1, *arguments), generated(tmp_path / "several", processes, *arguments)
    assert one.std() > 0.01
    torch.testing.assert_close(several, one, rtol=0, atol=BIT)


@pytest.mark.slow
def test_the_command_shares_a_generation(tmp_path: Path) -> None:
    asked = ("generate", "--prompt", "rain at night", "--frames", "1", "--views", "CAM_FRONT,CAM_BACK,CAM_FRONT_LEFT")
    asked = (*asked, "--steps", "3", "--dtype", "float32", "--device", "cpu", "--force")
    one = run(sys.executable, "-m", "dwm.cli.start", *asked, "-o", tmp_path / "one")
    two = run(*LAUNCHER, "--nproc-per-node=2", "-m", "dwm.cli.start", *asked, "-o", tmp_path / "two")
    assert one.returncode == two.returncode == 0, two.stderr[-3000:]
    assert two.stdout.count("look at it") == 1, "one process speaks"
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
