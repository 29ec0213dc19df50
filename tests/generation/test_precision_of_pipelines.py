"""A pipeline is held in the dtype that was asked for, and has all of its digits again when it is asked back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.generation.test_pipeline import make_clip

from dwm.devices import default_dtype
from dwm.generation import DrivingPipeline


@pytest.fixture
def folder(pipe: DrivingPipeline, tmp_path: Path) -> Path:
    pipe.save_pretrained(tmp_path / "weights", torch_dtype=torch.float32)
    return tmp_path / "weights"


def test_weights_are_held_once_in_what_they_compute_in(folder: Path) -> None:
    half = DrivingPipeline.from_pretrained(folder, torch_dtype=torch.bfloat16)
    assert half.base.text is not None
    held = [*half.network.parameters(), *half.base.text.parameters()]
    assert {parameter.dtype for parameter in held} == {torch.bfloat16} and half.computes_in == "bfloat16"
    auto = DrivingPipeline.from_pretrained(folder, torch_dtype="auto")
    assert auto.dtype == default_dtype(torch.device("cpu"))


def test_half_precision_is_near_float32_and_back_it_is_the_same(folder: Path) -> None:
    clip, pipe = make_clip(), DrivingPipeline.from_pretrained(folder)
    exact = pipe(clip, guidance_scale=1).frames
    assert pipe.to(torch.bfloat16).computes_in == "bfloat16"
    near = pipe(clip, guidance_scale=1).frames
    assert 0 < (near - exact).abs().max() < 0.2
    assert torch.equal(pipe.to("cpu", torch.float32)(clip, guidance_scale=1).frames, exact)


def test_what_was_changed_in_half_precision_stays(folder: Path) -> None:
    pipe = DrivingPipeline.from_pretrained(folder, torch_dtype=torch.bfloat16)
    parameter = pipe.network.proj_out.weight
    parameter.mul_(2)
    changed = parameter.clone()
    pipe.to(torch.float32)
    assert torch.equal(pipe.network.proj_out.weight, changed.float())


def test_two_dtypes_or_whole_numbers_are_refused(pipe: DrivingPipeline) -> None:
    for wrong in ((torch.float16, torch.float32), (torch.int64,), ("cpu", "cpu")):
        with pytest.raises(ValueError, match="give a device, a dtype of fractions"):
            pipe.to(*wrong)


def test_pictures_do_not_depend_on_how_many_are_decoded_at_once(folder: Path) -> None:
    whole, single = (DrivingPipeline.from_pretrained(folder, piece=piece) for piece in (0, None))
    torch.testing.assert_close(single(make_clip()).frames, whole(make_clip()).frames, atol=1e-5, rtol=0)
