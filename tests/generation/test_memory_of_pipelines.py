"""Parts are in memory while they work, and give the same pictures as parts that stay."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.generation.test_pipeline import make_clip
from torch import nn

from dwm.base_models import BaseModel
from dwm.base_models import base as base_models
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline
from dwm.generation.offload import Offload


@pytest.fixture
def folder(pipe: DrivingPipeline, tmp_path: Path) -> Path:
    pipe.save_pretrained(tmp_path / "weights", torch_dtype=torch.float32)
    return tmp_path / "weights"


@pytest.fixture
def encoders(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[nn.Module]]:
    """Every text encoder that is read, for as long as it lives. Two at once are an error."""
    read: list[weakref.ref[nn.Module]] = []
    load = base_models._load

    def followed(kind: Any, folder: Path, part: str, dtype: torch.dtype) -> nn.Module:
        if part.startswith("text"):
            gc.collect()
            assert not any(model() is not None for model in read), f"{part} is read while another encoder is held"
        model = load(kind, folder, part, dtype)
        if part.startswith("text"):
            read.append(weakref.ref(model))
        return model

    monkeypatch.setattr(base_models, "_load", followed)
    return read


def test_encoders_come_one_after_another_and_go(folder: Path, encoders: list[weakref.ref[nn.Module]]) -> None:
    pipe = DrivingPipeline.from_pretrained(folder, words=("", "day"))
    gc.collect()
    assert len(encoders) == 3 and not any(model() is not None for model in encoders)
    pipe(make_clip(), prompt="day", num_inference_steps=1)
    assert len(encoders) == 3, "words that were encoded are not encoded again"
    pipe(make_clip(), prompt="night", num_inference_steps=1)
    assert len(encoders) == 6


def test_pictures_are_the_same_without_the_encoders(folder: Path) -> None:
    kept, gone = (DrivingPipeline.from_pretrained(folder, words=words) for words in (None, ("day",)))
    assert not any(parameter.numel() for parameter in gone.base.text.parameters())  # type: ignore[union-attr]
    pictures = [pipe(make_clip(), prompt="day night", num_inference_steps=2).frames for pipe in (kept, gone)]
    torch.testing.assert_close(*pictures, atol=1e-5, rtol=0)


def test_in_another_dtype_words_are_encoded_anew(folder: Path) -> None:
    pipe = DrivingPipeline.from_pretrained(folder, words=("day",))
    text = pipe.base.text
    assert text is not None and text.encode(["day"]).sequence.dtype == torch.float32
    pipe.to(torch.bfloat16)
    assert text.encode(["day"]).sequence.dtype == torch.bfloat16
    exact = DrivingPipeline.from_pretrained(folder).base.text
    assert exact is not None
    pipe.to(torch.float32)
    assert torch.equal(text.encode(["day"]).sequence, exact.encode(["day"]).sequence)


def test_a_pipeline_without_its_encoders_is_saved_whole(folder: Path, tmp_path: Path) -> None:
    DrivingPipeline.from_pretrained(folder, words=("day",)).save_pretrained(tmp_path / "copy")
    copy = BaseModel.load(tmp_path / "copy")
    assert copy.text is not None and copy.text.encode(["day"]).pooled is not None


def test_an_encoder_that_is_missing_is_told_before_words_are_given(folder: Path) -> None:
    (folder / "text_encoder_2" / "config.json").unlink()
    with pytest.raises(DwmError, match=r"text_encoder_2.*is missing"):
        BaseModel.load(folder, keep_text=False)


def test_one_part_at_a_time_is_on_the_device_and_waits_unchanged() -> None:
    first, second = nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    second[1].weight = first.weight  # tied: a third part's weights may be those of another
    before = [parameter.clone() for parameter in first.parameters()]
    offload = Offload(torch.device("meta"), [first, second])
    for part, other in ((first, second), (second, first), (first, second)):
        offload.bring(part)
        assert {tensor.device.type for tensor in part.state_dict().values()} == {"meta"}
        assert {tensor.device.type for tensor in other.state_dict().values()} == {"cpu"}
    offload.release()
    assert all(torch.equal(*pair) for pair in zip(first.parameters(), before, strict=True))
    assert second[1].weight is first.weight


def test_sampling_brings_each_part_when_it_works(folder: Path) -> None:
    exact = DrivingPipeline.from_pretrained(folder)
    frames = exact(make_clip(), num_inference_steps=2, reference_frames=1).frames
    names = {id(exact.network): "network", id(exact.base.autoencoder): "autoencoder"}
    brought: list[str] = []

    class Followed(Offload):
        def bring(self, part: nn.Module) -> None:
            if part is not self.present:
                brought.append(names.get(id(part), "encoder"))
            super().bring(part)

    # A processor stands for the device: the same calls, and weights that need not move.
    text, autoencoder = exact.base.text, exact.base.autoencoder
    assert text is not None and autoencoder is not None
    exact._offload = Followed(torch.device("cpu"), [*text.parts, exact.network, autoencoder])
    text.presence = exact._offload.presence
    assert torch.equal(exact(make_clip(), num_inference_steps=2, reference_frames=1).frames, frames)
    assert brought == [*["encoder"] * 3, "autoencoder", "network", "autoencoder"]
    exact.to("cpu")
    assert torch.equal(exact(make_clip(), num_inference_steps=2, reference_frames=1).frames, frames)
    assert len(brought) == 6


def test_a_processor_has_nothing_to_offload_to(pipe: DrivingPipeline) -> None:
    with pytest.raises(DwmError, match="this is a processor: leave it out"):
        pipe.enable_model_cpu_offload("cpu")
