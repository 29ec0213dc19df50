"""What a generation needs is estimated from files before they are loaded, and a plan is made that fits, or a line says why not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dwm.base_models.absent import RememberedText
from dwm.base_models.text import Sd3TextEncoder
from dwm.checkpoints.folder import network_skeleton
from dwm.config import resolve
from dwm.config.cost import cards
from dwm.config.generation_memory import GenerationMemory, Request, generation_memory
from dwm.config.recipe import Recipe
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline
from dwm.runs.blank_clip import plain_clip
from dwm.runs.evaluate import EvaluationRun
from dwm.runs.generate import GenerationRun, generate, loaded
from dwm.runs.memory import planned

CPU = torch.device("cpu")
NEED = GenerationMemory(network=60, activations=10, text=(10, 90), autoencoder=20, decoding=40, pictures=0)


@pytest.fixture
def folder(pipe: DrivingPipeline, tmp_path: Path) -> Path:
    pipe.save_pretrained(tmp_path / "weights", torch_dtype=torch.float32)
    return tmp_path / "weights"


def held(module: nn.Module | None) -> int:
    assert module is not None
    return sum(parameter.nbytes for parameter in module.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_estimate_is_what_the_loaded_parts_hold(folder: Path, dtype: torch.dtype) -> None:
    _, options = network_skeleton(folder)
    need = generation_memory(options, folder, Request(4, 3, (32, 16), 4, text=12), dtype)
    pipe = DrivingPipeline.from_pretrained(folder, torch_dtype=dtype)
    assert need.network == held(pipe.network) + sum(buffer.nbytes for buffer in pipe.network.buffers())
    assert need.autoencoder == held(pipe.base.autoencoder)
    assert sum(need.text) == held(pipe.base.text) and len(need.text) == 3
    assert need.activations > 0 and need.decoding > 0


def test_the_plan_is_the_fastest_that_fits() -> None:
    assert NEED.plan("whole").peak == int(1.1 * 220) and NEED.plan("whole").resident == 180
    assert [NEED.fitting(free).how for free in (242, 200, 132)] == ["whole", "text first", "text first"]  # type: ignore[union-attr]
    assert NEED.fitting(131, can_offload=False) is None
    assert NEED.fitting(131).how == "offload" and NEED.fitting(98) is None  # type: ignore[union-attr]
    assert NEED.fitting(1000, known_words=True).how == "text first"  # type: ignore[union-attr]


def test_a_run_says_its_plan_and_holds_no_encoders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = GenerationRun(prompt=("day",), device="cpu", frames=1, steps=1, force=True)
    generate(run, tmp_path / "out")
    lines = capsys.readouterr().err
    assert "plan: text encoders one after another" in lines and "GB free: network" in lines
    assert isinstance(loaded(run, [plain_clip(("CAM_FRONT",), 1, 4.0)]).base.text, RememberedText)
    assert isinstance(loaded(EvaluationRun(device="cpu")).base.text, Sd3TextEncoder)


def test_too_little_memory_is_one_line_before_anything_is_loaded() -> None:
    run = GenerationRun(prompt=("day",), frames=64, size=(1 << 17, 1 << 17))
    with pytest.raises(DwmError, match=r"64 frames of 6 views of 131072x131072 need .* GB are free .*fewer --frames"):
        planned(run, CPU, torch.float32)
    assert planned(run.with_(force=True), CPU, torch.float32).how == "text first"


def test_offload_on_a_processor_is_refused(tmp_path: Path) -> None:
    run = GenerationRun(prompt=("day",), device="cpu", offload=True, frames=1, force=True)
    with pytest.raises(DwmError, match="--device cpu has none: leave it out"):
        generate(run, tmp_path / "out")


@pytest.mark.slow
def test_real_sizes_fit_into_cards_of_12_and_24_gigabytes() -> None:
    options = resolve("sd35-layout-nuscenes").driving_network()
    for frames, card in ((1, 12e9), (19, 24e9)):
        need = generation_memory(options, None, Request(frames, 6, (448, 256), frames), torch.bfloat16)
        plan = need.fitting(int(card), known_words=True)
        assert plan is not None and plan.how == "text first" and plan.peak < 0.95 * card
        assert need.plan("whole").peak > card
    pictures = resolve("sd35-crossview-nuscenes").driving_network()
    need = generation_memory(pictures, None, Request(1, 6, (448, 256), 1), torch.bfloat16)
    assert need.plan("text first").resident <= 7.6e9


def test_show_memory_tells_how_clips_are_generated_on_usual_cards() -> None:
    run = resolve("sd35-layout-nuscenes-tiny")
    assert isinstance(run, Recipe)
    tight, roomy = cards(run, torch.bfloat16, (1e6, 1e9))
    assert tight.plan is None and tight.line() == "  0 GB: pictures in bfloat16: do not fit"
    assert roomy.plan is not None and roomy.frames == 4 and "at most" in roomy.line()
